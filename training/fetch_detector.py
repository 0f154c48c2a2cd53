"""Weights of the person detectors YOLOv4 and YOLOv4-tiny: downloaded, and checked.

The files are those that the Darknet project (https://github.com/AlexeyAB/darknet) has released, trained on COCO.
"""

import hashlib
import http.client
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from metrabs_core.errors import UserError

_RELEASES = "https://github.com/AlexeyAB/darknet/releases/download"
_TIMEOUT = 30.0  # seconds without a byte
_CHUNK = 2**18


class Weights(NamedTuple):
    """A released file: where it is, its size in bytes and its checksum as OpenCV's test data publish it."""

    url: str
    size: int
    sha1: str


RELEASED = {
    "yolov4": Weights(
        f"{_RELEASES}/darknet_yolo_v3_optimal/yolov4.weights", 257_717_640, "0143deb6c46fcc7f74dd35bf3c14edc3784e99ee"
    ),
    "yolov4-tiny": Weights(
        f"{_RELEASES}/darknet_yolo_v4_pre/yolov4-tiny.weights", 24_251_276, "451caaab22fb9831aa1a5ee9b5ba74a35ffa5dcb"
    ),
}


def fetch(weights, path):
    """Download a file, unless it is there already. It appears under its name only once it is complete and checked.

    What an interrupted download has left is continued.

    Args:
        weights: Weights.
        path: where to put the file.

    Returns:
        Its SHA-256 in hexadecimal digits.

    Raises:
        UserError: the file cannot be downloaded, or it is not what was released.
    """
    if path.exists():
        return _checked(weights, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.part")
    try:
        _download(weights, partial)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        kept = " What is there already is kept: the same command continues." if partial.exists() else ""
        raise UserError(
            f"{weights.url} can't be downloaded ({reason}).{kept} "
            f"Without a network, download it elsewhere and put it at {path}."
        ) from error
    try:
        sha256 = _checked(weights, partial)
    except UserError:
        partial.unlink()
        raise
    partial.rename(path)
    return sha256


def _download(weights, partial):
    n_there = partial.stat().st_size if partial.exists() else 0
    if n_there >= weights.size:
        return
    request = urllib.request.Request(weights.url, headers={"Range": f"bytes={n_there}-"} if n_there else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
        is_continued = response.status == http.HTTPStatus.PARTIAL_CONTENT
        with (
            partial.open("ab" if is_continued else "wb") as file,
            tqdm(
                total=weights.size,
                initial=n_there if is_continued else 0,
                unit="B",
                unit_scale=True,
                desc=Path(weights.url).name,
            ) as progress,
        ):
            # a page of another size is caught by the check that follows
            while file.tell() <= weights.size and (chunk := response.read(_CHUNK)):
                file.write(chunk)
                progress.update(len(chunk))
            if file.tell() < weights.size and response.length:
                raise http.client.IncompleteRead(b"", response.length)


def _checked(weights, path):
    """SHA-256 of a file; UserError if it is not the one that was released."""
    size = path.stat().st_size
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            sha1.update(chunk)
            sha256.update(chunk)
    if (size, sha1.hexdigest()) != (weights.size, weights.sha1):
        raise UserError(
            f"{path.name} from {weights.url} is not what was released: it has {size} bytes and the SHA-1 "
            f"{sha1.hexdigest()} instead of {weights.size} and {weights.sha1}. Remove it if it is still there, and "
            "fetch it again."
        )
    return sha256.hexdigest()
