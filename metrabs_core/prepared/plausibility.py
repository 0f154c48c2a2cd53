"""Which poses are plausible: ``metrabs_core.plausibility`` in NumPy, for the people of one image."""

import numpy as np

from metrabs_core import rules


def are_plausible(poses, pose, pixels, boxes, edges, bone_lengths) -> np.ndarray:
    """Which poses to keep: those that a person can have, that fit their box, and are nobody's second detection.

    Args:
        poses: float [n, A, J, 3], mm, one pose of each augmentation.
        pose: float [n, J, 3], the one of all augmentations.
        pixels: float [n, J, 2], where its joints are seen.
        boxes: float [n, 5], left, top, width, height, score.
        edges: pairs of joint indices.
        bone_lengths: mean length of each edge, mm; None leaves that part out.

    Returns:
        bool [n].
    """
    agreeing = (spread_over_augmentations(poses) < rules.AGREEMENT_MM).mean(axis=1) >= rules.AGREEING_FRACTION
    is_plausible = agreeing & _cover_boxes(pixels, boxes)
    if bone_lengths is not None:
        is_plausible &= _have_human_bones(pose, edges, np.asarray(bone_lengths))
    # implausible poses must not suppress plausible ones
    return _are_best_of_similar(pose, np.where(is_plausible, boxes[:, 4], -1.0))


def pose_of_augmentations(poses) -> np.ndarray:
    """One pose of those of all augmentations: [n, A, J, 3] mm -> [n, J, 3] mm; see ``metrabs_core.plausibility``."""
    distances = np.maximum(np.linalg.norm(poses, axis=-1, keepdims=True), 1e-3)
    middle = np.median(poses / distances, axis=1)
    return middle / np.maximum(np.linalg.norm(middle, axis=-1, keepdims=True), 1e-6) * distances.mean(axis=1)


def spread_over_augmentations(poses) -> np.ndarray:
    """Standard deviation of each joint's place within the person: [n, A, J, 3] mm -> [n, J] mm."""
    centred = poses - poses.mean(axis=2, keepdims=True)
    deviation = centred - centred.mean(axis=1, keepdims=True)
    return np.sqrt(np.square(deviation).sum(axis=-1).mean(axis=1))


def _cover_boxes(pixels, boxes):
    start, stop = pixels.min(axis=1), pixels.max(axis=1)
    flesh = rules.FLESH * (stop - start).max(axis=1, keepdims=True)
    box_start, box_size = boxes[:, :2], boxes[:, 2:4]
    overlap = np.minimum(stop + flesh, box_start + box_size) - np.maximum(start - flesh, box_start)
    return np.maximum(overlap, 0).prod(axis=1) >= rules.BOX_COVERAGE * box_size.prod(axis=1)


def _have_human_bones(poses, edges, bone_lengths):
    first, second = np.array(edges).T
    lengths = np.linalg.norm(poses[:, first] - poses[:, second], axis=-1)
    ratio = lengths / bone_lengths
    is_out_of_proportion = (ratio < rules.BONE_RATIOS[0]) | (ratio > rules.BONE_RATIOS[1])
    is_far_off = np.abs(lengths - bone_lengths) > rules.BONE_ERROR_MM
    return ~(is_out_of_proportion & is_far_off).any(axis=1)


def _are_best_of_similar(poses, scores):
    """Pose-level non-maximum suppression; poses of negative score take no part."""
    is_best = np.zeros(len(poses), bool)
    n_closest = max(1, int(poses.shape[1] * rules.SAME_FRACTION))
    away = np.maximum(np.linalg.norm(poses.mean(axis=1), axis=-1), 1.0)
    for person in np.argsort(-scores, kind="stable"):
        if scores[person] <= 0:
            break
        ratio = away[is_best] / away[person]
        may_be_same = (ratio < rules.SAME_DISTANCE_RATIO) & (ratio > 1 / rules.SAME_DISTANCE_RATIO)
        better, scale = poses[is_best][may_be_same], np.sqrt(ratio[may_be_same])[:, np.newaxis, np.newaxis]
        distances = np.linalg.norm(better / scale - poses[person] * scale, axis=-1)
        similarities = np.maximum(0, 1 - distances / rules.SAME_DISTANCE_MM)
        closest = np.partition(similarities, -n_closest, axis=1)[:, -n_closest:]
        is_best[person] = not (closest.mean(axis=1) > rules.SAME_SIMILARITY).any()
    return is_best
