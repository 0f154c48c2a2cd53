"""Reads BVH motion capture files: a hierarchy of joints with offsets and channels, then one line of numbers a frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError

_AXES = {"Xrotation": 0, "Yrotation": 1, "Zrotation": 2}
_POSITIONS = ("Xposition", "Yposition", "Zposition")


@dataclass(frozen=True)
class Bvh:
    """The content of a BVH file, in the file's own axes and unit of length.

    Attributes:
        names: name of each joint, parents before children; an end site is called "" and has no channels.
        parents: index of each joint's parent, -1 for a root.
        offsets: float64 [n_joints, 3], place of each joint in its parent's axes when all channels are zero.
        channels: names of each joint's channels, in the order of its numbers in a frame.
        values: float64 [n_frames, n_channels], lengths and degrees.
        frame_time: seconds from one frame to the next.
    """

    names: list[str]
    parents: list[int]
    offsets: np.ndarray
    channels: list[list[str]]
    values: np.ndarray
    frame_time: float

    def rest(self) -> np.ndarray:
        """Places of the joints when all channels are zero, float64 [n_joints, 3]."""
        places = self.offsets.copy()
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                places[joint] += places[parent]
        return places

    def forward_kinematics(self) -> tuple[np.ndarray, np.ndarray]:
        """Pose the skeleton in every frame.

        A joint's rotations are multiplied in the order of its channels. Position channels add to a root's offset, and
        replace the offset of any other joint, unless they are zero throughout.

        Returns:
            Places float64 [n_frames, n_joints, 3], and global rotations float64 [n_frames, n_joints, 3, 3] from the
            joint's axes to the file's.
        """
        n_frames, n_joints = len(self.values), len(self.names)
        places = np.empty([n_frames, n_joints, 3])
        turns = np.empty([n_frames, n_joints, 3, 3])
        first = 0
        for joint, (parent, channels) in enumerate(zip(self.parents, self.channels)):
            values = self.values[:, first : first + len(channels)]
            first += len(channels)
            offset = np.tile(self.offsets[joint], (n_frames, 1))
            moved = [(_POSITIONS.index(c), values[:, k]) for k, c in enumerate(channels) if c in _POSITIONS]
            if parent < 0 or any(np.any(v) for _, v in moved):
                for axis, v in moved:
                    offset[:, axis] = v + (offset[:, axis] if parent < 0 else 0)
            turning = [k for k, channel in enumerate(channels) if channel in _AXES]
            local = np.eye(3)
            for k in turning:
                local = local @ _about(_AXES[channels[k]], values[:, k])
            if parent < 0:
                places[:, joint], turns[:, joint] = offset, local
            else:
                places[:, joint] = places[:, parent] + (turns[:, parent] @ offset[..., None])[..., 0]
                turns[:, joint] = turns[:, parent] @ local
        return places, turns


def _about(axis: int, degrees: np.ndarray) -> np.ndarray:
    """Rotations [n, 3, 3] about a coordinate axis; `scipy.spatial.transform` takes several times as long for these."""
    j, k = (axis + 1) % 3, (axis + 2) % 3
    turns = np.zeros([len(degrees), 3, 3])
    turns[:, axis, axis] = 1
    turns[:, j, j] = turns[:, k, k] = np.cos(np.radians(degrees))
    turns[:, k, j] = np.sin(np.radians(degrees))
    turns[:, j, k] = -turns[:, k, j]
    return turns


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file.

    Raises:
        UserError: the file is no sound BVH; the message says what is wrong with it.
    """
    text = Path(path).read_bytes().decode("latin-1").removeprefix("\xef\xbb\xbf")
    hierarchy, found, motion = text.partition("MOTION")
    if not hierarchy.lstrip().startswith("HIERARCHY") or not found:
        raise UserError("it is no BVH: the words HIERARCHY and MOTION are missing.")
    names, parents, offsets, channels = _read_hierarchy(hierarchy)
    values, frame_time = _read_motion(motion, sum(map(len, channels)))
    if not (np.isfinite(offsets).all() and np.isfinite(values).all()):
        raise UserError("it holds numbers that are not finite.")
    return Bvh(names, parents, offsets, channels, values, frame_time)


def _read_hierarchy(text: str):
    """Names, parents, offsets and channels of the joints."""
    names, parents, offsets, channels = [], [], [], []
    ancestors = []  # of the next joint; the last is the one whose braces are open
    text = text.replace("{", "\n{\n").replace("}", "\n}\n")
    lines = [line.split() for line in text.splitlines() if line.strip()][1:]
    opened = True  # whether the last named joint has got its brace
    for words in lines:
        word = words[0].upper()
        if word in ("ROOT", "JOINT", "END"):
            if not opened or (word == "ROOT") == bool(ancestors):
                raise UserError(f"its hierarchy is broken at {' '.join(words)!r}.")
            names.append(" ".join(words[1:]) if word != "END" else "")
            parents.append(ancestors[-1] if ancestors else -1)
            offsets.append(None)
            channels.append([])
            opened = False
        elif word == "{" and not opened:
            ancestors.append(len(names) - 1)
            opened = True
        elif word == "}" and ancestors and opened:
            if offsets[ancestors.pop()] is None:
                raise UserError("its hierarchy is broken: a joint has no OFFSET.")
        elif word == "OFFSET" and ancestors and opened and len(words) == 4:
            offsets[ancestors[-1]] = _numbers(words[1:])
        elif word == "CHANNELS" and ancestors and opened:
            known = [name for name in map(str.capitalize, words[2:]) if name in _AXES or name in _POSITIONS]
            if words[1:2] != [str(len(known))] or len(known) != len(words) - 2 or len(set(known)) < len(known):
                raise UserError(f"its hierarchy is broken at {' '.join(words)!r}.")
            channels[ancestors[-1]] = known
        else:
            raise UserError(f"its hierarchy is broken at {' '.join(words)!r}.")
    if ancestors or not opened or not names:
        raise UserError("its hierarchy is broken: it ends before the last joint does.")
    return names, parents, np.array(offsets), channels


def _read_motion(text: str, n_channels: int) -> tuple[np.ndarray, float]:
    """The numbers of all frames, float64 [n_frames, n_channels], and the time between two of them, seconds."""
    head, _, body = text.partition("Frame Time:")
    time, *numbers = body.split() or [""]
    count = head.strip().removeprefix("Frames:").strip()
    if not count.isdecimal():
        raise UserError("it doesn't say how many frames it has.")
    if int(count) == 0:
        raise UserError("it has 0 frames.")
    values, frame_time = _numbers(numbers), float(_numbers([time])[0])
    if not 0 < frame_time < np.inf:
        raise UserError(f"its frame time is {time}.")
    if n_channels == 0 or len(values) != int(count) * n_channels:
        raise UserError(
            f"its {count} frames of {n_channels} channels need {int(count) * n_channels} numbers, "
            f"but it has {len(values)}."
        )
    return values.reshape(int(count), n_channels), frame_time


def _numbers(words: list[str]) -> np.ndarray:
    try:
        return np.array(words, dtype=float)
    except ValueError as error:
        raise UserError(f"it has something else where a number should be ({error}).") from error
