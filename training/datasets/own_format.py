"""Data sets in the project's own format (``training.dataset_format``): rendered ones, and those that users write."""

from pathlib import Path

import numpy as np

from metrabs_core.skeletons import Skeleton
from training import dataset_format
from training.datasets.example import Camera, Dataset, Example

# People of whom less is seen (behind others, behind things, outside of the picture) teach nothing.
_MIN_VISIBLE_FRACTION = 0.15
_MIN_BOX_SIDE = 24


def read(folder: Path) -> Dataset:
    """Read the people of a data set, in a fixed order.

    People whose box is smaller than 24 pixels on its longer side, or of whose joints less than 15 % are visible, are
    left out.

    Raises:
        DatasetError: the folder is no data set, or something in it does not follow the format.
        ValueError: no example is left.
    """
    description = dataset_format.read_description(folder)
    examples = []
    for picture in dataset_format.read_pictures(folder):
        extrinsics = np.eye(4, dtype=np.float32) if picture.extrinsics is None else picture.extrinsics
        camera = Camera(picture.intrinsics, picture.distortion, extrinsics)
        for person in picture.people:
            if max(person.box[2:]) < _MIN_BOX_SIDE or person.visible.mean() < _MIN_VISIBLE_FRACTION:
                continue
            known = person.joints2d if person.joints3d is None else person.joints3d
            examples.append(
                Example(
                    image_path=picture.path,
                    box=person.box,
                    joints2d=np.nan_to_num(person.joints2d),
                    valid=np.isfinite(known).all(-1),
                    camera=camera,
                    joints3d=None if person.joints3d is None else _filled(person.joints3d),
                    mask=person.mask,
                )
            )
    if not examples:
        raise ValueError(f"No example is left in {folder}: nobody is seen at a size of {_MIN_BOX_SIDE} pixels.")
    skeleton = Skeleton(folder.name, description.joint_names, description.edges)
    return Dataset(folder.name, skeleton, examples)


def _filled(joints3d: np.ndarray) -> np.ndarray:
    """Put unknown joints where the known ones are on average: somewhere that has a finite projection."""
    known = np.isfinite(joints3d).all(-1, keepdims=True)
    return np.where(known, joints3d, joints3d.mean(0, where=known) if known.any() else [0, 0, 1000]).astype(np.float32)
