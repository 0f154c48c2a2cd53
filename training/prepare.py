"""Make downloaded data sets ready: each by its own recipe, then with cropped-and-shrunk pictures to train on."""

import importlib
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
