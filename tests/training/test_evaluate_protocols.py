"""The data sets' protocols on predictions whose errors are known in closed form, by the command line."""

import json
import pickle

import cv2
import numpy as np
import pytest
from generated_datasets import h36m, mpi_inf_3dhp, mupots, threedpw

from training.cli import main
from training.datasets import mpi_inf_3dhp as tdhp_reader
from training.datasets.mpi_inf_3dhp import ACTIVITIES
from training.evaluation.threedpw import smooth

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
    result = evaluate("h36m", root, tmp_path / "p.npz", "--allow-missing")
    assert result["n_poses"] == [63] and result["notes"] == ["1 of 64 pictures have no prediction and are left out."]


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


TEST_ORDER = [*range(14), 15, 16, 14]  # of predicted joints, among those of the files


@pytest.fixture(scope="module")
def tdhp_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return root, mpi_inf_3dhp.generate(root, subjects=(), n_test_frames=5)


def tdhp_predictions(path, poses, truth, error):
    """Poses off by ``error(activity, scene)`` in all joints but pelvis, spine and head."""
    images, coords = [], []
    for number, world in poses.items():
        for frame in np.flatnonzero(truth.valid[number]):
            pose = tdhp_reader.test_camera(number).to_world(world[frame])[TEST_ORDER]
            offset = np.zeros([17, 3])
            offset[:14, frame % 3] = error(ACTIVITIES[truth.activities[number][frame] - 1], number)
            images.append(f"3dhp/TS{number}/imageSequence/img_{frame + 1:06d}.jpg")
            coords.append(pose + offset - [500, 0, 0])
    np.savez(path, image_path=np.array(images)[::-1], coords3d_pred_world=np.array(coords)[::-1])


def test_3dhp_by_scene_and_activity(tdhp_data, tmp_path):
    root, truth = tdhp_data
    errors = {1: 10, 2: 10, 3: 100, 4: 100, 5: 160, 6: 160}
    tdhp_predictions(tmp_path / "p.npz", truth.test_poses, truth, lambda activity, number: errors[number])
    metrics = evaluate("mpi-inf-3dhp", root, tmp_path / "p.npz")["metrics"]
    pelvis, head = metrics["relative to the pelvis"], metrics["relative to the head"]
    scenes = ("green-screen", "no-green-screen", "outdoor")
    assert [pelvis["mpjpe"][s] for s in scenes] == pytest.approx([10, 100, 160], abs=0.01)
    assert [pelvis["pck"][s] for s in scenes] == pytest.approx([100, 100, 0])
    # 10 mm is below the 28 thresholds 15, ..., 150 (of 31), 100 mm below the ten 105, ..., 150
    assert [pelvis["auc"][s] for s in scenes[2:]] == pytest.approx([0])
    assert pelvis["auc"]["green-screen"] == pytest.approx(100 * 28.5 / 31, abs=1.7)
    assert [head["mpjpe"][s] for s in scenes] == pytest.approx(np.array([10, 100, 160]) * 13 / 14, abs=0.01)
    assert head["pck"]["outdoor"] == pytest.approx(100 / 14)  # only the head itself
    assert pelvis["mpjpe"]["all"] == pytest.approx(90, abs=0.01)


def test_3dhp_by_activity_and_universal_skeleton(tdhp_data, tmp_path):
    root, truth = tdhp_data
    path = tmp_path / "p.npz"
    tdhp_predictions(path, truth.test_universal, truth, lambda activity, number: 20 + 10 * ACTIVITIES.index(activity))
    metrics = evaluate("mpi-inf-3dhp", root, path, "--universal-skeleton")["metrics"]
    seen = {ACTIVITIES[a - 1] for n in range(1, 7) for a in truth.activities[n][truth.valid[n]]}
    for i, activity in enumerate(ACTIVITIES):
        expected = pytest.approx(20 + 10 * i, abs=0.01) if activity in seen else None
        assert metrics["relative to the pelvis"]["mpjpe"][activity] == expected
    metric_skeleton = evaluate("mpi-inf-3dhp", root, path)["metrics"]["relative to the pelvis"]["mpjpe"]["all"]
    assert metric_skeleton > metrics["relative to the pelvis"]["mpjpe"]["all"] + 5
    tex = (tmp_path / "metrics_mpi-inf-3dhp.tex").read_text()
    assert "Stand/Walk & Exercise & Sit on Chair" in tex and tex.count(r"\\") == 2


@pytest.fixture(scope="module")
def mupots_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return root, mupots.generate(root, n_frames=4)


def mupots_predictions(path, truth, change, keep=lambda number, frame, person: True):
    """Predictions ``change(pose)`` of the annotated people whom ``keep`` keeps, in another order."""
    images, poses = [], []
    for number, people in truth.poses.items():
        for frame, person in reversed(list(zip(*np.nonzero(truth.valid[number])))):
            if keep(number, frame, person):
                images.append(f"mupots/TS{number}/img_{frame:06d}.jpg")
                poses.append(change(people[frame, person][TEST_ORDER]))
    np.savez(path, image_path=np.array(images), coords3d_pred=np.array(poses))


def test_mupots_in_all_variations(mupots_data, tmp_path, capsys):
    root, truth = mupots_data
    mupots_predictions(tmp_path / "p.npz", truth, lambda pose: pose + [0, 0, 100])
    metrics = evaluate("mupots", root, tmp_path / "p.npz")["metrics"]
    assert metrics.pop("recall")["mean"] == 100
    assert len(metrics) == 8 and all(len(rows) == 7 for rows in metrics.values())
    for lengths in "rescaled", "not rescaled":
        absolute = metrics[f"metric, absolute, {lengths}"]
        relative = metrics[f"metric, root-relative, {lengths}"]
        for joints in "mpjpe14", "mpjpe16", "mpjpe17":
            assert list(absolute[joints].values()) == pytest.approx([100] * 21, abs=0.01)
            assert list(relative[joints].values()) == pytest.approx([0] * 21, abs=0.01)
        assert absolute["pck_matched"]["mean"] == absolute["pck_all"]["mean"] == 100
    assert metrics["univ, root-relative, not rescaled"]["mpjpe14"]["mean"] > 10
    # they differ in height alone
    assert metrics["univ, root-relative, rescaled"]["mpjpe14"]["mean"] == pytest.approx(0, abs=0.01)
    out = capsys.readouterr().out
    assert "TS20" in out and "metric, absolute, not rescaled" in out


def test_mupots_bones_are_rescaled(mupots_data, tmp_path):
    root, truth = mupots_data
    mupots_predictions(tmp_path / "p.npz", truth, lambda pose: pose[16] + 1.2 * (pose - pose[16]))
    metrics = evaluate("mupots", root, tmp_path / "p.npz")["metrics"]
    assert metrics["metric, root-relative, rescaled"]["mpjpe17"]["mean"] == pytest.approx(0, abs=0.01)
    poses = np.concatenate([p[truth.valid[n]] for n, p in truth.poses.items()])
    expected = 0.2 * np.linalg.norm(poses - poses[:, 14:15], axis=-1).mean()
    assert metrics["metric, root-relative, not rescaled"]["mpjpe17"]["mean"] == pytest.approx(expected, rel=0.03)


def test_mupots_matched_and_all_people(mupots_data, tmp_path):
    """Of TS2, the second person is never found; of TS3, nobody; both people are in three of four frames."""
    root, truth = mupots_data
    mupots_predictions(tmp_path / "p.npz", truth, np.copy, lambda n, f, p: n != 3 and not (n == 2 and p == 1))
    result = evaluate("mupots", root, tmp_path / "p.npz")
    rows = result["metrics"]["metric, absolute, not rescaled"]
    assert rows["pck_matched"]["TS2"] == 100 and rows["pck_all"]["TS2"] == pytest.approx(100 * 4 / 7)
    assert rows["pck_matched"]["TS3"] is None and rows["pck_all"]["TS3"] == 0
    assert rows["pck_all"]["mean"] == pytest.approx((18 * 100 + 400 / 7) / 20)
    assert result["metrics"]["recall"]["mean"] == pytest.approx(100 * (18 * 7 + 4) / (20 * 7))


def test_mupots_without_any_prediction(mupots_data, tmp_path):
    np.savez(tmp_path / "p.npz", image_path=np.zeros(0, np.str_), coords3d_pred=np.zeros([0, 17, 3]))
    metrics = evaluate("mupots", mupots_data[0], tmp_path / "p.npz")["metrics"]
    assert metrics["recall"]["mean"] == 0
    assert metrics["metric, absolute, rescaled"]["pck_all"]["mean"] == 0
    assert metrics["metric, absolute, rescaled"]["mpjpe14"]["mean"] is None


def test_mupots_foreign_pictures_are_named(mupots_data, tmp_path):
    np.savez(tmp_path / "p.npz", image_path=np.array(["TS1/img_000099.jpg"]), coords3d_pred=np.zeros([1, 17, 3]))
    with pytest.raises(SystemExit, match="the first is TS1/img_000099.jpg"):
        evaluate("mupots", mupots_data[0], tmp_path / "p.npz")


@pytest.fixture(scope="module")
def tdpw_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return root, threedpw.generate(root)


def tdpw_tracks(folder, truth, change):
    """Write tracks [people, frames, 24, 3] in metres as the authors' and our video command does."""
    for part, names in threedpw.SEQUENCES.items():
        for name in names:
            matrices = truth.extrinsics[name]
            poses = np.einsum("fij,pfkj->pfki", matrices[:, :3, :3], truth.poses[name]) + matrices[:, None, :3, 3]
            (folder / part).mkdir(parents=True, exist_ok=True)
            content = {"jointPositions": change(poses) / 1000}
            (folder / part / f"{name}.pkl").write_bytes(pickle.dumps(content))


def shifted(length):
    def change(poses):
        poses = poses + [0, 0, 300]
        poses[:, :, 1:, 0] += length
        return poses

    return change


def test_3dpw(tdpw_data, tmp_path):
    root, truth = tdpw_data
    tdpw_tracks(tmp_path / "p", truth, shifted(48))
    result = evaluate("3dpw", root, tmp_path / "p")
    scores = result["metrics"]["all"]
    assert result["n_poses"] == [sum(v.sum() for v in truth.valid.values())]
    assert scores["mpjpe"] == pytest.approx(48 * 23 / 24, abs=0.01)
    assert scores["pck"] == 100
    assert scores["auc"] == pytest.approx(100 * (1 - 12.5 / 50))  # 48 / 199 * 50 = 12.06
    assert scores["pa_mpjpe"] < 10
    assert set(result["metrics"]) == {"train", "validation", "test", "all"}
    tdpw_tracks(tmp_path / "p", truth, shifted(51))
    assert evaluate("3dpw", root, tmp_path / "p")["metrics"]["all"]["pck"] == 0


def test_3dpw_smoothing_kernels():
    track = np.zeros([1, 9, 1, 1])
    track[0, 4] = 36
    assert smooth(track, "causal").ravel().tolist() == pytest.approx([0, 0, 0, 0, 24, 8, 4, 0, 0])
    assert smooth(track, "acausal").ravel().tolist() == pytest.approx([0, 0, 3, 6, 18, 6, 3, 0, 0])


@pytest.mark.parametrize("kind", ["causal", "acausal"])
def test_3dpw_smoothing_by_flag(tdpw_data, tmp_path, kind):
    root, truth = tdpw_data

    def jittering(poses):
        poses[:, ::2, 1:, 0] += 60
        poses[:, 1::2, 1:, 0] -= 60
        return poses

    tdpw_tracks(tmp_path / "p", truth, jittering)
    plain = evaluate("3dpw", root, tmp_path / "p")["metrics"]["all"]["mpjpe"]
    assert evaluate("3dpw", root, tmp_path / "p", f"--{kind}-smoothing")["metrics"]["all"]["mpjpe"] < 0.75 * plain


def test_3dpw_gaps_before_the_first_detection(tdpw_data, tmp_path):
    root, truth = tdpw_data

    def late(poses):
        poses[1, 0] = np.nan
        return poses

    tdpw_tracks(tmp_path / "p", truth, late)
    result = evaluate("3dpw", root, tmp_path / "p")
    assert result["notes"] == ["4 frames before somebody's first detection have its pose."]
    assert 0 < result["metrics"]["all"]["mpjpe"] < 30


def test_3dpw_missing_predictions(tdpw_data, tmp_path):
    root, truth = tdpw_data
    tdpw_tracks(tmp_path / "p", truth, shifted(10))
    (tmp_path / "p/train/courtyard_arguing_00.pkl").unlink()
    with pytest.raises(SystemExit, match="without: courtyard_arguing_00 frame 1 person 0"):
        evaluate("3dpw", root, tmp_path / "p")
    result = evaluate("3dpw", root, tmp_path / "p", "--allow-missing")
    assert "train" not in result["metrics"] and result["metrics"]["all"]["pck"] == 100


def test_3dpw_bad_files(tdpw_data, tmp_path, capsys):
    root, truth = tdpw_data
    tdpw_tracks(tmp_path / "p", truth, shifted(10))
    path = tmp_path / "p/train/courtyard_arguing_00.pkl"
    path.write_bytes(pickle.dumps({"jointPositions": _Evil()}))
    with pytest.raises(SystemExit, match="not a pickle file of plain values"):
        evaluate("3dpw", root, tmp_path / "p")
    path.write_bytes(pickle.dumps({"jointPositions": np.zeros([1, 3, 24, 3])}))
    with pytest.raises(SystemExit, match="has 1 people in 3 frames; the sequence has 2 in 6"):
        evaluate("3dpw", root, tmp_path / "p")
    path.rename(tmp_path / "p/test/courtyard_basketball_01.pkl")
    with pytest.raises(SystemExit, match="two files for courtyard_basketball_01"):
        evaluate("3dpw", root, tmp_path / "p")
    assert "this must never be run" not in capsys.readouterr().out


def test_3dpw_predictions_of_single_frames(tdpw_data, tmp_path):
    root, truth = tdpw_data
    images, people, poses = [], [], []
    for name, valid in truth.valid.items():
        for person, frame in zip(*np.nonzero(valid)):
            matrix = truth.extrinsics[name][frame]
            pose = truth.poses[name][person, frame] @ matrix[:3, :3].T + matrix[:3, 3]
            pose[1:, 1] += 24
            images.append(f"3dpw/imageFiles/{name}/image_{frame:05d}.jpg")
            people.append(person)
            poses.append(pose)
    path = tmp_path / "p.npz"
    np.savez(path, image_path=np.array(images), person=np.array(people), coords3d_pred=np.array(poses))
    assert evaluate("3dpw", root, path)["metrics"]["all"]["mpjpe"] == pytest.approx(23, abs=0.01)
    with pytest.raises(SystemExit, match="smoothing needs the tracks"):
        evaluate("3dpw", root, path, "--causal-smoothing")
