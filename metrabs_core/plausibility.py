"""Which poses are plausible: bones, agreement of the augmentations, cover of the box, and no duplicates."""

import numpy as np
import tensorflow as tf

from metrabs_core import rules


def best_of_similar_in_images(poses, scores, image_index, n_images):
    """Pose-level non-maximum suppression in each image, see ``is_best_of_similar``.

    Args:
        poses: float32 [n, J, 3], mm.
        scores: float32 [n]; poses of negative score take no part.
        image_index: int32 [n], which image each pose is in.
        n_images: int32 [].

    Returns:
        bool [n].
    """

    def best_in_image(image):
        person = tf.where(image_index == image)[:, 0]
        is_best = is_best_of_similar(tf.gather(poses, person), tf.gather(scores, person))
        return tf.scatter_nd(person[:, tf.newaxis], tf.cast(is_best, tf.int32), tf.shape(scores, tf.int64))

    is_best = tf.while_loop(
        lambda i, _: i < n_images,
        lambda i, found: (i + 1, found + best_in_image(i)),
        (0, tf.zeros_like(scores, tf.int32)),
    )[1]
    return is_best > 0


def pose_of_augmentations(poses):
    """One pose of those of all augmentations: float32 [n, A, J, 3] mm -> [n, J, 3] mm.

    Directions in which joints are seen are the medians, since one crop that takes another arm or another person for
    this one's would drag the mean along; distances are the means.
    """
    distances = tf.maximum(tf.norm(poses, axis=-1, keepdims=True), 1e-3)
    directions = tf.sort(tf.transpose(poses / distances, [0, 2, 3, 1]))
    n_aug = tf.shape(poses)[1]
    middle = directions[..., (n_aug - 1) // 2] + directions[..., n_aug // 2]
    return tf.math.l2_normalize(middle, axis=-1) * tf.reduce_mean(distances, axis=1)


def spread_over_augmentations(poses):
    """Standard deviation of each joint's place within the person: float32 [n, A, J, 3] mm -> [n, J] mm.

    Distances of people far away vary by far more than their limbs' places do, so the poses are centred first.
    """
    centred = poses - tf.reduce_mean(poses, axis=2, keepdims=True)
    deviation = centred - tf.reduce_mean(centred, axis=1, keepdims=True)
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(deviation), axis=-1), axis=1))


def augmentations_agree(poses):
    """Whether enough joints are at the same place in all augmentations: float32 [n, A, J, 3] mm -> bool [n]."""
    agrees = spread_over_augmentations(poses) < rules.AGREEMENT_MM
    return tf.reduce_mean(tf.cast(agrees, tf.float32), axis=-1) >= rules.AGREEING_FRACTION


def covers_box(pixels, boxes):
    """Whether the pose covers at least half of its detection box.

    Args:
        pixels: float32 [n, J, 2], the projected joints.
        boxes: float32 [n, 4 or more], left, top, width, height.

    Returns:
        bool [n].
    """
    start, stop = tf.reduce_min(pixels, axis=1), tf.reduce_max(pixels, axis=1)
    flesh = rules.FLESH * tf.reduce_max(stop - start, axis=-1, keepdims=True)
    box_start, box_size = boxes[:, :2], boxes[:, 2:4]
    overlap = tf.minimum(stop + flesh, box_start + box_size) - tf.maximum(start - flesh, box_start)
    covered = tf.reduce_prod(tf.maximum(overlap, 0.0), axis=-1)
    return covered >= rules.BOX_COVERAGE * tf.reduce_prod(box_size, axis=-1)


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
    is_out_of_proportion = (ratio < rules.BONE_RATIOS[0]) | (ratio > rules.BONE_RATIOS[1])
    is_far_off = tf.abs(lengths - bone_lengths) > rules.BONE_ERROR_MM
    return ~tf.reduce_any(is_out_of_proportion & is_far_off, axis=-1)


def is_best_of_similar(poses, scores):
    """Pose-level non-maximum suppression in one image.

    Distances are the least certain part of a pose, so two poses are compared at the geometric mean of their distances,
    to which each is scaled; farther apart than a factor of 1.3, they are different people. (The authors' releases
    compare them where they are, which leaves second detections of people who are far away.)

    Args:
        poses: float32 [n, J, 3], mm.
        scores: float32 [n]; poses of negative score take no part.

    Returns:
        bool [n], False for poses that are similar to a better one: the mean over the closest quarter of the joints of
        max(0, 1 - distance / 300 mm) exceeds 0.4.
    """
    n_closest = max(1, int(poses.shape[1] * rules.SAME_FRACTION))
    away = tf.maximum(tf.norm(tf.reduce_mean(poses, axis=1), axis=-1), 1.0)
    ratio = away[:, tf.newaxis] / away
    scale = tf.sqrt(ratio)[..., tf.newaxis, tf.newaxis]
    distances = tf.norm(poses[:, tf.newaxis] / scale - poses[tf.newaxis] * scale, axis=-1)
    similarities = tf.nn.top_k(tf.maximum(0.0, 1.0 - distances / rules.SAME_DISTANCE_MM), n_closest).values
    may_be_same = (ratio < rules.SAME_DISTANCE_RATIO) & (ratio > 1 / rules.SAME_DISTANCE_RATIO)
    similarity = tf.where(may_be_same, tf.reduce_mean(similarities, axis=-1), 0.0)
    n_poses = tf.shape(scores)[0]
    kept = tf.image.non_max_suppression_overlaps(
        similarity, scores, n_poses, rules.SAME_SIMILARITY, score_threshold=0.0
    )
    return tf.scatter_nd(kept[:, tf.newaxis], tf.ones_like(kept), [n_poses]) > 0
