"""Motion capture clips of the `pybullet` wheel (zlib licence): the ``humanoid3d_*.txt`` files."""

import json
from pathlib import Path

import numpy as np

from training.synthesis.pose import MAX_ELBOW, Pose
from training.synthesis.rotations import about_x, from_quaternion, partial_rotation, random_rotation


class Clips:
    """Motion-capture frames of the ``humanoid3d_*.txt`` files in a folder.

    Each frame holds 44 numbers: duration, root position (3) and quaternion (4), chest 4, neck 4, right hip 4,
    right knee 1, right ankle 4, right shoulder 4, right elbow 1, then the left leg and arm likewise; x forward,
    y up, z right, all rotations relative to standing with hanging arms.
    """

    _FROM_CLIP = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    def __init__(self, folder: Path | None):
        self.clips = []
        for path in sorted(Path(folder).glob("humanoid3d_*.txt")) if folder else []:
            frames = np.array(json.loads(path.read_text())["Frames"], float)
            if frames.ndim == 2 and frames.shape[1] == 44:
                self.clips.append(frames)

    def pose(self, pose: Pose, rng: np.random.Generator) -> None:
        """Take a random frame, mirrored half of the time, slightly varied."""
        frames = self.clips[rng.integers(len(self.clips))]
        values = frames[rng.integers(len(frames))]
        mirrored = rng.random() < 0.5
        c = self._FROM_CLIP

        def rotation(start):
            r = c @ from_quaternion(values[start : start + 4]) @ c.T
            if mirrored:
                flip = np.diag([-1.0, 1.0, 1.0])
                r = flip @ r @ flip
            return r @ random_rotation(rng, 4)

        pose.turn("root", rotation(4))
        chest = rotation(8)
        for part in ("spine05", "spine04", "spine03", "spine02"):
            pose.turn(part, partial_rotation(chest, 0.25))
        neck = rotation(12)
        for part in ("neck01", "neck02", "neck03", "head"):
            pose.turn(part, partial_rotation(neck, 0.25))
        pose.turn_head(rng.normal(0, 8), rng.normal(0, 5), rng.normal(0, 15))
        for start, side in ((16, "R"), (30, "L")):
            s = ("L" if side == "R" else "R") if mirrored else side
            pose.turn(f"upperleg01.{s}", rotation(start))
            pose.turn(f"lowerleg01.{s}", about_x(np.clip(np.degrees(-values[start + 4]) + rng.normal(0, 4), 0, 150)))
            pose.turn(f"foot.{s}", rotation(start + 5))
            arm = rotation(start + 9)
            elbow = np.clip(np.degrees(values[start + 13]) + rng.normal(0, 6), 0, MAX_ELBOW)
            pose.set_arm(s, arm, elbow, rng.normal(0, 20))
            pose.bend_wrist(s, rng.normal(0, 12), rng.normal(0, 8), rng.uniform(5, 60))
