"""A small MPII Human Pose: a MATLAB 5 file of nested structures, with the gaps that the real one has, and pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from generated_datasets import detections as found
from generated_datasets import people

NAMES = ["rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head",
         "rwri", "relb", "rsho", "lsho", "lelb", "lwri"]  # fmt: skip


@dataclass
class Truth:
    """What the files were written from, by picture name.

    joints: list of float64 [16, 2] px of each person, NaN where not labelled (of all joints: a person without labels);
    is_train, separate: whether labels are published, and numbers (from zero) of people far enough from others;
    centres, scales: of each person.
    """

    joints: dict = field(default_factory=dict)
    is_train: dict = field(default_factory=dict)
    separate: dict = field(default_factory=dict)
    centres: dict = field(default_factory=dict)
    scales: dict = field(default_factory=dict)


def generate(root: Path, seed: int = 0, n_pictures: int = 5, side: int = 160, detections: bool = True) -> Truth:
    """Write root/mpii as the official archives unpack.

    Two people in each picture; the last picture is of the test part, without labels. In the first one, the second
    person has only a rectangle; in the second one, six joints of the first person are not labelled.

    Args:
        root: data root.
        seed: of everything.
        n_pictures: number of pictures.
        side: of the square pictures, px.
        detections: write `detections.npz`, too, so that no detector is needed.
    """
    rng = np.random.default_rng([seed, 5])
    truth, entries, boxes = Truth(), [], {}
    for number in range(n_pictures):
        name = f"{1000 + number:09d}.jpg"
        (root / "mpii/images").mkdir(parents=True, exist_ok=True)
        picture = people.background(rng, side, side)
        group = []
        for person in range(2):
            names = ["neck" if n == "thor" else "htop" if n == "head" else n for n in NAMES]
            pose = people.walk(rng, names, 1)[0]
            centre = np.array([side * (0.28 + 0.44 * person), side * 0.92])
            joints = centre + pose[:, [0, 2]] * [1, -1] * side * rng.uniform(0.4, 0.45) / 1000
            people.draw(picture, joints, people.bones(NAMES))
            group.append(joints)
        truth.is_train[name] = number < n_pictures - 1
        boxes[f"images/{name}"] = [found.around(joints) for joints in group]
        if number == 0:
            group[1][:] = np.nan
        if number == 1:
            group[0][:6] = np.nan
        truth.joints[name], truth.separate[name] = group, [0, 1] if number % 2 else [0]
        truth.scales[name] = [side * 0.0045] * 2
        truth.centres[name] = [(side * 0.28, side * 0.5), (side * 0.72, side * 0.5)]
        cv2.imwrite(str(root / f"mpii/images/{name}"), picture[..., ::-1])
        entries.append(name)
    if detections:
        found.write(root / "mpii", boxes)
    _write_labels(root / "mpii/mpii_human_pose_v1_u12_1.mat", truth, entries)
    return truth


def _structures(rows: list[dict]) -> np.ndarray:
    """An array of MATLAB structures, 1 x n, with the same fields; those that a row lacks are empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    array = np.empty((1, len(rows)), [(name, object) for name in names])
    for column, row in enumerate(rows):
        array[0, column] = tuple(row.get(name, np.zeros((0, 0))) for name in names)
    return array


def _write_labels(path: Path, truth: Truth, names: list[str]) -> None:
    annolist, separate = [], np.empty((len(names), 1), object)
    for row, name in enumerate(names):
        rects = []
        for person, joints in enumerate(truth.joints[name]):
            rect = {"x1": 10.0, "y1": 10.0, "x2": 20.0, "y2": 20.0}
            points = [
                {
                    "x": float(x),
                    "y": float(y),
                    "id": float(number),
                    "is_visible": np.uint8(1) if number % 2 else np.zeros((0, 0)),
                }
                for number, (x, y) in enumerate(joints)
                if np.isfinite(x)
            ]
            if truth.is_train[name]:
                x, y = truth.centres[name][person]
                rect |= {"scale": truth.scales[name][person], "objpos": _structures([{"x": x, "y": y}])}
                if points:
                    rect["annopoints"] = _structures([{"point": _structures(points)}])
            rects.append(rect)
        annolist.append(
            {
                "image": _structures([{"name": name}]),
                "annorect": _structures(rects),
                "frame_sec": np.zeros((0, 0)),
                "vididx": np.zeros((0, 0)),
            }
        )
        separate[row, 0] = np.array(truth.separate[name], np.uint8)[:, None] + 1
    release = {
        "annolist": _structures(annolist),
        "img_train": np.array([[truth.is_train[name] for name in names]], np.uint8),
        "version": "12",
        "single_person": separate,
        "act": np.zeros((0, 0)),
        "video_list": np.empty((1, 0), object),
    }
    scipy.io.savemat(path, {"RELEASE": _structures([release])}, do_compression=True)
