"""Small rotation matrices for posing bodies: x to the person's left, y backwards, z up."""

from math import cos, radians, sin

import numpy as np


def about_x(degrees: float) -> np.ndarray:
    """Rotation about the leftward axis; positive bends the trunk forward. Returns float64 [3, 3]."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0, c, -s], [0, s, c]])


def about_y(degrees: float) -> np.ndarray:
    """Rotation about the backward axis; positive leans the trunk to the left. Returns float64 [3, 3]."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(degrees: float) -> np.ndarray:
    """Rotation about the upward axis; positive turns to the left. Returns float64 [3, 3]."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def from_quaternion(wxyz: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion (w, x, y, z), normalized first. Returns float64 [3, 3]."""
    w, x, y, z = np.asarray(wxyz, float) / np.linalg.norm(wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of two single vectors [3]; `numpy.cross` takes ten times as long for those."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])


def frame(direction: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """Right-handed frame whose third axis is minus a bone's direction and whose first lies nearest its hinge.

    Args:
        direction: float [B, 3], along the bone, any length.
        hinge: float [B, 3], not parallel to the bone.

    Returns:
        float64 [B, 3, 3], the axes in columns.
    """
    z = -direction / np.linalg.norm(direction, axis=-1, keepdims=True)
    x = hinge - z * np.sum(z * hinge, -1, keepdims=True)
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def random_rotation(rng: np.random.Generator, degrees: float) -> np.ndarray:
    """Rotation by a normally distributed vector of the given standard deviation per axis. Returns [3, 3]."""
    return about_z(rng.normal(0, degrees)) @ about_y(rng.normal(0, degrees)) @ about_x(rng.normal(0, degrees))


def norm(v: np.ndarray) -> float:
    """Length of a single vector; `numpy.linalg.norm` takes much longer."""
    return float(np.sqrt(v @ v))


def unit(v: np.ndarray) -> np.ndarray:
    """A single vector [3] made one long."""
    return v / (np.sqrt(v @ v) + 1e-9)


def shortest_rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns unit vector a into b, float64 [3, 3]."""
    v, c = cross(a, b), float(a @ b)
    if c < -0.9999:
        return about_x(180.0)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


def partial_rotation(rotation: np.ndarray, fraction: float) -> np.ndarray:
    """A fraction of a rotation about the same axis."""
    if fraction >= 1:
        return rotation
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    axis = axis / (norm(axis) + 1e-12)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    a = angle * fraction
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k
