"""From annotated pictures to batches of augmented training crops (T-BIOM paper, section IV)."""

from dataclasses import replace
from pathlib import Path

import cv2
import deltacamera
import keras
import numpy as np

from metrabs_core.skeletons import Skeleton
from training import datasets
from training.augmentation import augment_appearance
from training.datasets import Example


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
        FileNotFoundError: there is no such data set.
        ValueError: something in it does not follow its format, or nobody is left.
    """
    dataset = datasets.read(name, split, data_root)
    names = dataset.skeleton.joint_names
    columns = np.array([names.index(n) if n in names else -1 for n in skeleton.joint_names])
    return [_select_joints(example, columns) for example in dataset.examples]


def _select_joints(example: Example, columns: np.ndarray) -> Example:
    return replace(
        example,
        joints2d=example.joints2d[columns],
        valid=(columns >= 0) & example.valid[columns],
        joints3d=None if example.joints3d is None else example.joints3d[columns],
        universal3d=None if example.universal3d is None else example.universal3d[columns],
    )


class CropBatches(keras.utils.PyDataset):
    """Batches of crops in a random order that depends on the seed alone, so that a run can resume at any step.

    Args:
        examples: the people.
        skeleton: their joints.
        crop_side: P, pixels.
        batch_size: crops per batch.
        n_steps: batches per epoch.
        seed: of order and augmentation.
        augment: geometric and appearance augmentation; without it every person comes once, in order.
    """

    def __init__(self, examples, skeleton, crop_side, batch_size, n_steps, seed, augment=True, **kwargs):
        super().__init__(**kwargs)
        self.examples, self.skeleton, self.crop_side = examples, skeleton, crop_side
        self.batch_size, self.n_steps, self.seed, self.augment = batch_size, n_steps, seed, augment
        self.epoch = 0

    def __len__(self):
        return self.n_steps

    def on_epoch_end(self):
        """Go on to the next epoch's batches."""
        self.epoch += 1

    def __getitem__(self, index):
        step = self.epoch * self.n_steps + index if self.augment else index
        rows = []
        for k in range(step * self.batch_size, (step + 1) * self.batch_size):
            lap, position = divmod(k, len(self.examples))
            if self.augment:
                position = _shuffled(len(self.examples), self.seed, lap)[position]
            rng = np.random.default_rng([self.seed, k]) if self.augment else None
            rows.append(make_crop(self.examples[position], self.skeleton, self.crop_side, rng))
        crops, intrinsics, *labels = (np.stack(column) for column in zip(*rows))
        return (crops, intrinsics), dict(zip(("joints3d", "joints2d", "valid3d", "valid2d"), labels))


_orders: dict = {}


def _shuffled(n: int, seed: int, lap: int) -> np.ndarray:
    key = (n, seed, lap)
    if key not in _orders:
        _orders.clear()
        _orders[key] = np.random.default_rng([seed, lap, n]).permutation(n)
    return _orders[key]


def make_crop(example: Example, skeleton: Skeleton, crop_side: int, rng: np.random.Generator | None):
    """Look at a person through a virtual camera and give the picture and the labels that it sees.

    Args:
        example: the person.
        skeleton: names of the joints, to mirror them.
        crop_side: P, pixels.
        rng: source of the augmentation; None for the plain crop.

    Returns:
        crop uint8 [P, P, 3] RGB, intrinsics float32 [3, 3], joints3d float32 [J, 3] mm in the crop camera's frame,
        joints2d float32 [J, 2] px, valid3d and valid2d float32 [J].

    Raises:
        OSError: the picture can't be read.
    """
    image = cv2.imread(str(example.image_path), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError(f"The picture {example.image_path} is missing or damaged.")
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    original = deltacamera.Camera(
        intrinsic_matrix=example.camera.intrinsic_matrix,
        distortion_model=deltacamera.BrownConradyEx(example.camera.distortion_coeffs)
        if example.camera.distortion_coeffs.any()
        else None,
        world_up=(0, -1, 0),
        image_shape=image.shape[:2],
    )
    camera = _look_at_box(original, example.box, crop_side)
    mirrored = False
    if rng is not None:
        camera.zoom(rng.uniform(0.75, 1.25))
        camera.rotate(roll=np.deg2rad(rng.uniform(-20, 20)))
        angle, reach = rng.uniform(0, 2 * np.pi), 0.1 * crop_side * np.sqrt(rng.uniform())
        camera.shift_image(np.array([np.cos(angle), np.sin(angle)], np.float32) * reach)
        mirrored = rng.uniform() < 0.5
        if mirrored:
            camera.horizontal_flip()
    # A person larger than the crop is reduced first, or thin limbs would alias
    reduction = original.intrinsic_matrix[0, 0] / camera.intrinsic_matrix[0, 0]
    crop = deltacamera.reproject_image(
        image,
        original,
        camera,
        interp=cv2.INTER_LINEAR,
        antialias_factor=int(np.clip(np.ceil(reduction - 0.2), 1, 4)),
    )
    order = np.array(skeleton.mirror) if mirrored else np.arange(skeleton.n_joints)
    valid = example.valid[order].astype(np.float32)
    if example.joints3d is not None:
        joints3d = camera.world_to_camera(example.joints3d).astype(np.float32)[order]
        joints2d = camera.world_to_image(example.joints3d).astype(np.float32)[order]
        valid3d = valid
    else:
        rays = original.image_to_camera(example.joints2d)
        joints2d = camera.world_to_image(rays).astype(np.float32)[order]
        joints3d, valid3d = np.zeros([len(order), 3], np.float32), np.zeros_like(valid)
    if rng is not None:
        crop = augment_appearance(crop, rng)
    return crop, camera.intrinsic_matrix.astype(np.float32), joints3d, joints2d, valid3d, valid


def _look_at_box(original, box, crop_side):
    """A camera turned to the centre of the box, undistorted, whose crop the longer side of the box just fills."""
    left, top, width, height = box
    camera = original.copy(image_shape=(crop_side, crop_side))
    centre = np.array([left + width / 2, top + height / 2], np.float32)
    camera.turn_towards(target_image_point=centre)
    camera.undistort()
    camera.square_pixels()
    vertical = width < height
    offset = np.array([0, height / 2] if vertical else [width / 2, 0], np.float32)
    ends = original.image_to_world(np.stack([centre - offset, centre + offset]))
    length = np.linalg.norm(np.diff(camera.world_to_image(ends), axis=0))
    camera.zoom(crop_side / length)
    camera.center_principal_point((crop_side, crop_side))
    return camera
