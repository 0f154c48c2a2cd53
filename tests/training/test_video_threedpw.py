"""3DPW's files, people assigned to annotations, and the whole way on a generated small 3DPW."""

import pickle
import warnings

import cv2
import numpy as np
import pytest
import rectangle_people
from hypothesis import given, settings
from hypothesis import strategies as st
from rectangle_people import expected_poses2d, expected_poses3d, picture

from metrabs_core.errors import UserError
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix
from training import cli
from training.datasets.restricted_pickle import load_pickle
from training.video.poses import VideoPoses
from training.video.threedpw import associate, complete, read_sequence

SMPL = SKELETONS["smpl_24"]
OPENPOSE = "nose neck rsho relb rwri lsho lelb lwri rhip rkne rank lhip lkne lank reye leye rear lear"
MATRIX = np.array([[200.0, 0, 80], [0, 200, 60], [0, 0, 1]])
N_FRAMES = 10


def red_box(i):
    return 20 + 2 * i, 30, 20, 50


def blue_box(i):
    return 100 - 2 * i, 25, 24, 60


def openpose(box) -> np.ndarray:
    """Annotation [3, 18] as in 3DPW: x, y, confidence."""
    points = expected_poses2d(np.array(box) - [0.5, 0.5, 0, 0])
    return np.stack([[*points[NATIVE.index(name)], 0.9] for name in OPENPOSE.split()], axis=1)


def write_3dpw(root):
    """One sequence: the first annotated person is blue, the second red and hidden for a while, and hardly annotated."""
    images = root / "3dpw/imageFiles/street_00"
    images.mkdir(parents=True)
    annotations = root / "3dpw/sequenceFiles/test"
    annotations.mkdir(parents=True)
    poses2d = np.zeros([2, N_FRAMES, 3, 18])
    for i in range(N_FRAMES):
        image = picture(None if i in (0, 1, 6) else red_box(i), blue_box(i))
        sharp = [cv2.IMWRITE_JPEG_QUALITY, 100]
        sharp += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        cv2.imwrite(str(images / f"image_{i:05d}.jpg"), image[..., ::-1], sharp)
        poses2d[0, i] = openpose(blue_box(i))
        poses2d[1, i] = openpose(red_box(i)) if i < 7 else 0
    content = {
        "sequence": "street_00",
        "cam_intrinsics": MATRIX,
        "poses2d": list(poses2d),
        "jointPositions": [np.zeros([N_FRAMES, 72])] * 2,
        "campose_valid": [np.ones(N_FRAMES)] * 2,
        "cam_poses": np.tile(np.eye(4), [N_FRAMES, 1, 1]),
        "genders": ["m", "f"],
    }
    (annotations / "street_00.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return annotations / "street_00.pkl"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "rectangles"
    rectangle_people.export(path)
    return path


def smpl_pose(box):
    box = np.array(box) - [0.5, 0.5, 0, 0]
    return conversion_matrix(SMPL) @ expected_poses3d(box, MATRIX)


def test_whole_way(tmp_path, model_path, monkeypatch, capsys):
    write_3dpw(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    arguments = ["video", "--gt-assoc", "--dataset=3dpw", f"--model-path={model_path}", "--crops=5"]
    cli.main([*arguments, f"--output-dir={tmp_path / 'out'}"])
    assert [p.name for p in (tmp_path / "out").iterdir() if p.name != "job.json"] == ["test"]
    result = load_pickle(tmp_path / "out/test/street_00.pkl")["jointPositions"]
    assert result.shape == (2, N_FRAMES, 24, 3)
    for i in range(N_FRAMES):
        np.testing.assert_allclose(result[0, i], smpl_pose(blue_box(i)) / 1000, atol=0.02)
        # Before the first prediction there is the first, after a missed one the last.
        seen = {0: 2, 1: 2, 6: 5}.get(i, i)
        np.testing.assert_allclose(result[1, i], smpl_pose(red_box(seen)) / 1000, atol=0.02)
    # The truth of this data set is a point, and who is compared to it off by the size of a person.
    cli.main(["evaluate", "--dataset=3dpw", "--allow-missing", f"--pred-path={tmp_path / 'out'}"])
    assert "MPJPE" in capsys.readouterr().out
    cli.main([*arguments, "--causal-smoothing", f"--output-dir={tmp_path / 'smooth'}"])
    smooth = load_pickle(tmp_path / "smooth/test/street_00.pkl")["jointPositions"]
    expected = (6 * result[0, 5] + 2 * result[0, 4] + result[0, 3]) / 9
    np.testing.assert_allclose(smooth[0, 5], expected, atol=1e-5)
    np.testing.assert_allclose(smooth[1, 7], (6 * result[1, 7] + result[1, 5]) / 7, atol=1e-5)
    assert not (tmp_path / "smooth/.work").exists()
    with pytest.raises(SystemExit, match="another crops"):
        cli.main([*arguments[:-1], "--crops=1", f"--output-dir={tmp_path / 'out'}"])


def test_without_assignment_every_sequence_is_a_video(tmp_path, model_path):
    write_3dpw(tmp_path)
    cli.main(["video", "--dataset=3dpw", f"--data-root={tmp_path}", f"--output-dir={tmp_path / 'out'}",
              f"--model-path={model_path}"])  # fmt: skip
    with np.load(tmp_path / "out/test/street_00/poses.npz") as arrays:
        np.testing.assert_allclose(arrays["intrinsic_matrices"][0], MATRIX)
        assert len(arrays["frame_times"]) == N_FRAMES and arrays["frame_times"][3] == pytest.approx(0.1)


def video_poses(frames) -> VideoPoses:
    """Predictions, a list of poses [24, 2] px for each frame."""
    frame_index = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    poses2d = np.array([pose for frame in frames for pose in frame], np.float32).reshape(-1, 24, 2)
    n = len(poses2d)
    return VideoPoses(
        frame_numbers=np.arange(len(frames)),
        frame_times=np.arange(len(frames)) / 30,
        image_sizes=np.ones([len(frames), 2], np.int32),
        intrinsic_matrices=np.ones([len(frames), 3, 3], np.float32),
        frame_index=frame_index,
        ids=np.zeros(n, np.int64),
        boxes=np.zeros([n, 5], np.float32),
        poses3d=np.concatenate([poses2d, np.ones([n, 24, 1], np.float32)], axis=2),
        poses2d=poses2d,
        uncertainties=np.zeros([n, 24], np.float32),
        in_view=np.ones([n, 24], bool),
    )


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_everybody_gets_the_own_prediction_whatever_the_order(data):
    """Annotated people are further apart than noise moves them; some predictions are missing, some of nobody."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n_people, n_frames = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    frames, truth, poses2d = [], set(), np.zeros([n_people, n_frames, 18, 3])
    for i in range(n_frames):
        predictions = []
        for person in range(n_people):
            box = np.array([150.0 * person + 3 * i, 20, 40, 100])
            joints = (conversion_matrix(SMPL) @ expected_poses2d(box)).astype(np.float32)
            poses2d[person, i] = openpose(box).T
            if i > 0 and rng.random() < 0.2:
                poses2d[person, i, rng.permutation(18)[:16], 2] = 0.1  # hardly annotated: the last prediction counts
            if rng.random() < 0.8 or i == 0:
                predictions.append((person, joints + rng.normal(size=2)))
        predictions.append((None, joints + [150, 0]))
        predictions = [predictions[k] for k in rng.permutation(len(predictions))]
        truth |= {(i, person, k) for k, (person, _) in enumerate(predictions) if person is not None}
        frames.append([pose for _, pose in predictions])
    found = video_poses(frames)
    poses = associate(found, poses2d)
    starts = np.searchsorted(found.frame_index, np.arange(n_frames))
    result = {
        (i, person, int(np.flatnonzero((found.poses2d[starts[i] :] == pose).all(axis=(1, 2)))[0]))
        for i, person, pose in zip(poses.frame_index, poses.ids, poses.poses2d)
    }
    assert result == truth


def test_somebody_never_found_has_no_pose():
    poses = associate(video_poses([[], []]), np.ones([2, 2, 18, 3]))
    assert complete(poses, 2, 2).shape == (2, 2, 24, 3) and np.isnan(complete(poses, 2, 2)).all()


def test_missing_and_wrong_files(tmp_path):
    with pytest.raises(SystemExit, match=r"no sequences in .*3dpw/sequenceFiles"):
        cli.main(["video", "--dataset=3dpw", f"--data-root={tmp_path}", f"--output-dir={tmp_path / 'out'}"])
    path = write_3dpw(tmp_path)
    (tmp_path / "3dpw/imageFiles/street_00/image_00004.jpg").unlink()
    with pytest.raises(UserError, match=r"1 pictures of the sequence street_00 .*image_00004"):
        read_sequence(path)
    path.write_bytes(pickle.dumps({"other": 1}))
    with pytest.raises(ValueError, match="no sequence of 3DPW"):
        read_sequence(path)
    with pytest.raises(SystemExit, match="--gt-assoc needs annotated people"):
        cli.main(["video", str(path), "--gt-assoc", f"--output-dir={tmp_path / 'out'}"])


def test_pickles_that_run_code_are_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return warnings.warn, ("executed",)

    (tmp_path / "bomb.pkl").write_bytes(pickle.dumps({"poses2d": Bomb()}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="asks for _?warnings.warn"):
            load_pickle(tmp_path / "bomb.pkl")
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": [np.float64(3), "text", None], "c": np.array(["x", "yy"])}
    for protocol in (2, 3, 4, 5):
        (tmp_path / "good.pkl").write_bytes(pickle.dumps(arrays, protocol))
        loaded = load_pickle(tmp_path / "good.pkl")
        np.testing.assert_array_equal(loaded["a"], arrays["a"])
        assert loaded["b"] == arrays["b"] and loaded["c"].tolist() == ["x", "yy"]
