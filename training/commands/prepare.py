"""``metrabs-train prepare``: make a downloaded data set ready for training and evaluation.

    metrabs-train prepare h36m

See docs/datasets.md for what to download and where to put it. What is there already is not made again, nothing is ever
deleted, and a run that was interrupted is continued by the same command.
"""

import argparse
import os

from metrabs_core.errors import UserError
from training import datasets
from training.prepare import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    names = datasets.REGISTRY
    parser.add_argument("dataset", type=datasets.full_name, choices=names, metavar="DATASET", help=", ".join(names))
    parser.add_argument("--data-root", help="folder of the data sets; default: the environment variable DATA_ROOT")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: %(default)s")
    parser.add_argument("--allow-missing", action="store_true", help="continue without what is missing, and list it")
    parser.add_argument(
        "--all-frames",
        action="store_true",
        help="mpi-inf-3dhp: write every frame of pictures and masks, as the script that composes MuCo-3DHP needs them",
    )


def run(args: argparse.Namespace) -> None:
    """Prepare a data set and say what was made, and what was damaged."""
    root = datasets.data_root_folder(args.data_root)
    if args.workers < 1:
        raise UserError(f"--workers must be at least 1, not {args.workers}.")
    preparation = prepare(args.dataset, root, args.workers, args.allow_missing, args.all_frames)
    for line in preparation.done:
        print(line)
    if preparation.skipped:
        print(f"{len(preparation.skipped)} damaged files were skipped:")
        for line in preparation.skipped:
            print(f"  {line}")
    print(f"{args.dataset} is ready in {root}.")
