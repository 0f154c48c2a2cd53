"""Cameras in TensorFlow, batched, with the verbs of ``metrabs_core.cameras.Camera``, which explains axes and lenses.

Leading batch dimensions broadcast: cameras are given with as many dimensions as the points, less the last two
(``cameras[:, tf.newaxis]`` and so on).

Every node of these graphs is built, optimized and run in every model, several times over, so the formulas are written
with few of them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from metrabs_core.cameras import (
    FISHEYE_ORDER,
    MAX_COEFF,
    MAX_FISHEYE_ANGLE,
    N_COEFFS,
    N_FISHEYE_COEFFS,
    RADIAL_ORDER,
    RADIAL_POWERS,
    RADII,
)

# Newton's method converges quadratically: usually after 3 or 4 steps, after 10 with the strongest real lenses.
_MAX_NEWTON_STEPS = 20
_CONVERGED = 1e-6
# Of a box: its middle, then the middles of the left, right, upper and lower sides.
_CENTER_AND_SIDES = np.float32([[0.5, 0.5], [0, 0.5], [1, 0.5], [0.5, 0], [0.5, 1]])
_LAST_COLUMN = np.float32([0, 0, 1])
_POWERS = np.float32(RADIAL_POWERS.reshape(len(RADIAL_POWERS), -1))


class _Lens(NamedTuple):
    """What a lens is described by: OpenCV's coefficients, k7 of fisheye lenses, valid radius, and 1 for a fisheye."""

    k1: tf.Tensor
    k2: tf.Tensor
    p1: tf.Tensor
    p2: tf.Tensor
    k3: tf.Tensor
    k4: tf.Tensor
    k5: tf.Tensor
    k6: tf.Tensor
    s1: tf.Tensor
    s2: tf.Tensor
    s3: tf.Tensor
    s4: tf.Tensor
    k7: tf.Tensor
    valid_radius: tf.Tensor
    is_fisheye: tf.Tensor


@dataclass(frozen=True, eq=False)
class Cameras:
    """A batch of cameras of any shape [...].

    Attributes:
        intrinsic_matrix: float32 [..., 3, 3], pixels; last row 0 0 1.
        lens: float32 [..., 15]: see ``_Lens``; one tensor, so that one node takes it along.
        extrinsic_matrix: float32 [..., 4, 4], world to camera frame, mm; None for cameras that know no world.
    """

    intrinsic_matrix: tf.Tensor
    lens: tf.Tensor
    extrinsic_matrix: tf.Tensor | None = None

    @classmethod
    def calibrated(cls, intrinsic_matrix, distortion_coeffs, is_fisheye, extrinsic_matrix=None):
        """Cameras from what a calibration gives.

        Args:
            intrinsic_matrix: float32 [n, 3, 3].
            distortion_coeffs: float32 [n, m], m at most 12, OpenCV's order. Those not given are zero.
            is_fisheye: bool [n], whose coefficients are k1 k2 k3 k4.
            extrinsic_matrix: float32 [n, 4, 4], or None.

        Coefficients that no lens can have give cameras without ``is_possible``.
        """
        is_fisheye = is_fisheye[:, tf.newaxis]
        coeffs = tf.pad(distortion_coeffs, [[0, 0], [0, N_COEFFS + 1 - tf.shape(distortion_coeffs)[1]]])
        coeffs = tf.ensure_shape(coeffs, [None, N_COEFFS + 1])
        limits = tf.where(is_fisheye, _FISHEYE_LIMITS, MAX_COEFF)
        is_lens = tf.reduce_all(tf.abs(coeffs) <= limits, axis=1, keepdims=True)
        coeffs = tf.where(is_fisheye, tf.gather(coeffs, FISHEYE_ORDER, axis=1), coeffs)
        radius = tf.where(is_lens, valid_radius(coeffs, is_fisheye), 0.0)
        lens = tf.concat([coeffs, radius, tf.cast(is_fisheye, tf.float32)], axis=1)
        return cls(intrinsic_matrix, lens, extrinsic_matrix)

    def __getitem__(self, key):
        """Cameras at an index or slice, or with further axes (``tf.newaxis``), of the batch's shape."""
        return self._each(lambda values: values[key])

    def gather(self, index):
        """Cameras at indices int32 [...] of the batch's first axis."""
        return self._each(lambda values: tf.gather(values, index))

    def _each(self, change):
        world = None if self.extrinsic_matrix is None else change(self.extrinsic_matrix)
        return Cameras(change(self.intrinsic_matrix), change(self.lens), world)

    def _lens(self):
        """Each of [..., 1], to be broadcast against points."""
        return _Lens(*tf.unstack(tf.expand_dims(self.lens, -2), axis=-1))

    @property
    def is_possible(self):
        """Whether there can be such lenses: bool [...]."""
        return self.lens[..., _Lens._fields.index("valid_radius")] >= RADII[1]

    @property
    def is_pinhole(self):
        """Whether straight lines are seen straight: bool [...]."""
        # all but the valid radius are zero
        return tf.reduce_all(self.lens * _PINHOLE_MASK == 0.0, axis=-1)

    def project(self, points):
        """Pixels where points in the camera frame are seen.

        What the lens does not see, since it is too far aside or behind, is put at or outside of the picture's border.

        Args:
            points: float32 [..., n, 3], in any unit.

        Returns:
            float32 [..., n, 2].
        """
        return self.project_and_see(points)[0]

    def project_and_see(self, points):
        """What ``project`` gives, and whether the lens sees the points: float32 [..., n, 2] and bool [..., n]."""
        x, y, z = tf.unstack(points, axis=-1)
        lens = self._lens()
        # where an ideal lens puts them
        aside = tf.sqrt(tf.maximum(x * x + y * y, 1e-36))
        tangent = aside / tf.maximum(z, 1e-6 * aside)  # what is behind a pinhole is very far aside
        radius = tf.where(lens.is_fisheye > 0.0, tf.atan2(aside, z), tangent)
        within = tf.minimum(radius, lens.valid_radius)
        scale = within / aside
        x, y, r2 = x * scale, y * scale, within * within
        # what the lens makes of that
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, k7, limit, _ = lens
        factor = 1.0 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k7)))
        factor /= 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        factor += 2.0 * (p1 * y + p2 * x)
        x, y = x * factor + r2 * (p2 + s1 + s2 * r2), y * factor + r2 * (p1 + s3 + s4 * r2)
        pixels = transform(self.intrinsic_matrix[..., :2, :], tf.stack([x, y, tf.ones_like(x)], axis=-1))
        return pixels, radius <= limit

    def rays(self, pixels):
        """Directions in which pixels look, the inverse of ``project``.

        Args:
            pixels: float32 [..., n, 2].

        Returns:
            float32 [..., n, 3], camera frame, one long or longer. For a pixel that the lens can't produce, it is a
            direction near the edge of what it sees.
        """
        distorted = transform(tf.linalg.inv(self.intrinsic_matrix)[..., :2, :], homogeneous(pixels))
        lens = self._lens()
        x, y = _undistort(distorted, lens)
        # where the radius is zero, anything of the right size will do
        radius = tf.sqrt(tf.maximum(x * x + y * y, 1e-12))
        z = tf.where(lens.is_fisheye > 0.0, radius / tf.tan(radius), 1.0)
        return tf.stack([x, y, z], axis=-1)

    def to_world(self, points):
        """Points float32 [..., n, 3] of the camera frame in the world, mm."""
        return transform(tf.linalg.inv(self.extrinsic_matrix)[..., :3, :], homogeneous(points))

    def resampled(self, origin, cell):
        """Cameras of pictures whose pixels i are at ``origin + cell * i`` in these: float32 [..., 2], x and y."""
        shift = tf.pad(origin, [*[[0, 0]] * (origin.shape.rank - 1), [0, 1]])[..., tf.newaxis] * _LAST_COLUMN
        return replace(self, intrinsic_matrix=(self.intrinsic_matrix - shift) / homogeneous(cell)[..., tf.newaxis])

    def facing_boxes(self, boxes, up, side):
        """Virtual cameras that look at the middle of each box, the box's longer side filling the square crop.

        A turned camera and not a cut-out, so that a person looks the same at the border of a wide picture as in its
        middle (perspective correction, T-BIOM 2021).

        Args:
            boxes: float32 [n, 4], left, top, width, height, pixels of the (distorted) picture.
            up: float32 [n, 3], direction in the camera frame that is to be up in the crops.
            side: side of the crops in pixels.

        Returns:
            rotation: float32 [n, 3, 3], from the camera's frame to the crop camera's.
            focal: float32 [n], focal length of the crop camera in pixels; its principal point is the crop's middle.
        """
        corner, size = tf.split(tf.expand_dims(boxes, 1), 2, axis=-1)
        rays = self.rays(corner + size * _CENTER_AND_SIDES)
        rotation = look_at_rotation(rays[:, 0], up)
        xy, z = tf.split(transform(rotation, rays), [2, 1], axis=-1)
        on_plane = xy / tf.maximum(z, 1e-3)
        sides = tf.norm(on_plane[:, 2::2] - on_plane[:, 1::2], axis=-1)
        return rotation, side / tf.maximum(tf.reduce_max(sides, axis=-1), 1e-6)


_FISHEYE_LIMITS = np.float32([MAX_COEFF] * N_FISHEYE_COEFFS + [0] * (N_COEFFS + 1 - N_FISHEYE_COEFFS))
_PINHOLE_MASK = np.float32([name != "valid_radius" for name in _Lens._fields])


def _undistort(distorted, lens):
    """Points x, y [..., n] of the ideal picture from distorted ones [..., n, 2], by Newton's method, within the valid
    radius."""
    target_x, target_y = tf.unstack(distorted, axis=-1)
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, k7, limit, _ = lens

    def limited(x, y):
        scale = limit / tf.maximum(limit, tf.sqrt(x * x + y * y))
        return x * scale, y * scale

    def newton_step(i, x, y, _):
        r2 = x * x + y * y
        # value and derivative by r2 of the radial factor
        denominator = 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
        factor = (1.0 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k7)))) / denominator
        slope = k1 + r2 * (2.0 * k2 + r2 * (3.0 * k3 + r2 * 4.0 * k7))
        slope = (slope - factor * (k4 + r2 * (2.0 * k5 + 3.0 * r2 * k6))) / denominator
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
        is_moving = tf.reduce_any(tf.maximum(tf.abs(step_x), tf.abs(step_y)) > _CONVERGED)
        return i + 1, *limited(x - step_x, y - step_y), is_moving

    def is_unfinished(i, x, y, is_moving):
        return is_moving & (i < _MAX_NEWTON_STEPS)

    return tf.while_loop(is_unfinished, newton_step, (0, *limited(target_x, target_y), True))[1:3]


def valid_radius(coeffs, is_fisheye):
    """Radius in the ideal picture within which lenses are one-to-one: float32 [n, 1].

    Beyond it the polynomial folds the picture back over itself: no real lens does, and what is there has no place in
    the picture.

    Args:
        coeffs: float32 [n, 13], the coefficients of ``_Lens``.
        is_fisheye: bool [n, 1].
    """
    coeffs = tf.pad(tf.pad(coeffs, [[0, 0], [1, 0]], constant_values=1.0), [[0, 0], [0, 1]])
    numerator, denominator = [tf.gather(coeffs, places, axis=1) for places in RADIAL_ORDER]
    numerator, numerator_slope = tf.split(numerator @ _POWERS, 2, axis=-1)
    denominator, denominator_slope = tf.split(denominator @ _POWERS, 2, axis=-1)
    # d(r * factor(r^2)) / dr, positive where a larger angle means further from the centre; times denominator^2
    slope = (numerator + numerator_slope) * denominator - numerator * denominator_slope
    is_growing = (slope > 0.0) & (denominator > 0.0)
    n_valid = tf.reduce_sum(tf.math.cumprod(tf.cast(is_growing, tf.int32), axis=-1), axis=-1, keepdims=True)
    limit = tf.where(is_fisheye, np.float32(MAX_FISHEYE_ANGLE), np.float32(RADII[-1]))
    return tf.minimum(tf.gather(RADII.astype(np.float32), tf.maximum(n_valid - 1, 0)), limit)


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


def roll_rotation(angle):
    """Rotation by angles about the optical axis: float32 [...] radians -> [..., 3, 3].

    A positive angle turns the picture clockwise.
    """
    sin, cos = tf.sin(angle), tf.cos(angle)
    zero, one = tf.zeros_like(angle), tf.ones_like(angle)
    rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]]
    return tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
