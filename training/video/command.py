"""The command ``metrabs-train video``: its arguments, and what it says."""

import argparse
import os
from pathlib import Path

import numpy as np

from training.video.calibration import Camera, read_calibration
from training.video.processing import OVERLAY, VIEWER, Settings, process
from training.video.sources import open_source

_FOV_DEGREES = 55.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    defaults = Settings()
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", help="a video, a folder of pictures, a picture, or a webcam's number")
    source.add_argument("--video-path", metavar="INPUT", help="the same")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--model-path", default=defaults.model, help="folder of an exported model (default: the packaged one)"
    )
    parser.add_argument(
        "--detector-path",
        metavar="DETECTOR",
        default=defaults.detector,
        help="person detector to use instead of the model's: ssdlite, yolov4, yolov4-tiny, or a Darknet .cfg file",
    )
    parser.add_argument(
        "--crops", type=_positive, default=defaults.crops, help="per person: 1 is fastest, 5 (default) more accurate"
    )
    parser.add_argument("--skeleton", default="", help="joint convention, for example smpl_24 (default: all joints)")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--fov",
        type=_fov,
        default=_FOV_DEGREES,
        metavar="DEGREES",
        help="field of view over the longer image side, where the camera is not calibrated (default: %(default)g)",
    )
    camera.add_argument(
        "--calibration", metavar="FILE", help="calibration of the camera: YAML or JSON of OpenCV or ROS"
    )
    parser.add_argument(
        "--detector-threshold",
        type=float,
        default=defaults.detector_threshold,
        help="score from which a box counts as a person (default: %(default)g)",
    )
    parser.add_argument(
        "--causal-smoothing",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="average each pose with those of the two frames before, weights 6, 2, 1",
    )
    parser.add_argument("--fps", type=_positive, default=30, help="of pictures in a folder (default: %(default)s)")
    parser.add_argument("--max-frames", type=_positive, help="stop after so many frames")


def run(args) -> None:
    """Find the people in a video and write what was found; the same command goes on after an interruption."""
    source = open_source(args.input or args.video_path, args.fps)
    camera = read_calibration(args.calibration) if args.calibration else Camera(args.fov)
    settings = Settings(
        model=args.model_path,
        detector=args.detector_path,
        crops=args.crops,
        skeleton=args.skeleton,
        detector_threshold=args.detector_threshold,
        causal_smoothing=args.causal_smoothing,
        max_frames=args.max_frames,
    )
    model, files = _load_model(settings)
    poses = process(source, args.output_dir, model, files, camera, settings)
    per_frame = np.bincount(poses.frame_index, minlength=poses.n_frames)
    print(
        f"{poses.n_frames} frames, {per_frame.mean():.1f} people in a frame, {len(np.unique(poses.ids))} ids. Look at "
        f"{args.output_dir / OVERLAY} and, in a browser, {args.output_dir / VIEWER}"
    )


def _load_model(settings: Settings):
    """A model with a detector, and the files that it was loaded from."""
    # TensorFlow would otherwise take all memory of a GPU that others need, too. It reads this when it starts.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # only now: TensorFlow takes seconds, and mistakes in the arguments are told without it
    from metrabs_core import packaging
    from metrabs_core.combined import CombinedModel
    from metrabs_core.detection import load_detector

    folder = Path(settings.model or packaging.PACKAGED_MODEL_DIR)
    if settings.detector:
        crop_model, card = packaging.load_crop_model(folder)
        packaging.check_absolute(card)
        model = packaging.Model(CombinedModel(crop_model, load_detector(settings.detector)), card)
    else:
        model = packaging.load(settings.model or None)
    if not model.has_detector:
        raise ValueError(f"The model {settings.model} has no person detector: name one with --detector-path.")
    return model, [file for file in folder.rglob("*") if file.is_file()]


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _fov(text: str) -> float:
    value = float(text)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError("must be between 0 and 180 degrees")
    return value
