"""The people to train on, by 3D and by 2D labels, and to validate on."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.skeletons import SKELETONS, Skeleton
from training import datasets
from training.config import TrainingConfig
from training.datasets.named import Hips
from training.examples import select_joints
from training.initial_model import crop_model_arguments

# Validation looks at this many people of a data set at most, evenly spread
_MAX_VALIDATION = 1024


@dataclass(frozen=True)
class People:
    """Annotated people, with the joints to predict.

    Attributes:
        skeleton: the joints to predict.
        examples: to train on; at least one has 3D labels.
        examples2d: to train on by their 2D labels; may be empty.
        held_out: to validate on, all with 3D labels, by the name of their data set; may be empty.
        hips_differ: the 3D labels have the hips where MPI-INF-3DHP has them, and the 2D labels where MPII has them.
    """

    skeleton: Skeleton
    examples: list[datasets.Example]
    examples2d: list[datasets.Example]
    held_out: dict[str, list[datasets.Example]]
    hips_differ: bool


def read_people(config: TrainingConfig) -> People:
    """Read the data sets that a configuration names.

    Raises:
        UserError: a data set is missing or damaged, or nobody in it has labels to train on.
    """
    read = {}

    def dataset(name, split):
        if (name, split) not in read:
            read[name, split] = datasets.read(name, split, config.data_root or None)
        return read[name, split]

    def people(names, split):
        selected = [example for name in names for example in select_joints(dataset(name, split), skeleton)]
        return [example for example in selected if example.valid.any()]

    if "skeleton" in config.model:
        skeleton = SKELETONS[config.model["skeleton"]]
    elif config.init:
        skeleton = SKELETONS[crop_model_arguments(config.init)["skeleton"]]
    else:
        skeleton = SKELETONS[_skeleton_of(dataset(config.datasets[0], config.train_on))]
    examples = people(config.datasets, config.train_on)
    if not any(e.joints3d is not None for e in examples):
        raise UserError(f"Nobody in {', '.join(config.datasets)} has 3D labels; with 2D labels, use --dataset2d.")
    examples2d = [replace(e, joints3d=None, universal3d=None) for e in people(config.datasets2d, config.train_on)]
    if config.datasets2d and not examples2d:
        raise UserError(f"Nobody in {', '.join(config.datasets2d)} has labels of {skeleton.name}'s joints.")
    held_out = {}
    for name in config.validation:
        labelled = [e for e in people([name], "val") if e.joints3d is not None]
        if not labelled:
            raise UserError(f"Nobody in {name} has 3D labels, so there is nothing to validate on.")
        held_out[Path(name).name] = labelled[:: -(-len(labelled) // _MAX_VALIDATION)]
    hips_differ = _any_hips(config.datasets, Hips.MPI_INF_3DHP) and _any_hips(config.datasets2d, Hips.MPII)
    return People(skeleton, examples, examples2d, held_out, hips_differ)


def _any_hips(names: list[str], hips: Hips) -> bool:
    """Whether one of the data sets has its labels of hips there."""
    found = [datasets.named(name) for name in names]
    return any(dataset is not None and dataset.hips is hips for dataset in found)


def _skeleton_of(dataset: datasets.Dataset) -> str:
    """The skeleton with the joints of a data set."""
    joints = dataset.skeleton.joint_names
    for same in (tuple, frozenset):
        for name, skeleton in SKELETONS.items():
            if same(skeleton.joint_names) == same(joints):
                return name
    return "native_34"


def mean_bone_lengths(examples: list, skeleton: Skeleton, universal: bool = False) -> list[float] | None:
    """Mean length in millimetres of each of the skeleton's edges over the examples that have 3D labels.

    Args:
        examples: people.
        skeleton: their joints, and bones.
        universal: take the skeletons of normalized height, where there are any.

    Returns:
        one length per edge; None if no example has the labels for some edge.
    """
    labelled = [e for e in examples if e.joints3d is not None]
    labelled = labelled[:: max(1, len(labelled) // 20000)]
    poses = [e.universal3d if universal and e.universal3d is not None else e.joints3d for e in labelled]
    if not poses:
        return None
    a, b = np.array(skeleton.edges).T
    valid = np.array([e.valid for e in labelled])
    valid = valid[:, a] & valid[:, b]
    lengths = np.linalg.norm(np.array(poses)[:, a] - np.array(poses)[:, b], axis=-1)
    if not valid.any(0).all():
        return None
    return [round(float(length), 1) for length in lengths.mean(0, where=valid)]
