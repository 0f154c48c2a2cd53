"""Data sets: ``read("h36m", "train")`` or ``read("my/folder", "train")`` gives annotated people."""

import importlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from training.datasets import own_format
from training.datasets.annotations import (
    content_key,
    load_table,
    read_cached,
    report_missing,
    with_existing_images,
)
from training.datasets.example import Dataset, Example
from training.datasets.named import NamedDataset
from training.datasets.table import Table

__all__ = ["REGISTRY", "Dataset", "Example", "data_root_folder", "full_name", "named", "read"]


# Name of each data set, and the module of this package that has it in its ``DATASETS``
REGISTRY = {
    "h36m": "h36m",
    "h36m-partial": "h36m",
    "h36m-incorrect-S9": "h36m",
    "mpi-inf-3dhp": "mpi_inf_3dhp",
    "muco": "muco",
    "muco-17-150k": "muco",
    "mupots": "mupots",
    "mpii": "mpii",
    "mpii-yolo": "mpii",
    "3dpw": "threedpw",
    "coco": "coco",
    "pascal-voc": "pascal_voc",
    "inria-holidays": "inria_holidays",
}
# Folders that are not named like their data sets
_FOLDERS = {"3dhp": "mpi-inf-3dhp"}


def named(name: str | Path) -> NamedDataset | None:
    """The data set of that name in the registry; None for a folder.

    Its module, with what it needs to read the files, is imported only now.
    """
    module = REGISTRY.get(str(name))
    return importlib.import_module(f"training.datasets.{module}").DATASETS[str(name)] if module else None


def full_name(text: str) -> str:
    """The name of a data set in the registry; that of its folder means the same."""
    return _FOLDERS.get(text, text.replace("_", "-"))


def read(
    name: str | Path, split: str = "train", data_root: str | Path | None = None, allow_missing: bool = False
) -> Dataset:
    """Read the people of one part of a data set.

    The cropped-and-shrunk pictures that ``metrabs-train prepare`` makes of the parts for training are read if they
    belong to today's annotations, else the original pictures.

    Args:
        name: a data set's name (``REGISTRY``), or a folder in the project's own format (``training.dataset_format``),
            whose people are all of them in every part.
        split: "train", "val", "trainval" (both, or what the data set has of them) or "test".
        data_root: folder that holds the data sets; None for the environment variable DATA_ROOT.
        allow_missing: continue without subjects, videos and pictures that are missing, with a warning.

    Raises:
        UserError: there is neither a data set of that name nor such a folder, or files of it are missing: all of them
            are listed; something in it does not follow its format, there is no such part, or nobody is left.
    """
    dataset = named(name)
    if dataset is None:
        if not Path(name).is_dir():
            known = ", ".join(REGISTRY)
            raise UserError(f"There is no data set named {name} (but {known}), and no folder {Path(name)}.")
        return own_format.read(Path(name))
    name = str(name)
    parts, root = dataset.parts, data_root_folder(data_root)
    splits = [s for s in ("train", "val") if s in parts] if split == "trainval" else [split]
    if not splits or not set(splits) <= set(parts):
        raise UserError(f"The data set {name} has no part {split!r}; it has {', '.join(parts) or 'nobody in it'}.")
    skeletons, tables = zip(*(_read_part(name, part, root, allow_missing) for part in splits))
    return Dataset(name, skeletons[0], tables[0] if len(tables) == 1 else Table.concatenate(tables))


def data_root_folder(data_root: str | Path | None) -> Path:
    """The folder of the data sets, as given or from the environment.

    Raises:
        UserError: neither names a folder that is there.
    """
    root = data_root or os.environ.get("DATA_ROOT")
    if not root:
        raise UserError("Say where the data sets are: --data-root, or the environment variable DATA_ROOT.")
    if not Path(root).is_dir():
        raise UserError(f"The folder of the data sets, {root}, is not there.")
    return Path(root)


def shrunk_index(root: Path, name: str, split: str) -> Path:
    """Where the table of a part's cropped-and-shrunk pictures is."""
    return root / f"{name}_downscaled" / f"{split}.npz"


@dataclass(frozen=True)
class Part:
    """One part of a data set, with its original pictures.

    Attributes:
        skeleton: joints of the people.
        table: the people.
        key: of the annotations' content.
    """

    skeleton: Skeleton
    table: Table
    key: str


def read_original(name: str, split: str, root: Path, allow_missing: bool = False) -> Part:
    """Read one part of a data set, with its original pictures, no matter whether there are shrunk ones.

    Raises:
        UserError: see ``read``.
    """
    where = f"The {split} part of {name} in {root}"
    found = named(name).find(root, split)
    report_missing(where, found.missing, allow_missing)
    if not found.files:
        raise UserError(f"{where} has nobody left.")
    key = content_key(root, found.files, name, split)
    table = with_existing_images(read_cached(f"{name}-{split}", key, root, found.read), where, allow_missing)
    if not len(table):
        raise UserError(f"{where} has nobody left.")
    return Part(found.skeleton, table, key)


def _read_part(name: str, split: str, root: Path, allow_missing: bool) -> tuple[Skeleton, Table]:
    """Read one part, with its shrunk pictures if they belong to the annotations that are there."""
    index = shrunk_index(root, name, split)
    if index.is_file():
        found = named(name).find(root, split)
        # a machine may have only what training needs; and what was missing when the pictures were made was accepted
        key = content_key(root, found.files, name, split) if found.files else None
        table = load_table(index, root, lambda facts: key in (None, facts.get("key")))
        if table is not None:
            return found.skeleton, with_existing_images(table, f"{name}_downscaled", allow_missing)
        warnings.warn(f"{index} belongs to other annotations: run metrabs-train prepare {name}.", stacklevel=3)
    part = read_original(name, split, root, allow_missing)
    return part.skeleton, part.table
