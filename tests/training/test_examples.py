"""Training crops: labels must sit on what the crop shows. Joints are drawn as dots, projected by OpenCV."""

import json

import cv2
import numpy as np
import pytest

from metrabs_core.skeletons import NATIVE
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
    with pytest.raises(FileNotFoundError, match="no data set named"):
        read_examples(tmp_path / "nowhere", NATIVE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no dataset.json"):
        read_examples(tmp_path / "empty", NATIVE)
