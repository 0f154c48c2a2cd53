"""The dataset format of this project: folders of pictures with one JSON file each.

::

    DATASET/
      dataset.json               {"format": 1, "joint_names": [...], "edges": [[i, j], ...], anything else}
      SHARD/annotations.json     list of pictures
      SHARD/0000.jpg ...

Each picture of ``annotations.json`` is an object::

    {"image": "0000.jpg",
     "camera": {"intrinsic_matrix": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
                "distortion_coeffs": [] or 4, 5, 8, 12 or 14 numbers in OpenCV's order,
                "distortion_model": "fisheye" if they are the four of OpenCV's fisheye model (may be absent),
                "extrinsic_matrix": 4x4, world to camera, millimetres (may be absent)},
     "people": [{"box": [left, top, width, height],
                 "joints3d": [[x, y, z], ...] millimetres, camera frame, or null,
                 "joints2d": [[x, y], ...] pixels of the (distorted) picture,
                 "visible": [1, 0, ...] seen in the picture,
                 "mask": {"size": [height, width], "counts": COCO run lengths} or absent}, ...]}

Integer pixel coordinates are pixel centres. Joints that aren't annotated are ``null`` in place of their numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import write_json

FORMAT = 1
_DISTORTION_LENGTHS = (0, 4, 5, 8, 12, 14)


class DatasetError(UserError):
    """A dataset doesn't follow the format; the message says where and what to do."""


@dataclass(frozen=True)
class Person:
    """One annotated person.

    Attributes:
        box: float32 [4], left, top, width, height, pixels.
        joints3d: float32 [J, 3], millimetres, camera frame, NaN where unknown; or None.
        joints2d: float32 [J, 2], pixels, NaN where unknown.
        visible: bool [J].
        mask: {"size", "counts"} in COCO's run-length encoding, or None.
    """

    box: np.ndarray
    joints3d: np.ndarray | None
    joints2d: np.ndarray
    visible: np.ndarray
    mask: dict | None


@dataclass(frozen=True)
class Picture:
    """One picture with its camera and people.

    Attributes:
        path: the image file.
        camera: that took it.
        people: the annotated people.
    """

    path: Path
    camera: Camera
    people: tuple[Person, ...]


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says.

    Attributes:
        joint_names: names of the J joints, in the order of the arrays.
        edges: pairs of joint indices.
        other: all further entries.
    """

    joint_names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    other: dict


def write_description(dataset: Path, joint_names: list[str], edges: list, **other) -> None:
    """Write ``dataset.json``.

    Args:
        dataset: the dataset's folder; made if missing.
        joint_names: names of the joints.
        edges: pairs of joint indices.
        **other: anything worth keeping, such as the generator, its seed, a licence.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "joint_names": list(joint_names), "edges": [[int(a), int(b)] for a, b in edges]}
    write_json(dataset / "dataset.json", content | other)


def read_description(dataset: Path) -> Description:
    """Read and check ``dataset.json``.

    Raises:
        UserError: the file is missing, unreadable, or of another format.
    """
    path = Path(dataset) / "dataset.json"
    if not path.is_file():
        raise DatasetError(f"{dataset} has no dataset.json; is it a dataset folder?")
    content = _load(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise DatasetError(f"{path} has format {found!r}; this version reads format {FORMAT}.")
    names, edges = content.get("joint_names"), content.get("edges", [])
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise DatasetError(f"{path}: 'joint_names' must be a list of names.")
    if len(set(names)) != len(names):
        raise DatasetError(f"{path}: 'joint_names' has a name twice.")
    valid = range(len(names))
    if not all(isinstance(e, list) and len(e) == 2 and e[0] in valid and e[1] in valid for e in edges):
        raise DatasetError(f"{path}: each of 'edges' must be a pair of joint indices below {len(names)}.")
    other = {k: v for k, v in content.items() if k not in ("format", "joint_names", "edges")}
    return Description(tuple(names), tuple((a, b) for a, b in edges), other)


def read_pictures(dataset: Path) -> Iterator[Picture]:
    """Read and check all pictures of a dataset, shard by shard in the order of their names.

    Args:
        dataset: the dataset's folder.

    Yields:
        One `Picture` each; image files are not opened, but must exist.

    Raises:
        UserError: something doesn't follow the format.
    """
    n_joints = len(read_description(dataset).joint_names)
    shards = sorted(p.parent for p in Path(dataset).glob("*/annotations.json") if not p.parent.name.startswith("."))
    if not shards:
        raise DatasetError(f"{dataset} has no SHARD/annotations.json; nothing to read.")
    for shard in shards:
        path = shard / "annotations.json"
        content = _load(path)
        if not isinstance(content, list):
            raise DatasetError(f"{path} must hold a list of pictures.")
        files = {p.name for p in shard.iterdir()}
        for number, entry in enumerate(content):
            where = f"{path}, picture {number}"
            if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
                raise DatasetError(f"{where}: must be an object with the name of an 'image' file.")
            where = f"{path}, {entry['image']}"
            if entry["image"] not in files and not (shard / entry["image"]).is_file():
                raise DatasetError(f"{where}: the image file is missing.")
            yield _picture(shard / entry["image"], entry, n_joints, where)


def _load(path: Path):
    try:
        return json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f"{path} can't be read as JSON: {error}.") from error


def _picture(path: Path, entry: dict, n_joints: int, where: str) -> Picture:
    camera = entry.get("camera")
    if not isinstance(camera, dict):
        raise DatasetError(f"{where}: 'camera' is missing.")
    coefficients = camera.get("distortion_coeffs") or []
    distortion = _array(coefficients, (len(coefficients),), f"{where}: 'distortion_coeffs'")
    if len(distortion) not in _DISTORTION_LENGTHS:
        raise DatasetError(f"{where}: 'distortion_coeffs' has {len(distortion)} numbers, not 0, 4, 5, 8, 12 or 14.")
    intrinsics = _array(camera.get("intrinsic_matrix"), (3, 3), f"{where}: 'intrinsic_matrix'")
    extrinsics = _array(camera.get("extrinsic_matrix") or np.eye(4), (4, 4), f"{where}: 'extrinsic_matrix'")
    try:
        camera = Camera(intrinsics, distortion, camera.get("distortion_model") or "", extrinsics)
    except UserError as error:
        raise DatasetError(f"{where}: {error}") from error
    people = entry.get("people")
    if not isinstance(people, list):
        raise DatasetError(f"{where}: 'people' must be a list.")
    read = tuple(_person(p, n_joints, f"{where}, person {i}") for i, p in enumerate(people))
    return Picture(path, camera, read)


def _person(entry: dict, n_joints: int, where: str) -> Person:
    if not isinstance(entry, dict):
        raise DatasetError(f"{where}: must be an object.")
    box = _array(entry.get("box"), (4,), f"{where}: 'box'")
    if box[2] <= 0 or box[3] <= 0:
        raise DatasetError(f"{where}: 'box' must be [left, top, width, height] with a positive size.")
    joints2d = _array(entry.get("joints2d"), (n_joints, 2), f"{where}: 'joints2d'", holes=True)
    joints3d = entry.get("joints3d")
    if joints3d is not None:
        joints3d = _array(joints3d, (n_joints, 3), f"{where}: 'joints3d'", holes=True)
    visible = _array(entry.get("visible", [1] * n_joints), (n_joints,), f"{where}: 'visible'") > 0
    mask = entry.get("mask")
    if mask is not None and not (isinstance(mask, dict) and {"size", "counts"} <= set(mask)):
        raise DatasetError(f"{where}: 'mask' must have 'size' and 'counts'.")
    return Person(box, joints3d, joints2d, visible, mask)


def _array(values, shape: tuple, where: str, holes: bool = False) -> np.ndarray:
    """Float32 array of the given shape; `holes` allows null for a missing row, which becomes NaN."""
    if holes and isinstance(values, list):
        values = [[np.nan] * shape[1] if v is None else v for v in values]
    try:
        array = np.array(values, np.float32)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where} must be numbers of shape {list(shape)}.") from error
    if array.shape != shape:
        raise DatasetError(f"{where} has shape {list(array.shape)}, not {list(shape)}.")
    if not (np.isfinite(array) | (np.isnan(array) & holes)).all():
        raise DatasetError(f"{where} has numbers that aren't finite.")
    return array
