"""Errors of a crop model on plain crops, and the size of its uncertainties."""

from collections.abc import Callable

import numpy as np
from scipy.stats import spearmanr

from metrabs_core.errors import UserError
from training.datasets.picture_files import picture_size
from training.inference import predict_poses
from training.metrics import align_similarity, joint_distances

# A person counts as truncated if at least this share of the joints lies outside of the picture.
_TRUNCATED_FRACTION = 1 / 3


def evaluate(model, examples: list, batch_size: int = 32, adjust_colours: Callable | None = None) -> dict[str, float]:
    """Errors of a crop model on plain crops (no test-time augmentation) around the annotated boxes.

    Args:
        model: the ``CropModel``.
        examples: people, as ``read_examples`` gives them; those without a known root joint in 3D are left out.
        batch_size: crops per call of the network.
        adjust_colours: see ``training.datasets.named.NamedDataset``; None to leave colours as they are.

    Returns:
        dict of ``mpjpe_mm`` (root-relative), ``pa_mpjpe_mm`` (after similarity alignment), ``absolute_error_percent``
        (root position against its distance), ``depth_bias_percent``, ``truncated_mpjpe_mm`` (people with a third of the
        joints outside of the picture), ``uncertainty_rank_correlation`` (Spearman, over joints but the root) and
        ``people``. Joints that are not annotated do not count.

    Raises:
        UserError: no example has 3D labels.
    """
    examples, root = _with_root(model.skeleton, examples)
    predicted, sigma = predict_poses(model, examples, batch_size, adjust_colours=adjust_colours)
    return pose_errors(predicted, sigma, examples, root)


def pose_errors(predicted: np.ndarray, sigma: np.ndarray, examples: list, root: int) -> dict[str, float]:
    """Errors of predicted poses.

    Args:
        predicted: float [n, J, 3], mm, camera frame.
        sigma: float [n, J], mm, their uncertainties.
        examples: the n people, all with a 3D label of the root joint.
        root: index of the root joint.

    Returns:
        see ``evaluate``.
    """
    true, valid, error = _compare(predicted, examples, root)
    others = valid & (np.arange(valid.shape[1]) != root)
    aligned = align_similarity(predicted, true, valid)
    distance = np.linalg.norm(true[:, root], axis=-1)
    offset = np.linalg.norm(predicted[:, root] - true[:, root], axis=-1)
    depth_ratio = predicted[:, root, 2] / true[:, root, 2]
    truncated = np.array([_is_truncated(e) for e in examples])
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
    examples, root = _with_root(model.skeleton, examples)
    predicted, sigma = predict_poses(model, examples, batch_size)
    return fit_uncertainty_scale(predicted, sigma / np.asarray(model.config.uncertainty_scale), examples, root)


def fit_uncertainty_scale(predicted: np.ndarray, sigma: np.ndarray, examples: list, root: int) -> list[float]:
    """Find the factors of ``calibrate_uncertainty`` for predicted poses; arguments as for ``pose_errors``."""
    _, valid, error = _compare(predicted, examples, root)
    others = valid & (np.arange(valid.shape[1]) != root)
    squares = [(error**2).sum(0, where=others), (sigma**2).sum(0, where=others)]
    overall = squares[0].sum() / squares[1].sum()
    ratios = np.divide(*squares, out=np.full(len(squares[0]), overall), where=squares[1] > 0)
    return [round(float(scale), 4) for scale in np.sqrt(ratios)]


def _with_root(skeleton, examples):
    """The examples that have a 3D label for the root joint, and its index."""
    root = skeleton.root
    examples = [e for e in examples if e.joints3d is not None and e.valid[root]]
    if not examples:
        raise UserError(f"Nobody to evaluate on: no example has a 3D label for {skeleton.joint_names[root]}.")
    return examples, root


def _compare(predicted, examples, root):
    """True poses, which joints are annotated, and root-relative errors [n, J] mm."""
    true, valid = np.stack([e.joints3d for e in examples]), np.stack([e.valid for e in examples])
    return true, valid, joint_distances(predicted, true, root)


def _is_truncated(example) -> bool:
    """Whether a third of the joints is outside of the picture; what is behind the camera is, too."""
    width, height = picture_size(example.image_path)
    x, y = example.joints2d[example.valid].T
    outside = (x < -0.5) | (y < -0.5) | (x >= width - 0.5) | (y >= height - 0.5)
    return (outside | (example.joints3d[example.valid, 2] <= 0)).mean() >= _TRUNCATED_FRACTION
