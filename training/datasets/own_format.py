"""Data sets in the project's own format (``training.dataset_format``): rendered ones, and those that users write."""

from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from training import dataset_format
from training.datasets.example import Dataset, Example
from training.datasets.label_checks import check_labels

# People who are less visible than this (behind others, behind things, outside of the picture) teach nothing.
_MIN_VISIBLE_FRACTION = 0.15
_MIN_BOX_SIDE = 24


def read(folder: Path) -> Dataset:
    """Read the people of a data set, in a fixed order.

    People whose box is smaller than 24 pixels on its longer side, of whose joints less than 15 % are visible, or who
    have no labels are left out. Who has no 3D label for any joint has 2D labels only.

    Raises:
        UserError: the folder is no data set, something in it does not follow the format or can't be right, or nobody is
            left.
    """
    description = dataset_format.read_description(folder)
    examples = []
    for picture in dataset_format.read_pictures(folder):
        camera = picture.camera
        for person in picture.people:
            if max(person.box[2:]) < _MIN_BOX_SIDE or person.visible.mean() < _MIN_VISIBLE_FRACTION:
                continue
            has_3d = person.joints3d is not None and np.isfinite(person.joints3d).all(-1).any()
            valid = np.isfinite(person.joints3d if has_3d else person.joints2d).all(-1)
            if not valid.any():
                continue
            joints2d, joints3d = np.nan_to_num(person.joints2d), None
            if has_3d:
                joints3d = _filled(person.joints3d)
                joints2d = np.where(np.isfinite(person.joints2d), person.joints2d, camera.project(joints3d))
            examples.append(Example(picture.path, person.box, joints2d, valid, camera, joints3d, mask=person.mask))
    if not examples:
        raise UserError(
            f"No example is left in {folder}: nobody has labels and is seen at a size of {_MIN_BOX_SIDE} pixels."
        )
    check_labels(str(folder), examples)
    skeleton = Skeleton(folder.name, description.joint_names, description.edges)
    return Dataset(folder.name, skeleton, examples)


def _filled(joints3d: np.ndarray) -> np.ndarray:
    """Put unknown joints where the known ones are on average: somewhere that has a finite projection."""
    known = np.isfinite(joints3d).all(-1, keepdims=True)
    return np.where(known, joints3d, joints3d.mean(0, where=known)).astype(np.float32)
