"""``metrabs-train video``: skeletons of a video without ROS.

Writes numbers (``poses.npz``, ``poses.json``), the video with skeletons drawn into it (``overlay.mp4``) and a 3D view
for any browser (``viewer.html``); ``training/video/poses.py`` describes the arrays.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from metrabs_core.cameras import DEFAULT_FOV_DEGREES
from metrabs_core.detection import DETECTORS
from metrabs_core.errors import UserError
from metrabs_core.process import keep_freed_memory
from metrabs_core.smoothing import SMOOTHINGS
from training.datasets import data_root_folder
from training.video import threedpw
from training.video.calibration import VideoCamera, read_calibration
from training.video.inference import PoseFinder, Settings
from training.video.processing import OVERLAY, VIEWER, process
from training.video.sources import open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    defaults = Settings()
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("input", nargs="?", help="a video, a folder of pictures, a picture, or a webcam's number")
    source.add_argument("--video-path", metavar="INPUT", help="the same")
    source.add_argument("--dataset", choices=["3dpw"], help="all sequences of a data set")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--model-path", default=defaults.model, help="name of a packaged model, or folder of any (default: accurate)"
    )
    parser.add_argument(
        "--detector-path",
        metavar="DETECTOR",
        default=defaults.detector,
        help=f"person detector to use instead of the model's: {', '.join(DETECTORS)}",
    )
    parser.add_argument(
        "--crops", type=_positive, default=defaults.crops, help="per person, averaged: 1 is fastest (default: 5)"
    )
    parser.add_argument("--skeleton", help="joint convention, for example smpl_24 (default: all joints)")
    camera = parser.add_mutually_exclusive_group()
    camera.add_argument(
        "--fov",
        type=_fov,
        metavar="DEGREES",
        help="field of view over the longer image side, where the camera is not calibrated (default: "
        f"{DEFAULT_FOV_DEGREES:g})",
    )
    camera.add_argument("--calibration", metavar="FILE", help="the camera's calibration: YAML or JSON of OpenCV or ROS")
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
    parser.add_argument(
        "--smoothing",
        choices=SMOOTHINGS,
        default=defaults.smoothing,
        help="of poses over time, with the One-Euro filter (default: %(default)s)",
    )
    parser.add_argument("--fps", type=_positive, default=30, help="of pictures in a folder (default: %(default)s)")
    parser.add_argument("--max-frames", type=_positive, help="stop after so many frames")
    parser.add_argument(
        "--gt-assoc",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="with --dataset: write only the poses of annotated people, found by 2D agreement, for evaluate",
    )
    parser.add_argument("--data-root", help="with --dataset: folder of the data sets (default: $DATA_ROOT)")


def run(args: argparse.Namespace) -> None:
    """Find the people in a video and write what was found; the same command resumes after an interruption."""
    keep_freed_memory()
    try:
        _run(args)
    except KeyboardInterrupt:
        print("metrabs-train video: interrupted; run the same command again to resume.", file=sys.stderr)
        sys.exit(130)


def _run(args):
    settings = Settings(
        model=args.model_path,
        detector=args.detector_path,
        crops=args.crops,
        skeleton=args.skeleton or ("smpl_24" if args.gt_assoc else ""),
        detector_threshold=args.detector_threshold,
        smoothing=args.smoothing,
    )
    if args.dataset:
        _run_dataset(args, settings)
        return
    if args.gt_assoc:
        raise UserError("--gt-assoc needs annotated people: give --dataset=3dpw instead of a video.")
    source = open_source(args.input or args.video_path, args.fps)
    camera = read_calibration(args.calibration) if args.calibration else VideoCamera(args.fov or DEFAULT_FOV_DEGREES)
    finder = PoseFinder(settings)
    poses = process(source, args.output_dir, finder, camera, args.causal_smoothing, args.max_frames)
    per_frame = np.bincount(poses.frame_index, minlength=poses.n_frames)
    print(
        f"{poses.n_frames} frames, {per_frame.mean():.1f} people in a frame, {len(np.unique(poses.ids))} ids. Look at "
        f"{args.output_dir / OVERLAY} and, in a browser, {args.output_dir / VIEWER}"
    )


def _run_dataset(args, settings: Settings):
    if args.calibration or args.max_frames:
        raise UserError("--calibration and --max-frames are for videos: leave them out with --dataset.")
    root = data_root_folder(args.data_root)
    threedpw.find_sequences(root)  # mistakes are reported before the model is loaded
    n_sequences = threedpw.process_sequences(
        root, args.output_dir, PoseFinder(settings), args.gt_assoc, args.causal_smoothing, args.fov
    )
    hint = f" Next: metrabs-train evaluate --dataset=3dpw --pred-path={args.output_dir}" if args.gt_assoc else ""
    print(f"{n_sequences} sequences are in {args.output_dir}.{hint}")


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
