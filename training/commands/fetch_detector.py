"""``metrabs-train fetch-detector``: download and check the weights of a person detector."""

import argparse
from pathlib import Path

from metrabs_core.detection import WEIGHTS_DIR
from metrabs_core.errors import UserError
from training import fetch_detector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"one of {', '.join(fetch_detector.RELEASED)}; all if none is named"
    )
    parser.add_argument("--output-dir", type=Path, default=WEIGHTS_DIR, help="where to put the files (%(default)s)")


def run(args: argparse.Namespace) -> None:
    """Download what is not there already.

    Raises:
        UserError: there is no detector of that name, or a file cannot be downloaded or is not what was released.
    """
    for name in args.names:
        if name not in fetch_detector.RELEASED:
            raise UserError(
                f"There are no weights of {name!r} to fetch: choose from {', '.join(fetch_detector.RELEASED)}."
            )
    for name in args.names or fetch_detector.RELEASED:
        path = args.output_dir / f"{name}.weights"
        sha256 = fetch_detector.fetch(fetch_detector.RELEASED[name], path)
        print(f"{path}: complete, SHA-256 {sha256}")
        print(f"  use it: metrabs-train build-combined --detector-path={name} ...")
