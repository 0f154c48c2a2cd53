"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

_JPEG_END = b"\xff\xd9"


@contextmanager
def written_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path beside the final one, and rename it when the block has ended without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # an ending that nobody looks for
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_image(path: Path, rgb: np.ndarray) -> None:
    """Write an RGB or RGBA picture: a JPEG of quality 95, or what else the name's ending says."""
    to_bgr = cv2.COLOR_RGBA2BGRA if rgb.shape[2] == 4 else cv2.COLOR_RGB2BGR
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == ".jpg" else []
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, to_bgr), options)
    if not done:
        raise OSError(f"The picture {path} can't be encoded.")
    with written_atomically(path) as temporary:
        temporary.write_bytes(data)


def jpeg_exists(path: Path) -> bool:
    """Whether a JPEG file that a program has written is there, and complete: without reading all of it."""
    try:
        with path.open("rb") as file:
            file.seek(-2, os.SEEK_END)
            return file.read() == _JPEG_END
    except OSError:
        return False
