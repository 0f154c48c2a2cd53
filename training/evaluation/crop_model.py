"""Errors of a crop model on plain crops, and the size of its uncertainties."""

import numpy as np
from scipy.stats import spearmanr

from metrabs_core.errors import UserError
from training.inference import predict_poses
from training.metrics import align_similarity

# A person counts as truncated if at least this share of the joints lies outside of the picture.
_TRUNCATED_FRACTION = 1 / 3


def evaluate(model, examples: list, batch_size: int = 32) -> dict[str, float]:
    """Errors of a crop model on plain crops (no test-time augmentation) around the annotated boxes.

    Args:
        model: the ``CropModel``.
        examples: people, as ``read_examples`` gives them; those without a known root joint in 3D are left out.
        batch_size: crops per call of the network.

    Returns:
        dict of ``mpjpe_mm`` (root-relative), ``pa_mpjpe_mm`` (after similarity alignment), ``absolute_error_percent``
        (root position against its distance), ``depth_bias_percent``, ``truncated_mpjpe_mm`` (people with a third of the
        joints outside of the picture), ``uncertainty_rank_correlation`` (Spearman, over joints but the root) and
        ``people``. Joints that are not annotated do not count.

    Raises:
        UserError: no example has 3D labels.
    """
    examples, root = _with_root(model.skeleton.joint_names, examples)
    predicted, sigma, true, valid, error = _errors(model, examples, root, batch_size)
    others = valid & (np.arange(valid.shape[1]) != root)
    aligned = align_similarity(predicted, true, valid)
    distance = np.linalg.norm(true[:, root], axis=-1)
    offset = np.linalg.norm(predicted[:, root] - true[:, root], axis=-1)
    depth_ratio = predicted[:, root, 2] / true[:, root, 2]
    truncated = np.array([_fraction_outside(e) >= _TRUNCATED_FRACTION for e in examples])
    return {
        "people": len(examples),
        "mpjpe_mm": float(error[valid].mean()),
        "pa_mpjpe_mm": float(np.linalg.norm(aligned - true, axis=-1)[valid].mean()),
        "absolute_error_percent": float(100 * (offset / distance).mean()),
        "depth_bias_percent": float(100 * (np.median(depth_ratio) - 1)),
        "truncated_people": int(truncated.sum()),
        "truncated_mpjpe_mm": float(error[truncated][valid[truncated]].mean()) if truncated.any() else float("nan"),
        "uncertainty_rank_correlation": float(spearmanr(sigma[others], error[others]).statistic),
    }


def calibrate_uncertainty(model, examples: list, batch_size: int = 32) -> list[float]:
    """Find the ``uncertainty_scale`` with which each joint's uncertainty has the size of its root-relative error.

    Args:
        model: the ``CropModel``; its present scale does not matter.
        examples: people that it was not trained on, as for ``evaluate``.
        batch_size: crops per call of the network.

    Returns:
        one factor per joint, which makes the root mean squares equal; for the root, whose error is none, and for
        joints that nobody has labels for, the factor of all others together.

    Raises:
        UserError: no example has 3D labels.
    """
    examples, root = _with_root(model.skeleton.joint_names, examples)
    _, sigma, _, valid, error = _errors(model, examples, root, batch_size)
    sigma = sigma / np.asarray(model.uncertainty_scale)
    others = valid & (np.arange(valid.shape[1]) != root)
    squares = [(error**2).sum(0, where=others), (sigma**2).sum(0, where=others)]
    overall = squares[0].sum() / squares[1].sum()
    ratios = np.divide(*squares, out=np.full(len(squares[0]), overall), where=squares[1] > 0)
    return [round(float(scale), 4) for scale in np.sqrt(ratios)]


def _with_root(joint_names, examples):
    """The examples that have a 3D label for the root joint, and its index."""
    root = joint_names.index("pelv") if "pelv" in joint_names else 0
    examples = [e for e in examples if e.joints3d is not None and e.valid[root]]
    if not examples:
        raise UserError(f"Nobody to evaluate on: no example has a 3D label for {joint_names[root]}.")
    return examples, root


def _errors(model, examples, root, batch_size):
    """Predicted and true poses with their sigmas, which joints are annotated, and root-relative errors [n, J] mm."""
    predicted, sigma = predict_poses(model, examples, batch_size)
    true, valid = np.stack([e.joints3d for e in examples]), np.stack([e.valid for e in examples])
    error = np.linalg.norm(_rooted(predicted, root) - _rooted(true, root), axis=-1)
    return predicted, sigma, true, valid, error


def _rooted(poses, root):
    return poses - poses[:, root : root + 1]


def _fraction_outside(example):
    """Share of the joints outside of the picture: the box ends where the picture does, so they are outside of it."""
    left, top, width, height = example.box
    x, y = example.joints2d[example.valid].T
    return ((x < left) | (y < top) | (x >= left + width) | (y >= top + height)).mean()
