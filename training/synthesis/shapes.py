"""Simple solids as triangles: positions and outward normals, both float64 [n, 3] with n a multiple of 3."""

from functools import cache, lru_cache

import numpy as np

from training.synthesis.rotations import cross


@cache
def _unit_box() -> tuple[np.ndarray, np.ndarray]:
    positions, normals = [], []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        for side in (-0.5, 0.5):
            corners = np.zeros([4, 3])
            corners[:, axis] = side
            corners[:, u] = np.array([-0.5, 0.5, 0.5, -0.5])
            corners[:, v] = np.array([-0.5, -0.5, 0.5, 0.5])
            positions.append(corners[[0, 1, 2, 0, 2, 3]])
            normals.append(np.tile(2 * side * np.eye(3)[axis], (6, 1)))
    return np.concatenate(positions), np.concatenate(normals)


def box(size: np.ndarray, centre: np.ndarray, rotation: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A box.

    Args:
        size: float [3], full side lengths, metres.
        centre: float [3].
        rotation: float [3, 3], axes of the box in columns; upright and straight if None.

    Returns:
        Positions and normals, [36, 3] each.
    """
    positions, normals = _unit_box()
    rotation = np.eye(3) if rotation is None else rotation
    return (positions * size) @ rotation.T + centre, normals @ rotation.T


@cache
def _ring(sides: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, sides + 1)
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def rod(a: np.ndarray, b: np.ndarray, radius: float, end_radius: float | None = None, sides: int = 12) -> tuple:
    """A round rod or cone from a to b with a cap at b.

    Returns:
        Positions and normals, [9 sides, 3] each.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    end_radius = radius if end_radius is None else end_radius
    z = (b - a) / (np.sqrt((b - a) @ (b - a)) + 1e-12)
    x = cross(z, np.eye(3)[np.argmin(abs(z))])
    x = x / np.sqrt(x @ x)
    ring = _ring(sides) @ np.stack([x, cross(z, x)])
    low, high = a + radius * ring, b + end_radius * ring
    positions, normals = np.empty([sides, 9, 3]), np.empty([sides, 9, 3])
    positions[:, 0] = positions[:, 3] = low[:-1]
    positions[:, 1] = low[1:]
    positions[:, 2] = positions[:, 4] = positions[:, 7] = high[1:]
    positions[:, 5] = positions[:, 6] = high[:-1]
    positions[:, 8] = b
    normals[:, [0, 3, 5]] = ring[:-1, None]
    normals[:, [1, 2, 4]] = ring[1:, None]
    normals[:, 6:] = z
    return positions.reshape(-1, 3), normals.reshape(-1, 3)


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
    down, across = np.empty_like(points), np.empty_like(points)
    down[1:-1], down[0], down[-1] = points[2:] - points[:-2], points[1] - points[0], points[-1] - points[-2]
    across[:, 1:-1] = points[:, 2:] - points[:, :-2]
    across[:, 0], across[:, -1] = points[:, 1] - points[:, 0], points[:, -1] - points[:, -2]
    if closed:
        across[:, 0] = across[:, -1] = points[:, 1] - points[:, -2]
    (a, b, c), (d, e, f) = np.moveaxis(across, -1, 0), np.moveaxis(down, -1, 0)
    normals = np.stack([b * f - c * e, c * d - a * f, a * e - b * d], -1)
    normals /= np.sqrt(np.einsum("rci,rci->rc", normals, normals))[..., None] + 1e-9

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
    unit = _unit_sphere(polar, rows, columns)
    rotation = np.eye(3) if rotation is None else rotation
    normals = unit / np.asarray(radii)
    normals /= np.sqrt(np.einsum("vi,vi->v", normals, normals))[:, None]
    return unit * np.asarray(radii) @ rotation.T + centre, normals @ rotation.T


@lru_cache(64)
def _unit_sphere(polar: tuple[float, float], rows: int, columns: int) -> np.ndarray:
    theta = np.radians(np.linspace(*polar, rows + 1))[:, None]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)[None]
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    return grid(points, closed=True)[0]
