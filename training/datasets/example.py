"""What every data set reader gives: annotated people in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metrabs_core.skeletons import Skeleton


@dataclass(frozen=True)
class Camera:
    """How a picture was taken.

    Attributes:
        intrinsic_matrix: float32 [3, 3], pixels.
        distortion_coeffs: float32 [0, 4, 5, 8, 12 or 14], OpenCV's order; empty for none.
        extrinsic_matrix: float32 [4, 4], world to camera, millimetres.
    """

    intrinsic_matrix: np.ndarray
    distortion_coeffs: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    extrinsic_matrix: np.ndarray = field(default_factory=lambda: np.eye(4, dtype=np.float32))


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
