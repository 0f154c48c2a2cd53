"""Make downloaded data sets ready: each in its own way, then with cropped-and-shrunk pictures to train on."""

import warnings
from pathlib import Path

from training import datasets
from training.datasets.preparation import Preparation
from training.datasets.shrinking import shrink


def prepare(
    dataset: str, root: Path, workers: int = 1, allow_missing: bool = False, all_frames: bool = False
) -> Preparation:
    """Prepare a data set.

    Args:
        dataset: its name.
        root: data root.
        workers: processes.
        allow_missing: continue without what is missing.
        all_frames: of MPI-INF-3DHP, write every frame.

    Returns:
        what was made and skipped.

    Raises:
        UserError: official files are missing; the message lists them, and says where they come from; there is too
            little disk space.
    """
    named = datasets.named(dataset)
    with Preparation(root, workers, allow_missing, all_frames) as preparation:
        named.prepare(preparation)
        if named.shrinking is not None:
            _shrink(dataset, preparation)
    return preparation


def _shrink(dataset: str, preparation: Preparation) -> None:
    """Make the cropped-and-shrunk pictures of a data set's parts for training."""
    named, root = datasets.named(dataset), preparation.root
    for split in named.shrunk_parts:
        if split != "train" and not named.find(root, split).files:
            preparation.done.append(f"nothing of the {split} part is there")
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is missing was said before
            original = datasets.read_original(dataset, split, root, allow_missing=True)
        index = datasets.shrunk_index(root, dataset, split)
        shrink(preparation, original.table, index, original.key, named.shrinking)
