"""The losses against NumPy in float64, written from the paper's formulas."""

import numpy as np
import pytest
from keras import ops

from training.losses import pose_losses, total_loss

SIDE, ROOT = 256, 0


def _batch(seed=0, n=5, n_joints=7, n_2d_only=2):
    rng = np.random.default_rng(seed)
    truth = {
        "joints3d": rng.normal(size=(n, n_joints, 3)) * 300 + [0, 0, 5000],
        "joints2d": rng.uniform(-40, 300, (n, n_joints, 2)),
        "valid3d": (rng.uniform(size=(n, n_joints)) < 0.8).astype(float),
        "valid2d": (rng.uniform(size=(n, n_joints)) < 0.8).astype(float),
    }
    truth["valid3d"][:, ROOT] = 1
    truth["valid3d"][:n_2d_only] = 0
    predicted = {
        "poses3d": truth["joints3d"] + rng.normal(size=(n, n_joints, 3)) * 100,
        "coords3d": truth["joints3d"] + rng.normal(size=(n, n_joints, 3)) * 80 + 1000,
        "points2d": truth["joints2d"] + rng.normal(size=(n, n_joints, 2)) * 9,
    }
    return truth, predicted


def _expected(truth, predicted):
    terms = {"relative": [], "image": [], "absolute": [], "weak": []}
    weak_image, weak_aligned = [], []
    for i in range(len(truth["joints3d"])):
        t3, t2, v3, v2 = (truth[k][i] for k in ("joints3d", "joints2d", "valid3d", "valid2d"))
        p3, h3, p2 = (predicted[k][i] for k in ("poses3d", "coords3d", "points2d"))
        seen = [j for j in range(len(t2)) if v2[j] and (t2[j] >= 0).all() and (t2[j] <= SIDE - 1).all()]
        has_3d = v3.any()
        for j in range(len(t3)):
            if v3[j]:
                terms["relative"].append(np.abs((h3[j] - h3[ROOT]) - (t3[j] - t3[ROOT])).mean() / 1000)
                terms["absolute"].append(np.abs(p3[j] - t3[j]).mean() / 1000 * min(1, 4000 / t3[ROOT, 2]))
        for j in seen:
            (terms["image"] if has_3d else weak_image).append(np.abs(p2[j] - t2[j]).mean() * 2.2 / SIDE)
        if not has_3d and seen:
            a, b = h3[seen, :2] / 1000, t2[seen] * 2.2 / SIDE
            spread = max(np.sqrt(((a - a.mean(0)) ** 2).sum(1).mean()), 1e-9)
            a = (a - a.mean(0)) / spread * np.sqrt(((b - b.mean(0)) ** 2).sum(1).mean()) + b.mean(0)
            weak_aligned += list(np.abs(a - b).mean(1))
    terms["weak"] = [np.mean(weak_image) + np.mean(weak_aligned)]
    return {name: np.mean(values) for name, values in terms.items()}


@pytest.mark.parametrize("seed", range(4))
def test_terms_equal_numpy(seed):
    truth, predicted = _batch(seed)
    out = pose_losses(_float32(truth), _float32(predicted), "metrabs", SIDE, ROOT)
    out = {name: float(ops.convert_to_numpy(value)) for name, value in out.items()}
    assert out == pytest.approx(_expected(truth, predicted), rel=2e-4)


def test_perfect_predictions_cost_nothing():
    truth, _ = _batch(n_2d_only=0)
    perfect = {"poses3d": truth["joints3d"], "coords3d": truth["joints3d"] - 500, "points2d": truth["joints2d"]}
    for scale_recovery in ("metrabs", "metro", "bone-lengths"):
        terms = pose_losses(_float32(truth), _float32(perfect), scale_recovery, SIDE, ROOT)
        assert float(total_loss(terms, 10, 0)) == pytest.approx(0, abs=1e-6)


def test_the_absolute_term_waits_and_2d_terms_weigh_a_tenth():
    terms = {"relative": 1.0, "image": 2.0, "absolute": 4.0, "weak": 10.0}
    assert float(total_loss(terms, 4999, 5000)) == pytest.approx(4)
    assert float(total_loss(terms, 5000, 5000)) == pytest.approx(8)


def _float32(arrays):
    return {name: ops.convert_to_tensor(a.astype(np.float32)) for name, a in arrays.items()}
