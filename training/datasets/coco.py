"""COCO keypoints (Lin et al., ECCV 2014): 2D labels, as the official archives unpack, of 2017 or of 2014.

::

    coco/annotations/person_keypoints_train2017.json
    coco/train2017/000000000009.jpg
"""

import json
from pathlib import Path

import boxlib
import numpy as np
import rlemasklib

from metrabs_core.errors import UserError
from metrabs_core.skeletons import SKELETONS, Skeleton
from training.datasets.annotations import Annotations, look_for_images
from training.datasets.example import assumed_camera
from training.datasets.named import NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder

# The hips that COCO's annotators click lie higher and further out than hip joints.
SKELETON = Skeleton(
    "coco_17",
    tuple(f"{name}_coco" if name in ("lhip", "rhip") else name for name in SKELETONS["coco_17"].joint_names),
    SKELETONS["coco_17"].edges,
)
_YEARS = (2017, 2014)
_NOT_LABELLED, _VISIBLE = 0, 2
# People with fewer labels, or who are smaller in the picture (px), are left out.
_MIN_VISIBLE, _MIN_LABELLED, _MIN_SIDE = 17 / 3, 17 / 2, 200

DOWNLOAD = """COCO's annotations are CC BY 4.0, its pictures under their authors' Flickr licences: https://cocodataset.org
Unpack annotations_trainval2017.zip, train2017.zip and val2017.zip (or those of 2014) so that there are
  coco/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
  coco/train2017/000000000009.jpg ..., coco/val2017/000000000139.jpg ..."""


def find(root: Path, split: str) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train" or "val".
    """
    paths = [root / f"coco/annotations/person_keypoints_{split}{year}.json" for year in _YEARS]
    found = [path for path in paths if path.is_file()][:1]
    missing = [] if found else [str(paths[0].relative_to(root))]
    return Annotations(SKELETON, found, lambda: _read(root, found[0]), missing)


def _read(root: Path, path: Path) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    folder = path.stem.removeprefix("person_keypoints_")
    try:
        content = json.loads(path.read_text())
        pictures = {picture["id"]: picture for picture in content["images"]}
        for number, person in enumerate(content["annotations"]):
            keypoints = np.array(person.get("keypoints", ()), np.float32).reshape(-1, 3)
            if len(keypoints) != SKELETON.n_joints:
                continue
            joints, labels = keypoints[:, :2], keypoints[:, 2]
            valid = labels != _NOT_LABELLED
            if (labels == _VISIBLE).sum() < _MIN_VISIBLE or valid.sum() < _MIN_LABELLED:
                continue
            if max(boxlib.expand(boxlib.bb_of_points(joints[valid]), 1.25)[2:]) < _MIN_SIDE:
                continue
            picture = pictures[person["image_id"]]
            # keypoints are numbers of pixels, boxes count from the corner of the first pixel
            box = np.float32(person["bbox"]) - np.float32([0.5, 0.5, 0, 0])
            table.add(
                [f"coco/{folder}/{picture['file_name']}"],
                box,
                assumed_camera(box),
                joints2d=np.where(valid[:, None], joints, boxlib.center(box))[None],
                valid=valid[None],
                masks=[_mask(person.get("segmentation"), (picture["height"], picture["width"]))],
                person=number,
            )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged or no annotation of COCO keypoints: {error!r}.") from error
    return table.build()


def _mask(polygons, shape: tuple[int, int]) -> dict | None:
    if not isinstance(polygons, list):
        return None
    return rlemasklib.union([rlemasklib.from_polygon(polygon, imshape=shape) for polygon in polygons])


def prepare(preparation: Preparation) -> None:
    """Check that the files are complete.

    Args:
        preparation: the run.

    Raises:
        UserError: official files are missing.
    """
    root = preparation.root
    missing = []
    for split in ("train", "val"):
        found = find(root, split)
        missing += found.missing + (look_for_images(found.read())[1] if found.files else [])
    preparation.require("COCO", missing, DOWNLOAD, is_empty=not find(root, "train").files)


DATASETS = {
    "coco": NamedDataset(prepare, find, ("train", "val"), Shrinking(affine=True), shrunk_parts=("train", "val"))
}
