"""INRIA Holidays (Jégou et al., ECCV 2008): backgrounds without people.

As the official archives unpack::

    inria_holidays/jpg/100000.jpg

and what ``metrabs-train prepare inria-holidays`` makes of that::

    inria_holidays/detections.npz          people that the detector finds
    inria_holidays/non_person/100000.jpg   the pictures in which it finds none, at most 1024 px wide and high
"""

from pathlib import Path

import cv2

from metrabs_core.pictures import read_picture
from training.datasets.detections import detect_people
from training.datasets.named import NamedDataset
from training.datasets.picture_files import jpeg_exists, write_image
from training.datasets.preparation import Preparation

_MAX_SIDE = 1024
# Below this, most of what the detector finds is nobody.
_MAX_SCORE = 0.3
_BYTES_PER_PICTURE = 250_000

DOWNLOAD = """INRIA Holidays is for research: http://lear.inrialpes.fr/people/jegou/data.php
Unpack jpg1.tar.gz and jpg2.tar.gz in $DATA_ROOT/inria_holidays, so that there are
  inria_holidays/jpg/100000.jpg ..."""


def prepare(preparation: Preparation) -> None:
    """Choose the pictures in which the detector sees nobody, and make them smaller.

    Args:
        preparation: the run.

    Raises:
        UserError: there are no pictures.
    """
    folder = preparation.root / "inria_holidays"
    names = sorted(path.relative_to(folder).as_posix() for path in (folder / "jpg").glob("*.jpg"))
    preparation.require("INRIA Holidays", [] if names else ["inria_holidays/jpg/*.jpg"], DOWNLOAD, is_empty=True)
    found = detect_people(preparation, folder, names)
    empty = [name for name in names if name in found and not (found[name][:, 4] > _MAX_SCORE).any()]
    tasks = [(folder / name, folder / "non_person" / Path(name).name) for name in empty]
    tasks = [(source, target) for source, target in tasks if not jpeg_exists(target)]
    preparation.need_space("Backgrounds", len(tasks) * _BYTES_PER_PICTURE)
    preparation.run("backgrounds", _shrink, tasks)
    preparation.done.append(f"{len(empty)} of {len(names)} pictures without people in {folder / 'non_person'}")


def _shrink(task: tuple[Path, Path]) -> tuple[None, list[str]]:
    source, target = task
    image = read_picture(source)
    scale = _MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    write_image(target, image)
    return None, []


DATASETS = {"inria-holidays": NamedDataset(prepare)}
