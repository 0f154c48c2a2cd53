"""The two networks of a model as files for LiteRT. This alone needs TensorFlow here."""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from metrabs_core.detection.nanodet import BACKGROUND, STRIDES, NanoDet
from metrabs_core.packaging.loading import check_absolute, load_crop_model
from metrabs_core.prepared.model import CROP_MODEL, DETECTOR

# Of the detector: any will do, since the network is the same.
_INPUT_SIDE = 416


def convert(directory: Path, folder: Path) -> dict:
    """Write the detector and the crop model of a folder of weights into a folder.

    Returns:
        What ``metrabs_core.prepared.PreparedModel`` has to know about them.

    Raises:
        UserError: the folder holds no crop model of absolute poses.
    """
    crop_model, card = load_crop_model(directory)
    check_absolute(card)
    detector = NanoDet(_INPUT_SIDE)
    side = crop_model.crop_side

    crops, intrinsics = tf.TensorSpec([1, side, side, 3], name="crops"), tf.TensorSpec([1, 3, 3], name="intrinsics")
    pictures = tf.TensorSpec([1, None, None, 3], name="pictures")
    _write(folder / CROP_MODEL, crop_model, lambda *inputs: crop_model.estimate(*inputs), [crops, intrinsics])
    _write(folder / DETECTOR, detector, lambda *inputs: detector.look_at(*inputs), [pictures])
    lengths = crop_model.bone_lengths
    return {
        "card": card.as_dict(),
        "cropping": {
            "skeleton": crop_model.skeleton.name,
            "crop_side": side,
            "crop_margin": crop_model.crop_margin,
            "max_roll_degrees": crop_model.max_roll_degrees,
            "bone_lengths": None if lengths is None else lengths.tolist(),
        },
        "detector": {"background": BACKGROUND, "multiple": STRIDES[-1], "max_iou": detector.max_iou},
    }


def _write(path: Path, owner: tf.Module, function: Callable, inputs: list[tf.TensorSpec]) -> None:
    """Write a function that uses the variables of a module, with the names of its inputs and outputs."""
    concrete = tf.function(function, autograph=False, input_signature=inputs).get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], owner).convert())
