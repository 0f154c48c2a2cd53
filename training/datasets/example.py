"""What every data set reader gives: annotated people in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.skeletons import Skeleton

_UNKNOWN_FOCAL_LENGTH = 1500.0


def assumed_camera(box: np.ndarray) -> Camera:
    """A camera that looks at the centre of a box [4]: the one to assume of pictures whose camera isn't known.

    Crops around the box are plain cuts then, as the paper makes them of pictures with 2D labels.
    """
    left, top, width, height = np.float64(box)
    return Camera.pinhole(_UNKNOWN_FOCAL_LENGTH, (left + width / 2, top + height / 2))


@dataclass(frozen=True)
class Example:
    """One annotated person in a picture.

    Attributes:
        image_path: the picture.
        box: float32 [4], left, top, width, height, pixels.
        joints2d: float32 [J, 2], pixels of the (distorted) picture; finite where invalid, too.
        valid: bool [J], joints that are annotated.
        camera: how the picture was taken; pictures that share a camera share the object.
        joints3d: float32 [J, 3], mm, camera frame, finite where invalid, too; None if there are only 2D labels.
        universal3d: like joints3d, of a skeleton of normalized height (MPI-INF-3DHP and its relatives), or None.
        mask: {"size", "counts"} of the person in the picture, COCO run lengths, or None.
        activity: what the person does, for evaluation by activity.
        scene: where, for evaluation by scene.
        person: number of the person in its sequence, where a data set follows several.
    """

    image_path: Path
    box: np.ndarray
    joints2d: np.ndarray
    valid: np.ndarray
    camera: Camera
    joints3d: np.ndarray | None = None
    universal3d: np.ndarray | None = None
    mask: dict | None = None
    activity: str = ""
    scene: str = ""
    person: int = 0


@dataclass(frozen=True)
class Dataset:
    """The people of one part of a data set.

    Attributes:
        name: of the data set.
        skeleton: names of the J joints of the examples, and bones.
        examples: the people, in a fixed order.
    """

    name: str
    skeleton: Skeleton
    examples: Sequence[Example]
