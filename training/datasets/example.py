"""What every data set reader gives: annotated people in pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.skeletons import Skeleton

_UNKNOWN_FOCAL_LENGTH = 1500.0


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

    @classmethod
    def towards(cls, box: np.ndarray) -> "Camera":
        """A camera that looks at the centre of a box [4]: the one to assume of pictures whose camera isn't known.

        Crops around the box are plain cuts then, as the paper makes them of pictures with 2D labels.
        """
        left, top, width, height = np.float64(box)
        focal = _UNKNOWN_FOCAL_LENGTH
        return cls(np.array([[focal, 0, left + width / 2], [0, focal, top + height / 2], [0, 0, 1]], np.float32))

    def project(self, points: np.ndarray) -> np.ndarray:
        """Where points [..., 3] of the camera frame (mm) are in the picture: float32 [..., 2], pixels."""
        flat = np.asarray(points, np.float64).reshape(-1, 1, 3)
        if not len(flat):
            return np.zeros([*np.shape(points)[:-1], 2], np.float32)
        zero = np.zeros(3)
        pixels, _ = cv2.projectPoints(
            flat, zero, zero, np.float64(self.intrinsic_matrix), np.float64(self.distortion_coeffs)
        )
        return pixels.reshape([*np.shape(points)[:-1], 2]).astype(np.float32)

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the world in the camera frame: float64 [..., 3], mm."""
        matrix = np.float64(self.extrinsic_matrix)
        return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the camera frame in the world: float64 [..., 3], mm."""
        matrix = np.linalg.inv(np.float64(self.extrinsic_matrix))
        return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


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
