"""A small MuPoTS-3D: MATLAB 5 cell arrays of structures, and pictures of people whose boxes can be found."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from generated_datasets import detections as found
from generated_datasets import people
from generated_datasets.mpi_inf_3dhp import NAMES_17, UNIVERSAL_HEIGHT


@dataclass
class Truth:
    """What the files were written from, by sequence number; joints in the file's order (NAMES_17).

    poses, universal: float64 [frames, people, 17, 3] mm, camera frame; joints2d: [frames, people, 17, 2] px;
    valid: bool [frames, people]; intrinsics: [3, 3].
    """

    poses: dict = field(default_factory=dict)
    universal: dict = field(default_factory=dict)
    joints2d: dict = field(default_factory=dict)
    valid: dict = field(default_factory=dict)
    intrinsics: dict = field(default_factory=dict)


def generate(
    root: Path,
    seed: int = 0,
    sequences=tuple(range(1, 21)),
    n_frames: int = 3,
    n_people: int = 2,
    size: tuple[int, int] = (192, 128),
    as_cells: bool = True,
    detections: bool = True,
) -> Truth:
    """Write root/mupots as the official archive unpacks.

    Args:
        root: data root.
        seed: of everything.
        sequences: of the twenty.
        n_frames: of each.
        n_people: of each; the last one is invalid in the last frame.
        size: width and height of the pictures.
        as_cells: a cell array of structures, as the official files have; else an array of structures.
        detections: write `detections.npz`, too, so that no detector is needed; it has all people but the first of the
            first frame of each sequence.
    """
    truth = Truth()
    for number in sequences:
        rng = np.random.default_rng([seed, number])
        focal = size[0] * rng.uniform(0.8, 1.1)
        matrix = np.array([[focal, 0, size[0] / 2 + 3], [0, focal * 1.01, size[1] / 2 - 2], [0, 0, 1]])
        poses, universal = (np.zeros([n_frames, n_people, 17, 3]) for _ in range(2))
        for person in range(n_people):
            place = np.array([(person - (n_people - 1) / 2) * 1600, 900.0, rng.uniform(4000, 5000)])
            for target, height in ((poses, rng.uniform(1550, 1850)), (universal, UNIVERSAL_HEIGHT)):
                walker = people.walk(np.random.default_rng([seed, number, person]), NAMES_17, n_frames, height)
                target[:, person] = np.stack([walker[..., 0], -walker[..., 2], walker[..., 1]], -1) + place
        joints2d = people.project(poses, np.eye(4), matrix)
        valid = np.ones([n_frames, n_people], bool)
        valid[-1, -1] = False
        truth.poses[number], truth.universal[number], truth.joints2d[number] = poses, universal, joints2d
        truth.valid[number], truth.intrinsics[number] = valid, matrix
        path = root / f"mupots/TS{number}"
        path.mkdir(parents=True, exist_ok=True)
        _write_annotations(path / "annot.mat", truth, number, as_cells)
        background = people.background(rng, *size)
        for frame in range(n_frames):
            picture = background.copy()
            for person in range(n_people):
                people.draw(picture, joints2d[frame, person], people.bones(NAMES_17))
            cv2.imwrite(str(path / f"img_{frame:06d}.jpg"), picture[..., ::-1])
    if detections:
        boxes = {}
        for number, joints2d in truth.joints2d.items():
            for frame, group in enumerate(joints2d):
                seen = group[1:] if frame == 0 else group
                boxes[f"TS{number}/img_{frame:06d}.jpg"] = [found.around(points) for points in seen]
        found.write(root / "mupots", boxes)
    return truth


def _write_annotations(path: Path, truth: Truth, number: int, as_cells: bool) -> None:
    poses, valid = truth.poses[number], truth.valid[number]
    kind = [(name, object) for name in ("annot2", "annot3", "univ_annot3", "isValidFrame")]
    annotations = np.empty(poses.shape[:2], object if as_cells else kind)
    for frame, person in np.ndindex(*poses.shape[:2]):
        arrays = (truth.joints2d[number], poses, truth.universal[number])
        values = [array[frame, person].T for array in arrays] + [np.uint8(valid[frame, person])]
        if as_cells:
            annotations[frame, person] = dict(zip([name for name, _ in kind], values))
        else:
            annotations[frame, person] = tuple(values)
    scipy.io.savemat(path, {"annotations": annotations})
