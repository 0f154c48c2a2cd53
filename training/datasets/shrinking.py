"""Cropped-and-shrunk training pictures: a fraction of the bytes to read and decode, nothing of the crops lost."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import boxlib
import cv2
import numpy as np
import rlemasklib

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.pictures import read_picture
from training.datasets.annotations import load_table
from training.datasets.colours import adjust_3dhp_colours
from training.datasets.example import Example
from training.datasets.named import Shrinking
from training.datasets.picture_files import write_image
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder

# The person's longer side in the new picture: crops of 256 px may still be zoomed by 1.5.
_CROP_SIDE, _MAX_ZOOM = 256, 1.5
_MAX_ENLARGEMENT = 1.2
# How far augmentation reaches: rotation by 30 degrees, shift by a tenth, and twice 15 % of margin.
_MAX_ROTATION = np.pi / 6
_REACH = 1.1 / 0.85**2
_BYTES_PER_PICTURE = 75_000
# What an interrupted run may lose.
_PEOPLE_PER_PART = 500
_TO_LINEAR = (np.linspace(0, 1, 256) ** 2.2).astype(np.float32)


@dataclass
class _Part:
    """Some people of one folder of pictures."""

    root: Path
    index: Path
    key: str = ""
    rows: list[tuple[Example, Path]] = field(default_factory=list)
    shrinking: Shrinking = field(default_factory=Shrinking)


def shrink(preparation: Preparation, table: Table, index: Path, key: str, shrinking: Shrinking) -> None:
    """Make the shrunk pictures of a table's people and, beside them, the table that belongs to them.

    What an interrupted run made stays: parts that are complete are not made again.

    Args:
        preparation: the run.
        table: people with their original pictures.
        index: file of the new table; the pictures go into a folder of the same name.
        key: of the annotations, kept in the index.
        shrinking: how.
    """
    folder = index.with_suffix("")
    parts: dict[Path, list] = defaultdict(list)
    numbers: dict[str, int] = defaultdict(int)
    for row, path in enumerate(table.columns["image_path"]):
        parts[Path(str(path)).parent].append((row, numbers[path]))
        numbers[path] += 1
    tasks = []
    for place, rows in parts.items():
        for start in range(0, len(rows), _PEOPLE_PER_PART):
            index_of_part = folder / place / f"people_{start // _PEOPLE_PER_PART:04d}.npz"
            part = _Part(preparation.root, index_of_part, shrinking=shrinking)
            for row, number in rows[start : start + _PEOPLE_PER_PART]:
                example = table[row]
                part.rows.append((example, folder / place / f"{example.image_path.stem}_{number}.jpg"))
            part.key = _part_key(part)
            tasks.append(part)
    todo = [part for part in tasks if _finished(part) is None]
    preparation.need_space(
        f"{folder.parent.name}/{folder.name}", sum(len(part.rows) for part in todo) * _BYTES_PER_PICTURE
    )
    preparation.run(f"cropped-and-shrunk pictures, {folder.name}", _shrink_part, todo)
    finished = [done for part in tasks if (done := _finished(part)) is not None]
    if not finished:
        raise UserError(f"No picture of {folder.parent.name} could be made.")
    whole = Table.concatenate(finished)
    whole.save(index, key=key)
    preparation.done.append(f"{len(whole)} cropped-and-shrunk pictures in {folder}")


def _exists(root: Path, path: str) -> bool:
    return (root / str(path)).is_file()


def _part_key(part: _Part) -> str:
    digest = hashlib.sha256(repr((part.shrinking, _REACH, _MAX_ZOOM)).encode())
    for example, path in part.rows:
        camera = example.camera
        for array in (example.box, example.joints2d, example.valid, example.joints3d, example.universal3d,
                      camera.intrinsic_matrix, camera.distortion_coeffs, camera.extrinsic_matrix):  # fmt: skip
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        image = example.image_path.relative_to(part.root)
        digest.update(repr((image, path.name, example.mask, example.activity, example.scene)).encode())
    return digest.hexdigest()


def _finished(part: _Part) -> Table | None:
    table = load_table(part.index, part.root, lambda facts: facts.get("key") == part.key)
    if table is not None and all(_exists(part.root, path) for path in table.columns["image_path"]):
        return table
    return None


def _shrink_part(part: _Part) -> tuple[None, list[str]]:
    n_joints = len(part.rows[0][0].joints2d)
    table, problems = TableBuilder(part.root, n_joints), []
    last_path, last_image = None, None
    for example, path in part.rows:
        try:
            if example.image_path != last_path:
                last_path, last_image = example.image_path, read_picture(example.image_path)
            image, new = shrink_example(example, last_image, part.shrinking)
        except UserError as error:
            problems.append(str(error))
            continue
        write_image(path, image)
        table.add(
            [path.relative_to(part.root).as_posix()],
            new.box[None],
            new.camera,
            None if new.joints3d is None else new.joints3d[None],
            None if new.universal3d is None else new.universal3d[None],
            new.joints2d[None],
            new.valid[None],
            None if new.mask is None else [new.mask],
            new.activity,
            new.scene,
            new.person,
        )
    if len(problems) < len(part.rows):
        table.build().save(part.index, key=part.key)
    return None, problems


def shrink_example(example: Example, image: np.ndarray, shrinking: Shrinking) -> tuple[np.ndarray, Example]:
    """Cut out the part of a picture that augmented crops of a person can show, and make it as small as they allow.

    The new picture is that of an undistorted camera turned to the centre of the person's box.

    Args:
        example: the person.
        image: uint8 [h, w, 3], the whole picture, RGB.
        shrinking: how.

    Returns:
        uint8 [h', w', 3]; the person as the new camera sees it (``image_path`` is still the old one).

    Raises:
        UserError: the person's box is outside of the picture.
    """
    old = example.camera
    view = old if shrinking.affine else old.turned_towards(old.rays(boxlib.center(example.box)))
    view = view.undistorted()
    whole = np.array([-0.5, -0.5, image.shape[1], image.shape[0]], np.float32)
    seen = boxlib.bb_of_points(_moved(boxlib.side_midpoints(example.box), old, view))
    seen_whole = boxlib.bb_of_points(_moved(boxlib.corners(whole), old, view))
    region = boxlib.intersection(_reachable(seen, shrinking.context), seen_whole)
    if min(region[2:]) < 1 or max(seen[2:]) < 1:
        raise UserError(f"The box {example.box.tolist()} is not in the picture {example.image_path}.")
    scale = min(_MAX_ENLARGEMENT, _CROP_SIDE / max(seen[2:]) * _MAX_ZOOM)
    size = np.maximum(1, np.round(region[2:] * scale)).astype(int)
    # pixel centres are integers: the region's left border is at -0.5 in the new picture
    view = view.shifted(region[:2] + 0.5).scaled(scale)
    pixels = _resampled(image, old, view, size, is_light=True)
    if shrinking.adjust_3dhp:
        pixels = adjust_3dhp_colours(pixels)
    rotation = view.rotation_from(old)
    joints3d, universal3d = (
        None if pose is None else (pose @ rotation.T).astype(np.float32)
        for pose in (example.joints3d, example.universal3d)
    )
    mask = None
    if example.mask is not None:
        mask_pixels = rlemasklib.decode(example.mask) * np.uint8(255)
        mask = rlemasklib.encode((_resampled(mask_pixels, old, view, size, is_light=False) > 127).astype(np.uint8))
    joints2d = _moved(example.joints2d, old, view) if joints3d is None else view.project(joints3d)
    box = boxlib.bb_of_points(_moved(boxlib.side_midpoints(example.box), old, view))
    return pixels, replace(
        example,
        box=box.astype(np.float32),
        joints2d=joints2d.astype(np.float32),
        camera=view,
        joints3d=joints3d,
        universal3d=universal3d,
        mask=mask,
    )


def _moved(points: np.ndarray, old: Camera, view: Camera) -> np.ndarray:
    """Where the pixels [n, 2] of a camera are in the picture of another at the same place."""
    return view.project(old.rays(points) @ view.rotation_from(old).T)


def _resampled(image, old: Camera, view: Camera, size, is_light: bool) -> np.ndarray:
    """The picture of another camera; pictures of light are averaged in linear light, with gamma 2.2.

    It is sampled finely enough for every pixel of the old picture to count, and averaged to its size.
    """
    factor = max(2, int(np.ceil(old.intrinsic_matrix[0, 0] / view.intrinsic_matrix[0, 0])))
    map_x, map_y = cv2.split(old.places(view.scaled(factor), size * factor))
    # only the part of the picture that is needed is converted
    left, top = (max(0, int(np.floor(m.min())) - 2) for m in (map_x, map_y))
    part = image[top : max(0, int(np.ceil(map_y.max()))) + 3, left : max(0, int(np.ceil(map_x.max()))) + 3]
    if not part.size:
        return np.zeros([size[1], size[0], *image.shape[2:]], np.uint8)
    pixels = cv2.remap(
        cv2.LUT(part, _TO_LINEAR) if is_light else part.astype(np.float32), map_x - left, map_y - top, cv2.INTER_LINEAR
    )
    pixels = cv2.resize(pixels, size.tolist(), interpolation=cv2.INTER_AREA)
    if is_light:
        pixels = 255 * np.clip(pixels, 0, 1) ** (1 / 2.2)
    return np.round(pixels).astype(np.uint8)


def _reachable(box: np.ndarray, context: float) -> np.ndarray:
    """The square in which everything is that augmented crops of a box may show."""
    sin, cos = np.sin(_MAX_ROTATION), np.cos(_MAX_ROTATION)
    side = max(cos * box[2] + sin * box[3], cos * box[3] + sin * box[2])
    return boxlib.expand(boxlib.box_around(boxlib.center(box), side), _REACH * context)
