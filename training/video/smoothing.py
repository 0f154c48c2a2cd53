"""Smoothing of tracked poses over time."""

import cv2
import numpy as np

from training.video.poses import VideoPoses

# Weights of a frame and the ones before it (T-BIOM 2021, evaluation on 3DPW).
_CAUSAL_KERNEL = (6, 2, 1)
_ZERO = np.zeros(3)


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


def reproject(poses: VideoPoses, distortion_coeffs: np.ndarray) -> VideoPoses:
    """Put the poses in the image where the 3D poses are seen, after those have changed.

    Args:
        poses: people with 3D poses, mm, camera frame.
        distortion_coeffs: float32 [5 to 12], of the camera.
    """
    poses2d = poses.poses2d.copy()
    # What lies behind the camera is put just before it, far out at the side.
    points = np.maximum(poses.poses3d.astype(np.float64), [-np.inf, -np.inf, 1.0])
    matrices, which = np.unique(poses.intrinsic_matrices[poses.frame_index], axis=0, return_inverse=True)
    coeffs = np.float64(distortion_coeffs)
    for i, matrix in enumerate(matrices.astype(np.float64)):
        chosen = which.ravel() == i
        pixels, _ = cv2.projectPoints(points[chosen].reshape(-1, 3), _ZERO, _ZERO, matrix, coeffs)
        poses2d[chosen] = pixels.reshape(poses2d[chosen].shape)
    return poses.select(slice(None), poses2d=poses2d)
