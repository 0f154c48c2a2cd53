"""From a video to files with the people in it, in the order in which the work is done."""

import hashlib
import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metrabs_core.drawing import draw_people
from metrabs_core.skeletons import Skeleton
from metrabs_core.tracking import Tracker
from metrabs_core.video_files import VideoFrame, VideoReader, VideoWriter
from training.video.calibration import Camera
from training.video.inference import FRAMES_AHEAD, predict, predict_in_pieces
from training.video.poses import VideoPoses, write_json
from training.video.smoothing import causal_smooth, reproject
from training.video.sources import Webcam, read_ahead
from training.video.viewer import write_viewer

ARRAYS, DOCUMENT, OVERLAY, VIEWER = "poses.npz", "poses.json", "overlay.mp4", "viewer.html"
OUTPUTS = (ARRAYS, DOCUMENT, OVERLAY, VIEWER)
# What a webcam showed, since it can't be asked again.
RECORDING = "recording.mkv"
_JOB, _PIECES = "job.json", ".pieces"
_BATCH_SIZE = 8
_PREVIEW_SIDE, _PREVIEW_QUALITY = 400, 28


@dataclass(frozen=True)
class Settings:
    """How poses are found in a video.

    Attributes:
        model: folder of an exported model; '' for the packaged one.
        detector: person detector to use instead of the model's, see `metrabs_core.detection.load_detector`; '' for
            none.
        crops: per person (test-time augmentation).
        skeleton: joint convention; '' for the model's own.
        detector_threshold: score from which a box counts as a person.
        causal_smoothing: average each pose with those of the two frames before.
        max_frames: stop after so many frames; None for all.
    """

    model: str = ""
    detector: str = ""
    crops: int = 5
    skeleton: str = ""
    detector_threshold: float = 0.2
    causal_smoothing: bool = False
    max_frames: int | None = None


def process(source, output: Path, model, model_files: list[Path], camera: Camera, settings: Settings) -> VideoPoses:
    """Write the people of a video into a folder: see `OUTPUTS`. An interrupted call goes on where it was.

    Args:
        source: see `sources.open_source`.
        output: folder for the results.
        model: with a detector, see `metrabs_core.packaging.Model`.
        model_files: what it was loaded from.
        camera: that took the video.
        settings: how to do it.

    Returns:
        The people.

    Raises:
        ValueError: the folder holds other results; the model has no such skeleton; a calibration that does not fit the
            frames; no frame can be read.
    """
    skeleton = _skeleton(model, settings.skeleton)
    job = _describe(source, model_files, camera, settings)
    pieces = output / _PIECES
    if isinstance(source, Webcam) and (output / RECORDING).exists():
        raise ValueError(
            f"{output} holds a recording already: choose another --output-dir. (To go on with an interrupted one, give "
            f"{output / RECORDING} as the video.)"
        )
    if _is_complete(output, job):
        print(f"{output} is complete already.")
        return VideoPoses.load(output / ARRAYS)
    pieces.mkdir(parents=True, exist_ok=True)
    with _installed(output / _JOB) as path:
        path.write_text(json.dumps(job, indent=1) + "\n")

    if isinstance(source, Webcam):
        poses = _predict_live(source, output / RECORDING, pieces, model, camera, settings)
        video = VideoReader(output / RECORDING)
    else:
        poses = _predict_all(source, pieces, model, camera, settings)
        video = source
    poses = track(poses, settings.detector_threshold)
    if settings.causal_smoothing:
        poses = reproject(causal_smooth(poses), camera.distortion_coeffs)

    facts = {"source": source.name, "settings": asdict(settings)}
    with _installed(output / ARRAYS) as path:
        poses.save(
            path,
            distortion_coeffs=camera.distortion_coeffs,
            joint_names=np.array(skeleton.joint_names),
            joint_edges=np.array(skeleton.edges, np.int64).reshape(-1, 2),
        )
    with _installed(output / DOCUMENT) as path:
        write_json(poses, path, skeleton, camera.distortion_coeffs, facts)
    preview = pieces / "preview.mp4"
    with _installed(output / OVERLAY) as path:
        _write_videos(video, poses, skeleton, path, preview)
    with _installed(output / VIEWER) as path:
        write_viewer(path, poses, skeleton, preview, Path(source.name).name)
    shutil.rmtree(pieces)
    return poses


def track(poses: VideoPoses, threshold: float) -> VideoPoses:
    """Give the people ids that stay with them over time."""
    tracker, ids = Tracker(), poses.ids.copy()
    for i in range(poses.n_frames):
        people = poses.people(i)
        ids[people] = tracker.update(poses.boxes[people], poses.poses3d[people], poses.frame_times[i])
    return poses.select(slice(None), ids=ids)


def _predict_all(source, pieces: Path, model, camera: Camera, settings: Settings) -> VideoPoses:
    n_frames = min(source.n_frames or np.inf, settings.max_frames or np.inf)
    progress = tqdm(total=n_frames if np.isfinite(n_frames) else None, desc="poses", unit="frame", disable=None)

    def read(start: int) -> Iterator[VideoFrame]:
        progress.update(min(start, n_frames))
        progress.initial = progress.n
        frames = source.frames(start)
        if settings.max_frames:
            frames = takewhile(lambda frame: frame.index < settings.max_frames, frames)
        return read_ahead(frames, FRAMES_AHEAD)

    def process_piece(frames):
        options = _options(settings)
        return predict(frames, model, camera, _BATCH_SIZE, options, lambda _: progress.update())

    with progress:
        return predict_in_pieces(read, process_piece, pieces)


def _predict_live(webcam, recording: Path, pieces: Path, model, camera: Camera, settings: Settings) -> VideoPoses:
    print(f"Recording from {webcam.name}; Ctrl-C ends it.", flush=True)
    progress = tqdm(desc="poses", unit="frame", total=settings.max_frames, disable=None)
    with _on_interrupt(webcam.stop), progress, VideoWriter(recording) as video:

        def on_frame(frame):
            video.write(frame.image, frame.seconds)
            progress.update()
            if settings.max_frames and frame.index + 1 == settings.max_frames:
                webcam.stop()

        def process_piece(frames):
            return predict(frames, model, camera, 1, _options(settings), on_frame)

        def read(_):
            frames = webcam.frames()
            return takewhile(lambda frame: frame.index < (settings.max_frames or np.inf), frames)

        return predict_in_pieces(read, process_piece, pieces)


def _options(settings: Settings) -> dict:
    return {
        "num_aug": settings.crops,
        "skeleton": settings.skeleton,
        "detector_threshold": settings.detector_threshold,
    }


def _write_videos(video, poses: VideoPoses, skeleton: Skeleton, path: Path, preview_path: Path):
    """The video with the people drawn into it, and a small one for the viewer."""
    places = {int(number): i for i, number in enumerate(poses.frame_numbers)}
    frames = takewhile(lambda frame: frame.index <= poses.frame_numbers[-1], video.frames())
    preview = VideoWriter(preview_path, max_side=_PREVIEW_SIDE, quality=_PREVIEW_QUALITY)
    progress = tqdm(total=poses.n_frames, desc="overlay", unit="frame", disable=None)
    with progress, VideoWriter(path) as overlay, preview:
        for frame in read_ahead(frames, FRAMES_AHEAD):
            i = places.get(frame.index)
            if i is None:
                continue
            people, seconds = poses.people(i), poses.frame_times[i] - poses.frame_times[0]
            boxes, poses2d, poses3d = poses.boxes[people], poses.poses2d[people], poses.poses3d[people]
            drawn = draw_people(frame.image, boxes, poses2d, poses3d, poses.ids[people], skeleton)
            overlay.write(drawn, seconds)
            preview.write(drawn, seconds)
            progress.update()


def _skeleton(model, name: str) -> Skeleton:
    """The joint convention `name` of a model; '' is its own."""
    known = model.per_skeleton_joint_names
    if name and name not in known:
        raise ValueError(f"The model has no skeleton {name!r}; it has {', '.join(sorted(known))}.")
    name = name or next(candidate for candidate in known if known[candidate] == model.joint_names)
    edges = tuple((int(a), int(b)) for a, b in model.per_skeleton_edges[name])
    return Skeleton(name, tuple(known[name]), edges)


def _describe(source, model_files: list[Path], camera: Camera, settings: Settings) -> dict:
    """All that the results depend on, as JSON."""
    states = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(model_files)]
    return {
        "input": source.name,
        "input files": hashlib.sha256(json.dumps(source.state).encode()).hexdigest(),
        "model files": hashlib.sha256(json.dumps(states).encode()).hexdigest(),
        "field of view": camera.fov_degrees,
        "intrinsic matrix": None if camera.intrinsic_matrix is None else camera.intrinsic_matrix.tolist(),
        "distortion coefficients": camera.distortion_coeffs.tolist(),
        **{name.replace("_", " "): value for name, value in asdict(settings).items()},
    }


def _is_complete(output: Path, job: dict) -> bool:
    """Whether the folder holds all results of this job; False if none or some of them.

    Raises:
        ValueError: it holds those of another job.
    """
    if not (output / _JOB).exists():
        return False
    other = json.loads((output / _JOB).read_text())
    differing = [name for name in job if job[name] != other.get(name)]
    if differing:
        raise ValueError(
            f"{output} holds the results of another run, which had another {' and another '.join(differing)}: choose "
            "another --output-dir, or remove that folder."
        )
    return not (output / _PIECES).exists() and all((output / name).exists() for name in OUTPUTS)


@contextmanager
def _installed(path: Path) -> Iterator[Path]:
    """A temporary path, which becomes `path` when the block has succeeded."""
    temporary = path.with_name(f".partial.{path.name}")
    yield temporary
    temporary.replace(path)


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
