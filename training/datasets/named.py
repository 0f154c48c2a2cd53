"""What there is to know about a data set that has a name; each is one such object, in the file with its reader."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType

import numpy as np

from training.datasets.annotations import Annotations
from training.datasets.example import Dataset
from training.datasets.preparation import Preparation


class Hips(Enum):
    """Where labels called hips and pelvis lie."""

    JOINT_CENTRES = "where the joints are"
    MPI_INF_3DHP = "closer to the neck, as MPI-INF-3DHP's motion capture puts them"
    MPII = "farther from the neck, as MPII's annotators click them"


@dataclass(frozen=True)
class Shrinking:
    """How a data set's pictures are shrunk.

    Attributes:
        context: how much more of the surroundings is kept, for crops of parts of the person.
        adjust_3dhp: take the green tint off MPI-INF-3DHP's pictures and make them brighter, as in the paper.
        affine: only cut and scale: for pictures whose true camera isn't known.
    """

    context: float = 1.0
    adjust_3dhp: bool = False
    affine: bool = False


@dataclass(frozen=True)
class NamedDataset:
    """A data set that commands know by its name.

    Attributes:
        prepare: makes a download ready.
        find: looks for the files of a part, ``find(root, part)``; None for what is only used in augmentation.
        parts: of "train", "val" and "test", those that it has.
        shrinking: how pictures are shrunk to train on; None if nobody trains on it.
        shrunk_parts: whose pictures are.
        hips: where its labels of hips and pelvis lie.
        protocol: name of the module of ``training.evaluation`` that compares predictions with the truth; it has
            ``OPTIONS``, ``read_truth`` and ``score``. Empty if there is none.
        adjust_colours: a crop as models see it, ``adjust_colours(image_path, crop)``, uint8 [h, w, 3], RGB; None to
            leave them as they are.
        detected_people: people of the test part whose poses the protocol wants, ``detected_people(root)``, as it does
            not tell the true boxes; None if it does.
    """

    prepare: Callable[[Preparation], None]
    find: Callable[[Path, str], Annotations] | None = None
    parts: tuple[str, ...] = ()
    shrinking: Shrinking | None = None
    shrunk_parts: tuple[str, ...] = ("train",)
    hips: Hips = Hips.JOINT_CENTRES
    protocol: str = ""
    adjust_colours: Callable[[Path, np.ndarray], np.ndarray] | None = None
    detected_people: Callable[[Path], Dataset] | None = None

    def load_protocol(self) -> ModuleType:
        """The module that compares predictions with the truth; there must be one."""
        return importlib.import_module(f"training.evaluation.{self.protocol}")
