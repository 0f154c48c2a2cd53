"""Simple solids as triangles: positions and outward normals, both float64 [n, 3] with n a multiple of 3."""

import numpy as np

from training.synthesis.rotations import frame


def box(size: np.ndarray, centre: np.ndarray, rotation: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A box.

    Args:
        size: float [3], full side lengths, metres.
        centre: float [3].
        rotation: float [3, 3], axes of the box in columns; upright and straight if None.

    Returns:
        Positions and normals, [36, 3] each.
    """
    half = np.asarray(size, float) / 2
    positions, normals = [], []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (-1.0, 1.0):
            corners = np.zeros([4, 3])
            corners[:, axis] = side * half[axis]
            corners[:, u] = np.array([-1, 1, 1, -1]) * half[u]
            corners[:, v] = np.array([-1, -1, 1, 1]) * half[v]
            positions.append(corners[[0, 1, 2, 0, 2, 3]])
            normals.append(np.tile(side * np.eye(3)[axis], (6, 1)))
    rotation = np.eye(3) if rotation is None else rotation
    return np.concatenate(positions) @ rotation.T + centre, np.concatenate(normals) @ rotation.T


def rod(a: np.ndarray, b: np.ndarray, radius: float, end_radius: float | None = None, sides: int = 12) -> tuple:
    """A round rod or cone from a to b with a cap at b.

    Returns:
        Positions and normals, [9 sides, 3] each.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    end_radius = radius if end_radius is None else end_radius
    axis = b - a
    hint = np.array([[1.0, 0, 0]]) if abs(axis[0]) < 0.9 * np.linalg.norm(axis) else np.array([[0, 1.0, 0]])
    axes = frame(-axis[None], hint)[0]
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(sides + 1)], 1) @ axes.T
    low, high = a + radius * ring, b + end_radius * ring
    p = [low[:-1], low[1:], high[1:], low[:-1], high[1:], high[:-1], high[:-1], high[1:], np.tile(b, (sides, 1))]
    n = [ring[:-1], ring[1:], ring[1:], ring[:-1], ring[1:], ring[:-1]] + [np.tile(axes[:, 2], (sides, 1))] * 3
    return np.stack(p, 1).reshape(-1, 3), np.stack(n, 1).reshape(-1, 3)


def grid(points: np.ndarray, closed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A surface through a grid of points, shaded smoothly.

    Args:
        points: float [rows, columns, 3].
        closed: whether the last column meets the first.

    Returns:
        Positions and normals, [6 (rows-1) (columns-1 or columns), 3] each.
    """
    if closed:
        points = np.concatenate([points, points[:, :1]], 1)
    down, across = np.gradient(points, axis=0), np.gradient(points, axis=1)
    if closed:
        across[:, 0] = across[:, -1] = points[:, 1] - points[:, -2]
    normals = np.cross(across, down)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True) + 1e-9

    def triangles(values):
        a, b, c, d = values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]
        return np.stack([a, b, c, a, c, d], 2).reshape(-1, 3)

    return triangles(points), triangles(normals)


def ellipsoid(radii: np.ndarray, centre: np.ndarray, rotation: np.ndarray | None = None,
              polar: tuple[float, float] = (0, 180), rows: int = 8, columns: int = 16) -> tuple:  # fmt: skip
    """An ellipsoid or a part of one, cut across its third axis.

    Args:
        radii: float [3], metres.
        centre: float [3].
        rotation: float [3, 3], axes in columns.
        polar: range of the angle from the third axis, degrees.
        rows, columns: fineness.

    Returns:
        Positions and normals.
    """
    theta = np.radians(np.linspace(*polar, rows + 1))[:, None]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    rotation = np.eye(3) if rotation is None else rotation
    positions, _ = grid(unit, closed=True)
    normals = positions / np.asarray(radii)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return positions * np.asarray(radii) @ rotation.T + centre, normals @ rotation.T
