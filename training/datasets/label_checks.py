"""Labels that can't be right: in metres, behind the camera, off the picture, elsewhere in it than in space."""

from collections.abc import Sequence

import numpy as np

from metrabs_core.errors import UserError
from training.datasets.example import Example
from training.datasets.picture_files import picture_size

# Half of all people measure this much, mm, from one joint to the farthest other one, if enough joints are known
_PLAUSIBLE_SIZE = 400.0, 4000.0
_MIN_JOINTS = 6
# From this share of the picture's estimated size on, boxes may begin outside of it
_NEAR_END = 1.8
# Labels in the picture may be this far from where those in space are seen, as a share of the box's longer side
_MAX_DISTANCE = 0.2


def check_labels(name: str, examples: Sequence[Example]) -> None:
    """Refuse people whose labels nobody could have, with numbers.

    Args:
        name: of the data set, for the message.
        examples: its people, with labels of the whole picture.

    Raises:
        UserError: boxes are off the picture, or people have the size of ants or houses, stand behind the camera, or
            are elsewhere in the picture than their 2D labels say.
    """
    _check_boxes(name, examples)
    labelled = [e for e in examples if e.joints3d is not None]
    _check_sizes(name, labelled)
    _check_depths(name, labelled)
    _check_projections(name, labelled)


def _check_boxes(name, examples):
    off = [e for e in examples if _is_off_the_picture(e)]
    if off:
        width, height = picture_size(off[0].image_path)
        raise UserError(
            f"{name}: the boxes of {len(off)} of {len(examples)} people are off the picture, the first one"
            f" ({', '.join(f'{v:.0f}' for v in off[0].box)}; left, top, width, height) in {off[0].image_path} of"
            f" {width} x {height} pixels."
        )


def _is_off_the_picture(example):
    left, top, width, height = example.box
    if left + width <= 0 or top + height <= 0:
        return True
    # the principal point is about in the middle: only boxes at the far end are worth opening the file
    middle = example.camera.intrinsic_matrix[:2, 2]
    if (np.array([left, top]) < _NEAR_END * middle).all():
        return False
    return bool((np.array([left, top]) >= picture_size(example.image_path)).any())


def _check_sizes(name, examples):
    sizes = [_size(e.joints3d[e.valid]) for e in examples if e.valid.sum() >= _MIN_JOINTS]
    if not sizes:
        return
    median, (smallest, largest) = float(np.median(sizes)), _PLAUSIBLE_SIZE
    if not smallest <= median <= largest:
        guess = "metres" if median < 10 else "centimetres" if median < smallest else "another unit"
        raise UserError(
            f"{name}: people measure {median:.3g} mm from one joint to the farthest other one (median of {len(sizes)});"
            f" are the labels in {guess}? 'joints3d' are millimetres."
        )


def _size(joints):
    return np.linalg.norm(joints[:, None] - joints[None], axis=-1).max()


def _check_depths(name, examples):
    behind = [e for e in examples if e.joints3d[e.valid, 2].mean() <= 0]
    if behind:
        depth = behind[0].joints3d[behind[0].valid, 2].mean()
        raise UserError(
            f"{name}: {len(behind)} of {len(examples)} people are behind the camera, the first one (z = {depth:.0f} mm)"
            f" in {behind[0].image_path}. 'joints3d' are in the camera frame: x right, y down, z forward."
        )


def _check_projections(name, examples):
    far = []
    for example in examples:
        distance = _projection_distance(example)
        if distance > _MAX_DISTANCE:
            far.append((example, distance))
    if far:
        example, distance = far[0]
        raise UserError(
            f"{name}: of {len(far)} of {len(examples)} people the 2D labels are elsewhere than where the camera sees"
            f" the 3D labels, of the first one by {100 * distance:.0f} % of the box's longer side, in"
            f" {example.image_path}. Look at the camera's intrinsics and distortion, and at the frame of 'joints3d'."
        )


def _projection_distance(example: Example) -> float:
    """Median distance of 2D labels in the box from the projected 3D labels, relative to the box's longer side."""
    left, top, width, height = example.box
    x, y = example.joints2d.T
    inside = (x >= left) & (x <= left + width) & (y >= top) & (y <= top + height)
    compared = inside & example.valid & (example.joints3d[:, 2] > 0)
    if compared.sum() < _MIN_JOINTS:
        return 0.0
    distances = np.linalg.norm(example.camera.project(example.joints3d[compared]) - example.joints2d[compared], axis=-1)
    return float(np.median(distances)) / max(width, height)
