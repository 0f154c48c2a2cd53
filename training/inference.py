"""A crop model on plain crops around people's boxes."""

from collections.abc import Callable, Iterator

import numpy as np
from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel
from training.crop_batches import CropSettings, plain_batches


def predict_poses(
    model: CropModel, examples: list, batch_size: int = 32, workers: int = 0, adjust_colours: Callable | None = None
):
    """Run a crop model on plain crops around the people's boxes.

    Args:
        model: the crop model.
        examples: people, with the model's joints.
        batch_size: crops per call of the network.
        workers: processes that make crops; 0 to make them in this one.
        adjust_colours: see ``training.datasets.named.NamedDataset``; None to leave colours as they are.

    Returns:
        poses float32 [n, J, 3] mm in the camera frame of the picture (relative to an arbitrary origin for ``metro``),
        and uncertainty float32 [n, J] mm.

    Raises:
        UserError: a picture can't be read; ``bone-lengths-true`` or ``true-root-depth``, and the truth is not known.
    """
    batches = predict_batches(model, examples, batch_size, workers, adjust_colours)
    return tuple(np.concatenate(column) for column in zip(*batches))


def predict_batches(
    model: CropModel, examples: list, batch_size: int, workers: int, adjust_colours: Callable | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Run a crop model batch by batch.

    Args: as for ``predict_poses``.

    Yields:
        poses and uncertainty of each batch.
    """
    settings = CropSettings(model.skeleton, model.crop_side)
    start = 0
    for (crops, intrinsics), labels in plain_batches(examples, settings, batch_size, workers, progress="crops"):
        people = examples[start : start + len(crops)]
        if adjust_colours is not None:
            crops = np.stack([adjust_colours(e.image_path, crop) for e, crop in zip(people, crops)])
        out = model.predict_on_batch([crops.astype(np.float32) / 255, intrinsics])
        poses = _with_truth(model, out, intrinsics, labels)
        rotations = np.stack([e.camera.facing_box(e.box, model.crop_side).rotation_from(e.camera) for e in people])
        yield (poses @ rotations).astype(np.float32), np.asarray(out["uncertainty"])
        start += len(crops)


def _with_truth(model, out, intrinsics, labels):
    """Poses in the crop camera's frame; some ways of scale recovery need to be told the truth."""
    recover = model.recovery.recover_with_truth
    if recover is None:
        return np.asarray(out["poses3d"])
    if not labels["valid3d"].all():
        raise UserError(f"--scale-recovery={model.recovery.name} needs the true 3D position of every joint.")
    return ops.convert_to_numpy(recover(model, out["points2d"], out["coords3d"], intrinsics, labels["joints3d"]))
