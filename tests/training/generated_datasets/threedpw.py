"""A small 3DPW: pickles as Python 2 writes them, and pictures."""

import pickle
import pickletools
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from generated_datasets import people

NAMES = ["pelv", "lhip", "rhip", "spi1", "lkne", "rkne", "spi2", "lank", "rank", "spi3", "ltoe", "rtoe", "neck",
         "lcla", "rcla", "head", "lsho", "rsho", "lelb", "relb", "lwri", "rwri", "lhan", "rhan"]  # fmt: skip
# 2D joints as the detector that 3DPW used orders them
NAMES_2D = ["nose", "neck", "rsho", "relb", "rwri", "lsho", "lelb", "lwri", "rhip", "rkne", "rank",
            "lhip", "lkne", "lank", "reye", "leye", "rear", "lear"]  # fmt: skip
SEQUENCES = {"train": ("courtyard_arguing_00",), "validation": ("courtyard_basketball_01",),
             "test": ("downtown_arguing_00", "office_phoneCall_00")}  # fmt: skip


@dataclass
class Truth:
    """What the files were written from, by sequence.

    poses: float64 [people, frames, 24, 3] mm, world (y up); extrinsics: [frames, 4, 4], mm; intrinsics: [3, 3];
    joints2d: [people, frames, 24, 2] px; valid: bool [people, frames], annotated with a known camera and seen.
    """

    poses: dict = field(default_factory=dict)
    extrinsics: dict = field(default_factory=dict)
    intrinsics: dict = field(default_factory=dict)
    joints2d: dict = field(default_factory=dict)
    valid: dict = field(default_factory=dict)


def generate(root: Path, seed: int = 0, n_frames: int = 6, n_people: int = 2, size=(108, 192)) -> Truth:
    """Write root/3dpw as the official archives unpack; width and height of the pictures are `size`.

    In each sequence the camera of the first person is unknown in the first frame, and the second person is not seen in
    the second.
    """
    truth = Truth()
    for part, names in SEQUENCES.items():
        for name in names:
            rng = np.random.default_rng([seed, *name.encode()])
            _write_sequence(root / "3dpw", rng, truth, part, name, n_frames, n_people, size)
    return truth


def _write_sequence(folder, rng, truth, part, name, n_frames, n_people, size):
    focal = size[1] * 1.02
    intrinsics = np.array([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]])
    starts = [((i - (n_people - 1) / 2) * 700, 0) for i in range(n_people)]
    poses = np.array([people.y_up(people.walk(rng, NAMES, n_frames, start=start)) for start in starts])
    eyes = np.array([0, 1500, 4500]) + np.cumsum(rng.normal(0, 20, [n_frames, 3]), 0)
    extrinsics = np.array([people.camera_towards(eye, [0, 900, 0], [0, 1, 0]) for eye in eyes])
    joints2d = np.array(
        [[people.project(poses[p, f], extrinsics[f], intrinsics) for f in range(n_frames)] for p in range(n_people)]
    )
    known, seen = np.ones([n_people, n_frames], bool), np.ones([n_people, n_frames], bool)
    known[0, 0] = seen[1, 1] = False
    truth.poses[name], truth.extrinsics[name], truth.intrinsics[name] = poses, extrinsics, intrinsics
    truth.joints2d[name], truth.valid[name] = joints2d, known & seen
    poses2d = np.zeros([n_people, n_frames, 3, 18])
    for place, joint in enumerate(NAMES_2D):
        if joint in NAMES:
            column = joints2d[:, :, NAMES.index(joint)]
            poses2d[:, :, :2, place], poses2d[:, :, 2, place] = column, 0.8
    poses2d[~seen] = 0
    metres = extrinsics.copy()
    metres[:, :3, 3] /= 1000
    content = {
        "sequence": name,
        "cam_intrinsics": intrinsics,
        "cam_poses": metres,
        "img_frame_ids": np.arange(n_frames),
        "jointPositions": [person.reshape(n_frames, 72) / 1000 for person in poses],
        "poses2d": list(poses2d),
        "campose_valid": [row.astype(np.int64) for row in known],
        "genders": ["m", "f"][:n_people],
        "betas": [rng.normal(size=300) for _ in range(n_people)],
        "trans": [person[:, 0] / 1000 for person in poses],
    }
    path = folder / f"sequenceFiles/{part}/{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_python2(content))
    images = folder / f"imageFiles/{name}"
    images.mkdir(parents=True, exist_ok=True)
    background = people.background(rng, *size)
    for frame in range(n_frames):
        picture = background.copy()
        for person in range(n_people):
            people.draw(picture, joints2d[person, frame], people.bones(NAMES))
        cv2.imwrite(str(images / f"image_{frame:05d}.jpg"), picture[..., ::-1])


def as_python2(content) -> bytes:
    """A pickle of protocol 2 as Python 2 and NumPy 1 wrote it: bytes are Latin-1 strings, modules have old names."""
    data = pickle.dumps(content, protocol=2)
    places = [place for _, _, place in pickletools.genops(data)] + [len(data)]
    pieces = [data[start:end] for start, end in zip(places, places[1:])]
    # c is the operation that asks for something of a module
    return b"".join(p.replace(b"numpy._core.", b"numpy.core.") if p[:1] == b"c" else p for p in pieces)
