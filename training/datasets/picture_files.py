"""Picture files of data sets: their sizes, and how prepared ones are written."""

import os
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file

_JPEG_END = b"\xff\xd9"


def write_image(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB or RGBA picture: a JPEG of quality 95, or what else the name's ending says."""
    to_bgr = cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, to_bgr), options)
    if not done:
        raise UserError(f"The picture {path} can't be encoded.")
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def jpeg_exists(path: Path) -> bool:
    """Whether a JPEG file that a program has written is there, and complete: without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return file.read() == _JPEG_END
    except OSError:
        return False


@lru_cache(maxsize=1024)
def picture_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of a picture, turned the way up that its metadata say; only its head is read.

    Raises:
        UserError: it is missing or damaged.
    """
    from PIL import ExifTags, Image, UnidentifiedImageError  # only here, as training gets along without

    try:
        with Image.open(path) as image:
            is_turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            return image.size[::-1] if is_turned else image.size
    except (OSError, UnidentifiedImageError) as error:
        raise UserError(f"The picture {path} is missing or damaged.") from error
