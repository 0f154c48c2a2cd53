"""Predictions of a small network with random weights, by the command line, against the same computed step by step."""

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from generated_datasets import h36m
from scipy.spatial.transform import Rotation

from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from metrabs_core.skeletons import SKELETONS
from training import datasets, inference, predict
from training.cli import main
from training.datasets.colours import brighten
from training.examples import make_crop

SKELETON = SKELETONS["h36m_17"]


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    truth = h36m.generate(root, subjects=(9, 11), actions=("Eating",), n_frames=65, videos=False, side=64)
    h36m.write_prepared(root, truth)
    rng = np.random.default_rng(0)
    for path in root.glob("h36m/S*/Images/*/*.jpg"):
        cv2.imwrite(str(path), cv2.resize(rng.integers(0, 256, [4, 4, 3], np.uint8), (64, 64)))
    return root


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folders of training runs: MeTRAbs, 2.5D, and MeTRo with another skeleton."""
    folders = {}
    rng = np.random.default_rng(0)
    for name, options in {
        "metrabs": {"skeleton": "h36m_17", "scale_recovery": "metrabs"},
        "bone-lengths": {"skeleton": "h36m_17", "scale_recovery": "bone-lengths", "bone_lengths": [300.0] * 16},
        "native": {"skeleton": "native_34", "scale_recovery": "metro"},
    }.items():
        folders[name] = tmp_path_factory.mktemp(name)
        model = CropModel(backbone="movenet-lightning", crop_side=64, **options)
        # the features of random layers are tiny, and all joints would be in one place
        model.head.kernel.assign(1e10 * rng.normal(size=model.head.kernel.shape))
        save_weights_dir(model, folders[name] / "model", {"name": name}, dtype="float32")
    return folders


def run_predict(folder, data_root, *flags):
    main(["predict", "--dataset=h36m", f"--data-root={data_root}", f"--logdir={folder}", "--workers=0", *flags])
    with np.load(folder / "predictions_h36m.npz", allow_pickle=False) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def metrabs_result(data_root, runs):
    return run_predict(runs["metrabs"], data_root, "--stride-test=16")


def test_predictions_are_in_the_cameras_and_the_worlds_frame(data_root, runs, metrabs_result):
    result = metrabs_result
    dataset = datasets.read("h36m", "test", data_root)
    model = load_weights_dir(runs["metrabs"] / "model", stride=16)
    assert len(result["image_path"]) == 2 * 4 * 2
    assert list(result["image_path"]) == sorted(str(e.image_path.relative_to(data_root)) for e in dataset.examples)
    assert list(result["joint_names"]) == list(SKELETON.joint_names)
    assert set(result["activity"]) == {"Eating"} and result["joint_validity_mask"].all()
    by_path = {str(e.image_path.relative_to(data_root)): e for e in dataset.examples}
    for i in (0, 5, 15):
        example = by_path[result["image_path"][i]]
        crop, intrinsics, in_crop, *_ = make_crop(example, SKELETON, 64, None)
        pose = np.asarray(model([crop[None].astype(np.float32) / 255, intrinsics[None]])["poses3d"])[0]
        rotation, distance = Rotation.align_vectors(example.joints3d, in_crop)  # from the crop's to the camera's frame
        assert distance < 1
        expected = rotation.apply(pose)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(result["coords3d_pred"][i], expected, atol=2e-3 * scale)
        to_world = np.linalg.inv(np.float64(example.camera.extrinsic_matrix))
        for name, in_camera in ("coords3d_pred", result["coords3d_pred"][i]), ("coords3d_true", example.joints3d):
            world = in_camera @ to_world[:3, :3].T + to_world[:3, 3]
            np.testing.assert_allclose(result[f"{name}_world"][i], world, rtol=1e-4, atol=0.1)


def test_interrupted_predictions_resume(data_root, runs, metrabs_result, monkeypatch, capsys):
    last = data_root / str(metrabs_result["image_path"][-1])
    picture = last.read_bytes()
    monkeypatch.setattr(predict, "_PEOPLE_PER_PIECE", 4)
    last.write_bytes(b"damaged")
    with pytest.raises(SystemExit, match=f"{last.name} is damaged"):
        run_predict(runs["metrabs"], data_root, "--stride-test=16", "--batch-size-test=4")
    last.write_bytes(picture)
    resumed = run_predict(runs["metrabs"], data_root, "--stride-test=16", "--batch-size-test=4")
    assert "Resuming after 12 of 16 people" in capsys.readouterr().out
    np.testing.assert_allclose(resumed["coords3d_pred"], metrabs_result["coords3d_pred"], rtol=1e-3, atol=1)
    assert not list(runs["metrabs"].glob("*.partial*"))


def test_pieces_stay_until_the_result_is_on_disk(data_root, runs, monkeypatch, tmp_path):
    def fill_the_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "poses.npz"
    command = ["predict", "--dataset=h36m", f"--data-root={data_root}", f"--logdir={runs['metrabs']}", "--workers=0"]
    command += ["--stride-test=16", "--batch-size-test=4", f"--pred-path={path}"]
    monkeypatch.setattr(predict, "_PEOPLE_PER_PIECE", 4)
    with monkeypatch.context() as patch, pytest.raises(SystemExit, match="No space left"):
        patch.setattr(predict, "save", fill_the_disk)
        main(command)
    assert len(list((tmp_path / "poses.partial").glob("*.npy"))) == 4
    main(command)
    assert path.is_file() and not (tmp_path / "poses.partial").exists()


def test_worker_processes_give_the_same(data_root, runs, metrabs_result):
    result = run_predict(runs["metrabs"], data_root, "--stride-test=16", "--workers=1")
    np.testing.assert_array_equal(result["coords3d_pred"], metrabs_result["coords3d_pred"])


@pytest.mark.parametrize("scale_recovery", ["bone-lengths-true", "true-root-depth"])
def test_25d_models_that_are_told_the_truth_give_it_back(data_root, runs, monkeypatch, scale_recovery):
    """Heads that are right but for the unknown depth: with the true bones or root depth, the pose is right."""
    model = load_weights_dir(runs["bone-lengths"] / "model", scale_recovery=scale_recovery)
    examples = datasets.read("h36m", "test", data_root).examples[:3]
    labels = [make_crop(example, SKELETON, 64, None)[2:4] for example in examples]
    true3d, true2d = (np.stack(column) for column in zip(*labels))
    heads = {
        "poses3d": np.zeros_like(true3d),
        "points2d": true2d,
        "coords3d": true3d - true3d.mean(1, keepdims=True) + [5, 6, 7],
        "uncertainty": np.ones(true3d.shape[:2]),
    }
    monkeypatch.setattr(model, "predict_on_batch", lambda inputs: heads)
    poses, _ = inference.predict_poses(model, examples)
    np.testing.assert_allclose(poses, [e.joints3d for e in examples], atol=1)


def test_a_model_is_evaluated_without_a_file_of_predictions(data_root, runs, tmp_path, capsys):
    main(["evaluate", f"--model={runs['metrabs']}", "--dataset=h36m", f"--data-root={data_root}",
          f"--output={tmp_path / 'errors.json'}"])  # fmt: skip
    errors = json.loads((tmp_path / "errors.json").read_text())
    rows = [make_crop(e, SKELETON, 64, None) for e in datasets.read("h36m", "test", data_root).examples]
    crops, intrinsics, true = (np.stack(column) for column in list(zip(*rows))[:3])
    model = load_weights_dir(runs["metrabs"] / "model")
    poses = np.asarray(model([crops.astype(np.float32) / 255, intrinsics])["poses3d"])
    root = SKELETON.index("pelv")
    distances = np.linalg.norm(poses - poses[:, [root]] - true + true[:, [root]], axis=-1)
    assert errors["people"] == len(crops) == 16
    assert errors["mpjpe_mm"] == pytest.approx(distances.mean(), rel=1e-3)
    assert "mpjpe_mm" in capsys.readouterr().out


def test_another_skeleton_is_converted(data_root, runs):
    result = run_predict(runs["native"], data_root)
    assert list(result["joint_names"]) == list(SKELETON.joint_names)
    assert result["coords3d_pred"].shape == (16, 17, 3)
    hips = result["coords3d_pred"][:, [SKELETON.index("lhip"), SKELETON.index("rhip")]]
    np.testing.assert_allclose(result["coords3d_pred"][:, SKELETON.index("pelv")], hips.mean(1), atol=0.1)


def test_pictures_of_dark_sequences_are_brightened():
    crops = np.random.default_rng(0).integers(0, 256, [1, 8, 8, 3], np.uint8)
    adjust = datasets.named("mupots").adjust_colours
    np.testing.assert_array_equal(adjust(Path("data/mupots/TS1/img_000000.jpg"), crops[0]), brighten(crops[0]))
    np.testing.assert_array_equal(adjust(Path("data/mupots/TS6/img_000000.jpg"), crops[0]), crops[0])


def test_errors(data_root, runs, tmp_path):
    with pytest.raises(SystemExit, match="is no crop model"):
        run_predict(tmp_path, data_root)
    with pytest.raises(SystemExit, match="must end in .npz"):
        run_predict(runs["metrabs"], data_root, "--pred-path=poses.txt")
    (tmp_path / "poses.npz").mkdir()
    with pytest.raises(SystemExit, match="poses.npz, which is a folder"):
        run_predict(runs["metrabs"], data_root, f"--pred-path={tmp_path / 'poses.npz'}")
    with pytest.raises(SystemExit, match="has no part 'test'"):
        main(["predict", "--dataset=mpii", f"--data-root={data_root}", "--logdir", str(runs["metrabs"])])
