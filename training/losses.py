"""The losses of the papers, in metres (T-BIOM paper, section III-F). Keras operations only."""

from keras import ops

# Metres per pixel of a crop that is P pixels wide is BOX_SIZE_M / P, as the volumetric heatmap assumes
_BOX_SIZE_M = 2.2
# Beyond this distance, absolute errors count by their angle: their weight falls with 1/distance, or the few people
# far away would outweigh all others.
_FAR_M = 4.0


def pose_losses(truth: dict, predicted: dict, scale_recovery: str, crop_side: int, root: int) -> dict:
    """Loss terms of one batch, which may mix examples with 3D and with only 2D labels.

    Args:
        truth: ``joints3d`` float32 [N, J, 3] mm, crop camera frame; ``joints2d`` float32 [N, J, 2] px; ``valid3d`` and
            ``valid2d`` float32 [N, J], 0 or 1. An example without 3D labels has ``valid3d`` all 0.
        predicted: what ``CropModel`` returns.
        scale_recovery: the crop model's.
        crop_side: P, pixels.
        root: index of the root joint.

    Returns:
        dict of scalars: ``relative`` and, for MeTRAbs, ``image``, ``absolute``; ``weak`` for examples with only 2D
        labels.
    """
    has_3d = ops.cast(ops.max(truth["valid3d"], axis=1) > 0, "float32")
    inside = ops.cast(ops.all((truth["joints2d"] >= 0) & (truth["joints2d"] <= crop_side - 1), axis=-1), "float32")
    seen = truth["valid2d"] * inside
    metres_per_pixel = _BOX_SIZE_M / crop_side
    head = predicted["coords3d"] / 1000
    true = truth["joints3d"] / 1000
    image_error = _l1(predicted["points2d"], truth["joints2d"]) * metres_per_pixel

    terms = {}
    rooted = truth["valid3d"] * truth["valid3d"][:, root : root + 1]
    if scale_recovery in ("metrabs", "metro"):
        error = _l1(head - head[:, root : root + 1], true - true[:, root : root + 1])
        terms["relative"] = _masked_mean(error, rooted)
    else:  # 2.5D: pixels in the image plane, metres in depth
        depth = ops.abs((head[..., 2] - head[:, root : root + 1, 2]) - (true[..., 2] - true[:, root : root + 1, 2]))
        terms["relative"] = _masked_mean(depth / 3, rooted) + _masked_mean(image_error * (2 / 3), seen)
    if scale_recovery == "metrabs":
        terms["image"] = _masked_mean(image_error, seen * has_3d[:, None])
        error = _l1(predicted["poses3d"] / 1000, true)
        near = ops.minimum(1.0, _FAR_M / ops.maximum(true[:, root, 2], 0.1))
        terms["absolute"] = _masked_mean(error * near[:, None], truth["valid3d"])

    weak = seen * (1 - has_3d)[:, None]
    aligned = _align(head[..., :2], truth["joints2d"] * metres_per_pixel, weak)
    terms["weak"] = _masked_mean(image_error, weak) + _masked_mean(
        _l1(aligned, truth["joints2d"] * metres_per_pixel), weak
    )
    return terms


def total_loss(terms: dict, step, absolute_from_step: int):
    """Sum of the 3D terms and a tenth of the 2D terms; the absolute one counts after ``absolute_from_step``."""
    total = terms["relative"] + 0.1 * terms["weak"]
    if "image" in terms:
        started = ops.cast(step >= absolute_from_step, "float32")
        total = total + terms["image"] + started * terms["absolute"]
    return total


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
