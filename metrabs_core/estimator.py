"""From boxes in full images to absolute 3D poses: crops, test-time augmentation, the crop model."""

import numpy as np
import tensorflow as tf

from metrabs_core import cropping, geometry, plausibility, rules
from metrabs_core.skeletons import Skeleton, conversion_matrix, convertible_skeletons


class PoseEstimator(tf.Module):
    """Absolute 3D poses of people whose boxes are known, in batches of full images.

    Args:
        crop_model: has ``estimate(crops float32 [N, P, P, 3], intrinsics float32 [N, 3, 3])`` that returns a dict of
            ``poses3d`` float32 [N, J, 3] (mm, crop camera frame) and ``uncertainty`` float32 [N, J] (mm), and the
            attributes ``crop_side`` (P), ``skeleton``, ``bone_lengths`` (mean length in mm of each edge, by which
            poses are judged; None leaves that part of the judgement out), ``crop_margin`` (by how much the crop is
            larger than the box's longer side) and ``max_roll_degrees`` (of test-time augmentation).
    """

    def __init__(self, crop_model):
        super().__init__(name="pose_estimator")
        self.crop_model = crop_model
        self.skeleton: Skeleton = crop_model.skeleton
        self.skeletons = convertible_skeletons(self.skeleton)
        # all conversion matrices below each other; '' is the native skeleton
        matrices = [np.eye(self.skeleton.n_joints, dtype=np.float32)]
        matrices += [conversion_matrix(target, self.skeleton) for target in self.skeletons.values()]
        self._conversion = np.concatenate(matrices)
        self._skeleton_names = np.array(["", *self.skeletons])
        sizes = [len(matrix) for matrix in matrices]
        self._conversion_start = np.cumsum([0, *sizes])

    def estimate(self, images, boxes, image_index, cameras, world_up_vector, options):
        """Estimate the pose in each box from each of its augmented crops.

        Args:
            images: uint8 [n_images, H, W, 3], RGB.
            boxes: float32 [n, 4 or more], left, top, width, height in pixels; what follows is ignored.
            image_index: int32 [n], which image each box is in.
            cameras: ``geometry.Cameras`` [n_images], with extrinsics.
            world_up_vector: float32 [3], up in world space.
            options: dict of ``internal_batch_size``, ``antialias_factor``, ``num_aug`` int32 [].

        Returns:
            dict of ``poses3d`` float32 [n, A, J, 3], mm, frame of the image's camera, native skeleton, one pose per
            augmentation (A = num_aug), and ``uncertainties`` [n, A, J] mm.
        """
        n_boxes, n_aug, n_joints = tf.shape(boxes)[0], options["num_aug"], self.skeleton.n_joints
        n_crops, crop_side = n_boxes * n_aug, self.crop_model.crop_side
        batch_size = options["internal_batch_size"]
        batch_size = tf.maximum(tf.where(batch_size < 1, n_crops, batch_size), 1)
        n_batches = -(-n_crops // batch_size)

        up = geometry.transform(cameras.extrinsic_matrix[:, :3, :3], world_up_vector[tf.newaxis])[:, 0]
        cameras = cameras.gather(image_index)
        boxes = tf.ensure_shape(boxes[:, :4], [None, 4])
        rotation, focal = cameras.facing_boxes(boxes, tf.gather(up, image_index), crop_side)
        augmentation = test_time_augmentation(n_aug, self.crop_model.max_roll_degrees)
        rotation = geometry.compose(augmentation["rotation"], rotation[:, tf.newaxis])
        focal = augmentation["scale"] * focal[:, tf.newaxis] / self.crop_model.crop_margin
        antialias = options["antialias_factor"]
        windows = cropping.read_windows(images, image_index, cameras, rotation, focal, crop_side, antialias)
        rotation, focal = tf.reshape(rotation, [n_crops, 3, 3]), tf.reshape(focal, [n_crops])

        def predict(i, poses, uncertainties):
            crop = tf.range(i * batch_size, tf.minimum((i + 1) * batch_size, n_crops))
            aug, crop_focal, crop_rotation = crop % n_aug, tf.gather(focal, crop), tf.gather(rotation, crop)
            gamma = tf.gather(augmentation["gamma"], aug)
            crops = cropping.draw_crops(windows, crop // n_aug, crop_rotation, crop_focal, gamma, crop_side, antialias)
            middle = tf.fill([2], (crop_side - 1.0) / 2.0)
            prediction = self.crop_model.estimate(crops, geometry.intrinsics(crop_focal, middle))
            # back into the frame of the image's camera; a mirrored crop shows joints of the left side on the right
            pose = geometry.transform(tf.linalg.matrix_transpose(crop_rotation), prediction["poses3d"])
            uncertainty = prediction["uncertainty"]
            is_mirrored, mirror = tf.gather(augmentation["is_mirrored"], aug), self.skeleton.mirror
            pose = tf.where(is_mirrored[:, tf.newaxis, tf.newaxis], tf.gather(pose, mirror, axis=1), pose)
            uncertainty = tf.where(is_mirrored[:, tf.newaxis], tf.gather(uncertainty, mirror, axis=1), uncertainty)
            return i + 1, poses.write(i, pose), uncertainties.write(i, uncertainty)

        def results(*shape):
            return tf.TensorArray(tf.float32, n_batches, element_shape=[None, *shape], infer_shape=False)

        _, poses, uncertainties = tf.while_loop(
            lambda i, *_: i < n_batches, predict, (0, results(n_joints, 3), results(n_joints)), parallel_iterations=1
        )
        return {
            "poses3d": tf.reshape(poses.concat(), [n_boxes, n_aug, n_joints, 3]),
            "uncertainties": tf.reshape(uncertainties.concat(), [n_boxes, n_aug, n_joints]),
        }

    def finish(self, prediction, image_index, cameras, average_aug, skeleton):
        """Average over the augmentations, convert the skeleton, project, and change to world space.

        Args:
            prediction: what ``estimate`` returned.
            image_index: int32 [n], which image each person is in.
            cameras: as for ``estimate``.
            average_aug: bool [], one pose of all augmentations; otherwise each one's is returned.
            skeleton: string [], name of the skeleton wanted; '' for the crop model's own.

        Returns:
            dict of ``poses3d`` float32 [n, (A,) J, 3] mm, world space, ``poses2d`` [n, (A,) J, 2] pixels, and
            ``uncertainties`` [n, (A,) J] mm: one sigma, heatmap spread and spread over the augmentations together.
        """
        poses, sigma = prediction["poses3d"], prediction["uncertainties"]
        poses, sigma = tf.cond(average_aug, lambda: _over_augmentations(poses, sigma), lambda: (poses, sigma))
        matrix = self._conversion_matrix(skeleton)
        poses, sigma = tf.matmul(matrix, poses), tf.linalg.matvec(matrix, sigma)
        cameras = cameras.gather(image_index[:, tf.newaxis])
        pixels, world = cameras.project(poses), cameras.to_world(poses)
        result = {"poses3d": world, "poses2d": pixels, "uncertainties": sigma}
        return tf.cond(average_aug, lambda: {name: value[:, 0] for name, value in result.items()}, lambda: result)

    def _conversion_matrix(self, skeleton):
        matches = tf.equal(skeleton, self._skeleton_names)
        message = f"skeleton: must be empty or one of {', '.join(self.skeletons)}; it is"
        with tf.control_dependencies([tf.raw_ops.Assert(condition=tf.reduce_any(matches), data=[message, skeleton])]):
            index = tf.argmax(tf.cast(matches, tf.int32))
        start = tf.gather(self._conversion_start, index)
        stop = tf.gather(self._conversion_start, index + 1)
        return tf.constant(self._conversion)[start:stop]

    def select_plausible(self, prediction, boxes, image_index, cameras):
        """Which poses to keep: those that a person can have, that fit their box, and are nobody's second detection.

        Args:
            prediction: what ``estimate`` returned.
            boxes: float32 [n, 5], left, top, width, height, score.
            image_index: int32 [n], which image each box is in, ascending.
            cameras: as for ``estimate``.

        Returns:
            bool [n].
        """
        poses = plausibility.pose_of_augmentations(prediction["poses3d"])
        pixels = cameras.gather(image_index).project(poses)
        is_plausible = plausibility.augmentations_agree(prediction["poses3d"]) & plausibility.covers_box(pixels, boxes)
        if self.crop_model.bone_lengths is not None:
            is_plausible &= plausibility.has_human_bones(poses, self.skeleton.edges, self.crop_model.bone_lengths)
        # implausible poses must not suppress plausible ones
        scores = tf.where(is_plausible, boxes[:, 4], -1.0)
        return plausibility.best_of_similar_in_images(poses, scores, image_index, tf.shape(cameras.intrinsic_matrix)[0])


def test_time_augmentation(num_aug, max_roll_degrees):
    """How each of n crops of a person differs from the plain one.

    Args:
        num_aug: int32 [], n; 1 is the plain crop, 2 are that and its mirror image: most of what five crops gain comes
            from that. More follow the schedule of the released models.
        max_roll_degrees: of the first and the last of them, either way.

    Returns:
        dict of ``rotation`` float32 [n, 3, 3] (roll and mirroring of the crop camera), ``scale`` [n], ``gamma`` [n] and
        ``is_mirrored`` bool [n].
    """
    half = num_aug // 2
    # the first half without its end
    scales = [_linspace(*rules.SCALES[:2], half + 1)[:-1], _linspace(*rules.SCALES[1:], num_aug - half)]
    are_few = num_aug <= 2
    # rolling the camera turns the picture the other way
    roll = tf.where(are_few, 0.0, _linspace(max_roll_degrees, -max_roll_degrees, num_aug)) * (np.pi / 180.0)
    gamma = tf.where(are_few, 1.0, _linspace(*rules.GAMMAS, num_aug))
    is_mirrored = (tf.range(num_aug) - half) % 2 == 1
    side = tf.where(is_mirrored, -1.0, 1.0)
    mirroring = tf.linalg.diag(tf.stack([side, tf.ones_like(side), tf.ones_like(side)], axis=-1))
    return {
        "rotation": geometry.compose(mirroring, geometry.roll_rotation(roll)),
        "scale": tf.where(are_few, 1.0, tf.concat(scales, axis=0)),
        "gamma": gamma,
        "is_mirrored": is_mirrored,
    }


def _linspace(start, stop, n):
    # a tenth of tf.linspace's nodes
    return start + (stop - start) * tf.range(tf.cast(n, tf.float32)) / tf.cast(tf.maximum(n - 1, 1), tf.float32)


def _over_augmentations(poses, sigma):
    """One pose [n, 1, J, 3] and total sigma [n, 1, J]: mean heatmap variance plus variance over the augmentations."""
    spread = tf.square(plausibility.spread_over_augmentations(poses))[:, tf.newaxis]
    pose = plausibility.pose_of_augmentations(poses)[:, tf.newaxis]
    return pose, tf.sqrt(tf.reduce_mean(tf.square(sigma), axis=1, keepdims=True) + spread)
