"""A model out of the cache folder."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from metrabs_core.cameras import DEFAULT_FOV_DEGREES, UNKNOWN_INTRINSIC_MATRIX, UP, Camera
from metrabs_core.errors import UserError
from metrabs_core.prepared.detector import PreparedDetector
from metrabs_core.prepared.estimator import Cropping, PreparedEstimator
from metrabs_core.prepared.network import Network
from metrabs_core.skeletons import SKELETONS, convertible_skeletons

CONTENT, CROP_MODEL, DETECTOR = "content.json", "crop_model.tflite", "detector.tflite"
_IDENTITY = tuple(map(tuple, np.eye(4).tolist()))


class PreparedModel:
    """A model with a person detector whose ``detect_poses`` and both halves of it are ready to run.

    They take what those of ``metrabs_core.combined.CombinedModel`` take, and give arrays. The model has the other
    attributes and methods of ``metrabs_core.packaging.Model``, too: the first use of one loads the whole model, and
    with it TensorFlow.

    Attributes:
        detector: ``PreparedDetector``.
        estimator: ``PreparedEstimator``.

    Args:
        folder: that ``metrabs_core.prepared.prepare`` has written.
        detector_input_side: longer side of what the detector sees, pixels.
        load_whole: loads the whole model.

    Raises:
        OSError, ValueError, KeyError, RuntimeError: something in the folder is missing or damaged.
    """

    has_detector = True
    gpus = ()

    def __init__(self, folder: Path, detector_input_side: int, load_whole: Callable):
        self._load_whole, self._whole = load_whole, None
        content = json.loads((folder / CONTENT).read_text())
        self.card = content["card"]
        cropping = Cropping(**content["cropping"])
        skeleton = SKELETONS[cropping.skeleton]
        self.joint_names, self.joint_edges = list(skeleton.joint_names), np.array(skeleton.edges)
        skeletons = convertible_skeletons(skeleton)
        self.per_skeleton_joint_names = {name: list(other.joint_names) for name, other in skeletons.items()}
        self.per_skeleton_edges = {name: np.array(other.edges) for name, other in skeletons.items()}
        self.detector = PreparedDetector(Network(folder / DETECTOR), detector_input_side, **content["detector"])
        self.estimator = PreparedEstimator(Network(folder / CROP_MODEL), cropping)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if self._whole is None:
            self._whole = self._load_whole()
        return getattr(self._whole, name)

    def detect_poses(self, image, intrinsic_matrix=UNKNOWN_INTRINSIC_MATRIX, **options) -> dict:
        """As ``CombinedModel.detect_poses``: float32 arrays. Options are those of both halves."""
        names = inspect.signature(self.detect_boxes).parameters.keys() & options.keys()
        boxes = self.detect_boxes(image, **{name: options.pop(name) for name in names})["boxes"]
        return self.detect_poses_in_boxes(image, boxes, intrinsic_matrix, **options)

    def detect_boxes(
        self,
        image,
        detector_threshold=0.3,
        detector_nms_iou_threshold=0.7,
        max_detections=-1,
        detector_flip_aug=False,
    ) -> dict:
        """As ``CombinedModel.detect_boxes``: float32 [n, 5].

        Raises:
            UserError: the image has another shape or type.
        """
        # detectors take no limit for any number below 1
        threshold = np.inf if max_detections == 0 else detector_threshold
        found = self.detector(_image(image), threshold, detector_nms_iou_threshold, max_detections, detector_flip_aug)
        return {"boxes": found}

    def detect_poses_in_boxes(
        self,
        image,
        boxes,
        intrinsic_matrix=UNKNOWN_INTRINSIC_MATRIX,
        distortion_coeffs=(0.0,) * 5,
        extrinsic_matrix=_IDENTITY,
        world_up_vector=UP,
        default_fov_degrees=DEFAULT_FOV_DEGREES,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        suppress_implausible_poses=True,
        distortion_model="",
    ) -> dict:
        """As ``CombinedModel.detect_poses_in_boxes``: float32 arrays.

        ``internal_batch_size`` makes no difference, since each crop goes through the network by itself.

        Raises:
            UserError: an argument has another shape or type, or no such camera or skeleton exists.
        """
        image, boxes = _image(image), np.asarray(boxes, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] < 5:
            raise UserError(
                f"boxes: must have shape [n, 5]: left, top, width, height and score; got {list(boxes.shape)}."
            )
        if not np.isfinite(boxes).all():
            raise UserError(f"boxes: must be finite numbers; got {boxes.tolist()}.")
        for name, number in (("antialias_factor", antialias_factor), ("num_aug", num_aug)):
            if number < 1:
                raise UserError(f"{name}: must be at least 1; it is {number}.")
        if skeleton and skeleton not in self.per_skeleton_joint_names:
            known = ", ".join(self.per_skeleton_joint_names)
            raise UserError(f"skeleton: must be empty or one of {known}; it is {skeleton!r}.")
        if np.array_equal(intrinsic_matrix, UNKNOWN_INTRINSIC_MATRIX):
            height, width = image.shape[:2]
            intrinsic_matrix = Camera.from_fov(default_fov_degrees, width, height).intrinsic_matrix
        camera = Camera(intrinsic_matrix, distortion_coeffs, distortion_model, extrinsic_matrix, world_up_vector)
        return self.estimator(
            image,
            boxes[:, :5],
            camera,
            num_aug=num_aug,
            antialias_factor=antialias_factor,
            average_aug=average_aug,
            skeleton=skeleton,
            is_judged=suppress_implausible_poses,
        )


def _image(image) -> np.ndarray:
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"image: must be of type uint8 and shape [H, W, 3]; got {image.dtype.name} {list(image.shape)}."
        )
    return image
