"""A model's methods for images of several cameras, which go through it at the same time.

On a GPU, images of one size go through the network in one batch. On a processor, each is a batch of its own in a thread
of its own, on its part of the cores: many cores that work on one image wait for each other.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.process import sharing_cores

_THREADS = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "images")


def has_halves(model) -> bool:
    """Whether a model finds boxes without poses, and poses in boxes; models that were exported earlier do not."""
    return hasattr(model, "detect_boxes")


def detected_boxes(model, images: Sequence[np.ndarray], options: Mapping) -> list[np.ndarray]:
    """Boxes of people in images.

    Args:
        model: see ``metrabs_core.packaging.Model``; it has halves.
        images: uint8 [H, W, 3] each, RGB.
        options: of the model's ``detect_boxes``.

    Returns:
        Of each image float32 [n, 5].
    """

    def detect(images):
        if len(images) == 1:
            return [np.asarray(model.detect_boxes(images[0], **options)["boxes"])]
        ragged = model.detect_boxes_batched(np.stack(images), **options)["boxes"]
        return np.split(ragged.values.numpy(), ragged.row_splits.numpy()[1:-1])

    return _at_once(model, detect, images)


def poses_in_boxes(model, images, cameras: Sequence[Camera], boxes, n_joints: int, options: Mapping) -> list[Mapping]:
    """Poses of the people in given boxes of images.

    Args:
        model: see ``metrabs_core.packaging.Model``; it has halves.
        images: uint8 [H, W, 3] each, RGB.
        cameras: of each image; up is the same direction in the worlds of all.
        boxes: of each image float32 [n, 5].
        n_joints: of the skeleton that is wanted.
        options: of the model's ``detect_poses_in_boxes``.

    Returns:
        Of each image what that method returns.
    """

    def estimate(images, cameras, boxes):
        if not any(map(len, boxes)):
            return [_nobody(n_joints)] * len(images)
        if len(images) == 1:
            return [model.detect_poses_in_boxes(images[0], boxes[0], **cameras[0].arguments, **options)]
        return predict(model.detect_poses_in_boxes_batched, np.stack(images), cameras, boxes=boxes, **options)

    return _at_once(model, estimate, images, cameras, boxes)


def predict(method: Callable, images: np.ndarray, cameras: Sequence[Camera], **options) -> list[Mapping]:
    """What a method of a model for several images predicts for each.

    Args:
        method: of a model, as ``detect_poses_batched``.
        images: uint8 [N, H, W, 3], RGB.
        cameras: of each image; up is the same direction in the worlds of all.
        options: other arguments of the method.

    Returns:
        Of each image a dict of arrays; poses are in the frame of its camera.
    """
    result = method(images, **_arguments(cameras), **options)
    starts = result["boxes"].row_splits.numpy()
    arrays = {name: ragged.values.numpy() for name, ragged in result.items()}
    predictions = []
    for camera, a, b in zip(cameras, starts[:-1], starts[1:]):
        prediction = {name: array[a:b] for name, array in arrays.items()}
        prediction["poses3d"] = prediction["poses3d"] @ np.float32(camera.extrinsic_matrix[:3, :3]).T
        predictions.append(prediction)
    return predictions


def _arguments(cameras: Sequence[Camera]) -> dict:
    """Arguments of a model's methods for images of several cameras.

    Poses are in the axes of the cameras' world, relative to each camera, whatever its place in the world is.
    """
    if all(camera is cameras[0] for camera in cameras):
        cameras = cameras[:1]  # one for all images
    n_coeffs = max(len(camera.distortion_coeffs) for camera in cameras)
    coeffs = [np.pad(camera.distortion_coeffs, (0, n_coeffs - len(camera.distortion_coeffs))) for camera in cameras]
    turned = np.tile(np.eye(4, dtype=np.float32), [len(cameras), 1, 1])
    turned[:, :3, :3] = [camera.extrinsic_matrix[:3, :3] for camera in cameras]
    arguments = {
        "intrinsic_matrix": np.float32([camera.intrinsic_matrix for camera in cameras]),
        "distortion_coeffs": np.float32(coeffs),
        "extrinsic_matrix": turned,
        "world_up_vector": np.float32(cameras[0].world_up),
    }
    # Models that were exported before there were fisheye lenses know no such argument.
    if any(camera.is_fisheye for camera in cameras):
        arguments["distortion_model"] = np.array([camera.distortion_model for camera in cameras])
    return arguments


def _nobody(n_joints: int) -> dict:
    shapes = {"boxes": [5], "poses3d": [n_joints, 3], "poses2d": [n_joints, 2], "uncertainties": [n_joints]}
    return {name: np.zeros([0, *shape], np.float32) for name, shape in shapes.items()}


def _at_once(model, function: Callable, images: Sequence[np.ndarray], *columns: Sequence) -> list:
    """What a function of images of one size gives for each; ``columns`` hold what else it takes of each."""
    if len(images) == 1:
        return function(images, *columns)
    batches, are_batched = defaultdict(list), bool(model.gpus)
    for i, image in enumerate(images):
        batches[image.shape if are_batched else i].append(i)

    def run(chosen):
        with sharing_cores(len(batches)):
            return zip(chosen, function(*([column[i] for i in chosen] for column in (images, *columns))))

    results = dict(pair for pairs in _THREADS.map(run, batches.values()) for pair in pairs)
    return [results[i] for i in range(len(images))]
