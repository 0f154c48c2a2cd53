"""What the person detector would leave, so that it need not be loaded."""

from pathlib import Path

import numpy as np


def write(folder: Path, boxes: dict[str, list]) -> None:
    """Write folder/detections.npz: [left, top, width, height, score] lists by picture, relative to the folder."""
    names = sorted(boxes)
    np.savez(
        folder / "detections.npz",
        image=np.array(names),
        count=np.array([len(boxes[name]) for name in names]),
        boxes=np.concatenate([np.float32(boxes[name]).reshape(-1, 5) for name in names]),
    )


def around(points, score: float = 0.9, margin: float = 1.1) -> list[float]:
    """A detection around points [n, 2]."""
    low, high = np.min(points, 0), np.max(points, 0)
    middle, size = (low + high) / 2, (high - low) * margin
    return [*(middle - size / 2), *size, score]
