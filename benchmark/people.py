"""Pictures with a known number of people, drawn by the project's own renderer: no download, the same everywhere."""

import subprocess
import sys
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

_SCENES = 64
_COLUMNS, _ROWS = 8, 2
_GRAY = 150


class PeoplePictures:
    """Rendered people, alone for training and pasted together for frames.

    Args:
        folder: where the rendered data set goes, when it is first needed.
    """

    def __init__(self, folder: Path):
        self._folder = folder / "people"

    @cached_property
    def dataset(self) -> Path:
        """Folder of an annotated data set, as ``metrabs-train synthesize`` writes it."""
        if not self._folder.exists():
            # in a process of its own: Mesa's software renderer and TensorFlow bring two versions of LLVM
            command = [sys.executable, "-m", "training", "synthesize", "--out", str(self._folder)]
            subprocess.run([*command, "--scenes", str(_SCENES), "--seed", "7"], check=True, stdout=subprocess.DEVNULL)
        return self._folder

    @cached_property
    def _cutouts(self) -> list[np.ndarray]:
        from training import datasets

        examples = datasets.read(str(self.dataset), "train").examples
        upright = [example for example in examples if example.box[3] > 1.8 * example.box[2]]
        cutouts = []
        for example in sorted(upright, key=lambda example: -example.box[3]):
            picture = cv2.imread(str(example.image_path))[..., ::-1]
            size = picture.shape[1::-1]
            if ((example.joints2d >= 0) & (example.joints2d < size)).all() and len(cutouts) < _COLUMNS * _ROWS:
                left, top, width, height = example.box.round().astype(int)
                cutouts.append(picture[max(top, 0) : top + height, max(left, 0) : left + width])
        return cutouts

    def frame(
        self, n_people: int, width: int = 768, height: int = 576, columns: int = _COLUMNS, rows: int = _ROWS
    ) -> tuple[np.ndarray, np.ndarray]:
        """A gray picture with people in columns and rows.

        Args:
            n_people: 1 to columns * rows; the size of each does not depend on it.
            width: of the picture, pixels.
            height: of the picture, pixels.
            columns: the fewer, the larger the people are.
            rows: the fewer, the larger the people are.

        Returns:
            The picture, uint8 [height, width, 3], RGB, and the boxes of the people, float32 [n, 4].
        """
        frame = np.full([height, width, 3], _GRAY, np.uint8)
        boxes = []
        column, row = width // columns, height // rows
        for i in range(n_people):
            cutout = self._cutouts[i % len(self._cutouts)]
            scale = 0.95 * min(column / cutout.shape[1], row / cutout.shape[0])
            size = max(int(cutout.shape[1] * scale), 1), max(int(cutout.shape[0] * scale), 1)
            left, top = (i // rows) * column + (column - size[0]) // 2, (i % rows) * row + (row - size[1]) // 2
            frame[top : top + size[1], left : left + size[0]] = cv2.resize(cutout, size, interpolation=cv2.INTER_AREA)
            boxes.append([left, top, *size])
        return frame, np.array(boxes, np.float32)


def camera_matrix(width: int, height: int) -> np.ndarray:
    """Intrinsics float32 [3, 3] of a camera for such frames."""
    return np.array([[0.9 * width, 0, (width - 1) / 2], [0, 0.9 * width, (height - 1) / 2], [0, 0, 1]], np.float32)
