"""Errors of a crop model or of predictions: ``metrabs-train evaluate``.

    metrabs-train evaluate --dataset=h36m --pred-path=runs/h36m/predictions_h36m.npz [--procrustes]
    metrabs-train evaluate --dataset=mpi-inf-3dhp --pred-path=runs/seed1/predictions_mpi-inf-3dhp.npz --seeds=5
    metrabs-train evaluate --dataset=my/folder --model=runs/mine/model --output=errors.json

With ``--pred-path``, predictions are evaluated by the protocol of their data set; with ``--model``, a crop model is run
on plain crops of any annotated pictures.
"""

import argparse
import importlib
import json
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from training.datasets import data_root_folder
from training.datasets.atomic_files import written_atomically
from training.evaluation import report
from training.evaluation.options import Options
from training.examples import read_examples
from training.metrics import align_similarity

# Data set -> module of training.evaluation that has its protocol: OPTIONS, read_truth and score.
PROTOCOLS = {
    "h36m": "h36m",
    "h36m-partial": "h36m",
    "h36m-incorrect-S9": "h36m",
    "mpi-inf-3dhp": "mpi_inf_3dhp",
    "mupots": "mupots",
    "muco-17-150k": "mupots",
    "3dpw": "threedpw",
}
# A person counts as truncated if at least this share of the joints lies outside of the picture.
_TRUNCATED_FRACTION = 1 / 3


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    parser.add_argument(
        "--dataset", required=True, help=f"{', '.join(PROTOCOLS)}; with --model, also a folder in our own format"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pred-path", help="file that predict wrote; for 3dpw, the folder that video wrote")
    source.add_argument("--model", help="folder of a crop model (model_card.json and weights.npz), or its training run")
    parser.add_argument("--data-root", help="folder of the data sets (default: $DATA_ROOT)")
    parser.add_argument(
        "--procrustes", action=argparse.BooleanOptionalAction, default=False, help="similarity alignment first"
    )
    parser.add_argument(
        "--universal-skeleton",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="compare to height-normalized poses (mpi-inf-3dhp; mupots always gives both)",
    )
    smoothing = parser.add_mutually_exclusive_group()
    smoothing.add_argument("--causal-smoothing", action="store_true", help="smooth with the past only (3dpw)")
    smoothing.add_argument("--acausal-smoothing", action="store_true", help="smooth with past and future (3dpw)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="mean and spread of N runs: 'seed1' in --pred-path becomes seed2, ..."
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="go on without annotation files or predictions that are missing"
    )
    parser.add_argument(
        "--output", help="JSON file to write; LaTeX rows and plots beside it (default: metrics_DATASET.json beside the"
        " predictions, nothing with --model)"
    )  # fmt: skip


def run(args) -> None:
    """Print the errors as a table and write them."""
    if args.model:
        _run_model(args)
    else:
        _run_protocol(args)


def _run_protocol(args):
    if args.dataset not in PROTOCOLS:
        raise ValueError(f"There is no protocol for {args.dataset}; there is one for {', '.join(PROTOCOLS)}.")
    protocol = importlib.import_module(f"training.evaluation.{PROTOCOLS[args.dataset]}")
    smoothing = "causal" if args.causal_smoothing else "acausal" if args.acausal_smoothing else ""
    options = Options(args.procrustes, args.universal_skeleton, smoothing, args.allow_missing)
    for name in ("procrustes", "universal_skeleton", "smoothing"):
        if getattr(options, name) and name not in protocol.OPTIONS:
            raise ValueError(f"The protocol of {args.dataset} has no {name.replace('_', ' ')}.")
    paths = _seed_paths(args.pred_path, args.seeds)
    truth = protocol.read_truth(data_root_folder(args.data_root), options)
    runs = [protocol.score(path, truth, options) for path in paths]
    report.print_tables(runs)
    folder = paths[0] if paths[0].is_dir() else paths[0].parent
    facts = {
        "dataset": args.dataset,
        "predictions": [str(path) for path in paths],
        "options": {"procrustes": options.procrustes, "universal_skeleton": options.universal_skeleton,
                    "smoothing": options.smoothing},
    }  # fmt: skip
    files = report.write(runs, Path(args.output or folder / f"metrics_{args.dataset}.json"), facts)
    print(f"Written: {', '.join(map(str, files))}")


def _seed_paths(path: str, n_seeds: int) -> list[Path]:
    """The prediction files of all seeds, of which the first is given."""
    if n_seeds < 1:
        raise ValueError(f"--seeds is {n_seeds}; there must be at least one.")
    if n_seeds > 1 and "seed1" not in path:
        raise ValueError(f"--seeds={n_seeds} needs a --pred-path with 'seed1' in it, to find seed2 and so on.")
    paths = [Path(path.replace("seed1", f"seed{i + 1}") if i else path) for i in range(n_seeds)]
    missing = [str(p) for p in paths if not p.exists()]
    if missing:
        raise FileNotFoundError(f"There are no predictions {', '.join(missing)}.")
    return paths


def _run_model(args):
    if args.seeds > 1 or args.procrustes or args.universal_skeleton or args.causal_smoothing or args.acausal_smoothing:
        raise ValueError("--model evaluates one model on plain crops; protocols and their options need --pred-path.")
    from metrabs_core.network.crop_model import load_weights_dir  # slow to import, and not needed for predictions
    from training.predict import model_folder

    model = load_weights_dir(model_folder(args.model))
    metrics = evaluate(model, read_examples(args.dataset, model.skeleton, "test", args.data_root))
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:10.2f}")
    if args.output:
        with written_atomically(Path(args.output)) as temporary:
            temporary.write_text(json.dumps(report.without_nan(metrics), indent=2) + "\n")


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
        ValueError: no example has 3D labels.
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
        ValueError: no example has 3D labels.
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
        raise ValueError(f"Nobody to evaluate on: no example has a 3D label for {joint_names[root]}.")
    return examples, root


def _errors(model, examples, root, batch_size):
    """Predicted and true poses with their sigmas, which joints are annotated, and root-relative errors [n, J] mm."""
    from training.predict import predict_poses  # slow to import, and not needed for predictions

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
