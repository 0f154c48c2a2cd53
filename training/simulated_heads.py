"""Simulated outputs of a crop model's heads for poses without pictures, to train its depth stage on.

People of a data set are turned about the vertical, mirrored, and seen by other cameras. The simulated outputs are the
truth with the errors that heads make with real people: joints in the image are a little off, some of them far; the
person is turned, too large or too small; limbs are too flat, or point away from the camera instead of toward it; joints
outside of the crop are guessed. The spread of the heatmaps grows with the error.
"""

from collections.abc import Iterator

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from training.datasets import Example

BATCH_SIZE = 256
_CHAINS = (
    "lsho lelb lwri lhan",
    "rsho relb rwri rhan",
    "lhip lkne lank ltoe lhee",
    "rhip rkne rank rtoe rhee",
    "neck head htop nose leye reye lear rear",
)
_DISTANCES_MM = (1500.0, 9000.0)
_NEAREST_MM = 200.0


class SimulatedHeads:
    """Batches of inputs of a depth stage, with true poses.

    Args:
        examples: people with 3D labels of all joints. Their world has z up; where the camera's place in the world is
            not known, the camera is upright.
        skeleton: their joints.
        seed: what batch n holds depends on it and on n alone.

    Raises:
        UserError: nobody has 3D labels of all joints.
    """

    def __init__(self, examples: list[Example], skeleton: Skeleton, seed: int):
        self.skeleton, self.seed, self.latest = skeleton, seed, None
        names = skeleton.joint_names
        chains = [[names.index(joint) for joint in chain.split() if joint in names] for chain in _CHAINS]
        self._chains = [chain for chain in chains if len(chain) > 1]
        self._mirror = np.array(skeleton.mirror)
        known = [e for e in examples if e.joints3d is not None and e.valid.all()]
        if not known:
            raise UserError("Nobody has 3D labels of all joints, from which the depth stage could learn poses.")
        self._poses = np.stack([_upright(example) for example in known])

    def stream(self, step: int) -> Iterator[tuple]:
        """Yield the batches from ``step`` on.

        Yields:
            inputs as ``metrabs_core.network.depth_stage`` has them, and a dict of ``joints3d`` float32 [256, J, 3], mm,
            frame of the crop's camera.
        """
        while True:
            rng = np.random.default_rng([self.seed, step])
            poses, focal = self.views(BATCH_SIZE, rng)
            yield (*self.outputs(poses, focal, rng), focal[:, np.newaxis]), {"joints3d": poses}
            step += 1

    def examples_of(self, step: int) -> list:
        """None: there are no pictures."""
        return []

    def raise_error(self) -> None:
        """Nothing: no file is read."""

    def views(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """People as cameras of crops see them.

        Returns:
            poses float32 [n, J, 3], mm, frame of a camera that looks at the middle of the person, or of the part of the
            person that is in the picture; and its focal length float32 [n], in sides of the crop.
        """
        poses = self._poses[rng.integers(len(self._poses), size=n)].astype(np.float64)
        mirrored = rng.random(n) < 0.5
        poses[mirrored] = poses[mirrored][:, self._mirror] * [-1, 1, 1]
        poses = _turn(poses, 2, rng.uniform(0, 2 * np.pi, n))
        poses = np.stack([poses[..., 0], -poses[..., 2], poses[..., 1]], axis=-1)  # x right, y down, z forward
        pitch = np.where(rng.random(n) < 0.15, rng.uniform(-80, 60, n), np.clip(rng.normal(-3, 14, n), -50, 45))
        poses = _turn(poses, 0, np.deg2rad(pitch))
        poses = _turn(poses, 2, np.deg2rad(rng.normal(0, 5, n)))
        poses[..., 2] += np.exp(rng.uniform(*np.log(_DISTANCES_MM), n))[:, np.newaxis]
        poses[..., 2] = np.maximum(poses[..., 2], _NEAREST_MM)
        middle, size = _visible_part(poses, rng)
        forward = np.concatenate([middle, np.ones([n, 1])], axis=1)
        forward /= np.linalg.norm(forward, axis=1, keepdims=True)
        right = np.cross([0, 1, 0], forward)
        right /= np.linalg.norm(right, axis=1, keepdims=True)
        poses = poses @ np.stack([right, np.cross(forward, right), forward], axis=2)
        poses[..., 2] = np.maximum(poses[..., 2], _NEAREST_MM)
        return poses.astype(np.float32), (1 / size).astype(np.float32)

    def outputs(self, poses: np.ndarray, focal: np.ndarray, rng: np.random.Generator) -> tuple:
        """Outputs of heads for poses [n, J, 3]: points, coords3d and spread, see ``build_depth_stage``."""
        n, n_joints = poses.shape[:2]
        true_points = poses[..., :2] / poses[..., 2:] * focal[:, np.newaxis, np.newaxis]
        points = true_points + rng.normal(size=[n, n_joints, 2]) * rng.uniform(0.004, 0.02, [n, 1, 1])
        far_off = rng.random([n, n_joints]) < rng.choice([0, 0.05, 0.2], [n, 1])
        points += far_off[..., np.newaxis] * rng.normal(0, 0.06, points.shape)

        true = poses - poses.mean(axis=1, keepdims=True)
        output = _turn(true.astype(np.float64), 1, rng.normal(size=n) * rng.choice([0.1, 0.35], n))
        output = _turn(output, 0, rng.normal(0, 0.12, n))
        for chain in self._chains:
            flatness = rng.uniform(0.2, 1.1, [n, 1]) * np.where(rng.random([n, 1]) < 0.06, -1, 1)
            start = output[:, chain[:1], 2]
            output[:, chain[1:], 2] = start + (output[:, chain[1:], 2] - start) * flatness
        output[..., 2] *= rng.uniform(0.4, 1.1, [n, 1])
        output *= rng.normal(1, 0.08, [n, 1, 1])
        for chain in self._chains:  # the farther from the trunk, the farther off
            off = rng.normal(size=[n, 1, 3]) * rng.uniform(10, 90, [n, 1, 1]) * [0.6, 0.6, 1.2]
            output[:, chain] += off * np.linspace(0.2, 1, len(chain))[:, np.newaxis]
        output += rng.normal(size=output.shape) * rng.uniform(5, 35, [n, 1, 1])
        error = np.linalg.norm(output - output.mean(axis=1, keepdims=True) - true, axis=-1)
        spread = error * rng.uniform(0.3, 1.2, error.shape) + rng.uniform(10, 120, error.shape)
        spread *= rng.uniform(0.7, 1.4, [n, 1])

        unseen = (np.abs(true_points) > 0.5).any(axis=-1)
        at_border = np.clip(points, -0.48, 0.48) + rng.normal(0, 0.03, points.shape)
        points = np.clip(np.where(unseen[..., np.newaxis], at_border, points), -0.5, 0.5)
        output += unseen[..., np.newaxis] * rng.normal(0, 60, output.shape)
        spread += unseen * (60 + 0.5 * spread)
        return tuple(np.float32(array) for array in (points, output / 1000, spread / 1000))


def _upright(example: Example) -> np.ndarray:
    """Joints float32 [J, 3], mm, about the first one, in a frame with z up."""
    relative = example.joints3d - example.joints3d[0]
    rotation = np.asarray(example.camera.extrinsic_matrix)[:3, :3]
    if np.array_equal(rotation, np.eye(3)):
        rotation = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    return (relative @ rotation).astype(np.float32)


def _turn(points: np.ndarray, axis: int, angles: np.ndarray) -> np.ndarray:
    """Points [n, J, 3] turned about an axis by angles [n], radians."""
    first, second = [i for i in range(3) if i != axis]
    cos, sin = np.cos(angles)[:, np.newaxis], np.sin(angles)[:, np.newaxis]
    turned = points.copy()
    turned[..., first] = cos * points[..., first] - sin * points[..., second]
    turned[..., second] = sin * points[..., first] + cos * points[..., second]
    return turned


def _visible_part(poses: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Middle [n, 2] and side [n], on the plane z = 1, of crops around people; every fourth is cut off at one side."""
    n = len(poses)
    points = poses[..., :2] / poses[..., 2:]
    start, end = points.min(axis=1), points.max(axis=1)
    extent = end - start
    kept = np.where(rng.random(n) < 0.25, rng.uniform(0.35, 0.9, n), 1.0)
    side = rng.choice(["legs", "left", "right"], n, p=[0.5, 0.25, 0.25])
    for name, axis, limit, sign in (("legs", 1, end, -1), ("right", 0, end, -1), ("left", 0, start, 1)):
        cut = side == name
        limit[cut, axis] += sign * ((1 - kept) * extent[:, axis])[cut]
    size = (end - start).max(axis=1) * rng.uniform(0.95, 1.35, n)
    middle = (start + end) / 2 + rng.uniform(-0.06, 0.06, [n, 2]) * size[:, np.newaxis]
    return middle, size
