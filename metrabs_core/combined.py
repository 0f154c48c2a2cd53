"""The models that users call: full images in, absolute 3D poses out, with and without a person detector.

Every method is a ``tf.function`` of one fixed signature: one trace serves all image sizes and numbers of people, and
an exported SavedModel has the same methods, argument names and defaults. The names are those of the released MeTRAbs
models, so that their users need not change their code.
"""

from dataclasses import replace

import numpy as np
import tensorflow as tf

from metrabs_core import geometry
from metrabs_core.cameras import FISHEYE_MODELS, N_COEFFS, PINHOLE_MODELS
from metrabs_core.estimator import PoseEstimator, convertible_skeletons

UNKNOWN_INTRINSIC_MATRIX = ((-1.0, -1.0, -1.0),) * 3
_NO_DISTORTION = (0.0,) * 5
_IDENTITY_EXTRINSICS = tuple(map(tuple, np.eye(4, dtype=np.float32).tolist()))
_LAST_ROWS = (np.float32([0, 0, 1]), np.float32([0, 0, 0, 1]))
_UP = (0.0, -1.0, 0.0)
_FIRST_RELEASE_FOV_DEGREES = 50.0


def _spec(name, shape=(), dtype=tf.float32):
    return tf.TensorSpec(shape, dtype, name)


_IMAGE = _spec("image", [None, None, 3], tf.uint8)
_IMAGES = _spec("images", [None, None, None, 3], tf.uint8)
_BOXES = _spec("boxes", [None, None])
_RAGGED_BOXES = tf.RaggedTensorSpec([None, None, None], tf.float32, ragged_rank=1)
_WORLD = [_spec("world_up_vector", [3]), _spec("default_fov_degrees")]
_CAMERA = [
    _spec("intrinsic_matrix", [3, 3]),
    # a row or a column is what OpenCV's calibration gives
    _spec("distortion_coeffs", None),
    _spec("extrinsic_matrix", [4, 4]),
    *_WORLD,
]
_CAMERAS = [
    _spec("intrinsic_matrix", [None, 3, 3]),
    _spec("distortion_coeffs", [None, None]),
    _spec("extrinsic_matrix", [None, 4, 4]),
    *_WORLD,
]
_POSE_OPTIONS = [
    _spec("internal_batch_size", dtype=tf.int32),
    _spec("antialias_factor", dtype=tf.int32),
    _spec("num_aug", dtype=tf.int32),
    _spec("average_aug", dtype=tf.bool),
    _spec("skeleton", dtype=tf.string),
]
_DETECTION_OPTIONS = [
    _spec("detector_threshold"),
    _spec("detector_nms_iou_threshold"),
    _spec("max_detections", dtype=tf.int32),
    _spec("detector_flip_aug", dtype=tf.bool),
    _spec("suppress_implausible_poses", dtype=tf.bool),
]
# Last of all, so that the released models' arguments keep their places.
_LENS = _spec("distortion_model", dtype=tf.string)
_LENSES = _spec("distortion_model", [None], tf.string)
# Of any shape: empty means unknown. That is how the first release had it.
_FIRST_RELEASE_INTRINSICS = _spec("intrinsics", None)
_FIRST_RELEASE_OPTIONS = [_spec("internal_batch_size", dtype=tf.int32), _spec("n_aug", dtype=tf.int32)]
_FIRST_RELEASE_DETECTION = [
    _spec("detector_threshold"),
    _spec("detector_nms_iou_threshold"),
    _spec("detector_flip_aug", dtype=tf.bool),
]


class _PoseModel(tf.Module):
    """What the models with and without detector share: poses of people whose boxes are known."""

    def __init__(self, crop_model, name):
        super().__init__(name=name)
        self.estimator = PoseEstimator(crop_model)
        self.crop_model = crop_model
        describe_skeletons(self, crop_model.skeleton)

    @tf.function(autograph=False, input_signature=[_IMAGE, _BOXES, *_CAMERA, *_POSE_OPTIONS, _LENS])
    def estimate_poses(
        self,
        image,
        boxes,
        intrinsic_matrix=UNKNOWN_INTRINSIC_MATRIX,
        distortion_coeffs=_NO_DISTORTION,
        extrinsic_matrix=_IDENTITY_EXTRINSICS,
        world_up_vector=_UP,
        default_fov_degrees=55.0,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        distortion_model="",
    ):
        """Absolute 3D poses of the people in given boxes of one image.

        Args:
            image: uint8 [H, W, 3], RGB.
            boxes: float32 [n, 4 or more], left, top, width, height in pixels; what follows is ignored.
            intrinsic_matrix: float32 [3, 3]; unknown by default, then made from ``default_fov_degrees``.
            distortion_coeffs: float32 [5 to 12], or one row or column of them, in OpenCV's order; [4] of a fisheye
                lens.
            extrinsic_matrix: float32 [4, 4], from world to camera space, mm. Results are in world space.
            world_up_vector: float32 [3], up in world space; crops are upright with regard to it.
            default_fov_degrees: field of view over the longer side of the image where the intrinsics are unknown.
            internal_batch_size: at most this many crops go through the network at once.
            antialias_factor: crops are drawn this many times larger and averaged down.
            num_aug: number of augmented crops per person (test-time augmentation); 1 is the plain crop only.
            average_aug: return the mean over the augmentations, or all of them.
            skeleton: name of the skeleton wanted (see ``per_skeleton_joint_names``); '' for the model's own.
            distortion_model: '' for OpenCV's lens model, 'fisheye' for OpenCV's fisheye model; the names that ROS has
                for them are known, too.

        Returns:
            dict of ``poses3d`` float32 [n, J, 3] mm, ``poses2d`` [n, J, 2] pixels, ``uncertainties`` [n, J] mm (one
            sigma); [n, num_aug, J, ...] without ``average_aug``.
        """
        result = self.estimate_poses_batched(
            image[tf.newaxis],
            tf.RaggedTensor.from_row_lengths(boxes, tf.shape(boxes, tf.int64)[:1]),
            intrinsic_matrix[tf.newaxis],
            _row(distortion_coeffs),
            extrinsic_matrix[tf.newaxis],
            world_up_vector,
            default_fov_degrees,
            internal_batch_size,
            antialias_factor,
            num_aug,
            average_aug,
            skeleton,
            distortion_model[tf.newaxis],
        )
        return _only_image(result)

    @tf.function(autograph=False, input_signature=[_IMAGES, _RAGGED_BOXES, *_CAMERAS, *_POSE_OPTIONS, _LENSES])
    def estimate_poses_batched(
        self,
        images,
        boxes,
        intrinsic_matrix=(UNKNOWN_INTRINSIC_MATRIX,),
        distortion_coeffs=(_NO_DISTORTION,),
        extrinsic_matrix=(_IDENTITY_EXTRINSICS,),
        world_up_vector=_UP,
        default_fov_degrees=55.0,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        distortion_model=("",),
    ):
        """Absolute 3D poses of the people in given boxes of several images of one size.

        As ``estimate_poses``, with images uint8 [N, H, W, 3], ragged boxes float32 [N, None, 4 or more], and one camera
        per image or one for all: [N or 1, 3, 3], [N or 1, 4 to 12], [N or 1, 4, 4], [N or 1].
        The results are ragged.
        """
        cameras = _cameras(
            images, intrinsic_matrix, distortion_coeffs, distortion_model, extrinsic_matrix, default_fov_degrees
        )
        options = _checked_options(internal_batch_size, antialias_factor, num_aug)
        flat_boxes, image_index = _checked_boxes(images, boxes)
        prediction = self.estimator.estimate(images, flat_boxes, image_index, cameras, world_up_vector, options)
        result = self.estimator.finish(prediction, image_index, cameras, average_aug, skeleton)
        return {name: boxes.with_values(values) for name, values in result.items()}

    def _first_release(self, images, boxes, intrinsics, internal_batch_size, n_aug):
        """Ragged poses3d and poses2d with what the first release's methods know of the camera."""
        size = tf.size(intrinsics)
        message = "intrinsics: must be empty or of shape [3, 3], or one such matrix per image; their shape is"
        with _require(size % 9 == 0, message, tf.shape(intrinsics)):
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

    @tf.function(autograph=False, input_signature=[_IMAGE, _FIRST_RELEASE_INTRINSICS, _BOXES, *_FIRST_RELEASE_OPTIONS])
    def predict_single_image(self, image, intrinsics, boxes, internal_batch_size=64, n_aug=5):
        """The first release's method: poses3d float32 [n, J, 3] mm of the people in ``boxes`` [n, 4 or more].

        ``intrinsics`` is float32 [3, 3], or empty: a field of view of 50 degrees over the longer side is assumed.
        """
        ragged = tf.RaggedTensor.from_row_lengths(boxes, tf.shape(boxes, tf.int64)[:1])
        return self.predict_multi_image(image[tf.newaxis], intrinsics, ragged, internal_batch_size, n_aug).values

    @tf.function(
        autograph=False, input_signature=[_IMAGES, _FIRST_RELEASE_INTRINSICS, _RAGGED_BOXES, *_FIRST_RELEASE_OPTIONS]
    )
    def predict_multi_image(self, images, intrinsics, boxes, internal_batch_size=64, n_aug=5):
        """The first release's method for images [N, H, W, 3] and ragged boxes: ragged poses3d [N, None, J, 3] mm."""
        return self._first_release(images, boxes, intrinsics, internal_batch_size, n_aug)[0]


class CombinedModel(_PoseModel):
    """Person detector and pose estimator in one: full images in, absolute poses of everybody out.

    Args:
        crop_model: see ``metrabs_core.estimator.PoseEstimator``.
        detector: see ``metrabs_core.detection.Detector``.
    """

    def __init__(self, crop_model, detector):
        super().__init__(crop_model, name="combined")
        self.detector = detector

    @tf.function(autograph=False, input_signature=[_IMAGE, *_CAMERA, *_POSE_OPTIONS, *_DETECTION_OPTIONS, _LENS])
    def detect_poses(
        self,
        image,
        intrinsic_matrix=UNKNOWN_INTRINSIC_MATRIX,
        distortion_coeffs=_NO_DISTORTION,
        extrinsic_matrix=_IDENTITY_EXTRINSICS,
        world_up_vector=_UP,
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
        """Find people in one image and estimate their absolute 3D poses.

        Args: as for ``estimate_poses``, without boxes, and
            detector_threshold: people of lower score are left out.
            detector_nms_iou_threshold: of two boxes that overlap more, only the better stays.
            max_detections: at most this many people, those of highest score; -1 means no limit.
            detector_flip_aug: detect in the mirrored image too.
            suppress_implausible_poses: drop poses that no person can have and second poses of the same person.

        Returns:
            dict of ``boxes`` float32 [n, 5] (left, top, width, height, score), ``poses3d`` [n, J, 3] mm, ``poses2d``
            [n, J, 2] pixels and ``uncertainties`` [n, J] mm.
        """
        result = self.detect_poses_batched(
            image[tf.newaxis],
            intrinsic_matrix[tf.newaxis],
            _row(distortion_coeffs),
            extrinsic_matrix[tf.newaxis],
            world_up_vector,
            default_fov_degrees,
            internal_batch_size,
            antialias_factor,
            num_aug,
            average_aug,
            skeleton,
            detector_threshold,
            detector_nms_iou_threshold,
            max_detections,
            detector_flip_aug,
            suppress_implausible_poses,
            distortion_model[tf.newaxis],
        )
        return _only_image(result)

    @tf.function(autograph=False, input_signature=[_IMAGES, *_CAMERAS, *_POSE_OPTIONS, *_DETECTION_OPTIONS, _LENSES])
    def detect_poses_batched(
        self,
        images,
        intrinsic_matrix=(UNKNOWN_INTRINSIC_MATRIX,),
        distortion_coeffs=(_NO_DISTORTION,),
        extrinsic_matrix=(_IDENTITY_EXTRINSICS,),
        world_up_vector=_UP,
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
        distortion_model=("",),
    ):
        """Find people in several images of one size and estimate their absolute 3D poses.

        As ``detect_poses``, with images uint8 [N, H, W, 3] and one camera per image or one for all. The results are
        ragged: boxes [N, None, 5] and so on.
        """
        cameras = _cameras(
            images, intrinsic_matrix, distortion_coeffs, distortion_model, extrinsic_matrix, default_fov_degrees
        )
        options = _checked_options(internal_batch_size, antialias_factor, num_aug)
        # detectors take no limit for any number below 1
        threshold = tf.where(max_detections == 0, np.inf, detector_threshold)
        boxes = self.detector(images, threshold, detector_nms_iou_threshold, max_detections, detector_flip_aug)
        flat_boxes, image_index = boxes.values, tf.cast(boxes.value_rowids(), tf.int32)
        prediction = self.estimator.estimate(images, flat_boxes, image_index, cameras, world_up_vector, options)
        is_kept = tf.cond(
            suppress_implausible_poses,
            lambda: self.estimator.select_plausible(prediction, flat_boxes, image_index, cameras),
            lambda: tf.ones_like(image_index, tf.bool),
        )
        kept = tf.where(is_kept)[:, 0]
        prediction = {name: tf.gather(values, kept) for name, values in prediction.items()}
        image_index = tf.gather(image_index, kept)
        result = self.estimator.finish(prediction, image_index, cameras, average_aug, skeleton)
        result["boxes"] = tf.gather(flat_boxes, kept)
        n_images = tf.shape(images, tf.int64)[0]
        return {
            name: tf.RaggedTensor.from_value_rowids(values, tf.cast(image_index, tf.int64), n_images, validate=False)
            for name, values in result.items()
        }

    @tf.function(
        autograph=False,
        input_signature=[_IMAGE, _FIRST_RELEASE_INTRINSICS, *_FIRST_RELEASE_DETECTION, *_FIRST_RELEASE_OPTIONS],
    )
    def predict_single_image(
        self,
        image,
        intrinsics=(),
        detector_threshold=0.5,
        detector_nms_iou_threshold=0.4,
        detector_flip_aug=False,
        internal_batch_size=64,
        n_aug=5,
    ):
        """The first release's method.

        Args:
            image: uint8 [H, W, 3], RGB.
            intrinsics: float32 [3, 3], or empty: a field of view of 50 degrees over the longer side is assumed.
            detector_threshold: people of lower score are left out.
            detector_nms_iou_threshold: of two boxes that overlap more, only the better stays.
            detector_flip_aug: detect in the mirrored image too.
            internal_batch_size: at most this many crops go through the network at once.
            n_aug: number of augmented crops per person.

        Returns:
            detections float32 [n, 5] (left, top, width, height, score), poses3d [n, J, 3] mm, poses2d [n, J, 2] pixels.
        """
        detections, poses3d, poses2d = self.predict_multi_image(
            image[tf.newaxis],
            intrinsics,
            detector_threshold,
            detector_nms_iou_threshold,
            detector_flip_aug,
            internal_batch_size,
            n_aug,
        )
        return detections.values, poses3d.values, poses2d.values

    @tf.function(
        autograph=False,
        input_signature=[_IMAGES, _FIRST_RELEASE_INTRINSICS, *_FIRST_RELEASE_DETECTION, *_FIRST_RELEASE_OPTIONS],
    )
    def predict_multi_image(
        self,
        images,
        intrinsics=(),
        detector_threshold=0.5,
        detector_nms_iou_threshold=0.4,
        detector_flip_aug=False,
        internal_batch_size=64,
        n_aug=5,
    ):
        """The first release's method for several images of one size: ``predict_single_image`` with ragged results.

        ``intrinsics`` is float32 [N, 3, 3], one matrix for all, or empty.
        """
        boxes = self.detector(images, detector_threshold, detector_nms_iou_threshold, -1, detector_flip_aug)
        return boxes, *self._first_release(images, boxes, intrinsics, internal_batch_size, n_aug)


def describe_skeletons(module, skeleton):
    """Give a module the attributes that tell its users about its joints.

    ``joint_names`` and ``joint_edges`` of the module's own skeleton, ``per_skeleton_joint_names`` and
    ``per_skeleton_edges`` (dicts) of all the skeletons that can be had from it.
    """
    skeletons = convertible_skeletons(skeleton)
    module.joint_names = constant(skeleton.joint_names)
    module.joint_edges = constant(skeleton.edges)
    module.per_skeleton_joint_names = {name: constant(s.joint_names) for name, s in skeletons.items()}
    module.per_skeleton_edges = {name: constant(s.edges) for name, s in skeletons.items()}


def constant(values):
    """An attribute that a SavedModel keeps: those keep variables only."""
    return tf.Variable(values, trainable=False)


def _only_image(result):
    return {name: ragged.values for name, ragged in result.items()}


def _row(distortion_coeffs):
    """Distortion coefficients of one camera, float32 [m], [1, m] or [m, 1] -> [1, m]."""
    size = tf.size(distortion_coeffs)
    message = "distortion_coeffs: must be a list of 4 to 12 coefficients; their shape is"
    with _require(tf.reduce_max(tf.shape(distortion_coeffs)) == size, message, tf.shape(distortion_coeffs)):
        return tf.reshape(distortion_coeffs, [1, -1])


def _cameras(images, intrinsic_matrix, distortion_coeffs, distortion_model, extrinsic_matrix, default_fov_degrees):
    """One complete camera per image, ``geometry.Cameras`` [N]."""
    n_images = tf.shape(images)[0]

    def one_per_image(values, name):
        n_given = tf.shape(values)[0]
        message = f"{name}: one for each image or one for all is needed; the numbers of images and of these are"
        with _require((n_given == n_images) | (n_given == 1), message, n_images, n_given):
            return tf.gather(values, tf.range(n_images) % n_given)

    assumed = geometry.intrinsics_from_field_of_view(default_fov_degrees, tf.shape(images)[1:3])
    is_unknown = tf.reduce_all(intrinsic_matrix == UNKNOWN_INTRINSIC_MATRIX, axis=[1, 2], keepdims=True)
    intrinsic_matrix = tf.where(is_unknown, assumed, intrinsic_matrix)
    focal_lengths = tf.linalg.diag_part(intrinsic_matrix)[:, :2]
    message = "intrinsic_matrix: focal lengths must be positive; they are"
    with _require(tf.reduce_all(focal_lengths > 0), message, focal_lengths):
        intrinsic_matrix = tf.identity(intrinsic_matrix)
    last_rows = [intrinsic_matrix[:, -1], extrinsic_matrix[:, -1]]
    is_right = [tf.reduce_all(tf.abs(row - expected) < 1e-5) for row, expected in zip(last_rows, _LAST_ROWS)]
    message = "intrinsic_matrix, extrinsic_matrix: last rows must be 0 0 1 and 0 0 0 1 (is one transposed?); they are"
    with _require(is_right[0] & is_right[1], message, *last_rows):
        intrinsic_matrix = tf.identity(intrinsic_matrix)
    n_coeffs = tf.shape(distortion_coeffs)[1]
    message = "distortion_coeffs: 5 to 12 coefficients are supported (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4); there are"
    with _require(n_coeffs <= N_COEFFS, message, n_coeffs):
        distortion_coeffs = one_per_image(distortion_coeffs, "distortion_coeffs")
    cameras = geometry.Cameras.calibrated(
        one_per_image(intrinsic_matrix, "intrinsic_matrix"),
        distortion_coeffs,
        one_per_image(_is_fisheye(distortion_model), "distortion_model"),
        one_per_image(extrinsic_matrix, "extrinsic_matrix"),
    )
    message = "distortion_coeffs: no lens has these; they are"
    with _require(tf.reduce_all(cameras.is_possible), message, distortion_coeffs):
        return replace(cameras, lens=tf.identity(cameras.lens))


def _is_fisheye(distortion_model):
    """Which lens models are fisheye models: string [n] -> bool [n]."""
    names = [*FISHEYE_MODELS, *PINHOLE_MODELS]
    is_named = distortion_model[:, tf.newaxis] == names
    message = f"distortion_model: must be empty or one of {', '.join(filter(None, names))}; it is"
    with _require(tf.reduce_all(tf.reduce_any(is_named, axis=1)), message, distortion_model):
        return tf.reduce_any(is_named[:, : len(FISHEYE_MODELS)], axis=1)


def _checked_options(internal_batch_size, antialias_factor, num_aug):
    with (
        _require(antialias_factor >= 1, "antialias_factor: must be at least 1; it is", antialias_factor),
        _require(num_aug >= 1, "num_aug (n_aug): must be at least 1; it is", num_aug),
    ):
        return {
            "internal_batch_size": internal_batch_size,
            "antialias_factor": tf.identity(antialias_factor),
            "num_aug": tf.identity(num_aug),
        }


def _checked_boxes(images, boxes):
    n_images, n_lists = tf.shape(images, tf.int64)[0], boxes.nrows()
    n_numbers = tf.shape(boxes.values)[1]
    message = "boxes: one list of boxes for each image is needed; the numbers of images and of lists are"
    with (
        _require(n_lists == n_images, message, n_images, n_lists),
        _require(n_numbers >= 4, "boxes: left, top, width and height are needed; numbers per box:", n_numbers),
    ):
        return tf.identity(boxes.values), tf.cast(boxes.value_rowids(), tf.int32)


def _require(condition, message, *values):
    """Context whose nodes are computed only after a check, which ends the call with message and values if it fails."""
    # the node itself: tf.debugging.Assert makes a conditional of it, with two functions
    return tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message, *values])])
