"""How far away people are, by a depth image: it settles how large they are, which a single RGB image leaves open.

A person who is so many times as large and as far away looks the same. So a pose is scaled about the camera: joints stay
where they are seen, and no other error of the pose gets into what is measured.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from metrabs_core.cameras import Camera
from metrabs_core.orientations import body_orientations
from metrabs_core.skeletons import Skeleton

# Joints inside of the trunk, which is seen in front of them.
_TORSO = (
    *("pelv", "lhip", "rhip", "lhip_coco", "rhip_coco", "spi1", "spi2", "spi3", "spin", "tors", "neck"),
    *("lcla", "rcla", "lsho", "rsho"),
)
# From those joints to the surface towards the camera, mm, by the cosine between where the body faces and the direction
# to the camera: people who turn their back, stand sideways, and face it (rendered people, median over joints).
_COSINES, _TO_SURFACE = (-1.0, 0.0, 1.0), (100.0, 190.0, 150.0)
# Depth is the median over a square of pixels around a joint that reaches so far to each side on the person, mm.
_REACH = 40.0
# Of distance to the RGB distance: anything else belongs to an object in front, or to the background.
_PLAUSIBLE = (0.6, 1.5)
# How many joints have to be measured, and of those, how close to the median half have to be, mm.
_MIN_JOINTS = 3
_AGREEMENT = 250.0


def distance_factors(
    poses3d: np.ndarray,
    poses2d: np.ndarray,
    in_view: np.ndarray,
    skeleton: Skeleton,
    depth: np.ndarray,
    camera: Camera,
) -> np.ndarray:
    """How many times as far away as it seems each of n poses is: the median over the torso's joints.

    Args:
        poses3d: [n, J, 3], mm, camera frame.
        poses2d: [n, J, 2], px.
        in_view: bool [n, J], whether the joint lies inside the image.
        skeleton: of the poses.
        depth: [H, W], mm along the optical axis, of the surface that each pixel of the image shows; 0 or not finite
            where it is not known.
        camera: that took the image.

    Returns:
        float64 [n], to multiply ``poses3d`` with; NaN where too few joints are measured, or they disagree.
    """
    torso = [skeleton.index(name) for name in _TORSO if name in skeleton.joint_names]
    factors = np.full(len(poses3d), np.nan)
    to_surface = _distances_to_surface(poses3d, skeleton)
    for i, (pose, pixels, is_in_view) in enumerate(zip(poses3d[:, torso], poses2d[:, torso], in_view[:, torso])):
        is_seen = is_in_view & (pose[:, 2] > 0)
        pose = pose[is_seen].astype(np.float64)
        surface = _depth_around(depth, pixels[is_seen], _REACH * camera.intrinsic_matrix[0, 0] / pose[:, 2])
        ratios = surface / pose[:, 2] + to_surface[i] / np.linalg.norm(pose, axis=-1)
        is_plausible = (ratios > _PLAUSIBLE[0]) & (ratios < _PLAUSIBLE[1])
        ratios, distances = ratios[is_plausible], pose[is_plausible, 2]
        if len(ratios) >= _MIN_JOINTS:
            median = np.median(ratios)
            if np.median(np.abs(ratios - median) * distances) < _AGREEMENT:
                factors[i] = median
    return factors


def _distances_to_surface(poses3d, skeleton) -> np.ndarray:
    """From joints of the torso to the surface towards the camera, of poses [n, J, 3]: [n], mm."""
    quaternions = body_orientations(poses3d, skeleton)
    is_known = np.isfinite(quaternions).all(axis=-1)
    forward = np.zeros([len(poses3d), 3])
    if is_known.any():
        forward[is_known] = Rotation.from_quat(quaternions[is_known]).apply([1.0, 0.0, 0.0])
    pelvis = skeleton.pelvis(poses3d)
    cosines = -(forward * pelvis).sum(axis=-1) / np.maximum(np.linalg.norm(pelvis, axis=-1), 1e-9)
    return np.interp(cosines, _COSINES, _TO_SURFACE)


def _depth_around(depth, pixels, reach) -> np.ndarray:
    """Median of the known depths around each of m pixels [m, 2], to a reach [m] in px: [m], NaN where there is none."""
    medians = np.full(len(pixels), np.nan)
    low = np.maximum(np.rint(pixels - reach[:, np.newaxis]), 0).astype(int)
    high = np.maximum(np.rint(pixels + reach[:, np.newaxis]), 0).astype(int) + 1
    for i, ((left, top), (right, bottom)) in enumerate(zip(low.tolist(), high.tolist())):
        values = depth[top:bottom, left:right]
        values = values[np.isfinite(values) & (values > 0)]
        if len(values):
            medians[i] = np.median(values)
    return medians
