"""How joints are turned: a frame for each joint, from the joints' places alone.

All frames are those of the body (x forward, y left, z up) while a person stands with the arms stretched out to the
sides. From there

- the pelvis has its y axis along the hips, from right to left, and its z axis up the spine, made orthogonal to that;
- the spine's upper joints and the arms begin at the chest, whose y axis is along the shoulders;
- the head has its y axis from the right ear to the left one, and the nose in front, where a skeleton has them;
- every other joint turns with its parent, and then by the smallest turn that brings the bone which begins at the joint
  from where it is in that posture to where it is now. Joints cannot tell how a limb is twisted about itself.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from metrabs_core.skeletons import Skeleton

_FORWARD, _LEFT, _UP = np.eye(3)
# Bones shorter than this, mm, and turns that come closer than this to half a turn, rad, have no direction.
_MIN_LENGTH = 1.0
_MIN_ANGLE = 1e-3
_PARTS = ("pelvis", "chest", "skull")
# Of each joint: with what it turns, where its bone ends, and the bone's direction in the posture above.
_LIMBS = {
    "cla": ("chest", "sho", _LEFT),
    "sho": ("chest", "elb", _LEFT),
    "elb": ("sho", "wri", _LEFT),
    "wri": ("elb", "han", _LEFT),
    "han": ("wri", "", _LEFT),
    "hip": ("pelvis", "kne", -_UP),
    "kne": ("hip", "ank", -_UP),
    "ank": ("kne", "toe", _FORWARD),
    "toe": ("ank", "", _FORWARD),
    "hee": ("ank", "", _FORWARD),
    "hip_coco": ("hip", "", -_UP),
}
_MIDDLE = {
    "pelv": ("pelvis", "", _UP),
    "spi1": ("pelvis", "spi2", _UP),
    "spi2": ("spi1", "spi3", _UP),
    "spi3": ("chest", "neck", _UP),
    "tors": ("chest", "neck", _UP),
    "spin": ("chest", "neck", _UP),
    "neck": ("chest", "head", _UP),
} | dict.fromkeys(("head", "htop", "nose", "leye", "reye", "lear", "rear"), ("skull", "", _UP))


def joint_orientations(poses3d: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The frame of each joint; see the module about the convention.

    Args:
        poses3d: [n, J, 3], in any frame, mm.
        skeleton: of the poses.

    Returns:
        Quaternions x, y, z, w, float64 [n, J, 4], from the joint's frame to that of the poses; NaN where a joint or one
        with which it turns has no direction, or is unknown.
    """
    poses3d = np.asarray(poses3d, np.float64)
    if not len(poses3d):
        return np.zeros([0, skeleton.n_joints, 4])
    body = _Body(poses3d, skeleton)
    return np.stack([body.frame(name) for name in skeleton.joint_names], axis=1)


def body_orientations(poses3d: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The frame of the pelvis of each person, whether there is such a joint or not: as above, [n, 4]."""
    poses3d = np.asarray(poses3d, np.float64)
    return _Body(poses3d, skeleton).frame("pelvis") if len(poses3d) else np.zeros([0, 4])


class _Body:
    """Poses [n, J, 3] by the names of their joints, and the quaternions [n, 4] that were found until now."""

    def __init__(self, poses3d, skeleton: Skeleton):
        self._joints = dict(zip(skeleton.joint_names, poses3d.swapaxes(0, 1)))
        self._nowhere = np.full([len(poses3d), 3], np.nan)
        self._frames = {}

    def frame(self, name: str) -> np.ndarray:
        """Of a joint or of one of the parts of the body."""
        if name not in self._frames:
            self._frames[name] = getattr(self, f"_{name}")() if name in _PARTS else self._turned(name)
        return self._frames[name]

    def _turned(self, name: str):
        parent, end, rest = _bone(name)
        if end not in self._joints:
            return self.frame(parent) if parent else np.full([len(self._nowhere), 4], np.nan)
        return _turned(self.frame(parent), rest, self._joints[end] - self._joints[name])

    def _middle(self, *names: str):
        return sum(self._joints.get(name, self._nowhere) for name in names) / len(names)

    def _spine(self):
        return self._middle("lsho", "rsho") - self._middle("lhip", "rhip")

    def _pelvis(self):
        return _frame(self._spine(), self._middle("lhip") - self._middle("rhip"), first=2)

    def _chest(self):
        return _frame(self._spine(), self._middle("lsho") - self._middle("rsho"), first=2)

    def _skull(self):
        if {"lear", "rear", "nose"} <= set(self._joints):
            ears = self._middle("lear") - self._middle("rear")
            return _frame(self._middle("nose") - self._middle("lear", "rear"), ears, first=0)
        if {"head", "htop"} <= set(self._joints):
            return _turned(self.frame("neck"), _UP, self._joints["htop"] - self._joints["head"])
        return self.frame("neck" if "neck" in self._joints else "chest")


def _bone(name: str):
    """With what a joint turns, where its bone ends, and the direction of that in the posture of the module."""
    if name in _MIDDLE:
        return _MIDDLE[name]
    side, (parent, end, rest) = name[0], _LIMBS.get(name[1:], ("", "", _UP))
    rest = -rest if side == "r" and rest is _LEFT else rest
    return (parent if parent in ("", *_PARTS) else side + parent), side + end, rest


def _frame(towards, left, first: int) -> np.ndarray:
    """Quaternions [n, 4] of frames with y along `left` [n, 3], and x or z (0 or 2) as near as can be to `towards`."""
    y = _unit(left)
    other = _unit(towards - (towards * y).sum(axis=-1, keepdims=True) * y)
    # x = y x z, and z = x x y
    axes = [other, y, np.cross(other, y)] if first == 0 else [np.cross(y, other), y, other]
    matrices = np.stack(axes, axis=-1)
    is_known = np.isfinite(matrices).all(axis=(1, 2), keepdims=True)
    quaternions = Rotation.from_matrix(np.where(is_known, matrices, np.eye(3))).as_quat()
    return np.where(is_known[:, 0], quaternions, np.nan)


def _turned(parent: np.ndarray, rest: np.ndarray, bone: np.ndarray) -> np.ndarray:
    """Parents' quaternions [n, 4] after the smallest turn that brings `rest` [3], in their frames, to `bone` [n, 3]."""
    is_known = np.isfinite(parent).all(axis=-1)
    rotation = Rotation.from_quat(np.where(is_known[:, np.newaxis], parent, [0, 0, 0, 1]))
    there = rotation.inv().apply(np.nan_to_num(_unit(bone)))
    axis = np.cross(rest, there)
    sin, cos = np.linalg.norm(axis, axis=-1), there @ rest
    is_known &= np.isfinite(_unit(bone)).all(axis=-1) & ((sin > _MIN_ANGLE) | (cos > 0))
    turn = axis / np.maximum(sin, 1e-12)[:, np.newaxis] * np.arctan2(sin, cos)[:, np.newaxis]
    turned = (rotation * Rotation.from_rotvec(turn)).as_quat()
    return np.where(is_known[:, np.newaxis], turned, np.nan)


def _unit(vectors):
    """Vectors [n, 3] of length one; NaN for those that have no direction."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > _MIN_LENGTH, length, np.nan)
