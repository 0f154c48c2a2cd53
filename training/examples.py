"""From annotated people in pictures to augmented training crops (T-BIOM paper, section IV). NumPy and OpenCV only."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import rlemasklib

from metrabs_core.errors import UserError
from metrabs_core.pictures import read_picture
from metrabs_core.skeletons import Skeleton
from training import datasets
from training.augmentation import Appearance, change_colours, cover, swap_background
from training.datasets import Camera, Example

# The JPEG decoder gives pictures at a half, a quarter or an eighth of their size for less than the full price
_REDUCED = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
_REDUCED[8] = cv2.IMREAD_REDUCED_COLOR_8
# Crops with rays closer than this to the image plane (per unit length) are drawn point by point
_MIN_DEPTH = 0.05
# Radii on the plane z = 1 on which the lens model is searched for the place where it folds over: up to 85 degrees
_RADII = np.geomspace(0.02, np.tan(np.deg2rad(85)), 512)


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
        ValueError: the person's box is nowhere that the camera could see.
    """
    rotation, focal = look_at_box(example.camera, example.box, crop_side)
    if not np.isfinite(focal * rotation).all():
        raise UserError(f"The box {example.box.tolist()} in {example.image_path} is nowhere that its camera could see.")
    middle = np.full(2, (crop_side - 1) / 2)
    order = np.arange(skeleton.n_joints)
    if rng is not None:
        focal *= rng.uniform(0.75, 1.25)
        rotation = _roll(np.deg2rad(rng.uniform(-20, 20))) @ rotation
        direction, reach = rng.uniform(0, 2 * np.pi), 0.1 * crop_side * np.sqrt(rng.uniform())
        middle += reach * np.array([np.cos(direction), np.sin(direction)])
        if rng.uniform() < 0.5:
            rotation = np.diag([-1.0, 1, 1]) @ rotation
            order = _mirrored_order(skeleton)
    intrinsics = np.array([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]])
    crop = _draw_crop(example, rotation, intrinsics, crop_side)
    if rng is not None and appearance is not None:
        if example.mask is not None and rng.uniform() < appearance.background_prob:
            mask = 255 * rlemasklib.decode(example.mask)
            mask = _look(np.ascontiguousarray(mask), example.camera, rotation, intrinsics, crop_side)
            crop = swap_background(crop, mask, rng, appearance.backgrounds)
        if rng.uniform() < appearance.occlude_prob:
            crop = cover(crop, rng, appearance.cutouts)
        crop = change_colours(crop, rng)

    valid = example.valid[order].astype(np.float32)
    if example.joints3d is not None:
        in_crop_frame = example.joints3d @ rotation.T
        universal = example.universal3d if universal_skeleton else None
        joints3d = in_crop_frame if universal is None else universal @ rotation.T
        valid3d = valid
    else:
        in_crop_frame = pixels_to_rays(example.joints2d, example.camera) @ rotation.T
        joints3d, valid3d = np.zeros([len(order), 3]), np.zeros_like(valid)
    # what is behind the camera goes far out at the side
    depth = np.maximum(in_crop_frame[:, 2:], 1e-3)
    joints2d = in_crop_frame[:, :2] / depth * focal + middle
    labels = (joints3d[order].astype(np.float32), joints2d[order].astype(np.float32))
    return crop, intrinsics.astype(np.float32), *labels, valid3d, valid


@lru_cache
def _mirrored_order(skeleton):
    return np.array(skeleton.mirror)


def look_at_box(camera: Camera, box: np.ndarray, crop_side: int) -> tuple[np.ndarray, float]:
    """A virtual camera that looks at the middle of a box, whose longer side fills its square picture.

    The same as ``metrabs_core.geometry.crop_cameras``, for one box, without TensorFlow.

    Args:
        camera: of the picture.
        box: [4], left, top, width, height, pixels of the (distorted) picture.
        crop_side: P, pixels.

    Returns:
        rotation float64 [3, 3] from the camera frame to the virtual camera's, and its focal length in pixels.
    """
    left, top, width, height = (float(v) for v in box)
    x, y = left + width / 2, top + height / 2
    rays = pixels_to_rays([[x, y], [left, y], [left + width, y], [x, top], [x, top + height]], camera)
    forward = rays[0] / np.linalg.norm(rays[0])
    right = np.cross([0, 1, 0], forward)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    ends = rays[1:] @ rotation.T
    ends = ends[:, :2] / np.maximum(ends[:, 2:], 1e-3)
    length = max(np.linalg.norm(ends[1] - ends[0]), np.linalg.norm(ends[3] - ends[2]), 1e-6)
    return rotation, crop_side / length


def pixels_to_rays(pixels: np.ndarray, camera: Camera) -> np.ndarray:
    """Directions float64 [n, 3] with z = 1, camera frame, of pixels [n, 2] of the (distorted) picture."""
    points = np.asarray(pixels, np.float64)[:, None]
    distortion = camera.distortion_coeffs.astype(np.float64) if camera.distortion_coeffs.any() else None
    matrix = camera.intrinsic_matrix.astype(np.float64)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 1e-6)
    normalized = cv2.undistortPoints(points, matrix, distortion, criteria=criteria)[:, 0]
    return np.concatenate([normalized, np.ones([len(normalized), 1])], axis=1)


def _roll(angle):
    sin, cos = np.sin(angle), np.cos(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _draw_crop(example, rotation, intrinsics, crop_side):
    """The picture that the virtual camera sees: uint8 [P, P, 3], RGB. Who is larger than the crop is reduced first."""
    matrix = example.camera.intrinsic_matrix
    reduction = np.sqrt(abs(matrix[0, 0] * matrix[1, 1])) / intrinsics[0, 0]
    is_jpeg = example.image_path.suffix.lower() in (".jpg", ".jpeg")
    divisor = max(d for d in _REDUCED if d <= max(reduction, 1)) if is_jpeg else 1
    image = read_picture(example.image_path, _REDUCED[divisor])
    scale = np.full(2, 1 / divisor)
    if reduction / divisor >= 2:
        size = np.maximum(np.array(image.shape[1::-1]) // int(reduction / divisor), 1)
        scale *= size / image.shape[1::-1]
        image = cv2.resize(image, size.tolist(), interpolation=cv2.INTER_AREA)
    to_reduced = np.array([[scale[0], 0, (scale[0] - 1) / 2], [0, scale[1], (scale[1] - 1) / 2], [0, 0, 1]])
    camera = replace(example.camera, intrinsic_matrix=to_reduced @ matrix)
    # what is still larger is drawn at twice the size and averaged, or thin limbs would alias
    if reduction * scale.max() > 1.2:
        doubled = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]) @ intrinsics
        crop = _look(image, camera, rotation, doubled, 2 * crop_side)
        crop = cv2.resize(crop, (crop_side, crop_side), interpolation=cv2.INTER_AREA)
    else:
        crop = _look(image, camera, rotation, intrinsics, crop_side)
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB)


def _look(image, camera, rotation, intrinsics, side):
    """What a pinhole camera sees that is turned from the real one; what the picture does not show is black."""
    matrix = camera.intrinsic_matrix.astype(np.float64)
    coefficients = camera.distortion_coeffs.astype(np.float64)
    to_ray = rotation.T @ np.linalg.inv(intrinsics)
    corners = to_ray @ np.array([[0, side - 1, 0, side - 1], [0, 0, side - 1, side - 1], [1, 1, 1, 1]], np.float64)
    before = (corners[2] > _MIN_DEPTH * np.linalg.norm(corners, axis=0)).all()
    if before and not coefficients.any():
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpPerspective(image, matrix @ to_ray, (side, side), flags=flags)
    lens = coefficients if coefficients.size else None
    x, y = cv2.initUndistortRectifyMap(matrix, lens, rotation, intrinsics, (side, side), cv2.CV_32FC1)
    radius = _valid_radius(coefficients.tobytes())
    if not before or (np.hypot(corners[0], corners[1]) > radius * corners[2]).any():
        # beyond this radius the lens model folds the picture back over itself, and behind the camera is nothing
        columns, rows = np.meshgrid(np.arange(side), np.arange(side))
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ to_ray.T
        unseen = np.hypot(rays[..., 0], rays[..., 1]) > radius * np.maximum(rays[..., 2], 1e-6)
        x[unseen] = y[unseen] = -1e6
    return cv2.remap(image, x, y, cv2.INTER_LINEAR)


@lru_cache(maxsize=256)
def _valid_radius(coefficients: bytes) -> float:
    """Radius on the plane z = 1 within which the lens model is one-to-one."""
    k1, k2, _, _, k3, k4, k5, k6 = np.pad(np.frombuffer(coefficients), (0, 14))[:8]
    r2 = _RADII**2
    denominator = 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    distorted = _RADII * (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / denominator
    grows = (np.diff(distorted) > 0) & (denominator[1:] > 0)
    return float(_RADII[np.argmin(grows)]) if not grows.all() else float(_RADII[-1])
