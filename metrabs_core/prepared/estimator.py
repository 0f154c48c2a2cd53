"""From boxes in an image to absolute 3D poses: ``metrabs_core.estimator`` and ``cropping`` in NumPy and OpenCV."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from metrabs_core import rules
from metrabs_core.cameras import Camera, roll_rotation
from metrabs_core.prepared.plausibility import are_plausible, pose_of_augmentations, spread_over_augmentations
from metrabs_core.skeletons import SKELETONS, conversion_matrix, convertible_skeletons


class Cropping(NamedTuple):
    """How a crop model wants its crops and is judged: see ``metrabs_core.network.crop_model.CropModelConfig``."""

    skeleton: str
    crop_side: int
    crop_margin: float
    max_roll_degrees: float
    bone_lengths: Sequence[float] | None


class PreparedEstimator:
    """Absolute 3D poses of people whose boxes are known, in an image.

    Args:
        network: answers as ``metrabs_core.packaging.FrozenCropModel.estimate``, for one crop.
        cropping: what the network wants.
    """

    def __init__(self, network: Callable, cropping: Cropping):
        self.network, self.cropping = network, cropping
        self._skeleton = SKELETONS[cropping.skeleton]
        self._conversions = {
            name: conversion_matrix(target, self._skeleton)
            for name, target in convertible_skeletons(self._skeleton).items()
        }

    def __call__(
        self, image, boxes, camera: Camera, *, num_aug, antialias_factor, average_aug, skeleton, is_judged
    ) -> dict:
        """Poses of people.

        Args:
            image: uint8 [H, W, 3], RGB.
            boxes: float32 [n, 5], left, top, width, height, score.
            camera: that took it.
            num_aug: number A of crops of each person.
            antialias_factor: crops are drawn so many times as large and averaged down.
            average_aug: whether one pose of all crops is wanted.
            skeleton: that is wanted; '' for the model's own.
            is_judged: whether implausible poses and second ones of a person are left out.

        Returns:
            float32 arrays ``boxes`` [m, 5], ``poses3d`` [m, (A,) J, 3] mm in the world, ``poses2d`` [m, (A,) J, 2]
            pixels and ``uncertainties`` [m, (A,) J] mm.
        """
        augmentations = _augmentations(num_aug, self.cropping.max_roll_degrees)
        n_joints = self._skeleton.n_joints
        poses, sigmas = np.zeros([len(boxes), num_aug, n_joints, 3]), np.zeros([len(boxes), num_aug, n_joints])
        for person, box in enumerate(boxes):
            crops = self._crops(image, box, camera, augmentations, antialias_factor)
            for i, (crop, view) in enumerate(crops):
                intrinsics = view.intrinsic_matrix.astype(np.float32)
                answer = self.network(crops=crop[np.newaxis], intrinsics=intrinsics[np.newaxis])
                pose, sigma = answer["poses3d"][0] @ view.rotation_from(camera), answer["uncertainty"][0]
                # a mirrored crop shows joints of the left side on the right
                order = list(self._skeleton.mirror) if augmentations[i].is_mirrored else slice(None)
                poses[person, i], sigmas[person, i] = pose[order], sigma[order]
        one_each = pose_of_augmentations(poses)
        if is_judged:
            edges, lengths = self._skeleton.edges, self.cropping.bone_lengths
            kept = are_plausible(poses, one_each, camera.project(one_each), boxes, edges, lengths)
            boxes, poses, sigmas, one_each = boxes[kept], poses[kept], sigmas[kept], one_each[kept]
        if average_aug:
            sigmas = np.sqrt(np.square(sigmas).mean(axis=1) + np.square(spread_over_augmentations(poses)))
            poses = one_each
        if skeleton:
            matrix = self._conversions[skeleton]
            poses, sigmas = matrix @ poses, sigmas @ matrix.T
        result = {"boxes": boxes, "poses3d": camera.to_world(poses), "poses2d": camera.project(poses)}
        return {name: values.astype(np.float32) for name, values in {**result, "uncertainties": sigmas}.items()}

    def _crops(self, image, box, camera, augmentations, antialias_factor) -> list:
        """Of each augmentation the crop of a person, float32 [P, P, 3], 0..1, and its camera."""
        side = self.cropping.crop_side
        up = camera.extrinsic_matrix[:3, :3] @ camera.world_up
        facing = camera.facing_box(box, side, up)
        views = [facing.turned(a.rotation).zoomed(a.scale / self.cropping.crop_margin) for a in augmentations]
        window, seen_by = _read_window(image, camera, views, side, antialias_factor)
        crops = []
        for view, augmentation in zip(views, augmentations):
            size = side * antialias_factor
            crop = seen_by.reprojected(window, view.scaled(antialias_factor), (size, size))
            if antialias_factor > 1:
                crop = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
            crop = crop / np.float32(255)
            crops.append((crop if augmentation.gamma == 1 else crop**augmentation.gamma, view))
        return crops


class _Augmentation(NamedTuple):
    """How a crop differs from the plain one; see ``metrabs_core.estimator.test_time_augmentation``."""

    rotation: np.ndarray
    scale: float
    gamma: np.float32
    is_mirrored: bool


def _augmentations(num_aug: int, max_roll_degrees: float) -> list[_Augmentation]:
    plain = _Augmentation(np.eye(3), 1.0, np.float32(1), False)
    if num_aug <= 2:
        mirrored = plain._replace(rotation=np.diag([-1.0, 1, 1]), is_mirrored=True)
        return [mirrored, plain][-num_aug:]
    half = num_aug // 2
    scales = [*np.linspace(*rules.SCALES[:2], half + 1)[:-1], *np.linspace(*rules.SCALES[1:], num_aug - half)]
    rolls = np.deg2rad(np.linspace(max_roll_degrees, -max_roll_degrees, num_aug))
    gammas = np.linspace(*rules.GAMMAS, num_aug, dtype=np.float32)
    are_mirrored = (np.arange(num_aug) - half) % 2 == 1
    return [
        _Augmentation(np.diag([-1.0 if is_mirrored else 1.0, 1, 1]) @ roll_rotation(roll), scale, gamma, is_mirrored)
        for roll, scale, gamma, is_mirrored in zip(rolls, scales, gammas, are_mirrored)
    ]


def _read_window(image, camera: Camera, views: list[Camera], side: int, antialias_factor: int):
    """What the crops of a person show, averaged down to about their resolution; see ``metrabs_core.cropping``.

    Returns:
        float32 [h, w, 3], 0..255, and the camera of that picture.
    """
    points = rules.crop_outline(side)
    outline = np.stack([camera.project(view.rays(points) @ view.rotation_from(camera)) for view in views])
    steps = np.linalg.norm(outline[:, 1:3] - outline[:, :1], axis=-1)
    scales = np.sqrt(steps.prod(axis=1)) / antialias_factor
    # crops of one person differ little in scale
    scale = np.sqrt(scales.min() * scales.max()) / rules.OVERSAMPLING
    last = np.array([image.shape[1], image.shape[0]]) - 1
    margin = rules.WINDOW_MARGIN * max(scale, 1)
    start = np.clip(np.floor(outline.min(axis=(0, 1)) - margin), 0, last).astype(int)
    stop = np.clip(np.ceil(outline.max(axis=(0, 1)) + margin), start, last).astype(int) + 1
    stride = max(int(scale / rules.MAX_AVERAGED), 1)
    pixels = image[start[1] : stop[1] : stride, start[0] : stop[0] : stride].astype(np.float32)
    n_read = np.array(pixels.shape[1::-1])
    size = np.ceil(n_read / max(scale / stride, 1)).astype(int)
    if (size != n_read).any():
        pixels = cv2.resize(pixels, size.tolist(), interpolation=cv2.INTER_AREA)
    averaged = n_read / size
    return pixels, camera.resampled(start + stride * (averaged - 1) / 2, stride * averaged)
