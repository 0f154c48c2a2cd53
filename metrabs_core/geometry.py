"""Cameras in TensorFlow, batched: lens distortion, look-at crop cameras, projection.

Points in the image are pixels with integer coordinates at pixel centres (a W x H image covers -0.5 to W - 0.5), lengths
are millimetres, and the camera frame is x right, y down, z forward. *Normalized* points are on the plane z = 1. Leading
batch dimensions broadcast: cameras are given with as many dimensions as the points (``K[:, tf.newaxis]`` and so on).

Every node of these graphs is built, optimized and run in every model, several times over, so the formulas are written
with few of them.
"""

import numpy as np
import tensorflow as tf

N_DISTORTION_COEFFS = 12
# Newton's method converges quadratically: usually after 3 or 4 steps, after 10 with the strongest real lenses.
_MAX_NEWTON_STEPS = 20
_CONVERGED = 1e-6
# Of a box: its middle, then the middles of the left, right, upper and lower sides.
_CENTER_AND_SIDES = np.float32([[0.5, 0.5], [0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]])
# The radii on which the lens model is searched for the place where it stops being one-to-one: up to 85 degrees.
_RADII = np.geomspace(0.02, np.tan(np.deg2rad(85.0)), 256)
# At these radii: powers of r^2, and 2 r^2 times their derivatives by r^2. [4, 2 * 256]
_RADIAL_POWERS = np.float32([np.r_[_RADII ** (2 * n), 2 * n * _RADII ** (2 * n)] for n in range(4)])
# Where the rational radial factor has its coefficients in (1, *coeffs): numerator and denominator.
_RADIAL_COEFFS = [[0, 1, 2, 5], [0, 6, 7, 8]]


def intrinsics_from_field_of_view(fov_degrees, image_size):
    """Intrinsics of a camera with square pixels whose optical axis passes through the middle of the image.

    Args:
        fov_degrees: float32 [], field of view over the longer side of the image, in degrees.
        image_size: int32 [2], height and width in pixels.

    Returns:
        float32 [3, 3].
    """
    height, width = tf.unstack(tf.cast(image_size, tf.float32))
    focal = tf.maximum(width, height) / 2.0 / tf.tan(fov_degrees * (np.pi / 360.0))
    return intrinsics(focal, (tf.stack([width, height]) - 1.0) / 2.0)


def intrinsics(focal, principal_point):
    """Intrinsic matrices of cameras with square pixels.

    Args:
        focal: float32 [...], focal lengths in pixels.
        principal_point: float32 [2], pixels, of all the cameras.

    Returns:
        float32 [..., 3, 3].
    """
    zoom = focal[..., tf.newaxis, tf.newaxis] * np.diag([1.0, 1.0, 0.0]).astype(np.float32)
    return zoom + tf.pad(homogeneous(principal_point)[:, tf.newaxis], [[0, 0], [2, 0]])


def lens_model(coeffs):
    """What the functions below need to know of a lens.

    Args:
        coeffs: float32 [n, m], m at most 12, in OpenCV's order: k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4. Those not given
            are zero.

    Returns:
        float32 [n, 13], called ``lens`` below: all 12 coefficients, and ``valid_radius``.
    """
    n_missing = N_DISTORTION_COEFFS - tf.shape(coeffs)[1]
    coeffs = tf.pad(coeffs, [[0, 0], [0, n_missing]])
    coeffs = tf.ensure_shape(coeffs, [None, N_DISTORTION_COEFFS])
    return tf.concat([coeffs, valid_radius(coeffs)], axis=-1)


def valid_radius(coeffs):
    """Radius on the plane z = 1 within which the lens model is one-to-one.

    Beyond it the polynomial folds the image back over itself: no real lens does, and points there have no place in
    the image.

    Args:
        coeffs: float32 [n, 12].

    Returns:
        float32 [n, 1].
    """
    coeffs = tf.pad(coeffs, [[0, 0], [1, 0]], constant_values=1.0)
    numerator, denominator = [tf.gather(coeffs, indices, axis=1) for indices in _RADIAL_COEFFS]
    numerator, numerator_slope = tf.split(numerator @ _RADIAL_POWERS, 2, axis=-1)
    denominator, denominator_slope = tf.split(denominator @ _RADIAL_POWERS, 2, axis=-1)
    # d(r * factor(r^2)) / dr, positive where a larger angle means further from the centre; times denominator^2
    slope = (numerator + numerator_slope) * denominator - numerator * denominator_slope
    is_growing = (slope > 0.0) & (denominator > 0.0)
    n_valid = tf.reduce_sum(tf.math.cumprod(tf.cast(is_growing, tf.int32), axis=-1), axis=-1, keepdims=True)
    return tf.gather(_RADII.astype(np.float32), tf.maximum(n_valid - 1, 0))


def _radial(r2, k1, k2, k3, k4, k5, k6):
    """Value and derivative by r2 of the rational radial factor."""
    numerator = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    denominator = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
    factor = numerator / denominator
    numerator_slope = k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3)
    denominator_slope = k4 + r2 * (2.0 * k5 + 3.0 * r2 * k6)
    return factor, (numerator_slope - factor * denominator_slope) / denominator


def _limit_radius(points, radius):
    """Move points [..., 2] toward the centre that are further from it than a radius [..., 1]."""
    length = tf.sqrt(tf.reduce_sum(tf.square(points), axis=-1, keepdims=True))
    return points * (radius / tf.maximum(radius, length))


def distort_points(points, lens):
    """Apply OpenCV's lens model (radial rational, tangential, thin prism).

    Points beyond ``valid_radius`` are first moved onto it, so that they land at or outside the border of the picture
    and not, folded back, inside.

    Args:
        points: float32 [..., 2], normalized.
        lens: float32 [..., 13], broadcast against the points' leading dimensions.

    Returns:
        float32 [..., 2], normalized and distorted.
    """
    x, y = tf.unstack(_limit_radius(points, lens[..., -1:]), axis=-1)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, _ = tf.unstack(lens, axis=-1)
    r2 = x * x + y * y
    factor = (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    factor += 2.0 * (p1 * y + p2 * x)
    return tf.stack([x * factor + r2 * (p2 + s1 + s2 * r2), y * factor + r2 * (p1 + s3 + s4 * r2)], axis=-1)


def undistort_points(points, lens):
    """Invert ``distort_points`` by Newton's method, within ``valid_radius``.

    Args:
        points: float32 [..., 2], normalized and distorted.
        lens: float32 [..., 13], broadcast against the points' leading dimensions.

    Returns:
        float32 [..., 2], normalized. A point that the lens can't produce gives one near the valid radius.
    """
    target_x, target_y = tf.unstack(points, axis=-1)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, _ = tf.unstack(lens, axis=-1)
    radius = lens[..., -1:]

    def newton_step(i, undistorted, _):
        x, y = tf.unstack(undistorted, axis=-1)
        r2 = x * x + y * y
        factor, slope = _radial(r2, k1, k2, k3, k4, k5, k6)
        factor += 2.0 * (p1 * y + p2 * x)
        error_x = x * factor + r2 * (p2 + s1 + s2 * r2) - target_x
        error_y = y * factor + r2 * (p1 + s3 + s4 * r2) - target_y
        # derivatives by r2 of what multiplies x and y, and of the rest, then the Jacobian
        side_x, side_y = p2 + s1 + 2.0 * s2 * r2, p1 + s3 + 2.0 * s4 * r2
        xx = factor + 2.0 * x * (x * slope + p2 + side_x)
        xy = 2.0 * (x * (y * slope + p1) + y * side_x)
        yx = 2.0 * (y * (x * slope + p2) + x * side_y)
        yy = factor + 2.0 * y * (y * slope + p1 + side_y)
        determinant = xx * yy - xy * yx
        step_x = tf.math.divide_no_nan(yy * error_x - xy * error_y, determinant)
        step_y = tf.math.divide_no_nan(xx * error_y - yx * error_x, determinant)
        step = tf.stack([step_x, step_y], axis=-1)
        return i + 1, _limit_radius(undistorted - step, radius), tf.reduce_any(tf.abs(step) > _CONVERGED)

    start = _limit_radius(points, radius)
    return tf.while_loop(lambda i, _, is_moving: is_moving & (i < _MAX_NEWTON_STEPS), newton_step, (0, start, True))[1]


def pixels_to_normalized(pixels, intrinsic_matrix, lens):
    """Undistorted normalized points of pixels.

    Args:
        pixels: float32 [..., n, 2].
        intrinsic_matrix: float32 [..., 3, 3].
        lens: float32 [..., 13].

    Returns:
        float32 [..., n, 2].
    """
    normalized = transform(tf.linalg.inv(intrinsic_matrix)[..., :2, :], homogeneous(pixels))
    return undistort_points(normalized, tf.expand_dims(lens, -2))


def project(points, intrinsic_matrix, lens):
    """Pixels where points in the camera frame are seen.

    Args:
        points: float32 [..., n, 3], mm, camera frame. Points behind the camera are taken to be just in front of it,
            far out at the side.
        intrinsic_matrix: float32 [..., 3, 3].
        lens: float32 [..., 13].

    Returns:
        float32 [..., n, 2].
    """
    xy, z = tf.split(points, [2, 1], axis=-1)
    distorted = distort_points(xy / tf.maximum(z, 1.0), tf.expand_dims(lens, -2))
    return transform(intrinsic_matrix[..., :2, :], homogeneous(distorted))


def transform(matrix, points):
    """Apply matrices float32 [..., r, c] to points [..., n, c], each to all of its n: float32 [..., n, r].

    Elementwise: for a handful of points the start of a matrix multiplication kernel costs more than its work.
    """
    return tf.reduce_sum(tf.expand_dims(matrix, -3) * tf.expand_dims(points, -2), axis=-1)


def compose(first, second):
    """Matrix product of small matrices, float32 [..., a, b] and [..., b, c] -> [..., a, c]; elementwise as above."""
    return tf.reduce_sum(tf.expand_dims(first, -1) * tf.expand_dims(second, -3), axis=-2)


def homogeneous(points):
    """Append a one to the last axis: [..., n] -> [..., n + 1]."""
    return tf.pad(points, [*[[0, 0]] * (points.shape.rank - 1), [0, 1]], constant_values=1.0)


def look_at_rotation(direction, up):
    """Rotation from the camera frame to that of a camera at the same place that looks along a direction.

    Args:
        direction: float32 [..., 3], camera frame, any length; it becomes the z axis.
        up: float32 [..., 3], camera frame; it will point up in the new picture. Where it is parallel to the
            direction, the original camera's up is taken.

    Returns:
        float32 [..., 3, 3]; ``R @ p`` is p in the new frame.
    """
    z = tf.math.l2_normalize(direction, axis=-1)
    x = tf.linalg.cross(z, up + tf.zeros_like(z))
    is_parallel = tf.norm(x, axis=-1, keepdims=True) < 1e-3 * tf.norm(up, axis=-1, keepdims=True)
    # the cross product with the original camera's up, (0, -1, 0)
    x = tf.where(is_parallel, tf.gather(z, [2, 1, 0], axis=-1) * [1.0, 0.0, -1.0], x)
    x = tf.math.l2_normalize(x, axis=-1)
    return tf.stack([x, tf.linalg.cross(z, x), z], axis=-2)


def crop_cameras(boxes, intrinsic_matrix, lens, up, crop_side):
    """Virtual cameras that look at the middle of each box, the box's longer side filling the square crop.

    A turned camera and not a cut-out, so that a person looks the same at the border of a wide picture as in its middle
    (perspective correction, T-BIOM 2021).

    Args:
        boxes: float32 [n, 4], left, top, width, height, pixels of the (distorted) image.
        intrinsic_matrix: float32 [n, 3, 3], of the image.
        lens: float32 [n, 13], of the image.
        up: float32 [n, 3], direction in the camera frame that is to be up in the crops.
        crop_side: side of the crops in pixels.

    Returns:
        rotation: float32 [n, 3, 3], from the image camera's frame to the crop camera's.
        focal: float32 [n], focal length of the crop camera in pixels; its principal point is the crop's middle.
    """
    corner, size = tf.split(tf.expand_dims(boxes, 1), 2, axis=-1)
    points = corner + size * _CENTER_AND_SIDES
    rays = homogeneous(pixels_to_normalized(points, intrinsic_matrix, lens))
    rotation = look_at_rotation(rays[:, 0], up)
    xy, z = tf.split(transform(rotation, rays), [2, 1], axis=-1)
    on_plane = xy / tf.maximum(z, 1e-3)
    sides = tf.norm(on_plane[:, 2::2] - on_plane[:, 1::2], axis=-1)
    return rotation, crop_side / tf.maximum(tf.reduce_max(sides, axis=-1), 1e-6)


def roll_rotation(angle):
    """Rotation by angles about the optical axis: float32 [...] radians -> [..., 3, 3].

    A positive angle turns the picture clockwise.
    """
    sin, cos = tf.sin(angle), tf.cos(angle)
    zero, one = tf.zeros_like(angle), tf.ones_like(angle)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
