"""Evaluate a crop model on annotated pictures: ``metrabs-train evaluate``."""

import json
from pathlib import Path

import numpy as np
from keras import ops
from scipy.stats import spearmanr
from tqdm import tqdm

from metrabs_core.network.crop_model import CropModel, load_weights_dir
from training.examples import CropBatches, read_examples

# A person counts as truncated if at least this share of the joints lies outside of the picture.
_TRUNCATED_FRACTION = 1 / 3


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    parser.add_argument("--model", required=True, help="folder of a crop model (model_card.json and weights.npz)")
    parser.add_argument("--dataset", required=True, help="folder in the project's dataset format")
    parser.add_argument("--output", help="JSON file to write the numbers to")


def run(args) -> None:
    """Print the metrics of a model on a data set as a table."""
    model = load_weights_dir(args.model)
    examples = read_examples(args.dataset, model.skeleton)
    metrics = evaluate(model, examples)
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:10.2f}")
    if args.output:
        path = Path(args.output)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(metrics, indent=2) + "\n")
        temporary.rename(path)


def evaluate(model: CropModel, examples: list, batch_size: int = 32) -> dict[str, float]:
    """Errors of a crop model on plain crops (no test-time augmentation) around the annotated boxes.

    Args:
        model: the crop model.
        examples: people with 3D labels, as ``read_examples`` gives them.
        batch_size: crops per call of the network.

    Returns:
        dict of ``mpjpe_mm`` (root-relative), ``pa_mpjpe_mm`` (after similarity alignment), ``absolute_error_percent``
        (root position against its distance), ``depth_bias_percent``, ``truncated_mpjpe_mm`` (people with a third of the
        joints outside of the picture), ``uncertainty_rank_correlation`` (Spearman, per joint), ``uncertainty_scale``
        (what the uncertainty must be multiplied with to equal the root mean square error) and ``people``.
    """
    examples = [e for e in examples if e.joints3d is not None and e.valid.all()]
    predicted, true, sigma = predict(model, examples, batch_size)
    root = model.skeleton.index("pelv")
    error = np.linalg.norm(_rooted(predicted, root) - _rooted(true, root), axis=-1)
    aligned = np.array([align_similarity(p, t) for p, t in zip(predicted, true)])
    distance = np.linalg.norm(true[:, root], axis=-1)
    offset = np.linalg.norm(predicted[:, root] - true[:, root], axis=-1)
    depth_ratio = predicted[:, root, 2] / true[:, root, 2]
    truncated = np.array([_fraction_outside(e) >= _TRUNCATED_FRACTION for e in examples])
    return {
        "people": len(examples),
        "mpjpe_mm": float(error.mean()),
        "pa_mpjpe_mm": float(np.linalg.norm(aligned - true, axis=-1).mean()),
        "absolute_error_percent": float(100 * (offset / distance).mean()),
        "depth_bias_percent": float(100 * (np.median(depth_ratio) - 1)),
        "truncated_people": int(truncated.sum()),
        "truncated_mpjpe_mm": float(error[truncated].mean()) if truncated.any() else float("nan"),
        "uncertainty_rank_correlation": float(spearmanr(sigma.ravel(), error.ravel()).statistic),
        "uncertainty_scale": float(np.sqrt((error**2).mean() / (sigma**2).mean())),
    }


def predict(model: CropModel, examples: list, batch_size: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run a crop model on plain crops.

    Returns:
        predicted and true joints float32 [n, J, 3] mm in the crop camera's frame, and uncertainty float32 [n, J] mm.
    """
    n_steps = -(-len(examples) // batch_size)
    batches = CropBatches(examples, model.skeleton, model.crop_side, batch_size, n_steps, seed=0, augment=False)
    results = []
    for i in tqdm(range(n_steps), desc="crops", unit="batch"):
        (crops, intrinsics), truth = batches[i]
        out = model([crops.astype(np.float32) / 255, intrinsics])
        poses, sigma = (ops.convert_to_numpy(out[name]) for name in ("poses3d", "uncertainty"))
        results.append((poses, truth["joints3d"], sigma))
    # the last batch is filled up with examples from the start
    return tuple(np.concatenate(column)[: len(examples)] for column in zip(*results))


def align_similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotate, scale and move points [J, 3] for the least squares distance to a target [J, 3] (Procrustes; Umeyama)."""
    mean, target_mean = points.mean(0), target.mean(0)
    a, b = points - mean, target - target_mean
    u, s, vt = np.linalg.svd(a.T @ b)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u * sign @ vt
    scale = (s * sign).sum() / (a**2).sum()
    return scale * a @ rotation + target_mean


def _rooted(poses, root):
    return poses - poses[:, root : root + 1]


def _fraction_outside(example):
    """Share of the joints outside of the picture: the box ends where the picture does, so they are outside of it."""
    left, top, width, height = example.box
    x, y = example.joints2d.T
    return ((x < left) | (y < top) | (x >= left + width) | (y >= top + height)).mean()
