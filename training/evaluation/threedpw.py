"""3DPW: MPJPE, PA-MPJPE, PCK at 50 mm and AUC, all sequences, in the camera frame."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.ndimage

from metrabs_core.errors import UserError
from training.datasets import threedpw
from training.datasets.annotations import report_missing
from training.datasets.restricted_pickle import load_pickle
from training.evaluation import predictions
from training.evaluation.options import Options
from training.evaluation.scores import Distances, Scores
from training.metrics import align_similarity, joint_distances

OPTIONS = {"procrustes", "smoothing"}
_IMAGE_DEPTH = 2  # downtown_bar_00/image_00000.jpg
_JOINT_NAMES = threedpw.SKELETON.joint_names
_MAJOR_JOINTS = [
    _JOINT_NAMES.index(side + joint) for joint in ("hip", "kne", "ank", "sho", "elb", "wri") for side in "lr"
]
_THRESHOLD = 50
_KERNELS = {"causal": np.array([6, 2, 1]) / 9, "acausal": np.array([1, 2, 6, 2, 1]) / 12}


@dataclass(frozen=True)
class Truth:
    """The annotated people whom a camera sees.

    Attributes:
        sequences: N names of sequences.
        frames: int [N].
        people: int [N], number of the person in the sequence.
        parts: N names, train, validation or test.
        joints3d: float [N, 24, 3], mm, camera frame.
        n_frames: length of each sequence.
    """

    sequences: np.ndarray
    frames: np.ndarray
    people: np.ndarray
    parts: np.ndarray
    joints3d: np.ndarray
    n_frames: dict[str, int]


def read_truth(data_root: Path, options: Options) -> Truth:
    """Read the poses of all sequences; pictures are not needed.

    Raises:
        UserError: sequences are missing, and that isn't allowed; a file is damaged, or holds what could run code.
    """
    found = threedpw.find(data_root, "test")
    report_missing("3dpw", found.missing, options.allow_missing)
    if not found.files:
        raise UserError(f"There is no sequence in {data_root / '3dpw'}.")
    columns, n_frames = [], {}
    for path in found.files:
        sequence = threedpw.read_sequence(path)
        name, cameras = sequence["sequence"], sequence["cam_poses"]
        n_frames[name] = len(cameras)
        people = zip(sequence["jointPositions"], sequence["poses2d"], sequence["campose_valid"])
        for person, (joints, detected, valid) in enumerate(people):
            n = min(len(joints), len(cameras))
            frames = np.flatnonzero(valid[:n] & detected[:n].any((1, 2)))
            rotations, translations = cameras[frames, :3, :3], cameras[frames, None, :3, 3]
            poses = 1000 * (joints[frames] @ np.swapaxes(rotations, 1, 2) + translations)
            count = len(frames)
            columns.append(([name] * count, frames, [person] * count, [path.parent.name] * count, poses))
    return Truth(*(np.concatenate(column) for column in zip(*columns)), n_frames)


def score(pred_path: Path, truth: Truth, options: Options) -> Scores:
    """Compare predictions with the truth, relative to the pelvis.

    Args:
        pred_path: the folder that ``metrabs-train video --gt-assoc --dataset=3dpw`` wrote: a pickle file per sequence,
            with ``jointPositions`` [people, frames, 24, 3] in metres, camera frame. Or ``predictions_3dpw.npz``.
        truth: the annotated people.
        options: smoothing needs a folder.

    Raises:
        UserError: there are no predictions; they are not of the right form, or lack somebody (whom ``allow_missing``
            leaves out).
    """
    if pred_path.is_dir():
        pred, notes = _from_tracks(pred_path, truth, options.smoothing)
    elif options.smoothing:
        raise UserError(f"{pred_path} holds single frames; smoothing needs the tracks that metrabs-train video writes.")
    else:
        pred, notes = _from_frames(pred_path, truth), []
    missing = np.isnan(pred).any((1, 2))
    if missing.any() and not (options.allow_missing and not missing.all()):
        lacking = [
            f"{truth.sequences[i]} frame {truth.frames[i]} person {truth.people[i]}" for i in np.flatnonzero(missing)
        ]
        raise UserError(
            f"{pred_path} has predictions for {(~missing).sum()} of the {len(pred)} people in 3dpw's pictures; without:"
            f" {predictions.some(lacking)} (--allow-missing leaves them out)."
        )
    if missing.any():
        notes.append(f"{missing.sum()} people without predictions are left out.")
    pred, true, parts = pred[~missing], truth.joints3d[~missing], truth.parts[~missing]
    root = _JOINT_NAMES.index("pelv")
    distances = joint_distances(pred, true, root)
    aligned = joint_distances(align_similarity(pred, true), true)
    groups = {part: parts == part for part in dict.fromkeys(truth.parts) if (parts == part).any()}
    groups["all"] = np.ones(len(pred), bool)
    metrics = {
        name: {
            "mpjpe": float(distances[rows].mean()),
            "pa_mpjpe": float(aligned[rows].mean()),
            "pck": 100 * float((distances[rows][:, _MAJOR_JOINTS] <= _THRESHOLD).mean()),
            "auc": 100 * float(_auc(distances[rows][:, _MAJOR_JOINTS]).mean()),
        }
        for name, rows in groups.items()
    }
    labels = {"mpjpe": "MPJPE", "pa_mpjpe": "PA-MPJPE", "pck": "PCK@50", "auc": "AUC"}
    table = {name: {labels[key]: value for key, value in row.items()} for name, row in metrics.items()}
    return Scores(
        n_poses=len(pred),
        metrics=metrics,
        tables={"3DPW (mm, %)": table},
        latex={f"{name}: MPJPE, PA-MPJPE, PCK, AUC": row for name, row in table.items()},
        distances={
            title: Distances(_JOINT_NAMES, values, _MAJOR_JOINTS, _THRESHOLD)
            for title, values in (("root-relative", distances), ("aligned (Procrustes)", aligned))
        },
        notes=tuple(notes),
    )


def smooth(tracks: np.ndarray, kind: str) -> np.ndarray:
    """Average poses with those of neighbouring frames, mirrored at the ends.

    Args:
        tracks: float [people, frames, J, 3].
        kind: "causal" (weights 6, 2, 1 for the present and the two frames before) or "acausal" (1, 2, 6, 2, 1).

    Returns:
        float [people, frames, J, 3].
    """
    kernel = _KERNELS[kind]
    origin = -(len(kernel) // 2) if kind == "causal" else 0  # the causal kernel's first weight is the present's
    return scipy.ndimage.convolve1d(tracks, kernel, axis=1, origin=origin, mode="reflect")


def _auc(distances):
    """Area left of the PCK curve up to 199 mm in 50 steps, per joint."""
    return np.maximum(0, 1 - (np.floor(distances / 199 * 50) + 0.5) / 50)


def _from_frames(path, truth):
    """Poses [N, 24, 3] in mm of a prediction file, NaN where there is none."""
    found = predictions.read(path, _IMAGE_DEPTH, _JOINT_NAMES, ["coords3d_pred"])
    rows = {key: row for row, key in enumerate(zip(found.images, found.people))}
    pred = np.full(truth.joints3d.shape, np.nan)
    for i, (sequence, frame, person) in enumerate(zip(truth.sequences, truth.frames, truth.people)):
        row = rows.get((f"{sequence}/image_{frame:05d}.jpg", person))
        if row is not None:
            pred[i] = found.coords[row]
    return pred


def _from_tracks(folder, truth, smoothing):
    """Poses [N, 24, 3] in mm of a folder of tracks, NaN where there is none, and what to note."""
    files = {}
    for path in sorted(folder.rglob("*.pkl")):
        if path.stem in files:
            raise UserError(f"{folder} has two files for {path.stem}: {files[path.stem]} and {path}.")
        files[path.stem] = path
    if not files:
        raise UserError(f"There is no file SEQUENCE.pkl in {folder}.")
    pred = np.full(truth.joints3d.shape, np.nan)
    n_filled = 0
    for sequence in dict.fromkeys(truth.sequences.tolist()):
        if sequence not in files:
            continue
        rows = np.flatnonzero(truth.sequences == sequence)
        tracks = _read_tracks(files[sequence], truth.people[rows].max() + 1, truth.n_frames[sequence])
        n_filled += sum(np.isnan(tracks[truth.people[rows], truth.frames[rows]]).any((1, 2)))
        tracks = _filled(tracks)
        if smoothing:
            tracks = smooth(tracks, smoothing)
        pred[rows] = tracks[truth.people[rows], truth.frames[rows]]
    n_filled -= int(np.isnan(pred).any((1, 2))[np.isin(truth.sequences, list(files))].sum())
    return pred, [f"{n_filled} frames before somebody's first detection have its pose."] if n_filled else []


def _read_tracks(path, n_people, n_frames):
    content = load_pickle(path)
    try:
        tracks = 1000 * np.array(content["jointPositions"], np.float64)
        tracks = tracks.reshape(*tracks.shape[:2], len(_JOINT_NAMES), 3)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} has no jointPositions [people, frames, 24, 3]: {error!r}.") from error
    if len(tracks) < n_people or tracks.shape[1] < n_frames:
        raise UserError(
            f"{path} has {tracks.shape[0]} people in {tracks.shape[1]} frames;"
            f" the sequence has {n_people} in {n_frames}."
        )
    return tracks


def _filled(tracks):
    """Tracks [people, frames, J, 3] with NaN replaced by the last pose before or, at the start, the first after it."""
    known = np.isfinite(tracks).all((2, 3))
    frames = np.arange(tracks.shape[1])
    last = np.maximum.accumulate(np.where(known, frames, -1), axis=1)
    first = known.argmax(axis=1)[:, None]
    source = np.where(last >= 0, last, first)
    return np.take_along_axis(tracks, source[..., None, None], axis=1)
