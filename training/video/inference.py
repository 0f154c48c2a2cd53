"""A model on all frames of a video, in pieces that outlive an interruption."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import numpy as np

from metrabs_core.video_files import VideoFrame
from training.video.calibration import Camera
from training.video.poses import VideoPoses, concatenate

# A piece is written when it is complete: what an interruption can cost.
FRAMES_PER_PIECE = 48
# Decoded frames that wait for the network.
FRAMES_AHEAD = 16


def predict(
    frames: Iterator[VideoFrame], model, camera: Camera, batch_size: int, options: dict, on_frame: Callable
) -> VideoPoses:
    """Find the people in frames.

    Args:
        frames: at least one.
        model: with a detector, see `metrabs_core.packaging.Model`.
        camera: the frames were taken with it.
        batch_size: frames that go through the network together, where they have the same size.
        options: arguments of the model's `detect_poses_batched`.
        on_frame: is called with each frame after it has been processed.

    Returns:
        The people, without ids.
    """
    batches = []
    for _, same_size in groupby(frames, key=lambda frame: frame.image.shape):
        while batch := [frame for _, frame in zip(range(batch_size), same_size)]:
            batches.append(_predict_batch(batch, model, camera, options))
            for frame in batch:
                on_frame(frame)
    return concatenate(batches)


def _predict_batch(batch: list[VideoFrame], model, camera: Camera, options: dict) -> VideoPoses:
    height, width = batch[0].image.shape[:2]
    intrinsics = camera.intrinsics(width, height)
    result = model.detect_poses_batched(
        np.stack([frame.image for frame in batch]),
        intrinsic_matrix=intrinsics[np.newaxis],
        distortion_coeffs=camera.distortion_coeffs[np.newaxis],
        **options,
    )
    people = {name: result[name].values.numpy() for name in ("boxes", "poses3d", "poses2d", "uncertainties")}
    return VideoPoses(
        frame_numbers=np.array([frame.index for frame in batch], np.int64),
        frame_times=np.array([frame.seconds for frame in batch], np.float64),
        image_sizes=np.tile(np.array([[width, height]], np.int32), [len(batch), 1]),
        intrinsic_matrices=np.tile(intrinsics, [len(batch), 1, 1]),
        frame_index=result["boxes"].value_rowids().numpy().astype(np.int64),
        ids=np.zeros(len(people["boxes"]), np.int64),
        **people,
    )


def predict_in_pieces(
    read: Callable[[int], Iterator[VideoFrame]], process: Callable[[Iterator[VideoFrame]], VideoPoses], folder: Path
) -> VideoPoses:
    """Process a video piece by piece; pieces that an interrupted call has left in the folder are taken from there.

    A piece has the same frames whether there was an interruption or not, so the result is the same, too.

    Args:
        read: gives the frames from a number on.
        process: finds the people in the frames of a piece.
        folder: where pieces are kept.

    Raises:
        ValueError: there is not one frame.
    """
    start = max((int(path.stem) + 1 for path in folder.glob("*.npz")), default=0) * FRAMES_PER_PIECE
    for number, piece in groupby(read(start), key=lambda frame: frame.index // FRAMES_PER_PIECE):
        temporary = folder / "piece.partial"
        process(piece).save(temporary)
        temporary.replace(folder / f"{number:06d}.npz")
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise ValueError("There is not one frame that can be read.")
    return concatenate([VideoPoses.load(path) for path in files])
