"""From annotated people in pictures to augmented training crops (T-BIOM paper, section IV). NumPy and OpenCV only."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import rlemasklib

from metrabs_core.cameras import Camera, roll_rotation
from metrabs_core.errors import UserError
from metrabs_core.pictures import read_picture
from metrabs_core.skeletons import Skeleton
from training import datasets
from training.augmentation import Appearance, change_appearance
from training.datasets import Example

# The JPEG decoder gives pictures at a half, a quarter or an eighth of their size for less than the full price
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_REDUCED[8] = cv2.IMREAD_REDUCED_COLOR_8


def read_examples(
    name: str | Path, skeleton: Skeleton, split: str = "train", data_root: str | Path | None = None
) -> list[Example]:
    """Read the people of a data set with the joints of a skeleton, which are matched by name.

    Args:
        name: a data set's name or a folder, see ``training.datasets.read``.
        skeleton: joints to return; those that the data set lacks are marked invalid.
        split: "train", "val", "trainval" or "test".
        data_root: folder that holds the data sets; None for the environment variable DATA_ROOT.

    Raises:
        UserError: there is no such data set; something in it does not follow its format, or nobody is left.
    """
    return select_joints(datasets.read(name, split, data_root), skeleton)


def select_joints(dataset: datasets.Dataset, skeleton: Skeleton) -> list[Example]:
    """The people of a data set with the joints of a skeleton, which are matched by name.

    Raises:
        UserError: the data set has none of the joints, or nobody.
    """
    names = dataset.skeleton.joint_names
    columns = np.array([names.index(n) if n in names else -1 for n in skeleton.joint_names])
    if (columns < 0).all():
        raise UserError(
            f"{dataset.name} has none of the joints of {skeleton.name} ({' '.join(skeleton.joint_names)}),"
            f" but {' '.join(names)}."
        )
    if not len(dataset.examples):
        raise UserError(f"No example is left in {dataset.name}.")
    return [_with_joints(example, columns) for example in dataset.examples]


def _with_joints(example: Example, columns: np.ndarray) -> Example:
    return replace(
        example,
        joints2d=example.joints2d[columns],
        valid=(columns >= 0) & example.valid[columns],
        joints3d=None if example.joints3d is None else example.joints3d[columns],
        universal3d=None if example.universal3d is None else example.universal3d[columns],
    )


def make_crop(
    example: Example,
    skeleton: Skeleton,
    crop_side: int,
    rng: np.random.Generator | None,
    appearance: Appearance | None = None,
    universal_skeleton: bool = False,
):
    """Look at a person through a virtual camera and give the picture and the labels that it sees.

    The camera stands where the real one does, is turned to look at the middle of the person's box, has square pixels
    and no lens distortion, and the longer side of the box fills its picture. Augmentation then zooms by 0.75 to 1.25,
    rolls by up to 20 degrees, shifts within a disc of 10 % of the crop side and mirrors every second crop.

    Args:
        example: the person.
        skeleton: names of the joints, to mirror them.
        crop_side: P, pixels.
        rng: source of the augmentation; None for the plain crop.
        appearance: what augmentation does to the pixels; None for nothing.
        universal_skeleton: 3D labels are of the skeleton of normalized height, where the example has one.

    Returns:
        crop uint8 [P, P, 3] RGB, intrinsics float32 [3, 3], joints3d float32 [J, 3] mm in the crop camera's frame,
        joints2d float32 [J, 2] px, valid3d and valid2d float32 [J].

    Raises:
        PictureError: the picture can't be read.
        UserError: the person's box is nowhere that the camera could see.
    """
    try:
        view = example.camera.facing_box(example.box, crop_side)
    except UserError as error:
        raise UserError(f"{example.image_path}: {error}") from error
    order = np.arange(skeleton.n_joints)
    if rng is not None:
        view = view.zoomed(rng.uniform(0.75, 1.25)).turned(roll_rotation(np.deg2rad(rng.uniform(-20, 20))))
        direction, reach = rng.uniform(0, 2 * np.pi), 0.1 * crop_side * np.sqrt(rng.uniform())
        view = view.shifted([-reach * np.cos(direction), -reach * np.sin(direction)])
        if rng.uniform() < 0.5:
            view = view.turned(np.diag([-1.0, 1, 1]))
            order = _mirrored_order(skeleton)
    crop = _draw_crop(example, view, crop_side)
    if rng is not None and appearance is not None:
        find_mask = None if example.mask is None else lambda: _draw_mask(example, view, crop_side)
        crop = change_appearance(crop, find_mask, rng, appearance)

    valid = example.valid[order].astype(np.float32)
    rotation = view.rotation_from(example.camera)
    if example.joints3d is not None:
        in_crop_frame = example.joints3d @ rotation.T
        universal = example.universal3d if universal_skeleton else None
        joints3d = in_crop_frame if universal is None else universal @ rotation.T
        valid3d = valid
    else:
        in_crop_frame = example.camera.rays(example.joints2d) @ rotation.T
        joints3d, valid3d = np.zeros([len(order), 3]), np.zeros_like(valid)
    joints2d = view.project(in_crop_frame)
    labels = (joints3d[order].astype(np.float32), joints2d[order].astype(np.float32))
    return crop, view.intrinsic_matrix.astype(np.float32), *labels, valid3d, valid


@lru_cache
def _mirrored_order(skeleton):
    return np.array(skeleton.mirror)


def _draw_mask(example: Example, view: Camera, crop_side: int) -> np.ndarray:
    """Where a camera sees the person: uint8 [P, P], up to 255."""
    mask = np.ascontiguousarray(255 * rlemasklib.decode(example.mask))
    return example.camera.reprojected(mask, view, (crop_side, crop_side))


def _draw_crop(example: Example, view: Camera, crop_side: int) -> np.ndarray:
    """The picture that a camera sees: uint8 [P, P, 3], RGB. Who is larger than the crop is reduced first."""
    matrix = example.camera.intrinsic_matrix
    reduction = np.sqrt(matrix[0, 0] * matrix[1, 1]) / view.intrinsic_matrix[0, 0]
    is_jpeg = example.image_path.suffix.lower() in (".jpg", ".jpeg")
    divisor = max(d for d in _REDUCED if d <= max(reduction, 1)) if is_jpeg else 1
    image = read_picture(example.image_path, _REDUCED[divisor])
    scale = np.full(2, 1 / divisor)
    if reduction / divisor >= 2:
        size = np.maximum(np.array(image.shape[1::-1]) // int(reduction / divisor), 1)
        scale *= size / image.shape[1::-1]
        image = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA)
    camera = example.camera.scaled(scale)
    # what is still larger is drawn at twice the size and averaged, or thin limbs would alias
    if reduction * scale.max() > 1.2:
        crop = camera.reprojected(image, view.scaled(2), (2 * crop_side, 2 * crop_side))
        crop = cv2.resize(crop, (crop_side, crop_side), interpolation=cv2.INTER_AREA)
    else:
        crop = camera.reprojected(image, view, (crop_side, crop_side))
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)
