"""What the depth stage learns from: poses without pictures, and simulated outputs of heads."""

import json

import numpy as np
import pytest
from keras import ops
from tiny_training import make_dataset

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from metrabs_core.network.depth_stage import build_depth_stage, combine
from metrabs_core.skeletons import NATIVE
from training.config import TrainingConfig
from training.examples import read_examples
from training.simulated_heads import BATCH_SIZE, SimulatedHeads
from training.train import train
from training.trainer import DepthTrainer

PELVIS, LEFT, RIGHT = (NATIVE.index(name) for name in ("pelv", "lsho", "rsho"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("poses") / "people", n_pictures=6)


@pytest.fixture(scope="module")
def heads(dataset):
    return SimulatedHeads(read_examples(dataset, NATIVE), NATIVE, seed=1)


def _distances(pose):
    return np.linalg.norm(pose[:, None] - pose[None], axis=-1)


def test_views_are_rigid_motions_and_mirror_images_of_the_people(dataset, heads):
    poses, focal = heads.views(200, np.random.default_rng(0))
    people = [e.joints3d for e in read_examples(dataset, NATIVE)]
    shapes = [_distances(p[order]) for p in people for order in (np.arange(34), np.array(NATIVE.mirror))]
    far = poses[..., 2].min(axis=1) > 300  # nobody is moved away from the camera
    assert far.mean() > 0.9
    found = set()
    for pose in poses[far]:
        errors = [np.abs(_distances(pose) - shape).max() for shape in shapes]
        assert min(errors) < 1, min(errors)
        found.add(int(np.argmin(errors)))
    assert found == set(range(len(shapes)))
    assert (focal > 0).all()


def test_crops_show_the_people_or_a_part_of_them(heads):
    poses, focal = heads.views(500, np.random.default_rng(1))
    points = poses[..., :2] / poses[..., 2:] * focal[:, None, None]
    inside = (np.abs(points) < 0.5).all(axis=-1)
    assert 0.6 < inside.all(axis=1).mean() < 0.9
    assert inside.mean(axis=1).min() > 0.1
    # who is cut off is cut off at the legs as often as at the sides
    extent = np.ptp(points, axis=1).max(axis=1)[inside.all(axis=1)]
    assert np.percentile(extent, 5) > 0.65 and np.median(extent) < 0.95


def test_simulated_outputs_are_the_truth_with_errors(heads):
    poses, focal = heads.views(2000, np.random.default_rng(2))
    points, coords3d, spread = heads.outputs(poses, focal, np.random.default_rng(3))
    true_points = poses[..., :2] / poses[..., 2:] * focal[:, None, None]
    inside = (np.abs(true_points) < 0.5).all(axis=-1)
    off = np.linalg.norm(points - true_points, axis=-1)
    assert np.median(off[inside]) < 0.03 and np.percentile(off[inside], 98) > 0.06
    assert np.abs(points).max() <= 0.5
    true = (poses - poses.mean(axis=1, keepdims=True)) / 1000
    error = np.linalg.norm(coords3d - true, axis=-1)
    assert 0.05 < np.median(error) < 0.2
    assert np.corrcoef(error[inside], spread[inside])[0, 1] > 0.4
    assert coords3d[..., 2].std() < 0.85 * true[..., 2].std()  # flat
    assert np.abs(coords3d[..., 0].std() / true[..., 0].std() - 1) < 0.25


def test_a_batch_depends_on_seed_and_number_alone(heads, dataset):
    again = SimulatedHeads(read_examples(dataset, NATIVE), NATIVE, seed=1)
    stream = heads.stream(0)
    next(stream)
    (inputs, labels), (same, _) = next(stream), next(again.stream(1))
    assert [array.shape for array in inputs] == [
        (BATCH_SIZE, 34, 2),
        (BATCH_SIZE, 34, 3),
        (BATCH_SIZE, 34),
        (BATCH_SIZE, 1),
    ]
    assert labels["joints3d"].shape == (BATCH_SIZE, 34, 3)
    for a, b in zip(inputs, same, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nobody_to_learn_from_is_said(tmp_path):
    examples = read_examples(make_dataset(tmp_path / "flat", n_pictures=1, with_3d=False), NATIVE)
    with pytest.raises(UserError, match="Nobody has 3D labels of all joints"):
        SimulatedHeads(examples, NATIVE, seed=1)


def test_a_new_stage_changes_nothing_but_the_mean_and_lifts_a_pose_from_the_image_alone():
    stage = build_depth_stage(34, 16)
    rng = np.random.default_rng(0)
    coords3d = rng.normal(size=(3, 34, 3)).astype(np.float32)
    said = [rng.uniform(-0.5, 0.5, (3, 34, 2)), coords3d, rng.uniform(0, 1, (3, 34)), np.ones((3, 1))]
    together = combine(coords3d, *_answers(stage, said))
    np.testing.assert_allclose(together, coords3d - coords3d.mean(axis=1, keepdims=True), atol=1e-5)

    out = stage.get_layer("lift_out")
    out.set_weights([rng.normal(size=w.shape) for w in out.get_weights()])
    _, lifted = _answers(stage, said)
    said[1], said[2] = said[1] + rng.normal(size=(3, 34, 3)), said[2] + 1
    np.testing.assert_array_equal(_answers(stage, said)[1], lifted)
    said[0] = said[0] * 0.5
    assert np.abs(_answers(stage, said)[1] - lifted).max() > 0.1


def _answers(stage, said):
    return [ops.convert_to_numpy(pose) for pose in stage([np.float32(array) for array in said])]


def test_both_poses_of_the_stage_learn(dataset):
    model = CropModel(backbone="movenet-lightning", crop_side=64, depth_channels=16)
    trainer = DepthTrainer(model, 0)
    batch, labels = next(SimulatedHeads(read_examples(dataset, NATIVE), NATIVE, seed=1).stream(0))
    for name in ("poses3d", "lifted"):
        found = trainer(batch, training=True)
        exact = {**found, name: ops.convert_to_tensor(labels["joints3d"])}
        assert trainer.compute_loss(None, labels, exact) < 0.8 * trainer.compute_loss(None, labels, found)


def test_the_depth_stage_is_put_onto_a_model_learns_and_leaves_the_rest_as_it_is(dataset, tmp_path):
    plain = CropModel(backbone="movenet-lightning", crop_side=64)
    save_weights_dir(plain, tmp_path / "plain", {}, dtype="float32")
    config = TrainingConfig(
        datasets=[str(dataset)],
        validation=[str(dataset)],
        init=str(tmp_path / "plain"),
        model={"depth_channels": 32},
        steps=0,
        depth_steps=160,
        checkpoint_steps=80,
        batch_size=4,
        workers=0,
        occlude_aug_prob=0.0,
    )
    model = train(config, tmp_path / "run", verbose=0)
    assert model.config.depth_channels == 32
    for part in ("backbone", "head"):
        for a, b in zip(getattr(model, part).get_weights(), getattr(plain, part).get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-3)  # stored as float16
    rows = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    assert [row["samples"] for row in rows] == [0, 0]  # of pictures
    assert rows[1]["mpjpe"] < 0.96 * rows[0]["mpjpe"]
    assert "val_mpjpe" in rows[0] and "image" not in rows[0]

    inputs = [np.random.default_rng(0).uniform(size=(2, 64, 64, 3)), np.tile(np.diag([60.0, 60, 1]), (2, 1, 1))]
    inputs = [np.float32(array) for array in inputs]
    loaded = load_weights_dir(tmp_path / "run" / "model")
    out, before = (ops.convert_to_numpy(m(inputs)["coords3d"]) for m in (loaded, plain))
    assert np.abs((out - out[:, :1]) - (before - before[:, :1])).max() > 20
