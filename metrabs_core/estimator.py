"""From boxes in full images to absolute 3D poses: crops, test-time augmentation, the crop model, plausibility."""

import numpy as np
import tensorflow as tf

from metrabs_core import cropping, geometry
from metrabs_core.skeletons import SKELETONS, Skeleton, conversion_matrix

# Test-time augmentation (T-BIOM 2021 and the released models)
_MAX_ROLL_DEGREES = 25.0
_SCALES = (0.8, 1.0, 1.1)
_GAMMAS = (0.6, 1.0)

# Plausibility of a pose (released models since 2021)
_BONE_RATIOS = (0.1, 3.0)
_BONE_ERROR_MM = 300.0
_AGREEMENT_MM = 200.0
_AGREEING_FRACTION = 0.25
_BOX_COVERAGE = 0.5
# Joints lie inside the body: its outline reaches this fraction of the longer side beyond the box around them.
_FLESH = 0.1

_NMS_DISTANCE_MM = 300.0
_NMS_FRACTION = 0.25
_NMS_SIMILARITY = 0.4


class PoseEstimator(tf.Module):
    """Absolute 3D poses of people whose boxes are known, in batches of full images.

    Args:
        crop_model: callable on ``[crops float32 [N, P, P, 3], intrinsics float32 [N, 3, 3]]`` that returns a dict of
            ``poses3d`` float32 [N, J, 3] (mm, crop camera frame) and ``uncertainty`` float32 [N, J] (mm); it has the
            attributes ``crop_side`` (P) and ``skeleton``.
        bone_lengths: mean length in mm of each edge of the crop model's skeleton, for the plausibility test; without
            them that part of the test is left out.
    """

    def __init__(self, crop_model, bone_lengths=None):
        super().__init__(name="pose_estimator")
        self.crop_model = crop_model
        self.skeleton: Skeleton = crop_model.skeleton
        self.skeletons = convertible_skeletons(self.skeleton)
        self._bone_lengths = None if bone_lengths is None else np.asarray(bone_lengths, np.float32)
        # all conversion matrices below each other; '' is the native skeleton
        matrices = [np.eye(self.skeleton.n_joints, dtype=np.float32)]
        matrices += [conversion_matrix(target, self.skeleton) for target in self.skeletons.values()]
        self._conversion = np.concatenate(matrices)
        self._skeleton_names = np.array(["", *self.skeletons])
        sizes = [len(matrix) for matrix in matrices]
        self._conversion_start = np.cumsum([0, *sizes])

    def estimate(self, images, boxes, camera, options):
        """Estimate one pose per box.

        Args:
            images: uint8 [n_images, H, W, 3], RGB.
            boxes: ragged float32 [n_images, None, 4 or more], left, top, width, height in pixels; more is ignored.
            camera: dict of ``intrinsic_matrix`` [n_images, 3, 3], ``distortion_coeffs`` [n_images, 12],
                ``extrinsic_matrix`` [n_images, 4, 4] (world to camera, mm) and ``world_up_vector`` [3].
            options: dict of ``internal_batch_size``, ``antialias_factor``, ``num_aug`` int32 [].

        Returns:
            dict of ragged ``poses3d`` float32 [n_images, None, A, J, 3], mm, frame of the image's camera, native
            skeleton, one pose per augmentation (A = num_aug), and ``uncertainties`` [n_images, None, A, J] mm.
        """
        image_index = tf.cast(boxes.value_rowids(), tf.int32)
        flat_boxes = tf.ensure_shape(boxes.values[:, :4], [None, 4])
        intrinsic_matrix = tf.gather(camera["intrinsic_matrix"], image_index)
        distortion_coeffs = tf.gather(camera["distortion_coeffs"], image_index)
        up_in_camera = tf.linalg.matvec(camera["extrinsic_matrix"][:, :3, :3], camera["world_up_vector"])
        rotation, focal = geometry.crop_cameras(
            flat_boxes, intrinsic_matrix, distortion_coeffs, tf.gather(up_in_camera, image_index), self._crop_side
        )
        augmentation = test_time_augmentation(options["num_aug"])
        n_aug = options["num_aug"]

        def per_crop(per_box):
            return tf.repeat(per_box, n_aug, axis=0)

        rotation = tf.matmul(augmentation["rotation"], rotation[:, tf.newaxis])
        focal = focal[:, tf.newaxis] * augmentation["scale"]
        n_boxes = tf.shape(flat_boxes)[0]
        crops = {
            "image_index": per_crop(image_index),
            "intrinsic_matrix": per_crop(intrinsic_matrix),
            "distortion_coeffs": per_crop(distortion_coeffs),
            "rotation": tf.reshape(rotation, [-1, 3, 3]),
            "crop_focal": tf.reshape(focal, [-1]),
            "gamma": tf.tile(augmentation["gamma"], [n_boxes]),
        }
        poses, uncertainty = self._predict_crops(images, crops, options)
        # back into the frame of the image's camera; a mirrored crop shows the left side's joints on the right
        poses = tf.matmul(poses, crops["rotation"])
        shape = tf.concat([[n_boxes, n_aug], tf.shape(poses)[1:]], axis=0)
        poses, uncertainty = tf.reshape(poses, shape), tf.reshape(uncertainty, shape[:-1])
        mirrored = augmentation["is_mirrored"]
        mirror = self.skeleton.mirror
        poses = tf.where(mirrored[:, tf.newaxis, tf.newaxis], tf.gather(poses, mirror, axis=2), poses)
        uncertainty = tf.where(mirrored[:, tf.newaxis], tf.gather(uncertainty, mirror, axis=2), uncertainty)
        return {"poses3d": boxes.with_values(poses), "uncertainties": boxes.with_values(uncertainty)}

    @property
    def _crop_side(self):
        return self.crop_model.crop_side

    def _predict_crops(self, images, crops, options):
        """Crop and run the crop model in batches: poses [n, J, 3] and uncertainty [n, J]."""
        n_crops = tf.shape(crops["gamma"])[0]
        n_joints = self.skeleton.n_joints
        batch_size = tf.where(options["internal_batch_size"] < 1, n_crops, options["internal_batch_size"])
        batch_size = tf.maximum(batch_size, 1)
        n_batches = -(-n_crops // batch_size)

        def predict(i, poses, uncertainty):
            part = {name: values[i * batch_size : (i + 1) * batch_size] for name, values in crops.items()}
            pixels = cropping.crop_images(
                images, **part, crop_side=self._crop_side, antialias_factor=options["antialias_factor"]
            )
            crop_intrinsics = geometry.intrinsics(part["crop_focal"], (self._crop_side - 1.0) / 2.0)
            prediction = self.crop_model([pixels, crop_intrinsics])
            return i + 1, poses.write(i, prediction["poses3d"]), uncertainty.write(i, prediction["uncertainty"])

        def results(*shape):
            return tf.TensorArray(tf.float32, n_batches, element_shape=[None, *shape], infer_shape=False)

        _, poses, uncertainty = tf.while_loop(
            lambda i, *_: i < n_batches, predict, (0, results(n_joints, 3), results(n_joints)), parallel_iterations=1
        )
        return poses.concat(), uncertainty.concat()

    def finish(self, prediction, camera, average_aug, skeleton):
        """Average over the augmentations, convert the skeleton, project, and change to world space.

        Args:
            prediction: what ``estimate`` returned.
            camera: as for ``estimate``.
            average_aug: bool [], mean over the augmentations; otherwise each one's pose is returned.
            skeleton: string [], name of the skeleton wanted; '' for the crop model's own.

        Returns:
            dict of ragged ``poses3d`` [n_images, None, (A,) J, 3] mm, world space, ``poses2d`` [..., J, 2] pixels, and
            ``uncertainties`` [..., J] mm: one sigma, heatmap spread and spread over the augmentations together.
        """
        boxes_partition = prediction["poses3d"]
        image_index = boxes_partition.value_rowids()
        poses, sigma = prediction["poses3d"].values, prediction["uncertainties"].values
        poses, sigma = tf.cond(average_aug, lambda: _mean_over_augmentations(poses, sigma), lambda: (poses, sigma))
        matrix = self._conversion_matrix(skeleton)
        poses, sigma = tf.matmul(matrix, poses), tf.linalg.matvec(matrix, sigma)
        pixels = geometry.project(
            poses,
            tf.gather(camera["intrinsic_matrix"], image_index)[:, tf.newaxis],
            tf.gather(camera["distortion_coeffs"], image_index)[:, tf.newaxis],
        )
        to_world = tf.gather(tf.linalg.inv(camera["extrinsic_matrix"]), image_index)[:, tf.newaxis]
        world = tf.matmul(poses, to_world[..., :3, :3], transpose_b=True) + to_world[..., tf.newaxis, :3, 3]
        result = {"poses3d": world, "poses2d": pixels, "uncertainties": sigma}
        result = tf.cond(average_aug, lambda: {k: v[:, 0] for k, v in result.items()}, lambda: result)
        return {name: boxes_partition.with_values(values) for name, values in result.items()}

    def _conversion_matrix(self, skeleton):
        matches = tf.equal(skeleton, self._skeleton_names)
        choices = ", ".join(f"'{name}'" for name in self._skeleton_names)
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.reduce_any(matches), [f"skeleton: must be one of {choices}; got", skeleton])]
        ):
            index = tf.argmax(tf.cast(matches, tf.int32))
        start = tf.gather(self._conversion_start, index)
        stop = tf.gather(self._conversion_start, index + 1)
        return tf.constant(self._conversion)[start:stop]

    def select_plausible(self, prediction, boxes, camera):
        """Which poses are kept: those that can be a person, fit their box, and are nobody's second detection.

        Args:
            prediction: what ``estimate`` returned.
            boxes: ragged float32 [n_images, None, 5], left, top, width, height, score.
            camera: as for ``estimate``.

        Returns:
            ragged bool [n_images, None].
        """
        all_poses = prediction["poses3d"]
        image_index = all_poses.value_rowids()
        poses = tf.reduce_mean(all_poses.values, axis=1)
        pixels = geometry.project(
            poses,
            tf.gather(camera["intrinsic_matrix"], image_index),
            tf.gather(camera["distortion_coeffs"], image_index),
        )
        is_plausible = augmentations_agree(all_poses.values) & covers_box(pixels, boxes.values)
        if self._bone_lengths is not None:
            is_plausible &= has_human_bones(poses, self.skeleton.edges, self._bone_lengths)
        # implausible poses must not suppress plausible ones
        scores = tf.where(is_plausible, boxes.values[:, 4], -1.0)
        is_best = tf.map_fn(
            lambda person: is_best_of_similar(*person),
            (boxes.with_values(poses), boxes.with_values(scores)),
            fn_output_signature=tf.RaggedTensorSpec([None], tf.bool),
        )
        return is_best.with_values(is_best.values & is_plausible)


def convertible_skeletons(source):
    """Skeletons that can be had from a source skeleton: dict of name to Skeleton; the source itself is one of them."""
    skeletons = {source.name: source}
    for name, target in SKELETONS.items():
        try:
            conversion_matrix(target, source)
        except ValueError:
            continue
        skeletons[name] = target
    return skeletons


def test_time_augmentation(num_aug):
    """How each of n crops of a person differs from the plain one.

    Args:
        num_aug: int32 [], n; 1 is the plain crop.

    Returns:
        dict of ``rotation`` float32 [n, 3, 3] (roll and mirroring of the crop camera), ``scale`` [n], ``gamma`` [n] and
        ``is_mirrored`` bool [n].
    """
    half = num_aug // 2
    # linspace without its end
    first_scales = tf.linspace(_SCALES[0], _SCALES[1], half + 1)[:-1]
    scale = tf.concat([first_scales, tf.linspace(_SCALES[1], _SCALES[2], num_aug - half)], axis=0)
    is_single = num_aug == 1
    roll = tf.where(is_single, 0.0, tf.linspace(-_MAX_ROLL_DEGREES, _MAX_ROLL_DEGREES, num_aug)) * (np.pi / 180.0)
    gamma = tf.where(is_single, 1.0, tf.linspace(*_GAMMAS, num_aug))
    is_mirrored = (tf.range(num_aug) - half) % 2 == 1
    side = tf.where(is_mirrored, -1.0, 1.0)
    mirroring = tf.linalg.diag(tf.stack([side, tf.ones_like(side), tf.ones_like(side)], axis=-1))
    return {
        "rotation": tf.matmul(mirroring, geometry.roll_rotation(roll)),
        "scale": scale,
        "gamma": gamma,
        "is_mirrored": is_mirrored,
    }


def _mean_over_augmentations(poses, sigma):
    """Mean pose [n, 1, J, 3] and total sigma [n, 1, J]: mean heatmap variance plus variance over the augmentations."""
    mean = tf.reduce_mean(poses, axis=1, keepdims=True)
    spread = tf.reduce_mean(tf.reduce_sum(tf.square(poses - mean), axis=-1), axis=1, keepdims=True)
    return mean, tf.sqrt(tf.reduce_mean(tf.square(sigma), axis=1, keepdims=True) + spread)


def augmentations_agree(poses):
    """Whether enough joints are at the same place in all augmentations: float32 [n, A, J, 3] mm -> bool [n]."""
    deviation = poses - tf.reduce_mean(poses, axis=1, keepdims=True)
    std = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(deviation), axis=-1), axis=1))
    return tf.reduce_mean(tf.cast(std < _AGREEMENT_MM, tf.float32), axis=-1) >= _AGREEING_FRACTION


def covers_box(pixels, boxes):
    """Whether the pose covers at least half of its detection box.

    Args:
        pixels: float32 [n, J, 2], the projected joints.
        boxes: float32 [n, 4 or more], left, top, width, height.

    Returns:
        bool [n].
    """
    start, stop = tf.reduce_min(pixels, axis=1), tf.reduce_max(pixels, axis=1)
    flesh = _FLESH * tf.reduce_max(stop - start, axis=-1, keepdims=True)
    box_start, box_size = boxes[:, :2], boxes[:, 2:4]
    overlap = tf.minimum(stop + flesh, box_start + box_size) - tf.maximum(start - flesh, box_start)
    covered = tf.reduce_prod(tf.maximum(overlap, 0.0), axis=-1)
    return covered >= _BOX_COVERAGE * tf.reduce_prod(box_size, axis=-1)


def has_human_bones(poses, edges, bone_lengths):
    """Whether no bone is far off its mean length, both in proportion and in millimetres.

    Args:
        poses: float32 [n, J, 3], mm.
        edges: pairs of joint indices.
        bone_lengths: float32 [n_edges], mean lengths in mm.

    Returns:
        bool [n].
    """
    first, second = np.array(edges).T
    lengths = tf.norm(tf.gather(poses, first, axis=1) - tf.gather(poses, second, axis=1), axis=-1)
    ratio = lengths / bone_lengths
    is_out_of_proportion = (ratio < _BONE_RATIOS[0]) | (ratio > _BONE_RATIOS[1])
    is_far_off = tf.abs(lengths - bone_lengths) > _BONE_ERROR_MM
    return ~tf.reduce_any(is_out_of_proportion & is_far_off, axis=-1)


def is_best_of_similar(poses, scores):
    """Pose-level non-maximum suppression in one image.

    Args:
        poses: float32 [n, J, 3], mm.
        scores: float32 [n]; poses of negative score take no part.

    Returns:
        bool [n], False for poses that are similar to a better one: the mean over the closest quarter of the joints of
        max(0, 1 - distance / 300 mm) exceeds 0.4.
    """
    n_closest = max(1, int(poses.shape[1] * _NMS_FRACTION))
    distances = tf.norm(poses[:, tf.newaxis] - poses[tf.newaxis], axis=-1)
    similarities = tf.nn.top_k(tf.maximum(0.0, 1.0 - distances / _NMS_DISTANCE_MM), n_closest).values
    n_poses = tf.shape(scores)[0]
    kept = tf.image.non_max_suppression_overlaps(
        tf.reduce_mean(similarities, axis=-1), scores, n_poses, _NMS_SIMILARITY, score_threshold=0.0
    )
    return tf.scatter_nd(kept[:, tf.newaxis], tf.ones_like(kept), [n_poses]) > 0
