"""One camera, in NumPy: where points are seen, where pixels look, and what turned and zoomed cameras would see.

Axes: x right, y down, z forward. Lengths are millimetres, though nothing but the extrinsics depends on the unit. Pixels
are (x, y) with integer coordinates at pixel centres: a picture of W x H pixels covers -0.5 to W - 0.5.

Both lens models describe a lens in two steps. An *ideal* lens puts what is seen at an angle from the optical axis at a
radius: the tangent of the angle in OpenCV's model (rectilinear), the angle itself in OpenCV's fisheye model
(equidistant; Kannala and Brandt, "A generic camera model and calibration method", PAMI 2006). The coefficients then say
how the real lens differs from that: radius times a polynomial, or quotient of polynomials, in the square of the radius.

``metrabs_core.geometry`` has the same verbs on batches, in TensorFlow.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from metrabs_core.errors import UserError

# Names that ROS, Kalibr and OpenCV use, and how many coefficients each has; '' is OpenCV's model with all of them.
PINHOLE_MODELS = {"": 14, "pinhole": 14, "rational_polynomial": 14, "plumb_bob": 5, "radtan": 5, "none": 0}
FISHEYE_MODELS = {"fisheye": 4, "equidistant": 4, "kannala_brandt4": 4}
LENS_MODELS = PINHOLE_MODELS | FISHEYE_MODELS
# Numbers in OpenCV's order (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4), and of a fisheye lens (k1 k2 k3 k4).
N_COEFFS, N_FISHEYE_COEFFS = 12, 4
# Both lens models as one row of N_COEFFS + 1 numbers: OpenCV's, and the fourth coefficient of the numerator, which only
# fisheye lenses have. For each of those numbers its place in a fisheye lens' coefficients, or 4 for zero.
FISHEYE_ORDER = (0, 1, 4, 4, 2, *[4] * 7, 3)
# Where that row has the coefficients of numerator and denominator, from the constant 1 that is put before it.
RADIAL_ORDER = np.array([[0, 1, 2, 5, 13], [0, 6, 7, 8, 14]])
# Larger coefficients overflow; the longest telephoto lenses, calibrated badly, stay far below.
MAX_COEFF = 1e9
# The radii of the ideal picture on which a lens is searched for the place where it stops being one-to-one. They end at
# 85 degrees for rectilinear lenses; for fisheye lenses, at an angle that hardly any sees.
RADII = np.geomspace(0.002, np.tan(np.deg2rad(85.0)), 640)
MAX_FISHEYE_ANGLE = np.deg2rad(140.0)
# At those radii: powers of r^2, and 2 r^2 times their derivatives by r^2. [5, 2, n]
RADIAL_POWERS = np.array([[RADII ** (2 * n), 2 * n * RADII ** (2 * n)] for n in range(5)])
UP = (0.0, -1.0, 0.0)
# Of a camera of which nothing is known: field of view over the longer side of its picture.
DEFAULT_FOV_DEGREES = 55.0
# What models' methods are given for it.
UNKNOWN_INTRINSIC_MATRIX = ((-1.0, -1.0, -1.0),) * 3
_MAX_NEWTON_STEPS, _CONVERGED = 30, 1e-9
# Pictures whose rays come closer than this to the image plane (per unit length) are not drawn by a homography.
MIN_DEPTH = 0.05
# Pixels between the places where a lens is computed; it is smooth enough to be interpolated in between.
LENS_STEP = 4
# Outside of every picture.
_NOWHERE = -1e6


@dataclass(frozen=True, eq=False)
class Camera:
    """How a picture was taken. See the module about axes, units and lens models.

    Attributes:
        intrinsic_matrix: float64 [3, 3], pixels; last row 0 0 1.
        distortion_coeffs: float64 [5, 8 or 12] in OpenCV's order (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4), or [4] of a
            fisheye lens. Fewer or more may be given: missing ones count as zero, and surplus ones must be zero.
        distortion_model: '' for OpenCV's model, 'fisheye' for OpenCV's fisheye model. The other names in
            ``LENS_MODELS`` may be given.
        extrinsic_matrix: float64 [4, 4], world to camera frame, millimetres.
        world_up: float64 [3], direction in the world that is up: people are looked at upright with regard to it.

    Raises:
        UserError: a matrix can't be a camera's, or no lens has these coefficients.
    """

    intrinsic_matrix: np.ndarray
    distortion_coeffs: np.ndarray = ()
    distortion_model: str = ""
    extrinsic_matrix: np.ndarray = field(default_factory=lambda: np.eye(4))
    world_up: tuple[float, float, float] = UP

    def __post_init__(self):
        matrix = _numbers(self.intrinsic_matrix, 3, "intrinsic matrix")
        if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
            raise UserError(f"The focal lengths of an intrinsic matrix must be positive: {matrix.tolist()}.")
        extrinsics = _numbers(self.extrinsic_matrix, 4, "extrinsic matrix")
        _check_last_row(matrix, "intrinsic matrix")
        _check_last_row(extrinsics, "extrinsic matrix")
        model = str(self.distortion_model).lower()
        if model not in LENS_MODELS:
            raise UserError(f"The lens model {model!r} is not known; known are {', '.join(filter(None, LENS_MODELS))}.")
        self._set("intrinsic_matrix", matrix)
        self._set("distortion_coeffs", _coefficients(self.distortion_coeffs, model))
        self._set("distortion_model", "fisheye" if model in FISHEYE_MODELS else "")
        self._set("extrinsic_matrix", extrinsics)
        if self.valid_radius < RADII[1]:
            raise UserError(
                "With these distortion coefficients the lens would fold the picture over itself beside its middle: "
                f"{self.distortion_coeffs.tolist()}."
            )

    def _set(self, name, value):
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        object.__setattr__(self, name, value)

    @classmethod
    def from_fov(cls, fov_degrees: float, width: int, height: int) -> "Camera":
        """A camera with square pixels whose optical axis passes through the middle of the picture.

        Args:
            fov_degrees: field of view over the longer side of the picture.
            width: of the picture, pixels.
            height: of the picture, pixels.
        """
        if not 0 < fov_degrees < 180:
            raise UserError(f"The field of view must be between 0 and 180 degrees; it is {fov_degrees}.")
        focal = max(width, height) / 2 / np.tan(np.deg2rad(fov_degrees) / 2)
        return cls.pinhole(focal, ((width - 1) / 2, (height - 1) / 2))

    @classmethod
    def pinhole(cls, focal: float, principal_point) -> "Camera":
        """A camera with square pixels and no lens distortion; both arguments in pixels."""
        x, y = principal_point
        return cls(np.array([[focal, 0, x], [0, focal, y], [0, 0, 1.0]]))

    @property
    def arguments(self) -> dict:
        """The arguments of a model's methods for poses in the camera frame: intrinsics, lens, up; float32 arrays.

        Models that were exported before there were fisheye lenses know no ``distortion_model``, so it is left out
        where it has its default.
        """
        arguments = {
            "intrinsic_matrix": self.intrinsic_matrix.astype(np.float32),
            "distortion_coeffs": self.distortion_coeffs.astype(np.float32),
        }
        if self.is_fisheye:
            arguments["distortion_model"] = self.distortion_model
        up = self.extrinsic_matrix[:3, :3] @ self.world_up
        if not np.array_equal(up, UP):
            arguments["world_up_vector"] = up.astype(np.float32)
        return arguments

    @property
    def is_fisheye(self) -> bool:
        """Whether the lens follows the fisheye model."""
        return self.distortion_model == "fisheye"

    @property
    def is_pinhole(self) -> bool:
        """Whether straight lines are seen straight."""
        return not self.is_fisheye and not self._has_coeffs

    @cached_property
    def _has_coeffs(self) -> bool:
        return bool(self.distortion_coeffs.any())

    @cached_property
    def _lens(self) -> tuple[float, ...]:
        """The coefficients as one row of 13 numbers, see ``FISHEYE_ORDER``."""
        if self.is_fisheye:
            coeffs = np.append(self.distortion_coeffs, 0.0)[list(FISHEYE_ORDER)]
        else:
            coeffs = np.pad(self.distortion_coeffs, (0, N_COEFFS + 1 - len(self.distortion_coeffs)))
        return tuple(coeffs.tolist())

    @cached_property
    def valid_radius(self) -> float:
        """Radius in the ideal picture within which the lens is one-to-one.

        Beyond it the polynomial folds the picture back over itself: no real lens does, and what is there has no place
        in the picture.
        """
        limit = MAX_FISHEYE_ANGLE if self.is_fisheye else RADII[-1]
        if not self._has_coeffs:
            return float(limit)
        (numerator, numerator_slope), (denominator, denominator_slope) = (
            np.einsum("c,csn->sn", coeffs, RADIAL_POWERS)
            for coeffs in np.concatenate([[1.0], self._lens, [0.0]])[RADIAL_ORDER]
        )
        # d(r * factor(r^2)) / dr, positive where a larger angle means further from the middle; times denominator^2
        slope = (numerator + numerator_slope) * denominator - numerator * denominator_slope
        is_growing = (slope > 0) & (denominator > 0)
        n_valid = len(RADII) if is_growing.all() else np.argmin(is_growing)
        return float(min(RADII[max(n_valid - 1, 0)], limit))

    # Pictures and directions

    def project(self, points: np.ndarray) -> np.ndarray:
        """Pixels where points [..., 3] of the camera frame are seen: float64 [..., 2].

        What the lens does not see, since it is too far aside or behind, is put at or outside of the picture's border.
        """
        return self._pixels(self._ideal(points)[0])

    def _pixels(self, ideal):
        if self._has_coeffs:
            ideal = np.stack(self._distort(ideal[..., 0], ideal[..., 1]), -1)
        return ideal @ self.intrinsic_matrix[:2, :2].T + self.intrinsic_matrix[:2, 2]

    def sees(self, points: np.ndarray) -> np.ndarray:
        """Whether the lens shows points [..., 3] of the camera frame, in the picture or beside it: bool [...]."""
        return self._ideal(points)[1]

    def rays(self, pixels: np.ndarray) -> np.ndarray:
        """Directions in which pixels [..., 2] look: float64 [..., 3] of length one, camera frame.

        The inverse of ``project``, by Newton's method. For a pixel that the lens can't produce, the direction is one
        near the edge of what it sees.
        """
        matrix = self.intrinsic_matrix
        (a, b), (c, d) = matrix[:2, :2].tolist()
        inverse = np.array([[d, -b], [-c, a]]) / (a * d - b * c)  # a fifth of the time of np.linalg.inv
        target = (np.asarray(pixels, np.float64) - matrix[:2, 2]) @ inverse.T
        target_x, target_y = target[..., 0], target[..., 1]
        x, y = self._limited(target_x, target_y)
        for _ in range(_MAX_NEWTON_STEPS if self._has_coeffs else 0):
            distorted_x, distorted_y = self._distort(x, y)
            error_x, error_y = distorted_x - target_x, distorted_y - target_y
            xx, xy, yx, yy = self._jacobian(x, y)
            determinant = xx * yy - xy * yx
            determinant = np.where(determinant == 0, np.inf, determinant)
            step_x, step_y = (yy * error_x - xy * error_y) / determinant, (xx * error_y - yx * error_x) / determinant
            x, y = self._limited(x - step_x, y - step_y)
            if not (np.maximum(abs(step_x), abs(step_y)) > _CONVERGED).any():
                break
        radius = np.sqrt(np.maximum(x * x + y * y, 1e-24))
        z = radius / np.tan(radius) if self.is_fisheye else np.ones_like(radius)
        return np.stack([x, y, z], -1) / np.sqrt(x * x + y * y + z * z)[..., np.newaxis]

    def _ideal(self, points):
        """Where an ideal lens puts points [..., 3], within the valid radius: [..., 2]; and which were there, [...]."""
        points = np.asarray(points, np.float64)
        xy, z = points[..., :2], points[..., 2:]
        aside = np.sqrt(np.maximum((xy * xy).sum(-1, keepdims=True), 1e-40))
        # what is behind a pinhole is very far aside
        radius = np.arctan2(aside, z) if self.is_fisheye else aside / np.maximum(z, 1e-6 * aside)
        limited = np.minimum(radius, self.valid_radius)
        return xy * (limited / aside), radius[..., 0] <= self.valid_radius

    def _limited(self, x, y):
        """Points [...] of the ideal picture, those beyond the valid radius moved onto it."""
        scale = self.valid_radius / np.maximum(self.valid_radius, np.sqrt(x * x + y * y))
        return x * scale, y * scale

    def _distort(self, x, y):
        """What the lens makes of points [...] of the ideal picture: the same."""
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, k7 = self._lens
        r2 = x * x + y * y
        factor = (1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k7)))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
        factor = factor + 2 * (p1 * y + p2 * x)
        return x * factor + r2 * (p2 + s1 + s2 * r2), y * factor + r2 * (p1 + s3 + s4 * r2)

    def _jacobian(self, x, y):
        """Of ``_distort``, row by row: four of [...]."""
        k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4, k7 = self._lens
        r2 = x * x + y * y
        denominator = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
        factor = (1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k7)))) / denominator
        slope = k1 + r2 * (2 * k2 + r2 * (3 * k3 + r2 * 4 * k7)) - factor * (k4 + r2 * (2 * k5 + 3 * r2 * k6))
        slope = slope / denominator
        factor = factor + 2 * (p1 * y + p2 * x)
        # derivatives by r2 of what is not multiplied by x and y, then the Jacobian
        side_x, side_y = p2 + s1 + 2 * s2 * r2, p1 + s3 + 2 * s4 * r2
        xx = factor + 2 * x * (x * slope + p2 + side_x)
        xy = 2 * (x * (y * slope + p1) + y * side_x)
        yx = 2 * (y * (x * slope + p2) + x * side_y)
        yy = factor + 2 * y * (y * slope + p1 + side_y)
        return xx, xy, yx, yy

    # Other cameras at the same place

    def undistorted(self) -> "Camera":
        """The same camera without lens distortion, and rectilinear."""
        return replace(self, distortion_coeffs=(), distortion_model="")

    def zoomed(self, factor) -> "Camera":
        """With focal lengths so many times as long, the principal point staying where it is."""
        matrix = self.intrinsic_matrix.copy()
        matrix[:2, :2] *= factor
        return self._changed(intrinsic_matrix=matrix)

    def scaled(self, factor) -> "Camera":
        """Of the picture resized by a factor, or by factors of width and height."""
        x, y = np.broadcast_to(np.asarray(factor, np.float64), 2)
        resize = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
        return self._changed(intrinsic_matrix=resize @ self.intrinsic_matrix)

    def shifted(self, offset) -> "Camera":
        """Of the picture cut so that the pixel at ``offset`` [2] becomes the one at (0, 0)."""
        matrix = self.intrinsic_matrix.copy()
        matrix[:2, 2] -= offset
        return self._changed(intrinsic_matrix=matrix)

    def resampled(self, origin, cell) -> "Camera":
        """Of a picture whose pixels i are at ``origin + cell * i`` in this camera's: [2] each, x and y."""
        matrix = self.intrinsic_matrix.copy()
        matrix[:2, 2] -= origin
        matrix[:2] /= np.asarray(cell, np.float64)[:, np.newaxis]
        return self._changed(intrinsic_matrix=matrix)

    def turned(self, rotation: np.ndarray) -> "Camera":
        """Turned by a rotation [3, 3] of the camera frame: ``rotation @ p`` is p in the new frame."""
        extrinsics = self.extrinsic_matrix.copy()
        extrinsics[:3] = np.asarray(rotation, np.float64) @ extrinsics[:3]
        return self._changed(extrinsic_matrix=extrinsics)

    def _changed(self, **matrices):
        """With other matrices that need no check, and the same lens; ten times as fast as ``dataclasses.replace``."""
        camera = object.__new__(type(self))
        camera.__dict__.update(self.__dict__)
        for name, matrix in matrices.items():
            camera._set(name, matrix)
        return camera

    def turned_towards(self, direction: np.ndarray, up=UP) -> "Camera":
        """Turned to look in a direction [3], with a direction up [3] in the upper half; both in the camera frame."""
        return self.turned(look_at_rotation(direction, up))

    def facing_box(self, box: np.ndarray, side: int, up=UP) -> "Camera":
        """The camera of a square picture without distortion whose middle is that of a box and that the box fills.

        A turned camera and not a cut-out, so that a person looks the same at the border of a wide picture as in its
        middle (perspective correction, T-BIOM 2021).

        Args:
            box: [4], left, top, width, height, pixels of this camera's picture.
            side: of the square in pixels; the longer side of the box fills it.
            up: [3], direction in the camera frame that is to be up.

        Raises:
            UserError: the box is nowhere that the camera could see.
        """
        left, top, width, height = np.asarray(box, np.float64)[:4]
        x, y = left + width / 2, top + height / 2
        rays = self.rays([[x, y], [left, y], [left + width, y], [x, top], [x, top + height]])
        rotation = look_at_rotation(rays[0], up)
        ends = rays[1:] @ rotation.T
        ends = ends[:, :2] / np.maximum(ends[:, 2:], 1e-3)
        focal = side / max(np.linalg.norm(ends[1] - ends[0]), np.linalg.norm(ends[3] - ends[2]), 1e-6)
        if not np.isfinite(focal * rotation).all():
            raise UserError(f"The box {np.asarray(box).tolist()} is nowhere that the camera could see.")
        middle = (side - 1) / 2
        intrinsics = np.array([[focal, 0, middle], [0, focal, middle], [0, 0, 1]])
        world = {"extrinsic_matrix": self.extrinsic_matrix, "world_up": self.world_up}
        return _UNIT._changed(intrinsic_matrix=intrinsics, **world).turned(rotation)

    # World and other cameras

    @property
    def position(self) -> np.ndarray:
        """Place of the camera in the world: float64 [3], mm."""
        return self.to_world(np.zeros(3))

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the world in the camera frame: float64 [..., 3], mm."""
        return np.asarray(points, np.float64) @ self.extrinsic_matrix[:3, :3].T + self.extrinsic_matrix[:3, 3]

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the camera frame in the world: float64 [..., 3], mm."""
        matrix = np.linalg.inv(self.extrinsic_matrix)
        return np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]

    def rotation_from(self, other: "Camera") -> np.ndarray:
        """Rotation from another camera's frame into this one's: float64 [3, 3]."""
        return self.extrinsic_matrix[:3, :3] @ np.linalg.inv(other.extrinsic_matrix[:3, :3])

    # Pixels

    def places(self, view: "Camera", size) -> np.ndarray:
        """Where in this camera's picture the pixels of another camera's are, which stands at the same place.

        Args:
            view: the other camera.
            size: width and height of its picture, pixels.

        Returns:
            float32 [height, width, 2], pixels; far outside of the picture for what this camera's lens does not see.
        """
        width, height = int(size[0]), int(size[1])
        # the middles of blocks of four, and one more on both sides
        along, down = (LENS_STEP * np.arange(-1, n // LENS_STEP + 2) + (LENS_STEP - 1) / 2 for n in (width, height))
        points = view.rays(np.stack(np.meshgrid(along, down), -1)) @ self.rotation_from(view).T
        ideal, seen = self._ideal(points)
        places = _interpolated(self._pixels(ideal), width, height)
        if not seen.all():
            # what lenses see is convex, so that a pixel is seen if the four around it are
            places[_interpolated(seen, width, height) < 0.999] = _NOWHERE
        return places

    def reprojected(self, picture: np.ndarray, view: "Camera", size) -> np.ndarray:
        """What another camera at the same place sees of this camera's picture, interpolated bilinearly.

        Args:
            picture: uint8 or float32 [H, W] or [H, W, c].
            view: the other camera.
            size: width and height of its picture, pixels.

        Returns:
            [height, width] or [height, width, c]; black where this camera's picture does not show it.
        """
        width, height = int(size[0]), int(size[1])
        if self.is_pinhole and view.is_pinhole:
            to_ray = self.rotation_from(view) @ np.linalg.inv(view.intrinsic_matrix)
            corners = to_ray @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1.0]])
            if (corners[2] > MIN_DEPTH * np.linalg.norm(corners, axis=0)).all():
                flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
                return cv2.warpPerspective(picture, self.intrinsic_matrix @ to_ray, (width, height), flags=flags)
        return cv2.remap(picture, self.places(view, size), None, cv2.INTER_LINEAR)


def _interpolated(coarse, width, height):
    """Values for every pixel, float32, from values [h, w] or [h, w, c] for blocks of four by four, see ``places``."""
    size = LENS_STEP * coarse.shape[1], LENS_STEP * coarse.shape[0]
    fine = cv2.resize(coarse.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(fine[LENS_STEP : LENS_STEP + height, LENS_STEP : LENS_STEP + width])


def look_at_rotation(direction, up=UP) -> np.ndarray:
    """Rotation [3, 3] to a frame whose z axis is a direction [3], with ``up`` [3] in its upper half.

    ``R @ p`` is p in the new frame. Where ``up`` is parallel to the direction, the original frame's up is taken.
    """
    z, up = np.asarray(direction, np.float64), np.asarray(up, np.float64)
    z = z / np.linalg.norm(z)
    x = _cross(z, up)
    if np.linalg.norm(x) < 1e-3 * np.linalg.norm(up):
        x = _cross(z, np.array(UP))
    x = x / np.linalg.norm(x)
    return np.stack([x, _cross(z, x), z])


def _cross(a, b):
    """Cross product of two vectors [3]; a tenth of the time of np.cross."""
    (ax, ay, az), (bx, by, bz) = a.tolist(), b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def roll_rotation(angle: float) -> np.ndarray:
    """Rotation [3, 3] by an angle in radians about the optical axis; a positive one turns the picture clockwise."""
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _numbers(values, size, name):
    """A float64 [size, size] matrix, or a UserError."""
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"The {name} must be {size} x {size} numbers.") from error
    if matrix.shape != (size, size):
        raise UserError(f"The {name} must be {size} x {size} numbers; its shape is {list(matrix.shape)}.")
    if not np.isfinite(matrix).all():
        raise UserError(f"The {name} has numbers that are not finite: {matrix.tolist()}.")
    return matrix


def _check_last_row(matrix, name):
    expected = np.eye(len(matrix))[-1]
    if np.abs(matrix[-1] - expected).max() > 1e-5:
        last = " ".join(f"{value:g}" for value in expected)
        raise UserError(f"The last row of the {name} must be {last}; is it transposed? It is {matrix.tolist()}.")


def _coefficients(values, model):
    """Float64 [5, 8, 12] or, of a fisheye lens, [4]; or a UserError."""
    try:
        coeffs = np.array(values, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise UserError("The distortion coefficients must be numbers.") from error
    if not (np.abs(coeffs) <= MAX_COEFF).all():
        raise UserError(f"These distortion coefficients are of no lens: {coeffs.tolist()}.")
    n_supported = min(LENS_MODELS[model], N_COEFFS)
    if coeffs[n_supported:].any():
        if LENS_MODELS[model] > N_COEFFS:
            raise UserError(
                "A tilted sensor (13 or 14 distortion coefficients) is not supported; rectify the pictures first."
            )
        raise UserError(
            f"The lens model {model} has {LENS_MODELS[model]} distortion coefficients, but here more are not zero: "
            f"{coeffs.tolist()}."
        )
    n_needed = np.flatnonzero(coeffs).max(initial=-1) + 1
    sizes = (N_FISHEYE_COEFFS,) if model in FISHEYE_MODELS else (5, 8, N_COEFFS)
    size = next(size for size in sizes if size >= n_needed)
    return np.pad(coeffs[:size], (0, max(size - len(coeffs), 0)))


# What other pinhole cameras are made of without checks.
_UNIT = Camera.pinhole(1.0, (0.0, 0.0))
