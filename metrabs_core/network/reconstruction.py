"""From image coordinates and depths relative to the root to absolute positions in the camera frame."""

from keras import ops


def normalize(points2d, intrinsics):
    """Pixels to normalized image points, ``K^-1 [x, y, 1]`` without the last coordinate.

    Args:
        points2d: float32 [N, J, 2], pixels.
        intrinsics: float32 [N, 3, 3], upper triangular, last row (0, 0, 1).

    Returns:
        float32 [N, J, 2].
    """
    y = (points2d[..., 1] - intrinsics[:, None, 1, 2]) / intrinsics[:, None, 1, 1]
    x = (points2d[..., 0] - intrinsics[:, None, 0, 2] - intrinsics[:, None, 0, 1] * y) / intrinsics[:, None, 0, 0]
    return ops.stack([x, y], axis=-1)


def in_view(points2d, crop_side: int, stride: int):
    """Joints that lie at least one training stride inside the crop on every side.

    Args:
        points2d: float32 [N, J, 2], pixels of the crop.
        crop_side: P, pixels.
        stride: the stride of training, pixels.

    Returns:
        bool [N, J].
    """
    return ops.all((points2d >= stride) & (points2d < crop_side - stride), axis=-1)


def reconstruct_absolute(points2d, coords3d, intrinsics, crop_side: int, stride: int, weak_perspective: bool = True):
    """MeTRAbs: combine the 2D head with the 3D head into absolute positions (T-BIOM paper, section III-D).

    Joints in view are back-projected from the image at the depth that the pose has there; the others (truncated by
    the crop's border) keep their place relative to the reference point.

    Args:
        points2d: float32 [N, J, 2], 2D head, pixels of the crop.
        coords3d: float32 [N, J, 3], 3D head, millimetres up to a translation.
        intrinsics: float32 [N, 3, 3] of the crop's camera.
        crop_side: P, pixels.
        stride: the stride of training, pixels.
        weak_perspective: how the reference point is found: weak perspective, or full perspective least squares.

    Returns:
        float32 [N, J, 3], millimetres, crop camera frame.
    """
    normalized = normalize(points2d, intrinsics)
    inside = in_view(points2d, crop_side, stride)
    locate = locate_reference_weak if weak_perspective else locate_reference_full
    reference = locate(normalized, coords3d, inside)
    translated = coords3d + reference[:, None]
    return ops.where(inside[..., None], back_project(normalized, translated[..., 2:]), translated)


def back_project(normalized, depths):
    """Points at given depths on the rays of normalized image points: [N, J, 2] and [N, J, 1] -> [N, J, 3]."""
    return ops.concatenate([normalized * depths, depths], axis=-1)


def locate_reference_weak(normalized, coords3d, valid):
    """Reference point under weak perspective: depth from the ratio of the spreads in 3D and in the image.

    Args:
        normalized: float32 [N, J, 2], normalized image points.
        coords3d: float32 [N, J, 3], millimetres up to a translation.
        valid: bool [N, J], joints to use.

    Returns:
        float32 [N, 3], millimetres: what to add to ``coords3d`` for the camera frame.
    """
    mean2d, spread2d = _masked_mean_and_spread(normalized, valid)
    mean3d = _masked_mean(coords3d, valid)
    _, spread3d = _masked_mean_and_spread(coords3d[..., :2], valid)
    depth = spread3d / ops.maximum(spread2d, 1e-6)
    return ops.concatenate([mean2d * depth - mean3d[:, :2], depth - mean3d[:, 2:]], axis=-1)


def locate_reference_full(normalized, coords3d, valid):
    """Reference point under full perspective: linear least squares over the projection equations of all joints.

    For each joint with image point ``u``: ``ref_xy - u ref_z = u dz - dxy``. The equations of joints out of view are
    multiplied by 1e-4. The optimum has a closed form: about the weighted means, only ref_z is unknown.

    Args and Returns: as ``locate_reference_weak``.
    """
    right = normalized * coords3d[..., 2:] - coords3d[..., :2]
    weights = ops.where(valid, 1.0, 1e-8)[..., None]  # of squares
    weights = weights / ops.sum(weights, axis=1, keepdims=True)
    mean_u = ops.sum(weights * normalized, axis=1)
    mean_right = ops.sum(weights * right, axis=1)
    u, right = normalized - mean_u[:, None], right - mean_right[:, None]
    z = -ops.sum(weights * u * right, axis=(1, 2)) / ops.maximum(ops.sum(weights * ops.square(u), axis=(1, 2)), 1e-12)
    return ops.concatenate([mean_right + mean_u * z[:, None], z[:, None]], axis=-1)


def root_depth_from_bones(normalized, relative_depths, edges, bone_lengths, n_iterations: int = 12):
    """2.5D: the root depth at which back-projected bones best match target lengths (MeTRo paper's 2.5D baseline).

    The length of bone (i, j) at root depth z is ``sqrt(c z^2 + d z + e)``; Levenberg-Marquardt from 2000 mm minimizes
    the squared differences to the targets.

    Args:
        normalized: float32 [N, J, 2], normalized image points.
        relative_depths: float32 [N, J], millimetres relative to the root.
        edges: pairs of joint indices, E of them.
        bone_lengths: float32 [E] or [N, E], millimetres.
        n_iterations: iterations of Levenberg-Marquardt; 12 converge to a micrometre from 2 m to 20 m.

    Returns:
        float32 [N], millimetres.
    """
    first, second = (ops.convert_to_tensor([e[k] for e in edges], "int32") for k in (0, 1))
    ones = ops.ones_like(normalized[..., :1])
    rays = ops.concatenate([normalized, ones], axis=-1)
    offsets = rays * relative_depths[..., None]
    a = ops.take(rays, first, axis=1) - ops.take(rays, second, axis=1)
    b = ops.take(offsets, first, axis=1) - ops.take(offsets, second, axis=1)
    c, d, e = ops.sum(a * a, -1), 2 * ops.sum(a * b, -1), ops.sum(b * b, -1)
    z = ops.full_like(c[:, 0], 2000.0)
    damping = ops.full_like(z, 1e-3)

    def residuals(depth):
        depth = depth[:, None]
        lengths = ops.sqrt(ops.maximum(c * depth**2 + d * depth + e, 1e-6))
        slopes = (2 * c * depth + d) / (2 * lengths)
        return lengths - bone_lengths, slopes

    for _ in range(n_iterations):
        error, slope = residuals(z)
        curvature = ops.sum(slope * slope, axis=-1)
        step = ops.sum(slope * error, axis=-1) / (curvature * (1 + damping) + 1e-12)
        candidate = ops.maximum(z - step, 1.0)
        better = ops.sum(residuals(candidate)[0] ** 2, axis=-1) < ops.sum(error**2, axis=-1)
        z = ops.where(better, candidate, z)
        damping = ops.where(better, damping / 10, damping * 10)
    return z


def _masked_mean(points, valid):
    weights = ops.cast(valid, "float32")[..., None]
    return ops.sum(points * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1e-6)


def _masked_mean_and_spread(points, valid):
    """Mean [N, D] and the standard deviation [N, 1] pooled over joints and coordinates."""
    weights = ops.cast(valid, "float32")[..., None]
    count = ops.maximum(ops.sum(weights, axis=1), 1e-6)
    mean = ops.sum(points * weights, axis=1) / count
    squared = ops.sum(ops.square(points - mean[:, None]) * weights, axis=(1, 2))
    return mean, ops.sqrt(squared[:, None] / count + 1e-12)
