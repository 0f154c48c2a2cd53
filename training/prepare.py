"""Make a downloaded data set ready: ``metrabs-train prepare h36m``.

See docs/datasets.md for what to download and where to put it. What is there already is not made again, nothing is ever
deleted, and a run that was interrupted is continued by the same command.
"""

import importlib
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from training import datasets
from training.datasets.preparation import Preparation
from training.datasets.shrinking import Shrinking, shrink

_AFFINE = Shrinking(affine=True)


@dataclass(frozen=True)
class Recipe:
    """How a data set is prepared.

    Attributes:
        module: of ``training.datasets``, has ``prepare(preparation, **options)``.
        shrinking: how the pictures of the parts for training are shrunk; None if nobody trains on it.
        options: of ``prepare``.
    """

    module: str
    shrinking: Shrinking | None = None
    options: dict = field(default_factory=dict)


RECIPES = {
    "h36m": Recipe("h36m", Shrinking()),
    "h36m-partial": Recipe("h36m", Shrinking(context=1.8)),
    "h36m-incorrect-S9": Recipe("h36m", Shrinking()),
    "mpi-inf-3dhp": Recipe("mpi_inf_3dhp", Shrinking(adjust_3dhp=True)),
    "muco": Recipe("muco", Shrinking()),
    "muco-17-150k": Recipe("muco", Shrinking(), {"n_composites": 150_000}),
    "mupots": Recipe("mupots"),
    "mpii": Recipe("mpii", _AFFINE),
    "mpii-yolo": Recipe("mpii", _AFFINE, {"detected": True}),
    "3dpw": Recipe("threedpw", Shrinking()),
    "coco": Recipe("coco", _AFFINE),
    "pascal-voc": Recipe("pascal_voc"),
    "inria-holidays": Recipe("inria_holidays"),
}


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    parser.add_argument("dataset", type=_name, choices=RECIPES, metavar="DATASET", help=", ".join(RECIPES))
    parser.add_argument("--data-root", help="folder of the data sets; default: the environment variable DATA_ROOT")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: %(default)s")
    parser.add_argument("--allow-missing", action="store_true", help="go on without what is missing, and list it")
    parser.add_argument(
        "--all-frames",
        action="store_true",
        help="mpi-inf-3dhp: write every frame of pictures and masks, as the script that composes MuCo-3DHP needs them",
    )


def _name(text: str) -> str:
    """The name of a data set; that of its folder means the same."""
    return {"3dhp": "mpi-inf-3dhp"}.get(text, text.replace("_", "-"))


def run(args) -> None:
    """Prepare a data set and say what was made, and what was damaged."""
    root = datasets.data_root_folder(args.data_root)
    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, not {args.workers}.")
    preparation = prepare(args.dataset, root, args.workers, args.allow_missing, args.all_frames)
    for line in preparation.done:
        print(line)
    if preparation.skipped:
        print(f"{len(preparation.skipped)} damaged files were skipped:")
        for line in preparation.skipped:
            print(f"  {line}")
    print(f"{args.dataset} is ready in {root}.")


def prepare(
    dataset: str, root: Path, workers: int = 1, allow_missing: bool = False, all_frames: bool = False
) -> Preparation:
    """Prepare a data set.

    Args:
        dataset: one of ``RECIPES``.
        root: data root.
        workers: processes.
        allow_missing: go on without what is missing.
        all_frames: of MPI-INF-3DHP, write every frame.

    Returns:
        what was made and skipped.

    Raises:
        FileNotFoundError: official files are missing; the message lists them, and says where they come from.
        OSError: there is too little disk space.
    """
    recipe = RECIPES[dataset]
    with Preparation(root, workers, allow_missing, all_frames) as preparation:
        importlib.import_module(f"training.datasets.{recipe.module}").prepare(preparation, **recipe.options)
        if recipe.shrinking is not None:
            _shrink(dataset, preparation, recipe.shrinking)
    return preparation


def _shrink(dataset: str, preparation: Preparation, shrinking: Shrinking) -> None:
    """Make the cropped-and-shrunk pictures of a data set's parts for training."""
    reader, root = datasets.READERS[dataset], preparation.root
    # MuCo-3DHP's part for validation is MuPoTS-3D, which is not trained on
    splits = [s for s in ("train", "val") if s in reader.splits and (reader.module, s) != ("muco", "val")]
    for split in splits:
        if split != "train" and not reader.find(root, split).files:
            preparation.done.append(f"nothing of the {split} part is there")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing was said before
            original = datasets.read_original(dataset, split, root, allow_missing=True)
        index = datasets.shrunk_index(root, dataset, split)
        shrink(preparation, original.table, index, original.key, shrinking)
