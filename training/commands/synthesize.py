"""``metrabs-train synthesize``: render a data set of annotated people.

    metrabs-train synthesize --out=data/train --scenes=14000 --seed=1 --motions=my_bvh_files

A killed run resumes where it stopped when the same command is started again.
"""

import argparse
import os
import sys
from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.files import cache_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    cache = cache_folder()
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    parser.add_argument("--scenes", type=int, required=True, help="number of pictures")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same dataset (on one machine, to the byte)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--backgrounds", type=Path, help=f"folder of photographs (default: {cache}/backgrounds)")
    parser.add_argument(
        "--background-part",
        choices=["all", "train", "val"],
        default="all",
        help="photographs to use: all, all but every fifth, or every fifth",
    )
    parser.add_argument("--rooms", type=Path, help=f"folder of furniture and textures (default: {cache}/rooms)")
    parser.add_argument(
        "--motions",
        type=Path,
        help="folder of BVH motion capture, for people as they move in everyday life; or of humanoid3d_*.txt clips "
        f"(default: {cache}/motions)",
    )


def run(args: argparse.Namespace) -> None:
    """Render the data set that the arguments describe."""
    try:
        from training.synthesis.dataset import render_dataset
        from training.synthesis.worker import Sources
    except ImportError as error:
        raise UserError(
            f"Rendering people needs packages that are missing ({error}); `make setup-dev` installs them."
        ) from error
    if args.scenes < 1:
        raise UserError(f"--scenes is {args.scenes}; ask for at least one.")
    if args.workers < 1:
        raise UserError(f"--workers is {args.workers}; ask for at least one.")
    folders = {name: _folder(name, getattr(args, name)) for name in ("backgrounds", "motions", "rooms")}
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        print(
            f"Rendering without {', '.join(missing)}: `python -m training.synthesis.assets` fetches what makes scenes "
            "more varied.",
            file=sys.stderr,
        )
    render_dataset(args.out, args.scenes, args.seed, args.workers, Sources(**folders, part=args.background_part))


def _folder(name: str, given: Path | None) -> Path | None:
    """A folder that was given, or the one in the cache; None if there is neither."""
    if given is None:
        cached = cache_folder() / name
        return cached if cached.is_dir() else None
    if not given.is_dir():
        raise UserError(f"--{name} is {given}, which is no folder; leave it out to do without.")
    return given
