"""What smoothing takes off the jitter of people who stand, and how late people come who move.

Once with simulated errors about a known truth: those of one camera, mostly along the line of sight, and the same for
all joints of a person, and smaller ones of each joint. And once on the sample video, where people walk by far away.
Nothing here depends on the machine.
"""

import subprocess
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmark.report import Table
from metrabs_core.cameras import DEFAULT_FOV_DEGREES, Camera
from metrabs_core.pipeline import People, PersonPipeline, PipelineSettings
from metrabs_core.smoothing import SMOOTHINGS, PoseFilter
from metrabs_core.videos import VideoReader

_RATES = (10, 15, 30)
_SPEEDS = (300, 1200, 3000)  # mm/s: a slow hand, somebody who walks, somebody who runs
_PERSON_ERROR = (20, 20, 80)  # mm, one standard deviation across and along the line of sight
_JOINT_ERROR = 15  # mm
_N_JOINTS = 17
_DISTANCE = 3000  # mm
_SETTLED = 5  # s
_SHORTEST = 4  # s for which somebody in the video is seen
_WALKING = 500  # mm/s across the line of sight


def measure(people, quick: bool) -> dict:
    """Of each smoothing, the part of the jitter that stays by frame rate, and the lag in seconds by speed in mm/s.

    ``video`` has the same of the sample video, and ``people`` and ``walking`` say of how many.
    """
    rng, seconds = np.random.default_rng(0), 20 if quick else 120
    rows = []
    for name, smoothing in SMOOTHINGS.items():
        jitter, lag = {}, {}
        for rate in _RATES:
            n = rate * seconds
            errors = rng.normal(size=[n, 1, 3]) * _PERSON_ERROR + rng.normal(size=[n, _N_JOINTS, 3]) * _JOINT_ERROR
            left = _smooth(errors, rate, smoothing)[_SETTLED * rate :]
            jitter[rate] = round(float(left.std() / errors.std()), 3)
        for speed in _SPEEDS:
            path = np.zeros([n, _N_JOINTS, 3])
            path[..., 0] = np.arange(n)[:, np.newaxis] / rate * speed
            late = (path - _smooth(path + errors, rate, smoothing))[_SETTLED * rate :, :, 0].mean()
            lag[speed] = round(float(late / speed), 4)
        rows.append({"smoothing": name, "jitter": jitter, "lag": lag})
    return {"rows": rows, "video": _on_video(60 if quick else 300)}


def _on_video(n_frames: int) -> dict:
    """Jitter that stays along and across the line of sight, and lag in seconds, on the sample video."""
    script = Path(__file__).parents[1] / "scripts" / "sample_video.sh"
    path = script.parents[1] / subprocess.run([script], check=True, capture_output=True, text=True).stdout.strip()
    pipeline = PersonPipeline.load("fast")
    frames = VideoReader(path).frames()
    found = []
    for _, frame in zip(tqdm(range(n_frames), desc="sample video", leave=False, disable=None), frames):
        camera = Camera.from_fov(DEFAULT_FOV_DEGREES, *frame.image.shape[1::-1])
        found.append((frame.seconds, pipeline.detect(frame.image, camera)))
    raw, rows = _paths(pipeline, found, "off"), []
    for name in SMOOTHINGS:
        smooth = _paths(pipeline, found, name)
        jitter = np.median([_jitter(smooth[i], raw[i]) for i in raw], axis=0)
        lags = [lag for i in raw if (lag := _lag(smooth[i], raw[i])) is not None]
        rows.append({"smoothing": name, "jitter": jitter.round(3).tolist(), "lag": round(float(np.mean(lags)), 4)})
    return {"frames": n_frames, "people": len(raw), "walking": len(lags), "rows": rows}


def _paths(pipeline: PersonPipeline, found: list[tuple[float, People]], smoothing: str) -> dict[int, np.ndarray]:
    """Stamps and pelvises [T, 4] of everybody who is followed for some seconds, by id."""
    pipeline = PersonPipeline(pipeline.model, PipelineSettings(smoothing=smoothing))
    paths = {}
    for stamp, candidates in found:
        people = pipeline.follow(candidates, stamp)
        for person, pelvis in zip(people.ids.tolist(), people.skeleton.pelvis(people.poses3d)):
            paths.setdefault(person, []).append([stamp, *pelvis])
    return {person: np.array(path) for person, path in paths.items() if path[-1][0] - path[0][0] >= _SHORTEST}


def _jitter(smooth, raw) -> list[float]:
    """Of changes of speed from image to image along and across the line of sight, the part that is left of them."""
    changes = [np.diff(path[:, 1:], n=2, axis=0) for path in (smooth, raw)]
    sight = raw[:, 1:].mean(axis=0) / np.linalg.norm(raw[:, 1:].mean(axis=0))
    along = [np.abs(change @ sight).mean() for change in changes]
    across = [np.linalg.norm(np.cross(change, sight), axis=1).mean() for change in changes]
    return [along[0] / along[1], across[0] / across[1]]


def _lag(smooth, raw) -> float | None:
    """By how many seconds somebody comes late who walks across the picture; None for the others."""
    sight = raw[:, 1:].mean(axis=0) / np.linalg.norm(raw[:, 1:].mean(axis=0))
    n = len(raw) // 4
    walked = raw[-n:, 1:].mean(axis=0) - raw[:n, 1:].mean(axis=0)
    velocity = walked / (raw[-n:, 0].mean() - raw[:n, 0].mean())
    velocity -= velocity @ sight * sight
    speed = np.linalg.norm(velocity)
    if speed < _WALKING:
        return None
    return float(((raw - smooth)[n:, 1:] @ velocity).mean() / speed**2)


def _smooth(poses, rate, smoothing):
    pose_filter = PoseFilter()
    frames = enumerate(poses[:, np.newaxis] + [0, 0, _DISTANCE])
    return np.concatenate([pose_filter.update([1], p, i / rate, smoothing, 1.5)[0] for i, p in frames]) - [
        0,
        0,
        _DISTANCE,
    ]


def tables(numbers: dict) -> list[Table]:
    """Part of the jitter that is left, and lag in milliseconds."""
    header = ["smoothing", *(f"jitter left at {rate} Hz" for rate in _RATES)]
    header += [f"ms late at {speed / 1000:g} m/s" for speed in _SPEEDS]
    rows = [
        [row["smoothing"]]
        + [f"{100 * part:.0f} %" for part in row["jitter"].values()]
        + [f"{abs(1000 * lag):.0f}" for lag in row["lag"].values()]
        for row in numbers["rows"]
    ]
    across, _, along = _PERSON_ERROR
    note = (
        f"Errors of {across} mm across and {along} mm along the line of sight for the whole person, and "
        f"{_JOINT_ERROR} mm for each joint (one standard deviation); lag at {_RATES[-1]} Hz."
    )
    video = numbers["video"]
    seen = [
        [row["smoothing"], *(f"{100 * part:.0f} %" for part in row["jitter"]), f"{abs(1000 * row['lag']):.0f}"]
        for row in video["rows"]
    ]
    about = (
        f"The pelvises of {video['people']} people in the first {video['frames']} images of the sample video (10 a "
        "second, model `fast`), 13 to 30 m away by an assumed field of view. Jitter: of the changes of speed from "
        f"image to image, median of the people. Lag: mean of {video['walking']} who walk across the picture."
    )
    return [
        Table("Smoothing of poses over time", header, rows, note),
        Table(
            "Smoothing on the sample video",
            ["smoothing", "jitter left along the line of sight", "across", "ms late"],
            seen,
            about,
        ),
    ]
