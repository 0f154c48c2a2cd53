"""``metrabs-train export``, ``build-multiperson`` and ``build-combined``: a trained crop model as a SavedModel.

    metrabs-train export --checkpoint-dir=runs/h36m --export-file=models/h36m_crop --stride-test=16
    metrabs-train build-multiperson --input-model-path=models/h36m_crop --output-model-path=models/h36m_multiperson
    metrabs-train build-combined --input-model-path=models/h36m_multiperson --output-model-path=models/h36m
    metrabs-train build-combined --input-model-path=runs/h36m --detector-path=yolov4 --output-model-path=models/h36m

The first takes batches of crops and the intrinsics of their cameras, the second full images and person boxes, the third
full images. All of them load with ``tf.saved_model.load`` where this package is not installed.
"""

import argparse

from metrabs_core.detection import DEFAULT, DETECTORS
from metrabs_core.packaging import WEIGHTS_DTYPES
from training import export


def add_arguments(parser: argparse.ArgumentParser, kind: str) -> None:
    """Add the arguments of one of the commands to a parser.

    Args:
        parser: gets the arguments.
        kind: of model that the command writes, see ``training.export.KINDS``.
    """
    source, target = {
        "crop_model": ("--checkpoint-dir", "--export-file"),
        "multiperson": ("--input-model-path", "--output-model-path"),
        "combined": ("--input-model-path", "--output-model-path"),
    }[kind]
    parser.add_argument(
        source,
        dest="source",
        metavar="FOLDER",
        required=True,
        help="folder of a training run or of a crop model, or an exported model",
    )
    parser.add_argument(
        target, dest="target", metavar="FOLDER", required=True, help="for the SavedModel; it must not exist yet"
    )
    parser.add_argument("--stride-test", type=int, help="pixels between heatmap cells (default: as in training)")
    parser.add_argument(
        "--weights-dtype",
        choices=WEIGHTS_DTYPES,
        help="how weights are stored; computation is float32, and float16 takes half the space (default: float32)",
    )
    if kind == "combined":
        _add_detector_arguments(parser)
    parser.set_defaults(kind=kind)


def _add_detector_arguments(parser):
    parser.add_argument(
        "--detector-path",
        metavar="DETECTOR",
        default=DEFAULT,
        help="; ".join(f"{name}: {kind.description}" for name, kind in DETECTORS.items()) + " (default: %(default)s)",
    )
    parser.add_argument("--detector-weights", help="Darknet .weights file (default: what fetch-detector downloaded)")
    parser.add_argument(
        "--detector-input-side",
        type=int,
        metavar="PIXELS",
        help="side of what the detector sees, a multiple of 32: larger finds smaller people and takes longer (default: "
        + ", ".join(f"{kind.input_side} for {name}" for name, kind in DETECTORS.items())
        + ")",
    )


def run(args: argparse.Namespace) -> None:
    """Export the model and print what was written."""
    detector = None
    if args.kind == "combined":
        detector = args.detector_path, args.detector_weights, args.detector_input_side
    print(export.export(args.kind, args.source, args.target, args.stride_test, args.weights_dtype, detector))
