"""PASCAL VOC 2012 (Everingham et al., IJCV 2015): things to put before people, cut out along their segments.

As the official archive unpacks (in ``VOCdevkit/VOC2012``, or without these two folders)::

    pascal_voc/Annotations/2007_000027.xml
    pascal_voc/JPEGImages/2007_000027.jpg
    pascal_voc/SegmentationObject/2007_000027.png     palette picture, object numbers from one

and what ``metrabs-train prepare pascal-voc`` makes of that::

    pascal_voc/cutouts/2007_000033_0.png              RGBA, half of the size
"""

import xml.etree.ElementTree
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from metrabs_core.pictures import read_picture
from training.datasets.named import NamedDataset
from training.datasets.picture_files import write_image
from training.datasets.preparation import Preparation

_MIN_PIXELS = 500
# Cut-outs are halved, and this much of their border (px, before that) is a little transparent.
_BORDER, _BORDER_ALPHA = 8, 0.75
_BYTES_PER_CUTOUT = 40_000

DOWNLOAD = """PASCAL VOC 2012 is for research; its pictures are under their authors' Flickr licences:
http://host.robots.ox.ac.uk/pascal/VOC/voc2012
Unpack VOCtrainval_11-May-2012.tar in $DATA_ROOT/pascal_voc, so that there are
  pascal_voc/VOCdevkit/VOC2012/Annotations/*.xml, JPEGImages/*.jpg, SegmentationObject/*.png"""


def prepare(preparation: Preparation) -> None:
    """Cut out the objects that are not people, neither truncated nor difficult, and of at least 500 pixels.

    Args:
        preparation: the run.

    Raises:
        UserError: official files are missing.
    """
    root, folder = preparation.root, preparation.root / "pascal_voc"
    source = folder / "VOCdevkit/VOC2012" if (folder / "VOCdevkit/VOC2012").is_dir() else folder
    names = ("Annotations", "JPEGImages", "SegmentationObject")
    missing = [str((source / name).relative_to(root)) for name in names if not (source / name).is_dir()]
    preparation.require("PASCAL VOC", missing, DOWNLOAD, is_empty=True)
    segments = sorted((source / "SegmentationObject").glob("*.png"))
    tasks = [(source, path.stem, folder / "cutouts") for path in segments]
    preparation.need_space("Cut-outs", len(tasks) * _BYTES_PER_CUTOUT)
    written = preparation.run("cut-outs", _cut_out, tasks)
    preparation.done.append(f"{sum(n for n in written if n)} cut-outs in {folder / 'cutouts'}")


def _cut_out(task: tuple[Path, str, Path]) -> tuple[int, list[str]]:
    """Write the cut-outs of one picture."""
    source, name, folder = task
    try:
        objects = xml.etree.ElementTree.parse(source / f"Annotations/{name}.xml").getroot().findall("object")
        boxes = [(number, _box(thing)) for number, thing in enumerate(objects) if _is_wanted(thing)]
    except (xml.etree.ElementTree.ParseError, AttributeError, ValueError) as error:
        return 0, [f"{source / 'Annotations' / name}.xml is damaged: {error}."]
    todo = [(number, box) for number, box in boxes if not (folder / f"{name}_{number}.png").is_file()]
    if not todo:
        return 0, []
    image = read_picture(source / f"JPEGImages/{name}.jpg")
    try:
        labels = np.asarray(Image.open(source / f"SegmentationObject/{name}.png"))
    except (OSError, UnidentifiedImageError) as error:
        return 0, [f"{source / 'SegmentationObject' / name}.png is damaged: {error}."]
    written = 0
    for number, (left, top, right, bottom) in todo:
        mask = (labels[top:bottom, left:right] == number + 1).astype(np.uint8)
        if np.count_nonzero(mask) >= _MIN_PIXELS:
            write_image(folder / f"{name}_{number}.png", _cutout(image[top:bottom, left:right], mask))
            written += 1
    return written, []


def _is_wanted(thing) -> bool:
    flags = [thing.findtext(flag, "0").strip() != "0" for flag in ("difficult", "truncated")]
    return thing.findtext("name") != "person" and not any(flags)


def _box(thing) -> list[int]:
    """Left, top, right and bottom; the pixels of the last two don't belong to it. The file counts pixels from one."""
    left, top, right, bottom = (
        round(float(thing.find("bndbox").findtext(k))) for k in ("xmin", "ymin", "xmax", "ymax")
    )
    return [max(0, left - 1), max(0, top - 1), right, bottom]


def _cutout(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An RGBA picture of half of the size, whose border is a little transparent: uint8 [h/2, w/2, 4]."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_BORDER, _BORDER))
    inside = cv2.erode(mask, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    alpha = 255 * np.where(inside, 1.0, _BORDER_ALPHA * mask)
    size = [max(1, side // 2) for side in mask.shape[::-1]]
    halved = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    alpha = cv2.resize(alpha.astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    return np.dstack([halved, alpha])


DATASETS = {"pascal-voc": NamedDataset(prepare)}
