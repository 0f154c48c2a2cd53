"""An exported model whose answer can be computed by hand, for tests of everything around the network.

It sees a red and a blue rectangle as two people. Person and rectangle are related by one formula, `expected_pose`.
Uncertainties tell of the direction that is said to be up, see `expected_uncertainty`.
"""

import numpy as np
import tensorflow as tf

from metrabs_core.combined import CombinedModel
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix

RED_SCORE, BLUE_SCORE = 0.9, 0.5
PERSON_HEIGHT = 1700.0  # mm
FISHEYE_DEPTH = 77.0  # mm
UNCERTAINTY = 42.0  # mm
# A green top left pixel makes the model slow: a second per 51 of green above 51.
SLOW_GREEN_PER_SECOND = 51

_UNKNOWN = -np.ones([3, 3], np.float32)
_IDENTITY = np.eye(4, dtype=np.float32)
_GRID = np.stack([np.linspace(0, 1, NATIVE.n_joints), np.linspace(0, 1, NATIVE.n_joints) ** 2], 1).astype(np.float32)


def expected_pose(box, intrinsic_matrix, distortion_coeffs=(0,), distortion_model="") -> np.ndarray:
    """The model's pose [34, 3], mm, of a rectangle (left, top, width, height).

    The person is as tall as the rectangle; joint j lies at its fraction `_GRID[j]`, and every joint is one millimetre
    further away per unit of the distortion coefficients' sum, and further away in a fisheye picture (so that a test
    sees that they arrive).
    """
    left, top, width, height = (float(value) for value in box[:4])
    matrix = np.asarray(intrinsic_matrix, np.float64)
    depth = PERSON_HEIGHT * matrix[1, 1] / height + float(np.sum(distortion_coeffs))
    depth += FISHEYE_DEPTH * (distortion_model == "fisheye")
    pixels = np.array([left, top]) + _GRID * np.array([width, height])
    homogeneous = np.concatenate([pixels, np.ones([len(pixels), 1])], axis=1)
    return depth * homogeneous @ np.linalg.inv(matrix).T


def expected_uncertainty(up=(0, -1, 0)) -> float:
    """The model's uncertainty of every joint, mm: larger the further up is from that of an upright camera."""
    return UNCERTAINTY + 10 * float(np.linalg.norm(np.subtract(up, (0, -1, 0))))


class ClosedFormModel(tf.Module):
    """Has the methods and attributes of an exported model."""

    def __init__(self):
        super().__init__()
        self.crop_model = tf.Module()
        self.joint_names = tf.Variable(NATIVE.joint_names, trainable=False)
        self.joint_edges = tf.Variable(NATIVE.edges, trainable=False)
        conventions = {NATIVE.name: NATIVE, "smpl_24": SKELETONS["smpl_24"], "coco_19": SKELETONS["coco_19"]}
        self.per_skeleton_joint_names = {k: tf.Variable(s.joint_names, trainable=False) for k, s in conventions.items()}
        self.per_skeleton_edges = {k: tf.Variable(s.edges, trainable=False) for k, s in conventions.items()}
        self._conversions = {name: conversion_matrix(skeleton) for name, skeleton in conventions.items()}

    @tf.function(input_signature=CombinedModel.detect_poses.input_signature)
    def detect_poses(
        self,
        image,
        intrinsic_matrix=_UNKNOWN,
        distortion_coeffs=(0.0,) * 5,
        extrinsic_matrix=_IDENTITY,
        world_up_vector=(0.0, -1.0, 0.0),
        default_fov_degrees=55.0,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        detector_threshold=0.3,
        detector_nms_iou_threshold=0.7,
        max_detections=-1,
        detector_flip_aug=False,
        suppress_implausible_poses=True,
        distortion_model="",
    ):
        self._dawdle(image)
        pixels = tf.cast(image, tf.int32)
        red = (pixels[..., 0] > 128) & (pixels[..., 2] < 100)
        blue = (pixels[..., 2] > 128) & (pixels[..., 0] < 100)
        boxes = tf.concat([_box_of(red, RED_SCORE), _box_of(blue, BLUE_SCORE)], axis=0)
        boxes = tf.boolean_mask(boxes, boxes[:, 4] > detector_threshold)
        boxes = boxes if max_detections < 0 else boxes[:max_detections]
        return self._poses(
            image, boxes, intrinsic_matrix, distortion_coeffs, distortion_model, default_fov_degrees, skeleton,
            world_up_vector,
        )  # fmt: skip

    @tf.function(input_signature=CombinedModel.estimate_poses.input_signature)
    def estimate_poses(
        self,
        image,
        boxes,
        intrinsic_matrix=_UNKNOWN,
        distortion_coeffs=(0.0,) * 5,
        extrinsic_matrix=_IDENTITY,
        world_up_vector=(0.0, -1.0, 0.0),
        default_fov_degrees=55.0,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        distortion_model="",
    ):
        self._dawdle(image)
        prediction = self._poses(
            image, boxes, intrinsic_matrix, distortion_coeffs, distortion_model, default_fov_degrees, skeleton,
            world_up_vector,
        )  # fmt: skip
        del prediction["boxes"]
        return prediction

    @tf.function(input_signature=[])
    def predict_single_image(self):
        return ()

    @tf.function(input_signature=[])
    def predict_multi_image(self):
        return ()

    def _poses(self, image, boxes, matrix, distortion_coeffs, distortion_model, default_fov_degrees, skeleton, up):
        size = tf.cast(tf.shape(image)[:2], tf.float32)
        focal = tf.reduce_max(size) / (2 * tf.tan(default_fov_degrees * (np.pi / 360)))
        centre = (size - 1) / 2
        default = tf.stack([[focal, 0.0, centre[1]], [0.0, focal, centre[0]], [0.0, 0.0, 1.0]])
        matrix = tf.where(matrix[0, 0] < 0, default, matrix)
        depth = PERSON_HEIGHT * matrix[1, 1] / boxes[:, 3] + tf.reduce_sum(distortion_coeffs)
        depth += tf.where(distortion_model == "fisheye", FISHEYE_DEPTH, 0.0)
        pixels = boxes[:, tf.newaxis, :2] + _GRID * boxes[:, tf.newaxis, 2:4]
        homogeneous = tf.concat([pixels, tf.ones_like(pixels[..., :1])], axis=-1)
        rays = tf.einsum("ij,njk->nik", tf.linalg.inv(matrix), tf.transpose(homogeneous, [0, 2, 1]))
        poses3d = depth[:, tf.newaxis, tf.newaxis] * tf.transpose(rays, [0, 2, 1])
        poses2d = pixels
        cases = [
            (tf.equal(skeleton, name), lambda m=matrix: tf.constant(m)) for name, matrix in self._conversions.items()
        ]
        conversion = tf.case(cases, default=lambda: tf.eye(NATIVE.n_joints))
        poses3d = tf.einsum("jk,nkc->njc", conversion, poses3d)
        poses2d = tf.einsum("jk,nkc->njc", conversion, poses2d)
        uncertainties = tf.fill(tf.shape(poses2d)[:2], UNCERTAINTY + 10 * tf.norm(up - [0.0, -1.0, 0.0]))
        return {"boxes": boxes, "poses3d": poses3d, "poses2d": poses2d, "uncertainties": uncertainties}

    def _dawdle(self, image):
        seconds = tf.maximum(tf.cast(image[0, 0, 1], tf.float64) - SLOW_GREEN_PER_SECOND, 0) / SLOW_GREEN_PER_SECOND
        end = tf.timestamp() + seconds
        tf.while_loop(lambda _: tf.timestamp() < end, lambda x: [tf.linalg.matmul(x, x)], [tf.zeros([64, 64])])


def _box_of(mask, score):
    """[1, 5] box around the true pixels, with a score; [0, 5] if there are none."""
    where = tf.cast(tf.where(mask), tf.float32)
    corner = tf.reduce_min(where, axis=0) - 0.5
    size = tf.reduce_max(where, axis=0) + 0.5 - corner
    box = tf.stack([corner[1], corner[0], size[1], size[0], score])[tf.newaxis]
    return box[: tf.minimum(tf.shape(where)[0], 1)]


def export(path):
    """Write the model to a directory as a SavedModel."""
    tf.saved_model.save(ClosedFormModel(), str(path))
