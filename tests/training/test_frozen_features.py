"""Features of a frozen backbone that are kept on disk, against the crops that they were made of."""

import json
from collections import namedtuple
from itertools import islice

import keras
import numpy as np
import pytest
from tiny_training import make_dataset

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel
from metrabs_core.skeletons import NATIVE
from training import frozen_features
from training.config import TrainingConfig
from training.crop_batches import CropBatches, CropSettings
from training.examples import read_examples
from training.frozen_features import FrozenFeatures
from training.mirrored_pairs import MirroredPairs
from training.train import train
from training.trainer import Trainer

BATCH = 4
MODEL = {
    "backbone": "movenet-lightning-pyramid",
    "crop_side": 64,
    "stride": 16,
    "train_stride": 16,
    "head_channels": 8,
    "overview_channels": 8,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("frozen") / "people", n_pictures=6)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return CropModel(**MODEL)


@pytest.fixture
def batches(dataset):
    return CropBatches(read_examples(dataset, NATIVE), [], CropSettings(NATIVE, 64), BATCH, 0, seed=3)


def test_poses_from_kept_features_are_those_from_the_crops(model, batches, tmp_path):
    features = FrozenFeatures(tmp_path / "features", model, batches, count=BATCH)
    features.compute(verbose=0)
    (crops, intrinsics), labels = next(batches.stream(0))
    inputs, kept_labels = next(features.stream(0))
    assert all(array.dtype == np.int8 for array in inputs[:-1])
    trainer = Trainer(model, 0, features=features)
    expected, found = trainer([crops, intrinsics]), trainer(inputs)
    # one batch in another order
    order = [int(np.abs(labels["joints3d"] - joints).sum((1, 2)).argmin()) for joints in kept_labels["joints3d"]]
    assert sorted(order) == list(range(BATCH))
    np.testing.assert_array_equal(inputs[-1], intrinsics[order])
    for name, tolerance in (("points2d", 0.5), ("coords3d", 15)):
        a, b = (keras.ops.convert_to_numpy(out[name]) for out in (expected, found))
        assert np.ptp(a, axis=0).max() > 0
        # heatmaps of heads that have learned nothing have peaks as high as others, of which either may be taken
        assert np.quantile(np.abs(b - a[order]), 0.9 if name == "points2d" else 1) < tolerance


def test_every_pass_has_all_crops_in_another_order(model, batches, tmp_path):
    features = FrozenFeatures(tmp_path / "features", model, batches, count=3 * BATCH)
    features.compute(verbose=0)
    stream = features.stream(0)
    laps = [np.concatenate([next(stream)[1]["joints2d"][:, 0, 0] for _ in range(3)]) for _ in range(2)]
    assert len(set(laps[0])) == 3 * BATCH
    np.testing.assert_array_equal(np.sort(laps[0]), np.sort(laps[1]))
    assert (laps[0] != laps[1]).any()
    fifth = next(features.stream(4))[1]["joints2d"]
    np.testing.assert_array_equal(fifth[:, 0, 0], laps[1][BATCH : 2 * BATCH])


def test_the_rows_of_a_pair_stay_together(model, dataset, tmp_path):
    crops = CropBatches(read_examples(dataset, NATIVE), [], CropSettings(NATIVE, 64), BATCH, 0, seed=3)
    features = FrozenFeatures(tmp_path / "features", model, MirroredPairs(crops), count=3 * BATCH, together=2)
    features.compute(verbose=0)
    firsts = []
    for _, labels in islice(features.stream(0), 6):
        joints3d = labels["joints3d"]
        np.testing.assert_array_equal(joints3d[1::2], joints3d[::2, list(NATIVE.mirror)] * np.float32([-1, 1, 1]))
        firsts += joints3d[::2, 0, 0].tolist()
    assert len(set(firsts[:6])) == 6 and sorted(firsts[:6]) == sorted(firsts[6:])
    assert firsts[:6] != firsts[6:]


def test_computing_goes_on_where_it_was_interrupted(model, batches, tmp_path, monkeypatch):
    whole = FrozenFeatures(tmp_path / "whole", model, batches, count=3 * BATCH)
    whole.compute(verbose=0)
    monkeypatch.setattr(frozen_features, "_BATCHES_BETWEEN_NOTES", 1)
    started = []
    original = batches.stream

    def interrupted(step):
        started.append(step)
        for number, batch in enumerate(original(step)):
            if len(started) == 1 and number == 2:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(batches, "stream", interrupted)
    with pytest.raises(KeyboardInterrupt):
        FrozenFeatures(tmp_path / "halves", model, batches, count=3 * BATCH).compute(verbose=0)
    halves = FrozenFeatures(tmp_path / "halves", model, batches, count=3 * BATCH)
    halves.compute(verbose=0)
    assert started == [0, 2]
    for (a, _), (b, _), _ in zip(whole.stream(0), halves.stream(0), range(3)):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_a_full_disk_is_refused_before_the_work(model, batches, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(frozen_features.shutil, "disk_usage", lambda _: usage(2000, 1000, 1000))
    with pytest.raises(UserError, match="GB are free: choose a smaller --keep-crops"):
        FrozenFeatures(tmp_path, model, batches, count=BATCH).compute(verbose=0)


def test_the_heads_learn_from_kept_features_and_the_backbone_stays(dataset, tmp_path):
    config = TrainingConfig(
        datasets=[str(dataset)],
        model=MODEL,
        backbone_weights="random",
        batch_size=BATCH,
        head_steps=12,
        keep_crops=8,
        steps=0,
        checkpoint_steps=6,
        workers=0,
        occlude_aug_prob=0.0,
    )
    trained = train(config, tmp_path / "run", verbose=0)
    keras.utils.set_random_seed(config.seed)
    start = CropModel(**MODEL)
    for a, b in zip(trained.backbone.get_weights(), start.backbone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)  # stored as float16
    assert not np.allclose(trained.head.get_weights()[0], start.head.get_weights()[0], atol=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["samples"] == 12 * BATCH and rows[-1]["loss"] < rows[0]["loss"]
    assert not (tmp_path / "run" / "features").exists()
