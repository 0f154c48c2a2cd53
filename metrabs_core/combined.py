"""The models that users call: full images in, absolute 3D poses out, with and without a person detector.

Every method is a ``tf.function`` of one fixed signature: one trace serves all image sizes and numbers of people, and
an exported SavedModel has the same methods, argument names and defaults. The names are those of the released MeTRAbs
models, so that their users need not change their code.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from metrabs_core import call_options as options
from metrabs_core import geometry
from metrabs_core.call_options import batched_method, require, single_method
from metrabs_core.cameras import FISHEYE_MODELS, N_COEFFS, PINHOLE_MODELS, UNKNOWN_INTRINSIC_MATRIX
from metrabs_core.estimator import PoseEstimator
from metrabs_core.skeletons import convertible_skeletons

_ESTIMATION = [options.IMAGE, options.BOXES, *options.CAMERA, *options.POSES, *options.NEWER]
_DETECTION = [options.IMAGE, *options.CAMERA, *options.POSES, *options.DETECTION, *options.NEWER]
_DETECTION_OF_BOXES = [options.IMAGE, *options.DETECTION_OF_BOXES]
_DETECTION_IN_BOXES = [*_ESTIMATION[:2], *options.CAMERA, *options.POSES, options.SUPPRESSION, *options.NEWER]
_FIRST_ESTIMATION = [
    options.IMAGE,
    options.FIRST_RELEASE_INTRINSICS,
    options.BOXES,
    *options.FIRST_RELEASE_POSES,
]
_FIRST_DETECTION = [
    options.IMAGE,
    options.FIRST_RELEASE_OPTIONAL_INTRINSICS,
    *options.FIRST_RELEASE_DETECTION,
    *options.FIRST_RELEASE_POSES,
]
_LAST_ROWS = (np.float32([0, 0, 1]), np.float32([0, 0, 0, 1]))
_FIRST_RELEASE_FOV_DEGREES = 50.0


class _PoseModel(tf.Module):
    """What the models with and without detector share: poses of people whose boxes are known."""

    def __init__(self, crop_model, name):
        super().__init__(name=name)
        self.estimator = PoseEstimator(crop_model)
        self.crop_model = crop_model
        describe_skeletons(self, crop_model.skeleton)

    @batched_method(_ESTIMATION)
    def estimate_poses_batched(self, call):
        """Absolute 3D poses of the people in given boxes of several images of one size.

        Returns:
            as ``estimate_poses``, ragged.
        """
        cameras = _cameras(call)
        boxes, image_index = _checked_boxes(call.images, call.boxes)
        prediction = self.estimator.estimate(
            call.images, boxes, image_index, cameras, call.world_up_vector, _checked_options(call)
        )
        result = self.estimator.finish(prediction, image_index, cameras, call.average_aug, call.skeleton)
        return {name: call.boxes.with_values(values) for name, values in result.items()}

    estimate_poses = single_method(
        "estimate_poses",
        "estimate_poses_batched",
        _ESTIMATION,
        """Absolute 3D poses of the people in given boxes of one image.

        Returns:
            dict of ``poses3d`` float32 [n, J, 3] mm, ``poses2d`` [n, J, 2] pixels, ``uncertainties`` [n, J] mm (one
            sigma); [n, num_aug, J, ...] without ``average_aug``.
        """,
    )

    def _first_release(self, images, boxes, intrinsics, internal_batch_size, n_aug):
        """Ragged poses3d and poses2d with what the first release's methods know of the camera."""
        size = tf.size(intrinsics)
        message = "intrinsics: must be empty or of shape [3, 3], or one such matrix per image; their shape is"
        with require(size % 9 == 0, message, tf.shape(intrinsics)):
            given = tf.reshape(intrinsics, [-1, 3, 3])
        # of unknown ones there are none
        given = tf.concat([given, tf.fill([tf.cast(size == 0, tf.int32), 3, 3], -1.0)], axis=0)
        result = self.estimate_poses_batched(
            images,
            boxes,
            given,
            default_fov_degrees=_FIRST_RELEASE_FOV_DEGREES,
            internal_batch_size=internal_batch_size,
            num_aug=n_aug,
        )
        return result["poses3d"], result["poses2d"]


class MultipersonModel(_PoseModel):
    """Poses of people whose boxes are known, in full images.

    Args:
        crop_model: see ``metrabs_core.estimator.PoseEstimator``.
    """

    def __init__(self, crop_model):
        super().__init__(crop_model, name="multiperson")

    @batched_method(_FIRST_ESTIMATION)
    def predict_multi_image(self, call):
        """The first release's method for several images of one size.

        Returns:
            poses3d float32 [N, None, J, 3] mm, ragged.
        """
        return self._first_release(call.images, call.boxes, call.intrinsics, call.internal_batch_size, call.n_aug)[0]

    predict_single_image = single_method(
        "predict_single_image",
        "predict_multi_image",
        _FIRST_ESTIMATION,
        """The first release's method.

        Returns:
            poses3d float32 [n, J, 3] mm.
        """,
    )


class CombinedModel(_PoseModel):
    """Person detector and pose estimator in one: full images in, absolute poses of everybody out.

    Args:
        crop_model: see ``metrabs_core.estimator.PoseEstimator``.
        detector: see ``metrabs_core.detection.Detector``.
    """

    def __init__(self, crop_model, detector):
        super().__init__(crop_model, name="combined")
        self.detector = detector

    @batched_method(_DETECTION)
    def detect_poses_batched(self, call):
        """Find people in several images of one size and estimate their absolute 3D poses.

        Returns:
            as ``detect_poses``, ragged: boxes [N, None, 5] and so on.
        """
        return self._poses_of_detections(call, self._detections(call))

    @batched_method(_DETECTION_OF_BOXES)
    def detect_boxes_batched(self, call):
        """Find people in several images of one size, without their poses: the first half of ``detect_poses_batched``.

        Returns:
            as ``detect_boxes``, ragged.
        """
        return {"boxes": self._detections(call)}

    @batched_method(_DETECTION_IN_BOXES)
    def detect_poses_in_boxes_batched(self, call):
        """The second half of ``detect_poses_batched``, for those boxes of the first that are of interest.

        Returns:
            as ``detect_poses``, ragged.
        """
        boxes, _ = _checked_boxes(call.images, call.boxes, n_numbers=5)
        return self._poses_of_detections(call, call.boxes.with_values(boxes))

    def _detections(self, call):
        """Boxes with scores, ragged float32 [N, None, 5]."""
        # detectors take no limit for any number below 1
        threshold = tf.where(call.max_detections == 0, np.inf, call.detector_threshold)
        return self.detector(
            call.images, threshold, call.detector_nms_iou_threshold, call.max_detections, call.detector_flip_aug
        )

    def _poses_of_detections(self, call, found):
        """What ``detect_poses_batched`` returns, of detections."""
        cameras = _cameras(call)
        boxes, image_index = found.values, tf.cast(found.value_rowids(), tf.int32)
        prediction = self.estimator.estimate(
            call.images, boxes, image_index, cameras, call.world_up_vector, _checked_options(call)
        )
        is_kept = tf.cond(
            call.suppress_implausible_poses,
            lambda: self.estimator.select_plausible(prediction, boxes, image_index, cameras),
            lambda: tf.ones_like(image_index, tf.bool),
        )
        kept = tf.where(is_kept)[:, 0]
        prediction = {name: tf.gather(values, kept) for name, values in prediction.items()}
        image_index = tf.gather(image_index, kept)
        result = self.estimator.finish(prediction, image_index, cameras, call.average_aug, call.skeleton)
        result["boxes"] = tf.gather(boxes, kept)
        n_images = tf.shape(call.images, tf.int64)[0]
        return {
            name: tf.RaggedTensor.from_value_rowids(values, tf.cast(image_index, tf.int64), n_images, validate=False)
            for name, values in result.items()
        }

    detect_poses = single_method(
        "detect_poses",
        "detect_poses_batched",
        _DETECTION,
        """Find people in one image and estimate their absolute 3D poses.

        Returns:
            dict of ``boxes`` float32 [n, 5] (left, top, width, height, score), ``poses3d`` [n, J, 3] mm, ``poses2d``
            [n, J, 2] pixels and ``uncertainties`` [n, J] mm.
        """,
    )
    detect_boxes = single_method(
        "detect_boxes",
        "detect_boxes_batched",
        _DETECTION_OF_BOXES,
        """Find people in one image, without their poses: the first half of ``detect_poses``.

        Returns:
            dict of ``boxes`` float32 [n, 5] (left, top, width, height, score).
        """,
    )
    detect_poses_in_boxes = single_method(
        "detect_poses_in_boxes",
        "detect_poses_in_boxes_batched",
        _DETECTION_IN_BOXES,
        """The second half of ``detect_poses``, for those boxes of the first that are of interest.

        Returns:
            as ``detect_poses``.
        """,
    )

    @batched_method(_FIRST_DETECTION)
    def predict_multi_image(self, call):
        """The first release's method for several images of one size.

        Returns:
            as ``predict_single_image``, ragged.
        """
        boxes = self.detector(
            call.images, call.detector_threshold, call.detector_nms_iou_threshold, -1, call.detector_flip_aug
        )
        return boxes, *self._first_release(call.images, boxes, call.intrinsics, call.internal_batch_size, call.n_aug)

    predict_single_image = single_method(
        "predict_single_image",
        "predict_multi_image",
        _FIRST_DETECTION,
        """The first release's method.

        Returns:
            detections float32 [n, 5] (left, top, width, height, score), poses3d [n, J, 3] mm, poses2d [n, J, 2] pixels.
        """,
    )


def describe_skeletons(module, skeleton):
    """Give a module the attributes that tell its users about its joints.

    ``joint_names`` and ``joint_edges`` of the module's own skeleton, ``per_skeleton_joint_names`` and
    ``per_skeleton_edges`` (dicts) of all the skeletons that it can be converted to.
    """
    skeletons = convertible_skeletons(skeleton)
    module.joint_names = constant(skeleton.joint_names)
    module.joint_edges = constant(skeleton.edges)
    module.per_skeleton_joint_names = {name: constant(s.joint_names) for name, s in skeletons.items()}
    module.per_skeleton_edges = {name: constant(s.edges) for name, s in skeletons.items()}


def constant(values):
    """An attribute that a SavedModel keeps: those keep variables only."""
    return tf.Variable(values, trainable=False)


def _cameras(call):
    """One complete camera per image, ``geometry.Cameras`` [N]."""
    n_images = tf.shape(call.images)[0]
    intrinsic_matrix, extrinsic_matrix, distortion_coeffs = (
        call.intrinsic_matrix,
        call.extrinsic_matrix,
        call.distortion_coeffs,
    )

    def one_per_image(values, name):
        n_given = tf.shape(values)[0]
        message = f"{name}: one for each image or one for all is needed; the numbers of images and of these are"
        with require((n_given == n_images) | (n_given == 1), message, n_images, n_given):
            return tf.gather(values, tf.range(n_images) % n_given)

    assumed = geometry.intrinsics_from_field_of_view(call.default_fov_degrees, tf.shape(call.images)[1:3])
    is_unknown = tf.reduce_all(intrinsic_matrix == UNKNOWN_INTRINSIC_MATRIX, axis=[1, 2], keepdims=True)
    intrinsic_matrix = tf.where(is_unknown, assumed, intrinsic_matrix)
    focal_lengths = tf.linalg.diag_part(intrinsic_matrix)[:, :2]
    message = "intrinsic_matrix: focal lengths must be positive; they are"
    with require(tf.reduce_all(focal_lengths > 0), message, focal_lengths):
        intrinsic_matrix = tf.identity(intrinsic_matrix)
    last_rows = [intrinsic_matrix[:, -1], extrinsic_matrix[:, -1]]
    is_right = [tf.reduce_all(tf.abs(row - expected) < 1e-5) for row, expected in zip(last_rows, _LAST_ROWS)]
    message = "intrinsic_matrix, extrinsic_matrix: last rows must be 0 0 1 and 0 0 0 1 (is one transposed?); they are"
    with require(is_right[0] & is_right[1], message, *last_rows):
        intrinsic_matrix = tf.identity(intrinsic_matrix)
    n_coeffs = tf.shape(distortion_coeffs)[1]
    message = "distortion_coeffs: 5 to 12 coefficients are supported (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4); there are"
    with require(n_coeffs <= N_COEFFS, message, n_coeffs):
        distortion_coeffs = one_per_image(distortion_coeffs, "distortion_coeffs")
    cameras = geometry.Cameras.calibrated(
        one_per_image(intrinsic_matrix, "intrinsic_matrix"),
        distortion_coeffs,
        one_per_image(_is_fisheye(call.distortion_model), "distortion_model"),
        one_per_image(extrinsic_matrix, "extrinsic_matrix"),
    )
    message = "distortion_coeffs: no lens has these; they are"
    with require(tf.reduce_all(cameras.is_possible), message, distortion_coeffs):
        return replace(cameras, lens=tf.identity(cameras.lens))


def _is_fisheye(distortion_model):
    """Which lens models are fisheye models: string [n] -> bool [n]."""
    names = [*FISHEYE_MODELS, *PINHOLE_MODELS]
    is_named = distortion_model[:, tf.newaxis] == names
    message = f"distortion_model: must be empty or one of {', '.join(filter(None, names))}; it is"
    with require(tf.reduce_all(tf.reduce_any(is_named, axis=1)), message, distortion_model):
        return tf.reduce_any(is_named[:, : len(FISHEYE_MODELS)], axis=1)


def _checked_options(call):
    with (
        require(call.antialias_factor >= 1, "antialias_factor: must be at least 1; it is", call.antialias_factor),
        require(call.num_aug >= 1, "num_aug (n_aug): must be at least 1; it is", call.num_aug),
    ):
        return {
            "internal_batch_size": call.internal_batch_size,
            "antialias_factor": tf.identity(call.antialias_factor),
            "num_aug": tf.identity(call.num_aug),
        }


def _checked_boxes(images, boxes, n_numbers=4):
    n_images, n_lists = tf.shape(images, tf.int64)[0], boxes.nrows()
    n_given = tf.shape(boxes.values)[1]
    names = "left, top, width, height and score" if n_numbers == 5 else "left, top, width and height"
    message = "boxes: one list of boxes for each image is needed; the numbers of images and of lists are"
    with (
        require(n_lists == n_images, message, n_images, n_lists),
        require(n_given >= n_numbers, f"boxes: {names} are needed; numbers per box:", n_given),
    ):
        return tf.identity(boxes.values), tf.cast(boxes.value_rowids(), tf.int32)
