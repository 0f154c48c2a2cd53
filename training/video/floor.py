"""Which way is up, and where the floor is, from how people stand."""

from typing import NamedTuple

import numpy as np

from metrabs_core.skeletons import Skeleton
from training.video.poses import VideoPoses

_TOPS, _FEET = ("neck", "lsho", "rsho"), ("lank", "rank", "ltoe", "rtoe", "lhee", "rhee")
# Ankles are this far above the soles, mm.
_ANKLE_HEIGHT = 80.0
# Bodies that lean further than this from what is up do not count: they sit or lie.
_MAX_LEAN = np.cos(np.radians(30))
_N_CANDIDATES = 300
# How far the floor may plausibly be tilted against what bodies say is up, and how far feet are off the floor.
_TILT_SIGMA, _FOOT_SIGMA = np.tan(np.radians(4)), 250.0


class Floor(NamedTuple):
    """A floor.

    Attributes:
        up: float64 [3], unit vector, camera frame.
        height: of the camera above it, mm.
    """

    up: np.ndarray
    height: float


def estimate_floor(poses: VideoPoses, skeleton: Skeleton) -> Floor:
    """Guess the floor on which most people stand most of the time.

    Up is the mean of the directions from feet to shoulders that most people share, corrected by the plane through the
    feet as far as people come around. Where nobody stands, the camera is taken to be level and 1.5 m above the floor.
    """
    names = skeleton.joint_names
    tops, feet = ([names.index(name) for name in wanted if name in names] for wanted in (_TOPS, _FEET))
    ankles = [joint for joint in feet if names[joint] in ("lank", "rank")]
    level = Floor(np.array([0.0, -1.0, 0.0]), 1500.0)
    if not (tops and ankles and len(poses.ids)):
        return level
    poses3d = poses.poses3d.astype(np.float64)
    axes = poses3d[:, tops].mean(axis=1) - poses3d[:, ankles].mean(axis=1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True) + 1e-9
    # The direction that most bodies share; those who sit or lie share none, or fewer do.
    candidates = axes[:: max(1, len(axes) // _N_CANDIDATES)]
    agreeing = candidates @ axes.T > _MAX_LEAN
    standing = agreeing[agreeing.sum(axis=1).argmax()]
    if not standing.any():
        return level
    for _ in range(5):
        up = axes[standing].mean(axis=0)
        up /= np.linalg.norm(up)
        standing = axes @ up > _MAX_LEAN
    # Every track counts once, else somebody who stands still would outweigh those who come around.
    ids, track = np.unique(poses.ids[standing], return_inverse=True)
    weights = 1 / np.bincount(track)[track]
    soles = poses3d[standing][:, feet]
    lowest = soles[np.arange(len(soles)), (soles @ up).argmin(axis=1)]
    up, height = _fit_plane(lowest, weights, up)
    return Floor(up, height + (_ANKLE_HEIGHT if len(feet) == len(ankles) else 0.0))


def _fit_plane(points: np.ndarray, weights: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, float]:
    """Robust plane through points [n, 3] (mm), not far from level with regard to `up`: its normal, camera's height."""
    side = np.cross(up, [0.0, 0.0, 1.0] if abs(up[2]) < 0.9 else [1.0, 0.0, 0.0])
    side /= np.linalg.norm(side)
    basis = np.stack([side, np.cross(up, side)])
    heights, ground = points @ up, points @ basis.T
    middle = np.average(ground, axis=0, weights=weights)
    design = np.column_stack([np.ones(len(points)), ground - middle])
    prior = np.diag([0.0, *[(_FOOT_SIGMA / _TILT_SIGMA) ** 2] * 2])
    trust = weights
    for _ in range(10):
        solution = np.linalg.solve(design.T @ (trust[:, np.newaxis] * design) + prior, design.T @ (trust * heights))
        residuals = np.abs(heights - design @ solution)
        trust = weights / np.maximum(1, residuals / _FOOT_SIGMA)  # Huber
    level, tilt = solution[0], solution[1:]
    # heights = level + (ground - middle) @ tilt is the plane (up - basis.T @ tilt) @ p = level - middle @ tilt
    normal = up - basis.T @ tilt
    length = np.linalg.norm(normal)
    return normal / length, float(-(level - middle @ tilt) / length)
