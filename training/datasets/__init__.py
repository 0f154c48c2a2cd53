"""Data sets: ``read("h36m", "train")`` or ``read("my/folder", "train")`` gives annotated people."""

from pathlib import Path

from training.datasets import own_format
from training.datasets.example import Camera, Dataset, Example

__all__ = ["Camera", "Dataset", "Example", "read"]


def read(name: str | Path, split: str = "train", data_root: str | Path | None = None) -> Dataset:
    """Read the people of one part of a data set.

    Args:
        name: a data set's name, or a folder in the project's own format (``training.dataset_format``), whose people
            are all of them in every part.
        split: "train", "val", "trainval" or "test".
        data_root: folder that holds the data sets; None for the environment variable DATA_ROOT.

    Raises:
        FileNotFoundError: there is neither a data set of that name nor such a folder, or files of it are missing.
        ValueError: something in it does not follow its format, or nobody is left.
    """
    folder = Path(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no data set named {name}, and no folder {folder.absolute()}.")
    return own_format.read(folder)
