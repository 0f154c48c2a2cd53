"""Which frames of a video are worth training on."""

import numpy as np


def moved_frames(poses: np.ndarray, distance: float = 100.0) -> np.ndarray:
    """Frames in which some joint has moved since the last one that was taken (MeTRo, FG 2020, section 4).

    Args:
        poses: float [n, J, 3], mm, in a frame that doesn't move.
        distance: mm; a frame is left out if all joints are closer than this to where they were.

    Returns:
        int64 [m], rising; the first frame is always there.
    """
    taken, last = [], None
    for number, pose in enumerate(poses):
        if last is None or (np.square(pose - last).sum(-1) >= distance**2).any():
            taken.append(number)
            last = pose
    return np.array(taken, np.int64)
