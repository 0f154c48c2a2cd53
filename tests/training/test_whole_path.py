"""Each of the papers' experiments, small, by its commands: prepare, train, predict, evaluate, export."""

import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from generated_datasets import detections, h36m, mpi_inf_3dhp, mpii, muco, mupots
from tiny_training import build_tiny_backbone

from metrabs_core.network import crop_model
from training import datasets
from training.cli import main
from training.examples import make_crop

SIDE = 64
# 16 examples or so go through the network; the backbone is not what is tested
SMALL = ["--backbone-weights=random", f"--crop-side={SIDE}", "--batch-size=2", "--steps=2"]


@pytest.fixture(autouse=True)
def tiny_backbone(monkeypatch):
    monkeypatch.setattr(crop_model, "build_backbone", build_tiny_backbone)
    yield
    keras.config.set_dtype_policy("float32")


def prepare(root, *names):
    for name in names:
        main(["prepare", name, f"--data-root={root}", "--workers=1"])


def train_predict_evaluate_export(root, train_flags, test_set, stride, *evaluate_flags):
    """Run the commands; gives the predictions and the document that ``evaluate`` writes."""
    data, run = f"--data-root={root}", root / "run"
    main(["train", data, f"--logdir={run}", *SMALL, "--workers=0", "--verbose=0", *train_flags])
    main(
        ["predict", data, f"--checkpoint-dir={run}", f"--dataset={test_set}", f"--stride-test={stride}", "--workers=0"]
    )
    path = run / f"predictions_{test_set}.npz"
    main(["evaluate", data, f"--dataset={test_set}", f"--pred-path={path}", *evaluate_flags])
    main(["export", f"--checkpoint-dir={run}", f"--export-file={root / 'export'}", f"--stride-test={stride}"])
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive), json.loads((run / f"metrics_{test_set}.json").read_text())


def check_exported_model(root, test_set, predictions):
    """The exported model gives the poses that were predicted, for a person whose box is the annotated one."""
    dataset = datasets.read(test_set, "test", root)
    example = dataset.examples[-1]
    row = predictions["image_path"].tolist().index(example.image_path.relative_to(root).as_posix())
    crop, intrinsics, *_ = make_crop(example, dataset.skeleton, SIDE, None)
    exported = tf.saved_model.load(str(root / "export"))
    pose = exported.estimate(crop[None].astype(np.float32) / 255, intrinsics[None])["poses3d"][0].numpy()
    rotation = example.camera.facing_box(example.box, SIDE).rotation_from(example.camera)
    np.testing.assert_allclose(predictions["coords3d_pred"][row], pose @ rotation, rtol=1e-2, atol=2)


def test_human36m(tmp_path):
    h36m.generate(tmp_path, actions=("Eating",), n_frames=66, side=SIDE)
    prepare(tmp_path, "h36m")
    flags = ["--dataset=h36m", "--train-on=trainval", "--scale-recovery=metro", "--seed=1"]
    predictions, result = train_predict_evaluate_export(tmp_path, flags, "h36m", 4)
    assert len(predictions["image_path"]) == 2 * 4 * 2
    error = result["metrics"]["mpjpe"]
    assert 50 < error["Eating"] < 2000 and error["Eating"] == error["mean"]
    check_exported_model(tmp_path, "h36m", predictions)


def test_mpi_inf_3dhp(tmp_path):
    mpi_inf_3dhp.generate(tmp_path, n_frames=6, side=SIDE, n_test_frames=3)
    write_background(tmp_path)
    prepare(tmp_path, "mpi-inf-3dhp")
    flags = ["--dataset=mpi-inf-3dhp", "--background-aug-prob=0.7", "--universal-skeleton", "--validation=mpi-inf-3dhp"]
    flags += ["--scale-recovery=bone-lengths"]
    predictions, result = train_predict_evaluate_export(
        tmp_path, flags, "mpi-inf-3dhp", 4, "--universal-skeleton", "--procrustes"
    )
    assert len(predictions["image_path"]) == 6 * 2
    assert 10 < result["metrics"]["relative to the pelvis"]["mpjpe"]["all"] < 2000
    assert (tmp_path / "export/saved_model.pb").is_file()


def test_muco_with_mpii_on_mupots(tmp_path):
    muco.generate(tmp_path, mpi_inf_3dhp.generate(tmp_path, n_frames=6, side=SIDE, test_sequences=(), videos=False))
    mpii.generate(tmp_path)
    truth = mupots.generate(tmp_path)
    boxes = {}
    for number, people in truth.joints2d.items():
        for frame, joints in enumerate(people):
            boxes[f"TS{number}/img_{frame:06d}.jpg"] = [detections.around(person) for person in joints[:1]]
    detections.write(tmp_path / "mupots", boxes)  # of the first of two people
    write_background(tmp_path)
    prepare(tmp_path, "muco-17-150k", "mpii-yolo", "mupots")
    flags = ["--dataset=muco-17-150k", "--dataset2d=mpii-yolo", "--scale-recovery=metrabs", "--batch-size-2d=2"]
    flags += ["--background-aug-prob=0.7", "--occlude-aug-prob=0.3", "--universal-skeleton"]
    predictions, result = train_predict_evaluate_export(tmp_path, flags, "mupots", 32)
    assert len(predictions["image_path"]) == 20 * 3
    assert not predictions["joint_validity_mask"].any() and np.isnan(predictions["coords3d_true_world"]).all()
    assert len(result["metrics"]) == 9
    assert 0 <= result["metrics"]["recall"]["mean"] <= 60
    # joints that have neither pelvis nor neck, by which hips are moved to where MPII has them
    other = [f"--data-root={tmp_path}", f"--logdir={tmp_path / 'coco'}", "--skeleton=coco_17", "--workers=0"]
    main(["train", *SMALL, *flags, *other, "--steps=1", "--verbose=0"])
    (row,) = map(json.loads, (tmp_path / "coco/history.jsonl").read_text().splitlines())
    assert row["weak"] > 0


def write_background(root):
    picture = np.random.default_rng(0).integers(0, 256, [8, 8, 3], np.uint8)
    path = root / "inria_holidays/non_person/100000.jpg"
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), cv2.resize(picture, (200, 200)))
