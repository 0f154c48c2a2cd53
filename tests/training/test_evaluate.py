"""Errors of a crop model on cases with known answers."""

from dataclasses import replace

import numpy as np
import pytest

from metrabs_core.skeletons import NATIVE
from training.datasets import Camera, Example
from training.evaluation import crop_model as evaluation


def test_metrics_of_a_known_error(monkeypatch):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    root = NATIVE.index("pelv")
    length = np.arange(NATIVE.n_joints) * 3.0  # mm, one length for each joint, none for the pelvis
    error = np.zeros_like(true)
    error[..., 1] = length
    predicted = true[:, root : root + 1] * 1.1 + (true - true[:, root : root + 1]) + error  # 10 % too far
    sigma = np.tile(2 * length + 5, [4, 1])
    monkeypatch.setattr("training.evaluation.crop_model.predict_poses", lambda *_: (predicted, sigma))
    joints2d = np.full([NATIVE.n_joints, 2], 50.0)
    cut_off = joints2d.copy()
    cut_off[:20] = -30
    examples = [_example(pose, cut_off if i == 3 else joints2d) for i, pose in enumerate(true)]

    metrics = evaluation.evaluate(_Model(), examples)

    assert metrics["people"] == 4
    assert metrics["mpjpe_mm"] == pytest.approx(length.mean())
    assert metrics["truncated_people"] == 1
    assert metrics["truncated_mpjpe_mm"] == pytest.approx(length.mean())
    assert metrics["absolute_error_percent"] == pytest.approx(10)
    assert metrics["depth_bias_percent"] == pytest.approx(10)
    assert metrics["uncertainty_rank_correlation"] == pytest.approx(1, abs=1e-3)


def test_uncertainty_is_calibrated_joint_by_joint(monkeypatch):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(500, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    root, unknown = NATIVE.index("pelv"), NATIVE.index("rwri")
    size = np.linspace(10, 200, NATIVE.n_joints)
    error = rng.normal(size=true.shape) * size[:, None] / np.sqrt(3)
    error[:, root] = 0
    spread = rng.uniform(0.5, 1.5, true.shape[:2]) * 40
    model = _Model()
    model.uncertainty_scale = np.full(NATIVE.n_joints, 3.0)
    monkeypatch.setattr("training.evaluation.crop_model.predict_poses", lambda *_: (true + error, 3 * spread))
    examples = [_example(pose, np.full([NATIVE.n_joints, 2], 50.0)) for pose in true]
    for example in examples:
        example.valid[unknown] = False
    scales = evaluation.calibrate_uncertainty(model, examples)
    known = np.delete(np.arange(NATIVE.n_joints), [root, unknown])
    mean_square = np.mean(spread**2)
    np.testing.assert_allclose(np.array(scales)[known], size[known] / np.sqrt(mean_square), rtol=0.1)
    overall = np.sqrt(np.mean(size[known] ** 2) / mean_square)
    np.testing.assert_allclose(np.array(scales)[[root, unknown]], overall, rtol=0.1)


def test_joints_without_annotation_do_not_count(monkeypatch):
    true = np.random.default_rng(0).normal(size=(3, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    predicted = true + [0, 0, 50.0]
    predicted[:, 5] += [30, 40, 0]
    sigma = np.linspace(1, 2, true[..., 0].size).reshape(true.shape[:2])
    monkeypatch.setattr("training.evaluation.crop_model.predict_poses", lambda *_: (predicted, sigma))
    examples = [_example(pose, np.full([NATIVE.n_joints, 2], 50.0)) for pose in true]
    all_joints = evaluation.evaluate(_Model(), examples)
    for example in examples:
        example.valid[5] = False
        example.joints3d[5] = 1e6
    without = evaluation.evaluate(_Model(), examples)
    assert all_joints["mpjpe_mm"] == pytest.approx(50 / NATIVE.n_joints)
    assert without["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert without["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6)


def test_nobody_with_3d_labels_is_an_error():
    example = replace(_example(None, np.zeros([NATIVE.n_joints, 2])), joints3d=None)
    with pytest.raises(ValueError, match="no example has a 3D label"):
        evaluation.evaluate(_Model(), [example])


class _Model:
    skeleton = NATIVE


def _example(joints3d, joints2d):
    box = np.array([0, 0, 100, 200], np.float32)
    valid = np.ones(NATIVE.n_joints, bool)
    return Example("x.jpg", box, joints2d, valid, Camera(np.eye(3)), joints3d)
