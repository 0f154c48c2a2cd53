"""The packaged model in parts: with known boxes, without its network, without its crops."""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from metrabs_core import models
from metrabs_core.combined import CombinedModel
from metrabs_core.detection import load_detector
from metrabs_core.packaging import Model, load_crop_model
from training.fetch_detector import RELEASED


def packaged_crop_model(weights_dtype: str = "float32", name: str = models.DEFAULT):
    """A packaged model's crop model and card."""
    return load_crop_model(name, weights_dtype)


class KnownPeople(tf.Module):
    """Stands in for a detector: as many of the given boxes as ``max_detections`` says.

    Args:
        boxes: float32 [n, 4]; all of them where ``max_detections`` is below 1.
        detector: runs before, its result is thrown away; None for nothing.
    """

    def __init__(self, boxes, detector=None):
        super().__init__(name="known_people")
        self._boxes = tf.pad(boxes, [[0, 0], [0, 1]], constant_values=1.0)
        self._detector = detector

    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        """Boxes of the first image: see ``metrabs_core.detection.Detector``."""
        boxes = self._boxes[: tf.where(max_detections < 1, len(self._boxes), max_detections)]
        if self._detector:
            found = self._detector(images, threshold, nms_iou_threshold, max_detections, flip_aug)
            # nothing, but TensorFlow must run the detector to know
            boxes += tf.cast(tf.shape(found.values)[0] < 0, tf.float32)
        return tf.RaggedTensor.from_row_lengths(boxes, tf.shape(boxes, tf.int64)[:1])


class _NoNetwork(tf.Module):
    """Stands in for a crop model: takes crops, and gives the same pose for all."""

    def __init__(self, crop_model):
        super().__init__(name="no_network")
        self.skeleton, self.crop_side = crop_model.skeleton, crop_model.crop_side
        self.bone_lengths = crop_model.bone_lengths
        self.crop_margin, self.max_roll_degrees = crop_model.crop_margin, crop_model.max_roll_degrees

    def estimate(self, crops, intrinsics):
        """See ``metrabs_core.packaging.FrozenCropModel.estimate``."""
        # nothing, but TensorFlow must make the crops to know
        nothing = tf.cast(crops[:, 0, 0, 0] + intrinsics[:, 2, 2] < 0.0, tf.float32)
        poses, uncertainties = _same_poses(self.skeleton.n_joints, tf.shape(crops)[:1])
        return {"poses3d": poses + nothing[:, tf.newaxis, tf.newaxis], "uncertainty": uncertainties}


def _same_poses(n_joints, shape):
    """Poses [*shape, J, 3] and uncertainties [*shape, J], all the same."""
    pose = np.random.default_rng(0).normal([0.0, 0.0, 4000.0], 300.0, [n_joints, 3]).astype(np.float32)
    poses = tf.broadcast_to(pose, tf.concat([shape, pose.shape], axis=0))
    return poses, tf.ones_like(poses[..., 0])


def yolov4(name: str):
    """YOLOv4 or YOLOv4-tiny with weights of zeros, which do for the time; all that it finds has a score of 0.25."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zeros.weights"
        path.write_bytes(np.array([0, 2, 5], "<i4").tobytes() + bytes(RELEASED[name].size - 12))
        return load_detector(name, path)


def whole(boxes, detector, crop_model, card) -> Model:
    """Everything, with ``max_detections`` of the known boxes instead of those that the detector finds."""
    return Model(CombinedModel(crop_model, KnownPeople(boxes, detector)), card)


def without_networks(boxes, crop_model, card) -> Model:
    """Cropping and everything after the crop model."""
    return Model(CombinedModel(_NoNetwork(crop_model), KnownPeople(boxes)), card)


def only_after_networks(boxes, crop_model, card) -> Model:
    """Everything after the crop model: poses judged, averaged, converted, projected."""
    combined = CombinedModel(_NoNetwork(crop_model), KnownPeople(boxes))

    def estimate(images, boxes, image_index, cameras, world_up_vector, options):
        shape = tf.stack([tf.shape(boxes)[0], options["num_aug"]])
        poses, uncertainties = _same_poses(crop_model.skeleton.n_joints, shape)
        return {"poses3d": poses, "uncertainties": uncertainties}

    combined.estimator.estimate = estimate
    return Model(combined, card)
