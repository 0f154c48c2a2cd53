"""Put a person detector before a crop model: ``metrabs-train build-combined``.

    metrabs-train build-combined --input-model-path=models/h36m_multiperson --output-model-path=models/h36m
    metrabs-train build-combined --input-model-path=runs/h36m --detector-path=yolov4 --output-model-path=models/h36m

The result is a SavedModel with the methods of ``metrabs_core.combined.CombinedModel``.
"""

from pathlib import Path

from metrabs_core import packaging
from metrabs_core.combined import CombinedModel
from metrabs_core.detection import load_detector
from training.build_multiperson import add_input_arguments, load_input
from training.export import summary


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    add_input_arguments(parser)
    parser.add_argument(
        "--detector-path",
        default="ssdlite",
        help="ssdlite (default), yolov4, yolov4-tiny, or a Darknet .cfg file with its .weights beside it",
    )
    parser.add_argument("--detector-weights", help="Darknet .weights file; default: what fetch-detector downloaded")
    parser.add_argument(
        "--detector-input-size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="size of what a YOLO network sees, multiples of 32; default: as its cfg says",
    )


def run(args) -> None:
    """Build the model and print what was written."""
    detector = load_detector(args.detector_path, args.detector_weights, args.detector_input_size)
    crop_model, card = load_input(args)
    card = {**card, "detector": Path(args.detector_path).stem}
    packaging.export(CombinedModel(crop_model, detector), args.output_model_path, card)
    print(summary(args.output_model_path))
