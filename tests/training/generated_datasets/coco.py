"""A small COCO: keypoint annotations of people large and small, and pictures."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from generated_datasets import people

NAMES = ["nose", "leye", "reye", "lear", "rear", "lsho", "rsho", "lelb", "relb", "lwri", "rwri",
         "lhip", "rhip", "lkne", "rkne", "lank", "rank"]  # fmt: skip


@dataclass
class Truth:
    """What the files were written from, by part and picture name: joints [17, 2] px (pixel centres) of the people who
    are large enough, and which of them are labelled.
    """

    joints: dict = field(default_factory=dict)
    labelled: dict = field(default_factory=dict)


def generate(root: Path, seed: int = 0, n_pictures: int = 3, year: int = 2017, side: int = 320) -> Truth:
    """Write root/coco as the official archives unpack; beside each large person a small one, who is to be left out."""
    truth = Truth()
    for part in ("train", "val"):
        rng = np.random.default_rng([seed, len(part)])
        images, annotations = [], []
        for number in range(n_pictures):
            prefix = f"COCO_{part}{year}_" if year == 2014 else ""
            name = f"{prefix}{number + 9:012d}.jpg"
            picture = people.background(rng, side, side)
            images.append({"id": number + 9, "file_name": name, "width": side, "height": side})
            for person, height in enumerate((side * 0.85, side * 0.2)):
                pose = people.walk(rng, NAMES, 1)[0]
                centre = np.array([side * (0.3 + 0.5 * person), side * 0.95])
                joints = centre + pose[:, [0, 2]] * [1, -1] * height / 1750
                mask = people.draw(picture, joints, people.bones([*NAMES]))
                visibility = np.full(17, 2)
                visibility[[1, 5]] = 0, 1
                labels = np.where(visibility[:, None] > 0, joints, 0)
                left, top, width, height = people.box_of(mask)
                annotations.append({
                    "id": len(annotations), "image_id": number + 9, "category_id": 1, "iscrowd": 0,
                    "bbox": [left, top, width, height], "num_keypoints": 16,
                    "keypoints": np.column_stack([labels, visibility]).ravel().tolist(),
                    "segmentation": [[left, top, left + width, top, left + width, top + height, left, top + height]],
                })  # fmt: skip
                if person == 0:
                    truth.joints[part, name], truth.labelled[part, name] = joints, visibility > 0
            path = root / f"coco/{part}{year}/{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture[..., ::-1])
        path = root / f"coco/annotations/person_keypoints_{part}{year}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1}]}))
    return truth
