"""``metrabs-train evaluate``: errors of predictions, or of a crop model.

    metrabs-train evaluate --dataset=h36m --pred-path=runs/h36m/predictions_h36m.npz [--procrustes]
    metrabs-train evaluate --dataset=mpi-inf-3dhp --pred-path=runs/seed1/predictions_mpi-inf-3dhp.npz --seeds=5
    metrabs-train evaluate --dataset=my/folder --model=runs/mine/model --output=errors.json

With ``--pred-path``, predictions are evaluated by the protocol of their data set; with ``--model``, a crop model is run
on plain crops of any annotated pictures.
"""

import argparse
from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.files import write_json
from training import datasets
from training.evaluation import protocols, report
from training.evaluation.options import Options
from training.examples import read_examples
from training.run_folder import model_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument(
        "--dataset",
        required=True,
        help="name of a data set with a protocol, see docs/evaluation.md; with --model, also a folder in our format",
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
        "--allow-missing", action="store_true", help="continue without annotation files or predictions that are missing"
    )
    parser.add_argument(
        "--output", help="JSON file to write; LaTeX rows and plots beside it (default: metrics_DATASET.json beside the"
        " predictions, nothing with --model)"
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print the errors as a table and write them."""
    if args.model:
        _evaluate_model(args)
    else:
        _evaluate_predictions(args)


def _evaluate_predictions(args):
    smoothing = "causal" if args.causal_smoothing else "acausal" if args.acausal_smoothing else ""
    options = Options(args.procrustes, args.universal_skeleton, smoothing, args.allow_missing)
    paths, runs = protocols.score(args.dataset, args.pred_path, args.seeds, args.data_root, options)
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


def _evaluate_model(args):
    if args.seeds > 1 or args.procrustes or args.universal_skeleton or args.causal_smoothing or args.acausal_smoothing:
        raise UserError("--model evaluates one model on plain crops; protocols and their options need --pred-path.")
    # slow to import, and not needed for predictions
    from metrabs_core.network.crop_model import load_weights_dir
    from training.evaluation.crop_model import evaluate

    model = load_weights_dir(model_folder(args.model))
    examples = read_examples(args.dataset, model.skeleton, "test", args.data_root)
    named = datasets.named(args.dataset)
    metrics = evaluate(model, examples, adjust_colours=named and named.adjust_colours)
    width = max(len(name) for name in metrics)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:10.2f}")
    if args.output:
        write_json(Path(args.output), report.without_nan(metrics), indent=2)
