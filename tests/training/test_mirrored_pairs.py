"""Mirrored pairs: what they show, who makes them, and what the heads learn from them."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import cv2
import keras
import numpy as np
import pytest
from keras import ops
from tiny_training import build_tiny_backbone, make_dataset

from metrabs_core.network import crop_model
from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from metrabs_core.skeletons import NATIVE
from training.augmentation import Appearance
from training.config import TrainingConfig
from training.crop_batches import CropBatches, CropSettings
from training.examples import read_examples
from training.mirrored_pairs import MirroredPairs
from training.train import train
from training.trainer import PairTrainer, compile_trainer, freeze_before

SIDE = 64
SETTINGS = CropSettings(NATIVE, SIDE, Appearance(0.0))
MODEL = {"crop_side": SIDE, "stride": 16, "train_stride": 16, "skeleton": "native_34"}
LEFT_IS_RIGHT = [NATIVE.index({"l": "r", "r": "l"}[n[0]] + n[1:] if n[0] in "lr" else n) for n in NATIVE.joint_names]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("pairs") / "people")


@pytest.fixture(scope="module")
def people(dataset, tmp_path_factory):
    flat = make_dataset(tmp_path_factory.mktemp("pairs") / "flat", 5, with_3d=False)
    return read_examples(dataset, NATIVE), read_examples(flat, NATIVE)


@pytest.fixture
def tiny_backbone(monkeypatch):
    monkeypatch.setattr(crop_model, "build_backbone", build_tiny_backbone)


def _batches(people, **options):
    return CropBatches(*people, SETTINGS, **{"batch_size": 4, "batch_size_2d": 2, "seed": 7, **options})


def _arrays(batch):
    inputs, labels = batch
    return [*inputs, *labels.values()]


def test_the_second_half_is_the_first_one_in_a_mirror(people):
    (crops, intrinsics), labels = next(MirroredPairs(_batches(people, augment=False)).stream(0))
    assert crops.shape == (6, SIDE, SIDE, 3)
    np.testing.assert_array_equal(crops[1::2], crops[::2, :, ::-1])
    for name in ("joints3d", "valid3d", "valid2d"):
        first, second = labels[name][::2], labels[name][1::2][:, LEFT_IS_RIGHT]
        np.testing.assert_array_equal(second, first * [-1, 1, 1] if name == "joints3d" else first)
    assert labels["valid3d"].any(1).tolist() == [True] * 4 + [False] * 2
    # joints are white dots, in the mirror, too
    for crop, joints2d in zip(crops, labels["joints2d"]):
        x, y = np.rint(joints2d).astype(int).T
        inside = (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
        assert inside.sum() > 20 and crop[y[inside], x[inside]].mean() > 150


def test_joints_are_where_each_camera_sees_them(people):
    (crops, intrinsics), labels = next(MirroredPairs(_batches(people)).stream(0))
    for K, joints3d, joints2d in list(zip(intrinsics, labels["joints3d"], labels["joints2d"]))[:4]:
        seen = cv2.projectPoints(joints3d.astype(float), np.zeros(3), np.zeros(3), K.astype(float), None)[0][:, 0]
        np.testing.assert_allclose(joints2d, seen, atol=0.01)
    # each half is degraded in its own way
    assert (crops[1::2] != crops[::2, :, ::-1]).any((1, 2, 3)).all()
    off = intrinsics[1::2, :2, 2] - intrinsics[::2, :2, 2] * [-1, 1] - [SIDE - 1, 0]
    assert 0.1 < np.abs(off).max() <= 3


def test_batches_depend_on_the_seed_and_their_number_alone(people):
    here = list(islice(MirroredPairs(_batches(people)).stream(0), 5))
    with _batches(people) as batches:
        batches.start(1)
        pairs = MirroredPairs(batches)
        there = list(islice(pairs.stream(2), 3))
        np.testing.assert_array_equal(pairs.latest[0][0], there[-1][0][0])
    for a, b in zip(here[2:], there, strict=True):
        for x, y in zip(_arrays(a), _arrays(b), strict=True):
            np.testing.assert_array_equal(x, y)
    other = next(MirroredPairs(_batches(people, seed=8)).stream(0))
    assert (here[0][0][0] != other[0][0]).any() and (here[0][0][0] != here[1][0][0]).any()


def test_everybody_comes_once_a_lap_and_processes_share_a_batch(people):
    pairs = MirroredPairs(_batches(people))
    seen = [pairs.examples_of(step) for step in range(6)]
    assert [len(batch) for batch in seen] == [3] * 6
    paths = [example.image_path for batch in seen for example, (_, source, _) in batch if source == 0]
    assert sorted(Counter(paths).values()) == [2] * 6
    parts = [MirroredPairs(_batches(people, batch_size_2d=4, part=(i, 2))).examples_of(3) for i in range(2)]
    assert [[source for _, (_, source, _) in part] for part in parts] == [[0, 1], [0, 1]]
    assert len({seed for part in parts for _, seed in part}) == 4
    with pytest.raises(ValueError, match="with --pair-steps, --batch-size and --batch-size-2d must be even, for each"):
        MirroredPairs(_batches(people, part=(0, 2)))


def _asymmetric_model(depth_channels=0):
    """A model of which the heads say something, and not the same of mirror images."""
    keras.utils.set_random_seed(3)
    model = CropModel(**MODEL, depth_channels=depth_channels)
    model.head.kernel.assign(np.random.default_rng(0).normal(0, 3, model.head.kernel.shape))
    return model


def _asymmetry(model, people):
    """How far poses of plain crops are from those of their mirror images, about the mean, mm."""
    (crops, intrinsics), _ = next(MirroredPairs(_batches(people, batch_size=12, augment=False)).stream(0))
    maps = [model.backbone(crops[:12].astype(np.float32) / 255)]
    found = model.read_maps(maps, ops.convert_to_tensor(intrinsics[:12]), heads_alone=True)["coords3d"]
    found = ops.convert_to_numpy(found)
    found = found - found.mean(1, keepdims=True)
    return np.linalg.norm(found[::2] - found[1::2][:, LEFT_IS_RIGHT] * [-1, 1, 1], axis=-1).mean()


CONFIG = TrainingConfig(
    model={},
    batch_size=4,
    workers=0,
    steps=0,
    pair_steps=30,
    pair_learning_rate=0.1,
    occlude_aug_prob=0.0,
    clip_norm=1.0,
    checkpoint_steps=15,
)


@pytest.mark.parametrize("keep_crops", [0, 16])
def test_heads_say_more_alike_of_mirror_images_and_the_rest_stays(dataset, people, tmp_path, tiny_backbone, keep_crops):
    start = _asymmetric_model(depth_channels=8)
    save_weights_dir(start, tmp_path / "start", {}, dtype="float32")
    config = replace(CONFIG, datasets=[str(dataset)], validation=[str(dataset)], init=str(tmp_path / "start"))
    train(replace(config, keep_crops=keep_crops), tmp_path / "run", verbose=0)
    model = load_weights_dir(tmp_path / "run" / "model")
    assert _asymmetry(start, people) > 50
    assert _asymmetry(model, people) < 0.7 * _asymmetry(start, people)
    for part in ("backbone", "depth_stage"):
        for a, b in zip(getattr(model, part).get_weights(), getattr(start, part).get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)  # stored as float16
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"], row["samples"]) for row in rows] == [("pairs", 15, 60), ("pairs", 30, 120)]
    assert rows[1]["consistency"] < rows[0]["consistency"]
    assert "distillation" in rows[0] and "val_mpjpe" in rows[0] and "val_consistency" not in rows[0]
    assert not list((tmp_path / "run").glob("features*"))


def test_targets_are_those_of_the_heads_at_the_start_as_they_are_in_use(people, tiny_backbone):
    model = _asymmetric_model(depth_channels=8)
    freeze_before(model.backbone, None)
    trainer = compile_trainer(model, CONFIG, "pairs", 10, 1e-3)
    assert isinstance(trainer, PairTrainer)
    (crops, intrinsics), _ = next(MirroredPairs(_batches(people)).stream(0))
    maps = [model.backbone(crops.astype(np.float32) / 255)]
    before = model.read_maps(maps, ops.convert_to_tensor(intrinsics), heads_alone=True)
    model.head.kernel.assign(0.5 * model.head.kernel)
    now = trainer([crops, intrinsics], training=True)
    for name, value in before.items():
        value, at_start, changed = (ops.convert_to_numpy(v) for v in (value, now["at_start"][name], now[name]))
        np.testing.assert_allclose(at_start, value, rtol=1e-4, atol=1e-3)
        assert np.abs(changed - value).max() > 1


def test_interrupted_in_the_middle_it_ends_with_the_same_weights(dataset, tmp_path, tiny_backbone):
    # heads that have learned before: others than the new ones that a resumed run makes first
    config = replace(CONFIG, datasets=[str(dataset)], model=MODEL, backbone_weights="random", keep_crops=8)
    config = replace(config, head_steps=1, head_learning_rate=1e-2, pair_steps=4, checkpoint_steps=2, ema_momentum=0.9)
    whole = train(config, tmp_path / "whole", verbose=0)
    for minutes in (1e-9, None):
        resumed = train(config, tmp_path / "parts", verbose=0, minutes=minutes)
    rows = [json.loads(line) for line in (tmp_path / "parts" / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [("head", 1), ("pairs", 2), ("pairs", 4), ("pairs", 5)]
    for a, b in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
