"""Readers, on generated data sets whose truth is known; OpenCV projects."""

import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import rlemasklib
from generated_datasets import coco, h36m, mpi_inf_3dhp, mpii, muco, mupots, people, threedpw
from scipy.spatial.distance import cdist

from metrabs_core.errors import UserError
from metrabs_core.skeletons import SKELETONS
from training import datasets
from training.datasets import muco as muco_reader
from training.datasets.frame_selection import moved_frames
from training.datasets.preparation import Preparation
from training.prepare import prepare


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def read(name, split, root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return datasets.read(name, split, root, **options)


def read_rest(name, split, root):
    """Go on without what is missing, which is warned of."""
    with pytest.warns(UserWarning, match="left out"):
        return datasets.read(name, split, root, allow_missing=True)


def assert_projects(examples, atol=0.02):
    """What OpenCV makes of the camera and the 3D joints is the 2D joints."""
    assert len(examples)
    for example in examples:
        pixels = people.project(
            example.joints3d, np.eye(4), example.camera.intrinsic_matrix,
            example.camera.distortion_coeffs if example.camera.distortion_coeffs.size else None,
        )  # fmt: skip
        np.testing.assert_allclose(example.joints2d, pixels, atol=atol)
        assert example.joints3d.dtype == example.joints2d.dtype == example.box.dtype == np.float32


@pytest.fixture(scope="module")
def small_h36m(tmp_path_factory):
    root = tmp_path_factory.mktemp("h36m")
    actions = ("Directions", "Greeting", "SittingDown 1", "TakingPhoto", "Waiting 1")
    truth = h36m.generate(root, actions=actions, n_frames=130, videos=False, restless=False)
    h36m.write_prepared(root, truth)
    return root, truth


def parse_h36m(example):
    subject, _, recording, name = example.image_path.parts[-4:]
    action, camera = recording.split(".")
    return int(subject[1:]), action, camera, int(name[6:12])


def test_h36m_test_part(small_h36m):
    root, truth = small_h36m
    dataset = read("h36m-incorrect-S9", "test", root)
    assert dataset.skeleton.joint_names == tuple(h36m.NAMES)
    assert {parse_h36m(e)[3] for e in dataset.examples} == {0, 64, 128}
    assert len(dataset.examples) == 2 * 5 * 4 * 3
    assert_projects(dataset.examples)
    for example in dataset.examples:
        subject, action, camera, frame = parse_h36m(example)
        world = truth.poses[subject, action][frame]
        np.testing.assert_allclose(example.camera.to_world(example.joints3d), world, atol=0.01)
        pixels = people.project(
            world, truth.extrinsics[subject, camera], truth.intrinsics[camera], truth.distortion[camera]
        )
        np.testing.assert_allclose(example.joints2d, pixels, atol=0.01)
        np.testing.assert_allclose(example.box, truth.boxes[subject, action, camera][frame], atol=1e-4)
        assert example.activity == {"TakingPhoto": "Photo"}.get(action, action.split()[0])
        assert example.valid.all()


def test_h36m_moves_three_recordings_of_subject_9(small_h36m):
    root, truth = small_h36m
    corrected = read("h36m", "test", root).examples
    recorded = read("h36m-incorrect-S9", "test", root).examples
    for new, old in zip(corrected, recorded, strict=True):
        subject, action, camera, frame = parse_h36m(new)
        shift = new.camera.to_world(new.joints3d) - old.camera.to_world(old.joints3d)
        if subject == 9 and action in ("Greeting", "SittingDown 1", "Waiting 1"):
            np.testing.assert_allclose(shift, np.broadcast_to([-200, 0, 0], shift.shape), atol=0.01)
            # the box goes with the person: its centre moves as the root does
            middle = new.box[:2] + new.box[2:] / 2 - old.box[:2] - old.box[2:] / 2
            np.testing.assert_allclose(middle, new.joints2d[-1] - old.joints2d[-1], rtol=0.06, atol=0.15)
            assert np.abs(middle).max() > 2.5
        else:
            np.testing.assert_array_equal(shift, 0)
            np.testing.assert_array_equal(new.box, old.box)


def test_h36m_trains_on_every_fifth_frame_in_which_somebody_has_moved(small_h36m):
    root, truth = small_h36m
    examples = read("h36m", "trainval", root).examples
    found = {}
    for example in examples:
        subject, action, camera, frame = parse_h36m(example)
        found.setdefault((subject, action, camera), []).append(frame)
    assert len(found) == 5 * 5 * 4
    for (subject, action, _), frames in found.items():
        poses, expected = truth.poses[subject, action], [0]
        for frame in range(5, 130, 5):
            if np.linalg.norm(poses[frame] - poses[expected[-1]], axis=-1).max() >= 100:
                expected.append(frame)
        assert frames == expected
        assert len(expected) < 24
    assert {e.activity for e in examples} == {"Directions", "Greeting", "Photo", "SittingDown", "Waiting"}
    assert_projects(examples[::7])


def test_moved_frames_are_100_mm_apart():
    poses = np.cumsum(np.random.default_rng(0).normal(0, 30, [200, 5, 3]), axis=0)
    taken = moved_frames(poses)
    for last, this in zip(taken, taken[1:]):
        distances = np.linalg.norm(poses[last:this] - poses[last], axis=-1).max(-1)
        assert (distances < 100).all()
        assert np.diag(cdist(poses[this], poses[last])).max() >= 100


def test_empty_box_masks_become_boxes_around_the_joints(small_h36m, tmp_path):
    root, truth = small_h36m
    path = root / "h36m/S11/BBoxes/Directions.54138969.npy"
    boxes = np.load(path)
    try:
        np.save(path, np.where(np.arange(len(boxes))[:, None] == 64, 0, boxes).astype(np.float32))
        examples = read("h36m", "test", root).examples
    finally:
        np.save(path, boxes)
    (example,) = [e for e in examples if parse_h36m(e) == (11, "Directions", "54138969", 64)]
    low, high = example.joints2d.min(0), example.joints2d.max(0)
    np.testing.assert_allclose(example.box, [*low, *(high - low)], rtol=1e-5)


def test_too_few_boxes_are_not_passed_over_in_evaluation(small_h36m):
    path = small_h36m[0] / "h36m/S11/BBoxes/Directions.54138969.npy"
    boxes = np.load(path)
    try:
        np.save(path, boxes[:100])
        with pytest.raises(ValueError, match=r"Directions.54138969.npy has boxes of fewer frames"):
            datasets.read("h36m", "test", small_h36m[0])
    finally:
        np.save(path, boxes)


def test_everything_that_is_missing_is_listed_at_once(tmp_path):
    truth = h36m.generate(tmp_path, subjects=(1, 6), n_frames=10, videos=False)
    h36m.write_prepared(tmp_path, truth)
    (tmp_path / "h36m/S1/BBoxes/Directions.55011271.npy").unlink()
    with pytest.raises(UserError) as caught:
        datasets.read("h36m", "train", tmp_path)
    message = str(caught.value)
    for name in ("h36m/S5", "h36m/S7", "h36m/S8", "h36m/S1/BBoxes/Directions.55011271.npy", "--allow-missing"):
        assert name in message
    assert "h36m/S6" not in message
    assert len(read_rest("h36m", "train", tmp_path).examples) == 7 * 2
    (tmp_path / "h36m/S6/Images/Directions.54138969/frame_000005.jpg").unlink()
    with pytest.warns(UserWarning, match=r"S6/Images/Directions.54138969/frame_000005.jpg"):
        assert len(datasets.read("h36m", "train", tmp_path, allow_missing=True).examples) == 7 * 2 - 1


def test_pictures_that_are_missing_are_listed_by_folder(small_h36m):
    root, _ = small_h36m
    folder = root / "h36m/S9/Images/Waiting 1.60457274"
    away = folder.with_name("away")
    folder.rename(away)
    try:
        with pytest.raises(UserError, match=r"Waiting 1.60457274/frame_000000.jpg to frame_000128.jpg \(3 pict"):
            datasets.read("h36m", "test", root)
    finally:
        away.rename(folder)


def test_the_cache_goes_by_content_not_by_date(small_h36m):
    root, truth = small_h36m
    read("h36m", "test", root)
    (cache,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("*.npz")
    before = cache.stat().st_mtime_ns
    path = root / "h36m/S11/BBoxes/Directions.54138969.npy"
    os.utime(path)
    read("h36m", "test", root)
    assert cache.stat().st_mtime_ns == before

    boxes, dates = np.load(path), path.stat()
    try:
        np.save(path, boxes + np.float32(1))
        os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
        assert path.stat().st_size == dates.st_size
        changed = read("h36m", "test", root).examples
    finally:
        np.save(path, boxes)
    (example,) = [e for e in changed if parse_h36m(e) == (11, "Directions", "54138969", 0)]
    np.testing.assert_allclose(example.box, truth.boxes[11, "Directions", "54138969"][0] + 1)

    cache.write_bytes(cache.read_bytes()[:1000])
    read("h36m", "test", root)
    assert cache.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_is_no_obstacle(small_h36m, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="can't be cached"):
        assert len(datasets.read("h36m", "test", small_h36m[0]).examples)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("S9/MyPoseFeatures/D3_Positions/Waiting 1.cdf", b"not a CDF file"),
        ("S9/BBoxes/Waiting 1.60457274.npy", b"\x93NUMPY"),
        ("Release-v1.2/metadata.xml", b"<document><w0>[1 2 3]</w0></document>"),
        ("Release-v1.2/metadata.xml", b"<document>"),
    ],
)
def test_damaged_files_are_named(small_h36m, name, content):
    path = small_h36m[0] / "h36m" / name
    good = path.read_bytes()
    try:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            datasets.read("h36m", "test", small_h36m[0])
    finally:
        path.write_bytes(good)


@pytest.fixture(scope="module")
def small_3dhp(tmp_path_factory):
    root = tmp_path_factory.mktemp("3dhp")
    truth = mpi_inf_3dhp.generate(root, n_frames=12, sequences=(1, 2), subjects=range(1, 9), videos=False)
    for subject, number, camera in truth.masks:
        for frame in range(0, 12, 5):
            path = root / f"3dhp/S{subject}/Seq{number}/imageSequence/img_{camera}_{frame:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return root, truth


@pytest.mark.parametrize(("split", "subjects"), [("train", range(1, 8)), ("val", [8])])
def test_3dhp_training_part(small_3dhp, split, subjects):
    root, truth = small_3dhp
    dataset = read("mpi-inf-3dhp", split, root)
    order = [mpi_inf_3dhp.NAMES_28.index(name) for name in dataset.skeleton.joint_names]
    assert order == [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 3, 6, 4]
    assert_projects(dataset.examples[::11])
    seen = set()
    for example in dataset.examples:
        subject, sequence, _, name = example.image_path.parts[-4:]
        camera, frame = map(int, name[4:-4].split("_"))
        key = int(subject[1:]), int(sequence[3:]), camera
        seen.add((*key, frame))
        np.testing.assert_allclose(example.joints3d, truth.poses[key][frame][order], atol=0.01)
        np.testing.assert_allclose(example.universal3d, truth.universal[key][frame][order], atol=0.01)
        pixels = example.camera.project(example.joints3d)
        assert (example.box[:2] <= pixels.min(0)).all()
        assert (example.box[:2] + example.box[2:] >= pixels.max(0)).all()
        np.testing.assert_allclose(example.camera.extrinsic_matrix, truth.extrinsics[key], atol=1e-2)
    assert {s[0] for s in seen} == set(subjects)
    assert {s[2] for s in seen} == {0, 1, 2, 4, 5, 6, 7, 8}
    # a fast walker moves 100 mm in 10 frames at 12 mm a frame; nobody leaves the picture in these
    assert {s[3] for s in seen} <= {0, 5, 10}


def test_3dhp_leaves_out_people_who_are_not_seen_as_a_whole(tmp_path):
    truth = mpi_inf_3dhp.generate(
        tmp_path, subjects=(1, 8), n_frames=1, test_sequences=(), videos=False, detections=False, spread=2600
    )
    order = [7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 3, 6, 4]
    expected = set()
    for (subject, number, camera), poses in truth.poses.items():
        if camera in mpi_inf_3dhp.CAMERAS:
            path = tmp_path / f"3dhp/S{subject}/Seq{number}/imageSequence/img_{camera}_000000.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            pixels = people.project(poses[0][order], np.eye(4), truth.intrinsics[subject, number, camera])
            if (pixels >= 0).all() and (pixels < 128).all() and (poses[0][order, 2] > 0).all():
                expected.add(path)
    found = {e.image_path for split in ("train", "val") for e in read_if_any(split, tmp_path)}
    assert found == expected
    assert 0 < len(expected) < 32


def read_if_any(split, root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return datasets.read("mpi-inf-3dhp", split, root, allow_missing=True).examples
        except ValueError:
            return []


def test_3dhp_test_part(small_3dhp):
    root, truth = small_3dhp
    examples = read("mpi-inf-3dhp", "test", root).examples
    assert_projects(examples)
    activities = ["Stand/Walk", "Exercise", "Sit on Chair", "Reach/Crouch", "On Floor", "Sports", "Misc."]
    scenes = {
        1: "green-screen",
        2: "green-screen",
        3: "no-green-screen",
        4: "no-green-screen",
        5: "outdoor",
        6: "outdoor",
    }
    names = SKELETONS["mpi_inf_3dhp_17"].joint_names
    order = [mpi_inf_3dhp.NAMES_17.index(name) for name in names]
    assert len(examples) == sum(valid.sum() for valid in truth.valid.values())
    for example in examples:
        number, frame = int(example.image_path.parts[-3][2:]), int(example.image_path.stem[4:]) - 1
        assert truth.valid[number][frame]
        assert example.activity == activities[truth.activities[number][frame] - 1]
        assert example.scene == scenes[number]
        np.testing.assert_allclose(example.joints3d, truth.test_poses[number][frame][order], atol=0.01)
        np.testing.assert_allclose(example.universal3d, truth.test_universal[number][frame][order], atol=0.01)
        outdoors = int(number > 4)
        pixels = people.project(
            truth.test_poses[number][frame][order], np.eye(4),
            mpi_inf_3dhp.TEST_INTRINSICS[outdoors], mpi_inf_3dhp.TEST_DISTORTION[outdoors],
        )  # fmt: skip
        np.testing.assert_allclose(example.joints2d, pixels, atol=0.05)
        image = cv2.imread(str(example.image_path))
        height, width = image.shape[:2]
        assert (width, height) == [(2048, 2048), (1920, 1080)][outdoors]
        # the drawn stick goes through the shoulder
        column, row = np.round(example.joints2d[names.index("rsho")]).astype(int)
        np.testing.assert_allclose(image[row, column].astype(int), [30, 230, 250], atol=12)


@pytest.mark.parametrize("as_cells", [True, False])
def test_mupots(tmp_path, as_cells):
    truth = mupots.generate(tmp_path, as_cells=as_cells)
    dataset = read("mupots", "test", tmp_path)
    order = [*range(14), 15, 16, 14]
    assert [mpi_inf_3dhp.NAMES_17[j] for j in order] == list(dataset.skeleton.joint_names)
    assert len(dataset.examples) == sum(valid.sum() for valid in truth.valid.values()) == 20 * 5
    assert_projects(dataset.examples)
    for example in dataset.examples:
        number, frame = int(example.scene[2:]), int(example.image_path.stem[4:])
        place = frame, example.person
        assert truth.valid[number][place]
        np.testing.assert_allclose(example.joints3d, truth.poses[number][place][order], atol=0.01)
        np.testing.assert_allclose(example.universal3d, truth.universal[number][place][order], atol=0.01)
        np.testing.assert_allclose(example.joints2d, truth.joints2d[number][place][order], atol=0.01)
        np.testing.assert_allclose(example.camera.intrinsic_matrix, truth.intrinsics[number], atol=0.01)
    detected = read("mupots", "val", tmp_path).examples
    assert {(e.image_path, e.person) for e in detected} == {
        (e.image_path, e.person) for e in dataset.examples if e.person or e.image_path.stem != "img_000000"
    }


def test_muco(tmp_path):
    tdhp = mpi_inf_3dhp.generate(tmp_path, n_frames=6, sequences=(1,), test_sequences=(), videos=False, spread=900)
    truth = muco.generate(tmp_path, tdhp)
    mupots.generate(tmp_path, sequences=range(1, 21), n_frames=2)
    with pytest.raises(UserError, match="composite_frame_origins.npy"):
        datasets.read("muco", "train", tmp_path)
    report = prepare("muco-17-150k", tmp_path, allow_missing=True)
    assert not report.skipped
    part = datasets.read_original("muco", "train", tmp_path, allow_missing=True)
    assert part.skeleton.joint_names == tuple(mpi_inf_3dhp.NAMES_28)
    found = set()
    for example in part.table:
        composite = int(example.image_path.stem) - 1
        *key, frame = truth.origins[composite, example.person].tolist()
        np.testing.assert_allclose(example.joints3d, tdhp.poses[tuple(key)][frame], atol=0.01)
        np.testing.assert_allclose(example.universal3d, tdhp.universal[tuple(key)][frame], atol=0.01)
        mask = rlemasklib.decode(example.mask) > 0
        assert (mask & truth.masks[composite]).sum() > 0.9 * (mask | truth.masks[composite]).sum()
        # who was found is where the person's visible part is
        np.testing.assert_allclose(example.box, people.box_of(truth.visible[composite, example.person]), atol=4)
        found.add((composite, example.person))
    visible = {(c, p) for c, p in np.ndindex(6, 4) if truth.visible[c, p].sum() > 100}
    assert visible <= found
    few = datasets.read("muco-17-150k", "train", tmp_path)
    assert few.skeleton.n_joints == 17
    assert len(few.examples) == len(part.table)
    assert read("muco-17-150k", "test", tmp_path).examples[0].image_path.parts[-3] == "mupots"
    assert len(read("muco-17-150k", "val", tmp_path).examples)


def test_muco_takes_the_first_composites_and_finds_pictures_in_either_layout(tmp_path):
    tdhp = mpi_inf_3dhp.generate(
        tmp_path, n_frames=2, sequences=(1,), subjects=(1, 2, 3, 4), test_sequences=(), videos=False
    )
    muco.generate(tmp_path, tdhp, n_composites=4, nested=True)
    muco_reader.prepare(Preparation(tmp_path, allow_missing=True), n_composites=2)
    table = muco_reader.find(tmp_path, "train", n_composites=2).read()
    assert {e.image_path.stem for e in table} == {"000001", "000002"}
    assert all(e.image_path.is_file() and e.image_path.parts[-3] == "00" for e in table)


def test_mpii(tmp_path):
    truth = mpii.generate(tmp_path)
    examples = read("mpii", "train", tmp_path).examples
    assert {(e.image_path.name, e.person) for e in examples} == {
        (name, person)
        for name, numbers in truth.separate.items()
        for person in numbers
        if truth.is_train[name] and np.isfinite(truth.joints[name][person]).any()
    }
    names = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "rwri", "relb", "rsho", "lsho", "lelb", "lwri"]
    for example in examples:
        joints = truth.joints[example.image_path.name][example.person][[mpii.NAMES.index(n) for n in names]]
        np.testing.assert_array_equal(example.valid, np.isfinite(joints).all(-1))
        np.testing.assert_allclose(example.joints2d[example.valid], joints[example.valid], rtol=1e-5)
        assert np.isfinite(example.joints2d).all()
        assert example.joints3d is None
        size = 200 * truth.scales[example.image_path.name][example.person]
        x, y = truth.centres[example.image_path.name][example.person]
        np.testing.assert_allclose(example.box, [x - size / 2, y + 0.075 * size - size / 2, size, size], rtol=1e-5)


def test_mpii_yolo(tmp_path):
    truth = mpii.generate(tmp_path)
    dataset = read("mpii-yolo", "train", tmp_path)
    assert dataset.skeleton.joint_names == (
        *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "rwri", "relb", "lelb", "lwri"),
    )
    expected = set()
    for name, group in truth.joints.items():
        for person, joints in enumerate(group):
            valid = np.isfinite(joints[[mpii.NAMES.index(n) for n in dataset.skeleton.joint_names]]).all(-1)
            if truth.is_train[name] and valid.sum() >= 7:
                expected.add((name, person))
    assert {(e.image_path.name, e.person) for e in dataset.examples} == expected
    for example in dataset.examples:  # the box is the detector's
        joints = truth.joints[example.image_path.name][example.person]
        assert abs(example.box[3] - 1.1 * np.ptp(joints[:, 1])) < 0.01


def test_3dpw(tmp_path):
    truth = threedpw.generate(tmp_path)
    parts = {name: part for part, names in threedpw.SEQUENCES.items() for name in names}
    for split, folders in (("train", {"train"}), ("val", {"validation"}), ("test", {"train", "validation", "test"})):
        dataset = read("3dpw", split, tmp_path)
        assert dataset.skeleton.joint_names == tuple(threedpw.NAMES)
        assert {e.scene for e in dataset.examples} == folders
        for example in dataset.examples:
            name, person, frame = example.activity, example.person, int(example.image_path.stem[6:])
            assert parts[name] == example.scene
            assert truth.valid[name][person, frame]
            world = example.camera.to_world(example.joints3d)
            np.testing.assert_allclose(world, truth.poses[name][person, frame], atol=0.01)
            np.testing.assert_allclose(example.joints2d, truth.joints2d[name][person, frame], atol=0.01)
        assert len(dataset.examples) == sum(truth.valid[n].sum() for n, part in parts.items() if part in folders)


@pytest.mark.parametrize("year", [2017, 2014])
def test_coco(tmp_path, year):
    truth = coco.generate(tmp_path, year=year)
    for split in ("train", "val"):
        examples = read("coco", split, tmp_path).examples
        assert len(examples) == 3
        for example in examples:
            key = split, example.image_path.name
            np.testing.assert_array_equal(example.valid, truth.labelled[key])
            np.testing.assert_allclose(example.joints2d[example.valid], truth.joints[key][example.valid], atol=1e-3)
            assert example.mask["size"] == [320, 320]
            image = cv2.imread(str(example.image_path))
            drawn = (np.abs(image.astype(int) - [30, 230, 250]) < 40).all(-1)
            assert (rlemasklib.decode(example.mask)[:, :170][drawn[:, :170]] > 0).mean() > 0.9
    assert len(read("coco", "trainval", tmp_path).examples) == 6


def test_unknown_names_parts_and_roots(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"no data set named h37m .*mpi-inf-3dhp"):
        datasets.read("h37m", "train", tmp_path)
    with pytest.raises(ValueError, match="has no part 'val'; it has train, test"):
        datasets.read("h36m", "val", tmp_path)
    monkeypatch.delenv("DATA_ROOT", raising=False)
    with pytest.raises(UserError, match="DATA_ROOT"):
        datasets.read("h36m", "train")
    with pytest.raises(UserError, match="nowhere"):
        datasets.read("h36m", "train", tmp_path / "nowhere")
    with pytest.raises(UserError, match="metadata.xml"):
        datasets.read("h36m", "train", tmp_path)


def test_data_root_of_the_environment(small_h36m, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(small_h36m[0]))
    assert len(datasets.read("h36m", "test").examples)


def test_examples_of_a_picture_share_a_camera(small_h36m):
    examples = read("h36m", "test", small_h36m[0]).examples
    assert len({id(e.camera) for e in examples}) == 8
