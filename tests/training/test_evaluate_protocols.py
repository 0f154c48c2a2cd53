"""The data sets' protocols on predictions whose errors are known in closed form, by the command line."""

import json

import cv2
import numpy as np
import pytest
from generated_datasets import h36m

from training.cli import main

H36M_ACTIONS = {"Directions 1": 30.0, "Directions": 50.0, "Eating": 70.0, "WalkDog": 10.0}  # error in mm


@pytest.fixture(scope="module")
def h36m_data(tmp_path_factory):
    """A data root with Human3.6M's poses alone, and the truth."""
    root = tmp_path_factory.mktemp("data")
    truth = h36m.generate(root, subjects=(9, 11), actions=tuple(H36M_ACTIONS), n_frames=65, videos=False, side=16)
    return root, truth


def h36m_predictions(path, truth, error, shuffle=True, **changes):
    """Write predictions that are off by ``error(action)`` in all joints but the root; predictions are moved, too."""
    images, poses = [], []
    for (subject, action), world in truth.poses.items():
        for camera in h36m.CAMERAS:
            for frame in range(0, len(world), 64):
                offset = np.zeros([17, 3])
                offset[:16, frame % 3] = error(action)
                images.append(f"h36m/S{subject}/Images/{action}.{camera}/frame_{frame:06d}.jpg")
                poses.append(world[frame] + offset + [1000, 2000, 3000])
    order = np.random.default_rng(0).permutation(len(images)) if shuffle else np.arange(len(images))
    arrays = {"image_path": np.array(images)[order], "coords3d_pred_world": np.array(poses)[order]}
    np.savez(path, **{**arrays, **changes})
    return arrays


def evaluate(dataset, root, path, *flags):
    main(["evaluate", f"--dataset={dataset}", f"--data-root={root}", f"--pred-path={path}", *flags])
    folder = path if path.is_dir() else path.parent
    return json.loads((folder / f"metrics_{dataset}.json").read_text())


def test_h36m_by_activity(h36m_data, tmp_path, capsys):
    root, truth = h36m_data
    h36m_predictions(tmp_path / "p.npz", truth, H36M_ACTIONS.get)
    result = evaluate("h36m", root, tmp_path / "p.npz")
    error = result["metrics"]["mpjpe"]
    assert error["Directions"] == pytest.approx(40 * 16 / 17)  # its two takes have as many frames
    assert error["Eating"] == pytest.approx(70 * 16 / 17)
    assert error["WalkDog"] == pytest.approx(10 * 16 / 17)
    assert error["mean"] == pytest.approx(40 * 16 / 17)
    assert error["Sitting"] is None
    assert result["n_poses"] == [2 * 4 * 4 * 2]
    assert result["joint_errors_mm"]["MPJPE"]["pelv"] == 0
    out = capsys.readouterr().out
    assert "Eating" in out and "65.9" in out
    tex = (tmp_path / "metrics_h36m.tex").read_text().splitlines()
    assert tex[-1] == r"37.6 & - & 65.9 & - & - & - & - & - & - & - & - & - & - & 9.4 & - & 37.6 \\"
    for name in "joints", "pck":
        assert cv2.imread(str(tmp_path / f"metrics_h36m_{name}.png")).std() > 5


def test_h36m_procrustes_takes_out_a_similarity(h36m_data, tmp_path):
    root, truth = h36m_data
    arrays = h36m_predictions(tmp_path / "p.npz", truth, lambda action: 0.0)
    turned = arrays["coords3d_pred_world"] @ np.array([[0, 1.2, 0], [-1.2, 0, 0], [0, 0, 1.2]])
    np.savez(tmp_path / "p.npz", image_path=arrays["image_path"], coords3d_pred_world=turned)
    assert evaluate("h36m", root, tmp_path / "p.npz")["metrics"]["mpjpe"]["mean"] > 100
    assert evaluate("h36m", root, tmp_path / "p.npz", "--procrustes")["metrics"]["pa_mpjpe"]["mean"] < 1e-3


def test_h36m_over_seeds(h36m_data, tmp_path, capsys):
    root, truth = h36m_data
    for seed, error in enumerate([17.0, 34.0, 68.0], start=1):
        (tmp_path / f"seed{seed}").mkdir()
        h36m_predictions(tmp_path / f"seed{seed}" / "p.npz", truth, lambda action, error=error: error)
    result = evaluate("h36m", root, tmp_path / "seed1" / "p.npz", "--seeds=3")
    assert result["metrics"]["mpjpe"]["mean"] == pytest.approx(np.mean([16, 32, 64]))
    assert result["standard_deviation"]["mpjpe"]["mean"] == pytest.approx(np.std([16, 32, 64]))
    assert "37.3 ± 20.0" in capsys.readouterr().out


def test_seeds_need_a_seed_in_the_path(h36m_data, tmp_path):
    root, truth = h36m_data
    h36m_predictions(tmp_path / "p.npz", truth, H36M_ACTIONS.get)
    with pytest.raises(SystemExit, match="'seed1' in it"):
        evaluate("h36m", root, tmp_path / "p.npz", "--seeds=2")


def test_missing_predictions_are_named(h36m_data, tmp_path):
    root, truth = h36m_data
    arrays = h36m_predictions(tmp_path / "all.npz", truth, H36M_ACTIONS.get)
    missing = str(arrays["image_path"][7])
    np.savez(tmp_path / "p.npz", **{name: np.delete(array, 7, axis=0) for name, array in arrays.items()})
    with pytest.raises(SystemExit) as error:
        evaluate("h36m", root, tmp_path / "p.npz")
    assert missing.removeprefix("h36m/") in str(error.value)
    assert "63 poses" in str(error.value) and "64" in str(error.value)


def test_foreign_and_repeated_predictions_are_named(h36m_data, tmp_path):
    root, truth = h36m_data
    arrays = h36m_predictions(tmp_path / "all.npz", truth, H36M_ACTIONS.get)
    images = arrays["image_path"].copy()
    images[0], images[1] = "h36m/S9/Images/Yoga.54138969/frame_000000.jpg", images[2]
    np.savez(tmp_path / "p.npz", **{**arrays, "image_path": images})
    with pytest.raises(SystemExit) as error:
        evaluate("h36m", root, tmp_path / "p.npz")
    assert "1 not in the test part: S9/Images/Yoga" in str(error.value)
    assert "1 predicted more than once" in str(error.value) and "2 without prediction" in str(error.value)


def test_joints_in_another_order_are_matched_by_name(h36m_data, tmp_path):
    root, truth = h36m_data
    arrays = h36m_predictions(tmp_path / "p.npz", truth, lambda action: 0.0)
    names = np.array(h36m.NAMES)[::-1]
    np.savez(
        tmp_path / "p.npz",
        image_path=arrays["image_path"].astype(bytes),
        coords3d_pred_world=arrays["coords3d_pred_world"][:, ::-1],
        joint_names=names,
    )
    assert evaluate("h36m", root, tmp_path / "p.npz")["metrics"]["mpjpe"]["mean"] < 1e-3


class _Evil:
    def __reduce__(self):
        return print, ("this must never be run",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_path": np.array([_Evil()], object)}, "pickled Python objects"),
        ({"coords3d_pred_world": np.zeros([64, 16, 3])}, r"is \[64, 16, 3\]"),
        ({"coords3d_pred_world": np.full([64, 17, 3], np.nan)}, "64 poses are not finite: h36m/S"),
        ({"joint_names": np.array([f"joint{i}" for i in range(17)])}, "lacks the joints rhip"),
    ],
)
def test_bad_prediction_files(h36m_data, tmp_path, capsys, change, message):
    root, truth = h36m_data
    h36m_predictions(tmp_path / "p.npz", truth, H36M_ACTIONS.get, **change)
    with pytest.raises(SystemExit, match=message):
        evaluate("h36m", root, tmp_path / "p.npz")
    assert "this must never be run" not in capsys.readouterr().out


def test_a_file_that_is_no_npz_file(h36m_data, tmp_path):
    (tmp_path / "p.npz").write_bytes(b"PK\x03\x04 not a zip file")
    with pytest.raises(SystemExit, match="is no npz file, or damaged"):
        evaluate("h36m", h36m_data[0], tmp_path / "p.npz")
    np.savez(tmp_path / "p.npz", image_path=np.array(["a.jpg"]))
    with pytest.raises(SystemExit, match="has no array coords3d_pred_world"):
        evaluate("h36m", h36m_data[0], tmp_path / "p.npz")


def test_missing_annotations_are_listed_or_left_out(h36m_data, tmp_path):
    _, truth = h36m_data
    h36m.generate(tmp_path, subjects=(9,), actions=("Eating",), n_frames=65, videos=False, side=16)
    truth = type(truth)(poses={key: pose for key, pose in truth.poses.items() if key == (9, "Eating")})
    h36m_predictions(tmp_path / "p.npz", truth, H36M_ACTIONS.get)
    with pytest.raises(SystemExit, match="subject 11"):
        evaluate("h36m", tmp_path, tmp_path / "p.npz")
    with pytest.warns(UserWarning, match="subject 11"):
        evaluate("h36m", tmp_path, tmp_path / "p.npz", "--allow-missing")


def test_options_of_other_protocols_are_refused(h36m_data, tmp_path):
    with pytest.raises(SystemExit, match="has no universal skeleton"):
        evaluate("h36m", h36m_data[0], tmp_path / "p.npz", "--universal-skeleton")
    with pytest.raises(SystemExit, match="no protocol for coco"):
        evaluate("coco", h36m_data[0], tmp_path / "p.npz")
