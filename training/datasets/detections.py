"""Boxes of people that the person detector finds, kept beside the pictures."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import boxlib
import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.pictures import PictureError, read_picture
from training.datasets.preparation import Preparation

FILE_NAME = "detections.npz"
_THRESHOLD, _NMS_IOU = 0.1, 0.7
_READ_AHEAD = 16
_SAVE_EVERY = 2000


def read_detections(path: Path) -> dict[str, np.ndarray]:
    """Boxes by picture: float32 [n, 5], left, top, width, height, score, best first.

    Args:
        path: of a ``detections.npz``; the pictures' names are relative to its folder.

    Raises:
        UserError: the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, counts, boxes = (archive[name] for name in ("image", "count", "boxes"))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged: remove it and prepare the data set again.") from error
    return dict(zip(images.tolist(), np.split(boxes, np.cumsum(counts)[:-1])))


def _write_detections(path: Path, detections: dict[str, np.ndarray]) -> None:
    names = sorted(detections)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            image=np.array(names),
            count=np.array([len(detections[name]) for name in names], np.int64),
            boxes=np.concatenate([np.zeros([0, 5], np.float32), *(detections[name] for name in names)]),
        )


def detect_people(preparation: Preparation, folder: Path, images: list[str]) -> dict[str, np.ndarray]:
    """Look for people in pictures that have not been looked at, and keep the boxes in ``folder/detections.npz``.

    Args:
        preparation: the run; damaged pictures are skipped.
        folder: of the data set.
        images: paths relative to it.

    Returns:
        see ``read_detections``; of all pictures that are known.
    """
    path = folder / FILE_NAME
    known = read_detections(path) if path.is_file() else {}
    todo = sorted(set(images) - set(known))
    if not todo:
        return known
    import tensorflow as tf  # here, as nothing else of the preparation needs it

    from metrabs_core.detection import load_detector

    detector = load_detector()

    def read(name):
        try:
            return name, read_picture(folder / name), None
        except PictureError as error:
            return name, None, str(error)

    with ThreadPoolExecutor(2) as pool, tqdm(total=len(todo), desc="person detector") as progress:
        names = iter(todo)
        waiting = [pool.submit(read, name) for name in islice(names, _READ_AHEAD)]
        while waiting:
            name, image, problem = waiting.pop(0).result()
            waiting += [pool.submit(read, name) for name in islice(names, 1)]
            progress.update()
            if image is None:
                preparation.skipped.append(problem)
                continue
            found = detector(
                image[None], tf.constant(_THRESHOLD), tf.constant(_NMS_IOU), tf.constant(-1), tf.constant(False)
            )
            known[name] = found[0].numpy().astype(np.float32)
            if progress.n % _SAVE_EVERY == 0:
                _write_detections(path, known)
    _write_detections(path, known)
    preparation.done.append(
        f"people found in {sum(len(known[n]) > 0 for n in todo if n in known)} of {len(todo)} pictures"
    )
    return known


def match_boxes(boxes: np.ndarray, others: np.ndarray, threshold: float = 0.1) -> list[tuple[int, int]]:
    """Pairs (i, j) of boxes that overlap by more than a threshold (IoU), the sum of overlaps being the largest.

    Args:
        boxes: [n, 4 or more].
        others: [m, 4 or more].
        threshold: IoU.
    """
    overlaps = np.array([[boxlib.iou(a[:4], b[:4]) for b in others] for a in boxes]).reshape(len(boxes), len(others))
    rows, columns = linear_sum_assignment(-overlaps)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if overlaps[i, j] > threshold]
