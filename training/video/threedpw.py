"""All sequences of 3DPW, and predictions assigned to the people whom the data set annotates.

The files are those of the MeTRAbs authors' scripts: ``SPLIT/SEQUENCE.pkl`` holds a dict whose ``jointPositions`` is
float32 [people, frames, 24, 3], metres, camera frame, SMPL joints; ``metrabs-train evaluate --dataset=3dpw`` reads it.
"""

import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from training.datasets import threedpw
from training.video import job
from training.video.calibration import VideoCamera
from training.video.inference import PoseFinder
from training.video.poses import VideoPoses
from training.video.processing import describe, find_in_video, process
from training.video.smoothing import causal_smooth
from training.video.sources import Pictures

_RATE = 30  # frames per second
# The 18 joints of `poses2d`; joints by which people are distinguished.
_OPENPOSE_18 = "nose neck rsho relb rwri lsho lelb lwri rhip rkne rank lhip lkne lank reye leye rear lear"
_COMPARED = ("lsho", "rsho", "lelb", "relb", "lhip", "rhip", "lkne", "rkne")
# Annotated joints of lower confidence don't count; with fewer joints than this, the last prediction is the reference.
_MIN_CONFIDENCE, _MIN_JOINTS = 0.2, 5


@dataclass(frozen=True)
class Sequence:
    """One sequence.

    Attributes:
        split: train, validation or test.
        name: of the sequence.
        pictures: its frames, as many as are annotated.
        camera: that took it.
        poses2d: float64 [people, frames, 18, 3], x and y in px and confidence, the OpenPose joints.
    """

    split: str
    name: str
    pictures: Pictures
    camera: VideoCamera
    poses2d: np.ndarray


def find_sequences(data_root: Path) -> list[Path]:
    """Annotation files of all sequences. Raises UserError if there are none."""
    files = threedpw.find(data_root, "test").files
    if not files:
        raise UserError(f"There are no sequences in {data_root / '3dpw/sequenceFiles'} (SPLIT/NAME.pkl).")
    return files


def read_sequence(path: Path) -> Sequence:
    """Read what is needed of a sequence.

    Raises:
        UserError: its pictures are missing; the file is not one of 3DPW's.
    """
    content = threedpw.read_sequence(path)
    n_frames = len(content["cam_poses"])
    poses2d = np.stack([person[:n_frames] for person in content["poses2d"]]).swapaxes(2, 3)
    camera = VideoCamera(calibrated=Camera(content["cam_intrinsics"]))
    folder = path.parents[2] / "imageFiles" / path.stem
    files = [folder / f"image_{i:05d}.jpg" for i in range(n_frames)]
    missing = [file for file in files if not file.exists()]
    if missing:
        raise UserError(f"{len(missing)} pictures of the sequence {path.stem} are missing, first {missing[0]}.")
    return Sequence(path.parent.name, path.stem, Pictures(str(folder), files, _RATE), camera, poses2d)


def process_sequences(
    data_root: Path, output: Path, finder: PoseFinder, gt_assoc: bool, causal_smoothing: bool, fov: float | None
) -> int:
    """Process all sequences; an interrupted call resumes where it stopped.

    Args:
        data_root: folder that has a folder `3dpw`.
        output: folder for the results, by split and sequence.
        finder: model and settings.
        gt_assoc: write the predictions of the annotated people, see above; else everything that `process` writes.
        causal_smoothing: average each pose with those of the two frames before.
        fov: field of view over the longer side in degrees, to pretend that the camera is unknown; None for the data
            set's intrinsics.

    Returns:
        Number of sequences.

    Raises:
        UserError: the data set or parts of it are missing; a file that is not as it should be; results of another run
            in the output folder.
    """
    files = find_sequences(data_root)
    if gt_assoc and finder.skeleton.joint_names != threedpw.SKELETON.joint_names:
        raise UserError("3DPW annotates the joints smpl_24: use --skeleton=smpl_24 with --gt-assoc.")
    if gt_assoc:
        described = {"input": "3dpw", **describe(finder, None), "causal smoothing": causal_smoothing, "fov": fov}
        work = job.begin(output, described)
    for i, file in enumerate(files):
        print(f"{file.parent.name}/{file.stem} ({i + 1} of {len(files)})", flush=True)
        sequence = read_sequence(file)
        camera = VideoCamera(fov) if fov else sequence.camera
        folder = output / sequence.split
        if not gt_assoc:
            process(sequence.pictures, folder / sequence.name, finder, camera, causal_smoothing)
            continue
        result = folder / f"{sequence.name}.pkl"
        if result.exists():
            continue
        found = find_in_video(sequence.pictures, finder, camera, work / sequence.split / sequence.name)
        poses = associate(found, sequence.poses2d)
        if causal_smoothing:
            poses = causal_smooth(poses)
        with atomic_file(result) as temporary:
            temporary.write_bytes(pickle.dumps({"jointPositions": complete(poses, *sequence.poses2d.shape[:2]) / 1000}))
    if gt_assoc:
        shutil.rmtree(work)
    return len(files)


def associate(found: VideoPoses, poses2d: np.ndarray) -> VideoPoses:
    """Find the predictions of annotated people by 2D agreement, with the Hungarian method in each frame.

    The agreement is the mean over shoulders, elbows, hips and knees of max(0, 1 - distance / size), the size of a
    prediction being that of its torso's diagonal. In frames in which somebody is hardly annotated, the last prediction
    that this person got takes the annotation's place.

    Args:
        found: people in the frames, smpl_24.
        poses2d: float64 [people, frames, 18, 3], x and y in px and confidence.

    Returns:
        Those people who were assigned, with the index of the annotated person as id.
    """
    joints = [threedpw.SKELETON.index(name) for name in _COMPARED]
    annotated = poses2d[:, :, [_OPENPOSE_18.split().index(name) for name in _COMPARED]]
    last = np.full([len(poses2d), len(joints), 2], np.nan)
    rows, people = [], []
    for i, number in enumerate(found.frame_numbers):
        of_frame = found.people(i)
        predicted = found.poses2d[of_frame][:, joints].astype(np.float64)
        torso = predicted[:, _COMPARED.index("rsho")] - predicted[:, _COMPARED.index("lhip")]
        size = np.maximum(np.linalg.norm(torso, axis=-1), 1.0)
        points, confidence = annotated[:, number, :, :2], annotated[:, number, :, 2]
        reference = np.where(confidence[..., np.newaxis] < _MIN_CONFIDENCE, np.nan, points)
        is_known = np.isfinite(reference).all(axis=-1).sum(axis=-1) >= _MIN_JOINTS
        reference = np.where(is_known[:, np.newaxis, np.newaxis], reference, last)
        distances = np.linalg.norm(reference[:, np.newaxis] - predicted, axis=-1) / size[:, np.newaxis]
        closeness = np.maximum(0, 1 - distances)
        n_known = np.isfinite(closeness).sum(axis=-1)
        agreement = np.nansum(closeness, axis=-1) / np.maximum(n_known, 1)
        for person, row in zip(*linear_sum_assignment(agreement, maximize=True)):
            if agreement[person, row] > 0:
                last[person] = predicted[row]
                rows.append(of_frame.start + row)
                people.append(person)
    return found.select(np.array(rows, np.int64), ids=np.array(people, np.int64))


def complete(poses: VideoPoses, n_people: int, n_frames: int) -> np.ndarray:
    """A pose for everybody in every frame: float32 [n_people, n_frames, 24, 3], mm.

    A missing one is the person's last one, at the beginning the first one. Somebody who was never found has NaN.
    """
    result = np.full([n_people, n_frames, *poses.poses3d.shape[1:]], np.nan, np.float32)
    for person in range(n_people):
        chosen = poses.ids == person
        if chosen.any():
            known = poses.frame_numbers[poses.frame_index[chosen]]
            latest = np.searchsorted(known, np.arange(n_frames), side="right") - 1
            result[person] = poses.poses3d[chosen][np.maximum(latest, 0)]
    return result
