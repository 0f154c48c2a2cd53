"""Picture files: which files are pictures, in which order they come, and their pixels."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from metrabs_core.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Not TIFF's, with which cameras' raw photographs begin, too: OpenCV would show the thumbnail in those.
_STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|BM.{4}\0\0\0\0|RIFF.{4}WEBP", re.DOTALL)

# A JPEG marker other than those inside of compressed data (stuffed zeros and restarts), which have no length.
_JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")
_JPEG_END = 0xD9

_Result = TypeVar("_Result")


class PictureError(UserError):
    """A picture that can't be read or written; the message is one sentence for the user."""


def is_picture(path: Path) -> bool:
    """Whether a file is a picture, by its first bytes or, in case it is damaged, by its name."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return _STARTS.match(file.read(12)) is not None
    except OSError:
        return False


def pictures_in(folder: Path) -> list[Path]:
    """The picture files in a folder, by their names: 2.png comes before 10.png.

    Hidden files are left out, and with them those that macOS puts beside each file on other systems' disks (`._1.png`).

    Raises:
        PictureError: there are none, or the folder can't be read.
    """
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
    except OSError as error:
        raise PictureError(f"The folder {folder} can't be read: {error.strerror}.") from error
    files = [file for file in files if not file.name.startswith(".")]
    if not files:
        raise PictureError(f"The folder {folder} holds no pictures ({' '.join(PICTURE_SUFFIXES)}).")
    return sorted(files, key=natural_order)


def pictures_below(folder: Path) -> list[Path]:
    """The picture files in a folder and in all folders in it, sorted as text; hidden ones are left out, as above."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def natural_order(path: Path) -> tuple:
    """Sort key by which numbers in file names count as numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)], path.name


def read_picture(path: Path, flags: int | None = None) -> np.ndarray:
    """Read a picture file, turned the way up that its metadata say.

    Args:
        path: the file.
        flags: OpenCV's, if it is to be other than RGB; None for RGB.

    Returns:
        uint8 [H, W, 3], RGB, unless the flags say otherwise.

    Raises:
        PictureError: it is missing, truncated, damaged or too large.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PictureError(f"The picture {path} can't be read: {error.strerror}.") from error
    subject = f"The picture {path}"
    if flags is None:  # OpenCV before 4.11 has no flag for RGB
        return cv2.cvtColor(decode_picture(data, cv2.IMREAD_COLOR, subject), cv2.COLOR_BGR2RGB)
    return decode_picture(data, flags, subject)


def decode_picture(data: bytes, flags: int, subject: str) -> np.ndarray:
    """Decode the contents of a picture file.

    Args:
        data: contents of the file.
        flags: OpenCV's.
        subject: what the sentence of the error begins with, such as "The picture a.jpg".

    Raises:
        PictureError: it is truncated, damaged or too large.
    """
    if not len(data):
        raise PictureError(f"{subject} is empty.")
    if is_truncated(data):
        raise PictureError(f"{subject} is truncated after {len(data)} bytes.")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if "CV_IO_MAX" in str(error):
            raise PictureError(
                f"{subject} is too large: OpenCV reads 2^30 pixels at most, and 2^20 on a side."
            ) from error
        image = None
    if image is None:
        raise PictureError(f"{subject} is damaged, too large or not a picture.")
    return image


def is_truncated(data: bytes) -> bool:
    """Whether a JPEG or PNG file lacks its end.

    Others pass: their decoders notice, whereas OpenCV 4 fills what is missing of a JPEG with grey. What follows the
    end, such as a camera driver's padding, does not count, nor do the ends of thumbnails inside.
    """
    if data[:2] == _JPEG_START:
        return not _has_jpeg_end(data)
    return data[:8] == _PNG_START and not _has_png_end(data)


def _has_jpeg_end(data: bytes) -> bool:
    """Go from segment to segment, and through the compressed data that follow some of them (ITU-T T.81, annex B)."""
    place = len(_JPEG_START)
    while match := _JPEG_MARKER.search(data, place):
        if match[1][0] == _JPEG_END:
            return True
        place = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return False


def _has_png_end(data: bytes) -> bool:
    place = len(_PNG_START)
    while (head := data[place : place + 8]) and head[4:] != b"IEND":
        place += 12 + int.from_bytes(head[:4], "big")  # with the length, the type and a checksum
    return place + 12 <= len(data)


def each_readable(
    files: Sequence[Path], read: Callable[[Path], _Result] = read_picture, start: int = 0
) -> Iterator[tuple[int, _Result]]:
    """Read many pictures; those that can't be read are named in a warning and left out.

    Args:
        files: the pictures.
        read: what to do with each; raises PictureError.
        start: index of the first to read.

    Yields:
        Index of the file, and what `read` made of it.

    Raises:
        PictureError: not one of all could be read; says what is wrong with the first.
    """
    n_read, first_error = start, None
    for index in range(start, len(files)):
        try:
            result = read(files[index])
        except PictureError as error:
            first_error = first_error or error
            if len(files) > 1:
                warnings.warn(f"{error} It is left out.", stacklevel=2)
            continue
        n_read += 1
        yield index, result
    if first_error and not n_read:
        raise first_error
