"""Smoothing of tracked poses over time."""

import numpy as np

from metrabs_core.cameras import Camera
from training.video.poses import VideoPoses

# Weights of a frame and the ones before it (T-BIOM 2021, evaluation on 3DPW).
_CAUSAL_KERNEL = (6, 2, 1)


def causal_smooth(poses: VideoPoses) -> VideoPoses:
    """Replace each 3D pose by the weighted mean of the same person's poses in this frame and the two before it.

    The weights are 6, 2 and 1 ninths, newest first. At the start of a track and after a gap, where some of the three
    frames lack the person, the weights of the others grow in proportion. Only the 3D poses change: `reproject` brings
    those in the image after them.

    Args:
        poses: tracked people.
    """
    frames = poses.frame_numbers[poses.frame_index]
    # One number for person and frame, such that the frames before somebody's first are nobody's.
    keys = poses.ids * (frames.max(initial=0) + len(_CAUSAL_KERNEL) + 1) + frames + len(_CAUSAL_KERNEL)
    order = np.argsort(keys)
    total, weights = np.zeros(poses.poses3d.shape), np.zeros(len(keys))
    for lag, weight in enumerate(_CAUSAL_KERNEL):
        place = np.searchsorted(keys, keys - lag, sorter=order)
        earlier = order[np.minimum(place, len(keys) - 1)]
        weight = weight * (keys[earlier] == keys - lag)
        total += weight[:, np.newaxis, np.newaxis] * poses.poses3d[earlier]
        weights += weight
    smoothed = total / weights[:, np.newaxis, np.newaxis]
    return poses.select(slice(None), poses3d=smoothed.astype(np.float32))


def reproject(poses: VideoPoses, lens: dict) -> VideoPoses:
    """Put the poses in the image where the 3D poses are seen, after those have changed.

    Args:
        poses: people with 3D poses, mm, camera frame.
        lens: `distortion_coeffs` and `distortion_model` of the camera.
    """
    poses2d = poses.poses2d.copy()
    matrices, which = np.unique(poses.intrinsic_matrices[poses.frame_index], axis=0, return_inverse=True)
    for i, matrix in enumerate(matrices):
        chosen = which.ravel() == i
        poses2d[chosen] = Camera(matrix, **lens).project(poses.poses3d[chosen])
    return poses.select(slice(None), poses2d=poses2d)
