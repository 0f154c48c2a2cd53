"""The command ``metrabs-train video``: its arguments, and what it says."""

import argparse
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
    source.add_argument("--video-path", dest="input", help="the same")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the results")
    parser.add_argument("--model-path", help="folder of an exported model (default: the packaged one)")
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
    source = open_source(args.input, args.fps)
    camera = read_calibration(args.calibration) if args.calibration else Camera(args.fov)
    settings = Settings(args.crops, args.skeleton, args.detector_threshold, args.causal_smoothing, args.max_frames)
    model, files = _load_model(args.model_path)
    poses = process(source, args.output_dir, model, files, camera, settings)
    per_frame = np.bincount(poses.frame_index, minlength=poses.n_frames)
    print(
        f"{poses.n_frames} frames, {per_frame.mean():.1f} people in a frame, {len(np.unique(poses.ids))} ids. Look at "
        f"{args.output_dir / OVERLAY} and, in a browser, {args.output_dir / VIEWER}"
    )


def _load_model(path):
    """A model with a detector, and the files that it was loaded from."""
    import metrabs_core  # only now: TensorFlow takes seconds, and mistakes in the arguments are told without it
    from metrabs_core.packaging import PACKAGED_MODEL_DIR

    model = metrabs_core.load(path)
    if not model.has_detector:
        raise ValueError(f"The model {path} has no person detector; name one with --detector-path.")
    folder = Path(path or PACKAGED_MODEL_DIR)
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
