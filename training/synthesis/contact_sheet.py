"""One picture of many, to see at a glance whether skeletons sit on people."""

import json
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.files import atomic_file
from training.dataset_format import Description, read_description


def draw_contact_sheet(dataset: Path, path: Path, columns: int = 8, rows: int = 6, cell: int = 320) -> None:
    """Draw the first pictures of a dataset with their skeletons and boxes: left limbs red, right limbs blue.

    Args:
        dataset: dataset folder.
        path: PNG file to write.
        columns, rows: pictures across and down.
        cell: side of the square that each picture fits into, pixels.
    """
    description = read_description(dataset)
    sheet = np.full([rows * cell, columns * cell, 3], 255, np.uint8)
    for i, (file, people) in enumerate(_first_pictures(dataset, rows * columns)):
        image = cv2.imread(str(file))
        for person in people:
            _draw_person(image, person, description)
        scale = cell / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = i // columns * cell, i % columns * cell
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    with atomic_file(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", sheet)[1].tobytes())


def _first_pictures(dataset: Path, n: int) -> list[tuple[Path, list[dict]]]:
    """Files and annotated people of the first pictures."""
    pictures = []
    for annotations in sorted(dataset.glob("shard_*/annotations.json")):
        pictures += [(annotations.parent / a["image"], a["people"]) for a in json.loads(annotations.read_text())]
        if len(pictures) >= n:
            break
    return pictures[:n]


def _draw_person(image: np.ndarray, person: dict, description: Description) -> None:
    points = np.array(person["joints2d"])
    for a, b in description.edges:
        side = description.joint_names[b][0]
        colour = (40, 40, 255) if side == "l" else (255, 80, 40) if side == "r" else (60, 220, 60)
        ends = np.clip(points[[a, b]], -3000, 3000).round().astype(int)
        cv2.line(image, tuple(ends[0].tolist()), tuple(ends[1].tolist()), colour, 1, cv2.LINE_AA)
    left, top, width, height = person["box"]
    corners = np.array([[left, top], [left + width, top + height]]).round().astype(int)
    cv2.rectangle(image, corners[0].tolist(), corners[1].tolist(), (0, 200, 255), 1)
