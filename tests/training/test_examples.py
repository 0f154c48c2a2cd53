"""Training crops: labels must sit on what the crop shows. Joints are drawn as dots, projected by OpenCV."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import rlemasklib

from metrabs_core.errors import UserError
from metrabs_core.skeletons import NATIVE, SKELETONS
from training.augmentation import Appearance
from training.examples import make_crop, read_examples

K = np.array([[700, 0, 330], [0, 690, 250], [0, 0, 1]], np.float64)
D = np.array([-0.2, 0.08, 0.002, -0.003, 0.01])


@pytest.fixture
def dataset(tmp_path):
    """One picture with a 'person' of coloured dots; joint j has hue j."""
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(NATIVE.n_joints, 3)) * [250, 450, 200] + [500, 100, 3500]
    pixels = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    image = np.zeros([480, 640, 3], np.uint8)
    for j, (x, y) in enumerate(pixels):
        cv2.circle(image, (round(x * 16), round(y * 16)), 40, _colour(j), -1, cv2.LINE_AA, 4)
    left, top = pixels.min(0) - 15
    width, height = np.ptp(pixels, axis=0) + 30
    shard = tmp_path / "shard"
    shard.mkdir()
    cv2.imwrite(str(shard / "0.png"), image[..., ::-1])
    person = {"box": [left, top, width, height], "joints3d": joints.tolist(), "joints2d": pixels.tolist()}
    only_2d = {**person, "joints3d": None}
    camera = {"intrinsic_matrix": K.tolist(), "distortion_coeffs": D.tolist()}
    annotation = [{"image": "0.png", "camera": camera, "people": [person, only_2d]}]
    (shard / "annotations.json").write_text(json.dumps(annotation))
    (tmp_path / "dataset.json").write_text(json.dumps({"format": 1, "joint_names": NATIVE.joint_names}))
    return tmp_path


def _colour(j):
    hsv = np.array([[[j * 5, 255, 255]]], np.uint8)
    return tuple(int(c) for c in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0])


def _hues_at(crop, points):
    x, y = np.clip(points.round().astype(int), 0, crop.shape[0] - 1).T
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)[y, x]
    return hsv[:, 0].astype(int), hsv[:, 2] > 100


@pytest.mark.parametrize("seed", [None, 1, 2, 3, 4, 5, 6])
def test_labels_sit_on_the_dots(dataset, seed):
    example, only_2d = read_examples(dataset, NATIVE)
    crop, intrinsics, joints3d, joints2d, valid3d, _ = make_crop(example, NATIVE, 256, _rng(seed))
    projected = joints3d @ intrinsics.T
    np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], joints2d, atol=0.05)
    inside = ((joints2d > 4) & (joints2d < 251)).all(1)
    assert inside.sum() > 15
    hues, lit = _hues_at(crop, joints2d)
    # joint k of the crop is joint order[k] of the picture: its counterpart if, and only if, the crop is mirrored
    order = np.arange(NATIVE.n_joints)
    if not np.allclose(_distances(joints3d), _distances(example.joints3d), atol=1):
        order = np.array(NATIVE.mirror)
    np.testing.assert_allclose(_distances(joints3d), _distances(example.joints3d[order]), atol=1)
    before, after = (pose - pose.mean(0) for pose in (example.joints3d[order], joints3d))
    turned = np.linalg.det(np.linalg.lstsq(before, after, rcond=None)[0])
    assert turned == pytest.approx(1 if order[1] == 1 else -1, abs=1e-3)
    agree = (np.abs(hues - order * 5) <= 4) & lit
    assert agree[inside].mean() > 0.75  # some dots cover others
    assert valid3d.all()
    # 2D labels alone lead to the same places
    *_, joints3d_none, joints2d_again, valid3d_none, valid2d = make_crop(only_2d, NATIVE, 256, _rng(seed))
    np.testing.assert_allclose(joints2d_again, joints2d, atol=0.1)
    assert not valid3d_none.any() and valid2d.all()


def _rng(seed):
    return None if seed is None else np.random.default_rng(seed)


def _distances(points):
    return np.linalg.norm(points[:, None] - points, axis=-1)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_labels_sit_on_the_dots_of_a_fisheye_picture(dataset, seed):
    """People of dots seen 60 degrees aside."""
    matrix, coeffs = np.array([[300, 0, 330], [0, 300, 250], [0, 0, 1.0]]), np.array([0.03, -0.01, 0, 0])
    zero = np.zeros(3)
    path = dataset / "shard" / "annotations.json"
    pictures = json.loads(path.read_text())
    person = pictures[0]["people"][0]
    joints = np.array(person["joints3d"]) @ cv2.Rodrigues(np.array([0, 0.75, 0]))[0].T
    pixels = cv2.fisheye.projectPoints(joints[:, None], zero, zero, matrix, coeffs)[0][:, 0]
    image = np.zeros([500, 700, 3], np.uint8)
    for j, (x, y) in enumerate(pixels):
        cv2.circle(image, (round(x * 16), round(y * 16)), 24, _colour(j), -1, cv2.LINE_AA, 4)
    cv2.imwrite(str(dataset / "shard" / "0.png"), image[..., ::-1])
    person["box"] = [*(pixels.min(0) - 8), *(np.ptp(pixels, axis=0) + 16)]
    person["joints3d"], person["joints2d"] = joints.tolist(), pixels.tolist()
    lens = {"intrinsic_matrix": matrix.tolist(), "distortion_coeffs": coeffs.tolist(), "distortion_model": "fisheye"}
    path.write_text(json.dumps([{"image": "0.png", "camera": lens, "people": [person, {**person, "joints3d": None}]}]))
    example, only_2d = read_examples(dataset, NATIVE)
    crop, intrinsics, joints3d, joints2d, *_ = make_crop(example, NATIVE, 256, _rng(seed))
    projected = joints3d @ intrinsics.T
    np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], joints2d, atol=0.05)
    *_, joints2d_again, _, _ = make_crop(only_2d, NATIVE, 256, _rng(seed))
    np.testing.assert_allclose(joints2d_again, joints2d, atol=0.1)
    inside = ((joints2d > 4) & (joints2d < 251)).all(1)
    assert inside.sum() > 15
    hues, lit = _hues_at(crop, joints2d)
    same, mirrored = np.arange(NATIVE.n_joints), np.array(NATIVE.mirror)
    shares = [((np.abs(hues - order * 5) <= 4) & lit)[inside].mean() for order in (same, mirrored)]
    assert max(shares) > 0.7


def test_plain_crop_is_filled_by_the_longer_side_of_the_box(dataset):
    example, _ = read_examples(dataset, NATIVE)
    _, _, _, joints2d, *_ = make_crop(example, NATIVE, 256, None)
    extent = np.ptp(joints2d, axis=0).max()
    margin = 30 / max(example.box[2:]) * 256
    assert extent == pytest.approx(256 - margin, rel=0.04)
    np.testing.assert_allclose(joints2d.min(0)[1] + joints2d.max(0)[1], 256, atol=8)


def test_unknown_joints_are_masked_and_their_labels_finite(dataset):
    path = dataset / "shard" / "annotations.json"
    pictures = json.loads(path.read_text())
    person = pictures[0]["people"][0]
    person["joints3d"][5] = person["joints2d"][5] = None
    path.write_text(json.dumps(pictures))
    example, _ = read_examples(dataset, NATIVE)
    *_, joints3d, joints2d, valid3d, valid2d = make_crop(example, NATIVE, 128, None)
    assert np.isfinite(joints3d).all() and np.isfinite(joints2d).all()  # NaN would pass through a mask of zeros
    assert np.flatnonzero(valid3d == 0).tolist() == np.flatnonzero(valid2d == 0).tolist() == [5]


def test_folders_that_are_no_data_set_are_refused(tmp_path, dataset):
    with pytest.raises(UserError, match="no data set named"):
        read_examples(tmp_path / "nowhere", NATIVE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no dataset.json"):
        read_examples(tmp_path / "empty", NATIVE)


def _enlarged(dataset, factor, name):
    """The person of the data set in a picture that many times larger."""
    example, _ = read_examples(dataset, NATIVE)
    image = cv2.resize(cv2.imread(str(example.image_path)), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    path = dataset / "shard" / name
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 98])
    scaling = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    camera = replace(example.camera, intrinsic_matrix=(scaling @ example.camera.intrinsic_matrix).astype(np.float32))
    box = np.r_[(example.box[:2] + 0.5) * factor - 0.5, example.box[2:] * factor].astype(np.float32)
    return replace(example, image_path=path, camera=camera, box=box)


@pytest.mark.parametrize("name", ["large.jpg", "large.png"])
@pytest.mark.parametrize(("factor", "side"), [(1, 256), (3, 256), (5, 128), (5, 64)])
def test_large_pictures_are_reduced_without_moving_anything(dataset, name, factor, side):
    example, _ = read_examples(dataset, NATIVE)
    reference, _, _, points, *_ = make_crop(example, NATIVE, 256, None)
    crop, _, _, reduced_points, *_ = make_crop(_enlarged(dataset, factor, name), NATIVE, side, None)
    np.testing.assert_allclose((reduced_points + 0.5) * 256 / side, points + 0.5, atol=0.3)
    expected = cv2.resize(reference, (side, side), interpolation=cv2.INTER_AREA)
    shift, _ = cv2.phaseCorrelate(*[cv2.cvtColor(c, cv2.COLOR_RGB2GRAY).astype(np.float64) for c in (expected, crop)])
    assert np.abs(shift).max() < 0.15
    assert np.abs(crop.astype(int) - expected).mean() < 4


def test_the_mask_is_seen_through_the_same_camera(dataset, tmp_path, monkeypatch):
    """The picture's own bright dots as the mask: with a white background behind, all that was dark becomes white."""
    example, _ = read_examples(dataset, NATIVE)
    bright = (cv2.imread(str(example.image_path)).max(-1) > 100).astype(np.uint8)
    example = replace(example, mask=rlemasklib.encode(bright))
    white = tmp_path / "white.png"
    cv2.imwrite(str(white), np.full([50, 50, 3], 255, np.uint8))
    appearance = Appearance(0, 1, (), (str(white),))
    monkeypatch.setattr("training.augmentation.change_colours", lambda crop, rng: crop)
    for seed in range(4):
        before, *_ = make_crop(example, NATIVE, 192, _rng(seed))
        after, *_ = make_crop(example, NATIVE, 192, _rng(seed), appearance)
        dark, lit = before.max(-1) < 5, before.max(-1) > 230
        far_from_edges = cv2.erode(dark.astype(np.uint8), np.ones([3, 3])).astype(bool)
        assert (after[far_from_edges] > 250).all() and far_from_edges.sum() > 1000
        assert np.abs(after[lit].astype(int) - before[lit]).mean() < 25 and lit.sum() > 20


@pytest.mark.parametrize("occlude_prob", [0.0, 1.0])
def test_appearance_changes_pixels_alone(dataset, occlude_prob):
    example, _ = read_examples(dataset, NATIVE)
    plain, *labels = make_crop(example, NATIVE, 128, _rng(3))
    changed, *same_labels = make_crop(example, NATIVE, 128, _rng(3), Appearance(occlude_prob))
    for label, same in zip(labels, same_labels, strict=True):
        np.testing.assert_array_equal(label, same)
    black = (plain == 0).all(-1)
    # colours change everywhere alike, so that the black background stays of one colour unless something covers it
    assert (changed[~black] != plain[~black]).any(-1).mean() > 0.9
    assert (len(np.unique(changed[black], axis=0)) > 1) == bool(occlude_prob)


def test_universal_labels_are_3d_only(dataset):
    example, _ = read_examples(dataset, NATIVE)
    example = replace(example, universal3d=example.joints3d * 0.8)
    for seed in (None, 1, 2):
        _, _, metric, points, *_ = make_crop(example, NATIVE, 128, _rng(seed))
        _, _, universal, same_points, *_ = make_crop(example, NATIVE, 128, _rng(seed), None, True)
        np.testing.assert_allclose(universal, metric * 0.8, rtol=1e-4, atol=0.5)
        np.testing.assert_array_equal(points, same_points)


def test_joints_are_matched_by_name(dataset):
    (example, _), (coco, _) = (read_examples(dataset, SKELETONS[name]) for name in ("native_34", "coco_17"))
    wrist = SKELETONS["coco_17"].index("lwri")
    np.testing.assert_array_equal(coco.joints3d[wrist], example.joints3d[NATIVE.index("lwri")])
    assert coco.valid.all()
    other, _ = read_examples(dataset, SKELETONS["h36m_17"])
    assert [n for n, v in zip(SKELETONS["h36m_17"].joint_names, other.valid) if not v] == ["tors"]


def test_a_box_that_makes_no_sense_is_named(dataset):
    example, _ = read_examples(dataset, NATIVE)
    broken = replace(example, box=np.array([10, np.nan, 50, 80], np.float32))
    with pytest.raises(ValueError, match=r"0.png: The box \[10.0, nan, .* is nowhere"):
        make_crop(broken, NATIVE, 64, None)
