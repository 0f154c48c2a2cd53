"""From a video to files with the people in it, in the order in which the work is done."""

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metrabs_core.drawing import draw_people
from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from metrabs_core.videos import VideoFrame, VideoWriter
from training.video import job
from training.video.calibration import VideoCamera
from training.video.inference import PoseFinder, find_in_pieces
from training.video.poses import VideoPoses, write_json
from training.video.smoothing import causal_smooth, reproject
from training.video.sources import Pictures, Video, Webcam, read_ahead
from training.video.viewer import write_viewer

ARRAYS, DOCUMENT, OVERLAY, VIEWER = OUTPUTS = "poses.npz", "poses.json", "overlay.mp4", "viewer.html"
# What a webcam showed, since it can't be asked again.
RECORDING = "recording.mkv"

_BATCH_SIZE = 8
# Decoded frames that wait for the network, or to be drawn into.
_FRAMES_AHEAD = 8
# Size and quality of the video inside of the viewer.
_PREVIEW_SIDE, _PREVIEW_QUALITY = 400, 28


def process(
    source: Video | Pictures | Webcam,
    output: Path,
    finder: PoseFinder,
    camera: VideoCamera,
    causal_smoothing: bool = False,
    max_frames: int | None = None,
) -> VideoPoses:
    """Write the people of a video into a folder: see `OUTPUTS`. An interrupted call resumes where it stopped.

    Args:
        source: the video.
        output: folder for the results.
        finder: model and settings.
        camera: that took the video.
        causal_smoothing: average each pose with those of the two frames before.
        max_frames: stop after so many frames; None for all.

    Returns:
        The people.

    Raises:
        UserError: the folder holds other results; a calibration does not fit the frames; no frame can be read.
    """
    recording = output / RECORDING
    if isinstance(source, Webcam) and recording.exists():
        raise UserError(
            f"{output} holds a recording already: choose another --output-dir. (To process an interrupted recording, "
            f"give {recording} as the video.)"
        )
    work = job.begin(
        output,
        {
            "input": hashlib.sha256(json.dumps(source.state).encode()).hexdigest(),
            **describe(finder, camera),
            "causal smoothing": causal_smoothing,
            "max frames": max_frames,
        },
        OUTPUTS,
    )
    if all((output / name).exists() for name in OUTPUTS):
        print(f"{output} is complete already.")
        shutil.rmtree(work)
        return VideoPoses.load(output / ARRAYS)

    if isinstance(source, Webcam):
        poses, video = _find_live(source, recording, finder, camera, work / "pieces", max_frames), Video(recording)
    else:
        poses, video = find_in_video(source, finder, camera, work / "pieces", max_frames), source
    poses = finder.track(poses)
    if causal_smoothing:
        poses = causal_smooth(poses)
    if causal_smoothing or finder.settings.smoothing != "off":
        poses = reproject(poses, camera.lens)

    facts = {"source": source.name, "settings": {**asdict(finder.settings), "causal_smoothing": causal_smoothing}}
    _write(work, poses, video, finder.skeleton, camera, facts)
    for name in OUTPUTS:
        (work / name).replace(output / name)
    shutil.rmtree(work)
    return poses


def _write(
    folder: Path, poses: VideoPoses, video: Video | Pictures, skeleton: Skeleton, camera: VideoCamera, facts: dict
):
    """Write all results into a folder; `facts` are further entries of the JSON document."""
    more = {"joint_names": np.array(skeleton.joint_names), "joint_edges": np.array(skeleton.edges, np.int64)}
    poses.save(folder / ARRAYS, **camera.lens, **more)
    write_json(poses, folder / DOCUMENT, skeleton, camera.lens, facts)
    preview = folder / "preview.mp4"
    _write_videos(video, poses, skeleton, folder / OVERLAY, preview)
    write_viewer(folder / VIEWER, poses, skeleton, preview, Path(facts["source"]).name)


def describe(finder: PoseFinder, camera: VideoCamera | None) -> dict:
    """What the poses depend on besides the video, as JSON."""
    description = {name.replace("_", " "): value for name, value in asdict(finder.settings).items()}
    description["model"] = finder.state
    if camera:
        description["field of view"] = camera.fov_degrees
        calibrated = camera.calibrated
        description["intrinsic matrix"] = calibrated and calibrated.intrinsic_matrix.tolist()
        description["distortion coefficients"] = camera.lens["distortion_coeffs"].tolist()
        description["distortion model"] = camera.lens["distortion_model"]
    return description


def find_in_video(
    source: Video | Pictures, finder: PoseFinder, camera: VideoCamera, pieces: Path, max_frames: int | None = None
) -> VideoPoses:
    """Find the people in a video, without ids, with a progress bar; interrupted work in the folder is taken up."""
    n_frames = min(source.n_frames or np.inf, max_frames or np.inf)
    progress = tqdm(total=n_frames if np.isfinite(n_frames) else None, desc="poses", unit="frame", disable=None)

    def read(start: int) -> Iterator[VideoFrame]:
        progress.update(min(start, n_frames))
        progress.initial = progress.n  # the rate is that of the frames to come
        return read_ahead(_until(source.frames(start), max_frames), _FRAMES_AHEAD)

    def find(frames):
        return finder.find(frames, camera, _BATCH_SIZE, lambda _: progress.update())

    with progress:
        return find_in_pieces(read, find, pieces)


def _find_live(
    webcam: Webcam, recording: Path, finder: PoseFinder, camera: VideoCamera, pieces: Path, max_frames: int | None
) -> VideoPoses:
    """Find the people before a webcam until Ctrl-C, and record what it shows."""
    print(f"Recording from {webcam.name}; Ctrl-C ends it.", flush=True)
    shutil.rmtree(pieces, ignore_errors=True)
    progress = tqdm(desc="poses", unit="frame", total=max_frames, disable=None)
    with _on_interrupt(webcam.stop), progress, VideoWriter(recording) as video:

        def on_frame(frame):
            video.write(frame.image, frame.seconds)
            progress.update()

        poses = find_in_pieces(
            lambda _: _until(webcam.frames(), max_frames),
            lambda frames: finder.find(frames, camera, 1, on_frame),
            pieces,
        )
        webcam.stop()
        return poses


def _until(frames: Iterator[VideoFrame], max_frames: int | None) -> Iterator[VideoFrame]:
    return takewhile(lambda frame: frame.index < max_frames, frames) if max_frames else frames


def _write_videos(video: Video | Pictures, poses: VideoPoses, skeleton: Skeleton, path: Path, preview_path: Path):
    """The video with the people drawn into it, and a small one for the viewer."""
    places = {int(number): i for i, number in enumerate(poses.frame_numbers)}
    frames = takewhile(lambda frame: frame.index <= poses.frame_numbers[-1], video.frames())
    preview = VideoWriter(preview_path, max_side=_PREVIEW_SIDE, quality=_PREVIEW_QUALITY)
    progress = tqdm(total=poses.n_frames, desc="overlay", unit="frame", disable=None)
    with progress, VideoWriter(path) as overlay, preview:
        for frame in read_ahead(frames, _FRAMES_AHEAD):
            i = places.get(frame.index)
            if i is None:
                continue
            people, seconds = poses.people(i), poses.frame_times[i] - poses.frame_times[0]
            boxes, poses2d, poses3d = poses.boxes[people], poses.poses2d[people], poses.poses3d[people]
            drawn = draw_people(frame.image, boxes, poses2d, poses3d, poses.ids[people], skeleton)
            overlay.write(drawn, seconds)
            preview.write(drawn, seconds)
            progress.update()


@contextmanager
def _on_interrupt(action):
    """Ctrl-C calls `action`; the second time it interrupts as usual."""

    def handle(*_):
        signal.signal(signal.SIGINT, before)
        action()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
