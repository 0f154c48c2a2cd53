"""The losses of the papers, in metres (T-BIOM paper, section III-F). Keras operations only.

A batch holds examples with 3D labels and examples with only 2D labels (weak supervision). The total is the sum of the
3D examples' terms and a tenth of the sum of the 2D examples' terms; each term is an L1 mean over valid joints and
coordinates.
"""

import numpy as np
from keras import ops

from metrabs_core.network.scale_recovery import ScaleRecovery
from metrabs_core.skeletons import Skeleton

# Metres per pixel of a crop that is P pixels wide is BOX_SIZE_M / P, as the volumetric heatmap assumes
_BOX_SIZE_M = 2.2
_WEIGHT_2D = 0.1
# Of mirrored pairs: labels are of rendered people, and alone they would not make the model better with real ones
_WEIGHT_LABELS = 0.2
_WEIGHT_CONSISTENCY = 0.3


def pose_losses(
    truth: dict,
    predicted: dict,
    recovery: ScaleRecovery,
    crop_side: int,
    root: int,
    as_labelled_2d: np.ndarray | None = None,
    far_mm: float = float("inf"),
) -> dict:
    """Loss terms of one batch.

    Args:
        truth: ``joints3d`` float32 [N, J, 3] mm, crop camera frame; ``joints2d`` float32 [N, J, 2] px; ``valid3d`` and
            ``valid2d`` float32 [N, J], 0 or 1. An example without 3D labels has ``valid3d`` all 0. Finite everywhere.
        predicted: what ``CropModel`` returns.
        recovery: the crop model's way of scale recovery.
        crop_side: P, pixels.
        root: index of the joint that the relative loss takes for the origin; where it is not valid, the mean of the
            valid joints is.
        as_labelled_2d: float [J, J], from predicted joints to those that the 2D labels mean by the same names, such as
            ``hips_like_mpii``; None where they mean the same.
        far_mm: people farther away than this count less in the absolute term, by ``far_mm`` / distance, as the angle
            of the error does.

    Returns:
        dict of scalars. Of examples with 3D labels: ``relative``, the 3D head about the root (metric for MeTRAbs and
        MeTRo; for 2.5D, pixels in the image and depths from the middle of the head's range); for MeTRAbs also
        ``image``, the 2D head, and ``absolute``, the pose in the camera frame. Of examples with only 2D labels:
        ``weak``, the 2D head, and the 3D head's x and y with their mean and spread made equal to the labels' (MeTRAbs:
        both; MeTRo: the latter; 2.5D: the former, which is its head's x and y). Joints outside of the crop have no 2D
        losses.
    """
    has_3d = ops.cast(ops.max(truth["valid3d"], axis=1) > 0, "float32")[:, None]
    inside = ops.all((truth["joints2d"] >= 0) & (truth["joints2d"] <= crop_side - 1), axis=-1)
    seen = truth["valid2d"] * ops.cast(inside, "float32")
    metres_per_pixel = _BOX_SIZE_M / crop_side
    head = predicted["coords3d"] / 1000
    true = truth["joints3d"] / 1000
    true2d = truth["joints2d"] * metres_per_pixel
    image_error = _l1(predicted["points2d"] * metres_per_pixel, true2d)
    relative = _about_root(true, truth["valid3d"], root)

    terms = {}
    if recovery.is_metric:
        error = _l1(_about_root(head, truth["valid3d"], root), relative)
        terms["relative"] = _masked_mean(error, truth["valid3d"])
    else:  # the middle of the depth bins is the root's depth: if it could be anywhere, it would drift to their end
        depth_error = ops.abs(head[..., 2] - _BOX_SIZE_M / 2 - relative[..., 2])
        depth_term = _masked_mean(depth_error, truth["valid3d"])
        terms["relative"] = (depth_term + 2 * _masked_mean(image_error, seen * has_3d)) / 3
    if recovery.has_2d_head:
        terms["image"] = _masked_mean(image_error, seen * has_3d)
        error = _l1(predicted["poses3d"] / 1000, true)
        nearness = ops.minimum(1.0, far_mm / ops.maximum(truth["joints3d"][:, root, 2:], 1.0))
        terms["absolute"] = _masked_mean(error * nearness, truth["valid3d"])

    heads = predicted["points2d"] * metres_per_pixel, head[..., :2]
    terms["weak"] = _weak_term(*heads, true2d, seen * (1 - has_3d), recovery, as_labelled_2d)
    return terms


def _weak_term(points2d, xy, true2d, weak, recovery: ScaleRecovery, as_labelled_2d):
    """Of examples with only 2D labels: points of the 2D head, and the 3D head's x and y, alike in place and size."""
    if as_labelled_2d is not None:
        map_joints = ops.convert_to_tensor(as_labelled_2d, "float32")
        points2d, xy = (ops.einsum("kj,njc->nkc", map_joints, points) for points in (points2d, xy))
    term = 0.0
    if recovery.has_2d_head or not recovery.is_metric:
        term += _masked_mean(_l1(points2d, true2d), weak)
    if recovery.is_metric:
        term += _masked_mean(_l1(_align(xy, true2d, weak), true2d), weak)
    return term


def total_loss(terms: dict, step, absolute_from_step: int):
    """Sum of the 3D terms and a tenth of the 2D terms; the absolute one counts from step ``absolute_from_step`` on.

    Until then its weight is zero. As the gradients of the reconstruction are finite whatever the heads say, that is
    enough, and the pose need not be left unreconstructed in the very first steps, as the paper's implementation did.
    """
    total = terms["relative"] + _WEIGHT_2D * terms["weak"]
    if "image" in terms:
        started = ops.cast(step >= absolute_from_step, "float32")
        total = total + terms["image"] + started * terms["absolute"]
    return total


def pair_losses(
    truth: dict,
    predicted: dict,
    at_start: dict,
    intrinsics,
    recovery: ScaleRecovery,
    crop_side: int,
    mirror: np.ndarray,
    root: int,
    far_mm: float = float("inf"),
) -> dict:
    """Loss terms of mirrored pairs: rows 2k and 2k + 1 are a crop and its mirror image, each degraded in its own way.

    Each term is a sum of L1 means over joints and coordinates: of the 3D head about its mean and, for MeTRAbs, of the
    2D head and of the pose in the camera frame. All joints count, seen or not, labelled or not.

    Args:
        truth: labels as in ``pose_losses``, of which only the distance is used.
        predicted: what ``CropModel`` returns.
        at_start: what it returned before this training; no gradient goes there.
        intrinsics: float32 [N, 3, 3] of each crop.
        recovery: the crop model's way of scale recovery.
        crop_side: P, pixels.
        mirror: index of each joint's counterpart on the other side, [J].
        root: index of the joint whose distance counts.
        far_mm: see ``pose_losses``.

    Returns:
        dict of scalars: ``consistency``, how far the poses of both halves are from being mirror images, with half as
        much weight on the camera frame; ``distillation``, how far they are from the mean of what the model said of
        both halves at the start.
    """
    nearness = ops.minimum(1.0, far_mm / ops.maximum(truth["joints3d"][:, root : root + 1, 2:], 1.0))
    said, told = (_mirrorable(poses, intrinsics, recovery, crop_side) for poses in (predicted, at_start))
    terms = {"consistency": 0.0, "distillation": 0.0}
    for ours, theirs, weight, share in zip(said, told, (1.0, 1.0, nearness), (1.0, 1.0, 0.5)):
        target = ops.stop_gradient((theirs + _of_other_half(theirs, mirror)) / 2)
        terms["consistency"] += share * ops.mean(ops.abs(ours - _of_other_half(ours, mirror)) * weight)
        terms["distillation"] += ops.mean(ops.abs(ours - target) * weight)
    return terms


def total_pair_loss(of_labels, terms: dict):
    """Sum of the loss by the labels, see ``total_loss``, and of the terms of ``pair_losses``, each with its weight."""
    return _WEIGHT_LABELS * of_labels + _WEIGHT_CONSISTENCY * terms["consistency"] + terms["distillation"]


def _mirrorable(poses: dict, intrinsics, recovery: ScaleRecovery, crop_side: int) -> list:
    """Poses in metres, [N, J, 3] or [N, J, 2], for which mirroring is a change of the sign of x."""
    about_mean = poses["coords3d"] - ops.mean(poses["coords3d"], axis=1, keepdims=True)
    if not recovery.has_2d_head:
        return [about_mean / 1000]
    about_axis = poses["points2d"] - intrinsics[:, None, :2, 2]
    return [about_mean / 1000, about_axis * (_BOX_SIZE_M / crop_side), poses["poses3d"] / 1000]


def _of_other_half(poses, mirror: np.ndarray):
    """What the other half of each pair says of this one: poses [N, J, D] mirrored and exchanged in pairs."""
    n_joints, dimensions = poses.shape[1:]
    exchanged = ops.reshape(ops.flip(ops.reshape(poses, [-1, 2, n_joints, dimensions]), axis=1), [-1, *poses.shape[1:]])
    return ops.take(exchanged, mirror, axis=1) * ops.convert_to_tensor([-1.0, 1.0, 1.0][:dimensions], "float32")


def depth_loss(true, found, root: int):
    """Loss of a pose of the depth stage: L1 about the root joint, and a third as much about the mean, in metres.

    Args:
        true: poses float32 [N, J, 3], mm, all joints valid.
        found: the same of the stage.
        root: index of the root joint.
    """
    error = (found - true) / 1000
    about_root = error - error[:, root : root + 1]
    about_mean = error - ops.mean(error, axis=1, keepdims=True)
    return ops.mean(ops.abs(about_root)) + ops.mean(ops.abs(about_mean)) / 3


def hips_like_mpii(skeleton: Skeleton, fraction: float = 0.2) -> np.ndarray:
    """Joints of MPI-INF-3DHP as MPII's annotators see them: hips and pelvis moved by -f/(1+f) of pelvis to neck.

    (MPI-INF-3DHP puts them closer to the neck.)

    Args:
        skeleton: of the joints. Where it has no pelvis, the middle of the hips takes its place; where it has no neck,
            the middle of the shoulders.
        fraction: f.

    Returns:
        float64 [J, J], by which to multiply joints [J, D].
    """
    mapping = np.eye(skeleton.n_joints)
    moved = [skeleton.index(name) for name in ("pelv", "lhip", "rhip") if name in skeleton.joint_names]
    for sign, middle, sides in ((1, "pelv", ("lhip", "rhip")), (-1, "neck", ("lsho", "rsho"))):
        names = [middle] if middle in skeleton.joint_names else sides
        for name in names:
            mapping[moved, skeleton.index(name)] += sign * fraction / (1 + fraction) / len(names)
    return mapping


def _about_root(points, valid, root: int):
    """Points [N, J, 3] about the root joint, or about the mean of the valid joints where the root is none of them."""
    is_root = ops.cast(ops.arange(points.shape[1]) == root, "float32")
    weights = ops.where(valid[:, root : root + 1] > 0, is_root, valid)[..., None]
    origin = ops.sum(points * weights, axis=1, keepdims=True) / ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1)
    return points - origin


def _l1(a, b):
    """Mean absolute difference over the coordinates: [N, J, D] -> [N, J]."""
    return ops.mean(ops.abs(a - b), axis=-1)


def _masked_mean(values, mask):
    return ops.sum(values * mask) / ops.maximum(ops.sum(mask), 1.0)


def _align(points, target, mask):
    """Move and scale each pose's points so that mean and spread over the masked joints agree with the target's."""
    weights = mask[..., None]
    count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1.0)

    def centre_and_spread(x):
        mean = ops.sum(x * weights, axis=1, keepdims=True) / count
        variance = ops.sum(ops.square(x - mean) * weights, axis=(1, 2), keepdims=True) / count
        return mean, ops.sqrt(variance + 1e-8)

    mean, spread = centre_and_spread(points)
    target_mean, target_spread = centre_and_spread(target)
    return (points - mean) / spread * target_spread + target_mean
