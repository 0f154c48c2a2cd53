"""The metrics on cases with known answers, and the alignment against SciPy."""

import numpy as np
import pytest
import scipy.spatial

from metrabs_core.skeletons import NATIVE
from training import evaluate as evaluation
from training.datasets import Camera, Example


def test_alignment_equals_scipy():
    rng = np.random.default_rng(0)
    points, target = rng.normal(size=(2, 17, 3))
    aligned = evaluation.align_similarity(points, target)
    _, _, disparity = scipy.spatial.procrustes(target, points)
    # SciPy's disparity is relative to the centred target's squared norm; it may reflect, so compare where it need not
    norm = ((target - target.mean(0)) ** 2).sum()
    reflected = _kabsch_reflects(points, target)
    assert ((aligned - target) ** 2).sum() / norm >= disparity - 1e-9
    if not reflected:
        assert ((aligned - target) ** 2).sum() / norm == pytest.approx(disparity)


def test_alignment_undoes_a_similarity_but_not_a_mirroring():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(17, 3))
    rotation = scipy.spatial.transform.Rotation.random(random_state=2).as_matrix()
    moved = 2.5 * target @ rotation.T + [1, 2, 3]
    np.testing.assert_allclose(evaluation.align_similarity(moved, target), target, atol=1e-9)
    mirrored = moved * [-1, 1, 1]
    assert np.abs(evaluation.align_similarity(mirrored, target) - target).max() > 0.1


def _kabsch_reflects(points, target):
    a, b = points - points.mean(0), target - target.mean(0)
    u, _, vt = np.linalg.svd(a.T @ b)
    return np.linalg.det(u @ vt) < 0


def test_metrics_of_a_known_error(monkeypatch):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    root = NATIVE.index("pelv")
    length = np.arange(NATIVE.n_joints) * 3.0  # mm, one length for each joint, none for the pelvis
    error = np.zeros_like(true)
    error[..., 1] = length
    predicted = true[:, root : root + 1] * 1.1 + (true - true[:, root : root + 1]) + error  # 10 % too far
    sigma = np.tile(2 * length + 5, [4, 1])
    monkeypatch.setattr(evaluation, "predict", lambda *_: (predicted, true, sigma))
    joints2d = np.full([NATIVE.n_joints, 2], 50.0)
    cut_off = joints2d.copy()
    cut_off[:20] = -30
    examples = [_example(true[0], joints2d)] * 3 + [_example(true[3], cut_off)]

    metrics = evaluation.evaluate(_Model(), examples)

    assert metrics["people"] == 4
    assert metrics["mpjpe_mm"] == pytest.approx(length.mean())
    assert metrics["truncated_people"] == 1
    assert metrics["truncated_mpjpe_mm"] == pytest.approx(length.mean())
    assert metrics["absolute_error_percent"] == pytest.approx(10)
    assert metrics["depth_bias_percent"] == pytest.approx(10)
    assert metrics["uncertainty_rank_correlation"] == pytest.approx(1, abs=0.01)
    expected_scale = np.sqrt((length**2).mean() / (sigma[0] ** 2).mean())
    assert metrics["uncertainty_scale"] == pytest.approx(expected_scale)


class _Model:
    skeleton = NATIVE


def _example(joints3d, joints2d):
    box = np.array([0, 0, 100, 200], np.float32)
    valid = np.ones(NATIVE.n_joints, bool)
    return Example("x.jpg", box, joints2d, valid, Camera(np.eye(3)), joints3d)
