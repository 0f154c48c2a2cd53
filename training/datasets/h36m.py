"""Human3.6M (Ionescu et al., PAMI 2014).

As the official archives unpack::

    h36m/Release-v1.2/metadata.xml                                   cameras
    h36m/S1/MyPoseFeatures/D3_Positions/Directions.cdf               Pose [1, frames, 96], mm, world frame
    h36m/S1/MySegmentsMat/ground_truth_bb/Directions.54138969.mat    boxes, as masks, MATLAB 7.3
    h36m/S1/Videos/Directions.54138969.mp4

and what ``metrabs-train prepare h36m`` makes of that::

    h36m/S1/Images/Directions.54138969/frame_000000.jpg              every 5th and every 64th frame
    h36m/S1/BBoxes/Directions.54138969.npy                           float32 [frames, 4], left top width height
"""

import xml.etree.ElementTree
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cdflib
import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.skeletons import SKELETONS
from training.datasets.annotations import Annotations
from training.datasets.frame_selection import moved_frames
from training.datasets.named import NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder
from training.datasets.videos import Frames, write_all_frames

SKELETON = SKELETONS["h36m_17"]
SUBJECTS = {"train": (1, 5, 6, 7, 8), "test": (9, 11)}
CAMERAS = ("54138969", "55011271", "58860488", "60457274")
FRAME_STEP = {"train": 5, "test": 64}
# Which of the 32 recorded joints are the skeleton's.
_JOINTS = (1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27, 0)
_N_RECORDED_JOINTS = 32
_N_SUBJECTS = 11
# Subject 1's folders name two actions differently.
_ACTIVITIES = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}
# Of subject 9, three recordings are shifted by this, mm, in world coordinates.
_SHIFTED = {(9, "SittingDown 1"), (9, "Waiting 1"), (9, "Greeting")}
_SHIFT = np.array([-200.0, 0.0, 0.0])
DOWNLOAD = """Human3.6M is for academic use, after registration: http://vision.imar.ro/human3.6m
Download, for each of the subjects 1, 5, 6, 7, 8, 9 and 11, Videos, Segments (mat_gt_bb) and Poses (D3_Positions), and
code-v1.2.zip, and unpack them all in $DATA_ROOT/h36m, so that there are
  h36m/Release-v1.2/metadata.xml
  h36m/S1/MyPoseFeatures/D3_Positions/Directions.cdf ...
  h36m/S1/MySegmentsMat/ground_truth_bb/Directions.54138969.mat ...
  h36m/S1/Videos/Directions.54138969.mp4 ..."""
_EVERY_NTH = (5, 64)


@dataclass(frozen=True)
class Recording:
    """What one subject did once, before four cameras."""

    folder: Path
    subject: int
    action: str

    @property
    def poses(self) -> Path:
        """The CDF file."""
        return self.folder / f"S{self.subject}/MyPoseFeatures/D3_Positions/{self.action}.cdf"

    def boxes(self, camera: str) -> Path:
        """The prepared boxes of all frames."""
        return self.folder / f"S{self.subject}/BBoxes/{self.action}.{camera}.npy"

    def box_masks(self, camera: str) -> Path:
        """The boxes as they come."""
        return self.folder / f"S{self.subject}/MySegmentsMat/ground_truth_bb/{self.action}.{camera}.mat"

    def video(self, camera: str) -> Path:
        """The video."""
        return self.folder / f"S{self.subject}/Videos/{self.action}.{camera}.mp4"

    def image(self, camera: str, frame: int) -> Path:
        """A prepared picture; frames are counted from zero."""
        return self.folder / f"S{self.subject}/Images/{self.action}.{camera}/frame_{frame:06d}.jpg"


def find(root: Path, split: str, correct_s9: bool = True) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train": every 5th frame of five subjects in which somebody has moved; "test": every 64th of two.
        correct_s9: move the three shifted recordings of subject 9 back.
    """
    folder = root / "h36m"
    metadata = folder / "Release-v1.2/metadata.xml"
    recordings, missing = find_recordings(folder, SUBJECTS[split])
    if not metadata.is_file():
        return Annotations(SKELETON, [], lambda: None, [str(metadata.relative_to(root)), *missing])
    usable, files = [], [metadata]
    for recording in recordings:
        boxes = [recording.boxes(camera) for camera in CAMERAS]
        lacking = [path for path in [recording.poses, *boxes] if not path.is_file()]
        missing += [str(path.relative_to(root)) for path in lacking]
        if recording.poses not in lacking:
            usable.append(recording)
            files += [path for path in [recording.poses, *boxes] if path not in lacking]
    if not usable:
        files = []
    return Annotations(SKELETON, files, lambda: _read(root, usable, read_cameras(metadata), split, correct_s9), missing)


def find_recordings(folder: Path, subjects: tuple[int, ...]) -> tuple[list[Recording], list[str]]:
    """The recordings of which there are poses, boxes or videos, and the subjects that are missing."""
    recordings, missing = [], []
    for subject in subjects:
        files = [
            *(folder / f"S{subject}/MyPoseFeatures/D3_Positions").glob("*.cdf"),
            *(folder / f"S{subject}/Videos").glob("*.mp4"),
            *(folder / f"S{subject}/BBoxes").glob("*.npy"),
        ]
        # names with an underscore are of recordings put together from others
        actions = sorted({path.name.split(".")[0] for path in files if "_" not in path.name.split(".")[0]})
        recordings += [Recording(folder, subject, action) for action in actions]
        if not actions:
            missing.append(f"h36m/S{subject} (subject {subject})")
    return recordings, missing


def read_cameras(metadata: Path) -> dict[tuple[int, str], Camera]:
    """The camera of each subject and camera name.

    Raises:
        UserError: the file isn't Human3.6M's.
    """
    try:
        text = xml.etree.ElementTree.parse(metadata).getroot().find("w0").text
        numbers = np.array(text.strip().strip("[]").split(), np.float64)
        outside = numbers[:264].reshape(len(CAMERAS), _N_SUBJECTS, 6)
        inside = numbers[264:].reshape(len(CAMERAS), 9)
    except (AttributeError, ValueError, xml.etree.ElementTree.ParseError) as error:
        raise UserError(f"{metadata} has no camera parameters of Human3.6M (300 numbers in the element w0).") from error
    cameras = {}
    for name, per_subject, (fx, fy, cx, cy, k1, k2, k3, p1, p2) in zip(CAMERAS, outside, inside):
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
        distortion = np.array([k1, k2, p1, p2, k3], np.float32)
        for subject, (*angles, x, y, z) in enumerate(per_subject, start=1):
            rotation = Rotation.from_euler("XYZ", angles).as_matrix()
            extrinsics = np.eye(4)
            extrinsics[:3, :3] = rotation
            extrinsics[:3, 3] = -rotation @ [x, y, z]
            cameras[subject, name] = Camera(intrinsics, distortion, extrinsic_matrix=extrinsics)
    return cameras


def read_poses(path: Path) -> np.ndarray:
    """World positions of the 17 joints in all frames: float64 [frames, 17, 3], mm.

    Raises:
        UserError: the file isn't a CDF file of Human3.6M's poses.
    """
    try:
        poses = np.asarray(cdflib.CDF(path)["Pose"], np.float64).reshape(-1, _N_RECORDED_JOINTS, 3)
    except Exception as error:  # the library raises whatever it meets
        raise UserError(f"{path} is damaged or has no variable Pose of 96 numbers per frame: {error}.") from error
    return poses[:, _JOINTS]


def read_boxes(path: Path) -> np.ndarray:
    """Boxes of all frames: float32 [frames, 4].

    Raises:
        UserError: the file is damaged or something else.
    """
    try:
        boxes = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} is damaged: remove it and run metrabs-train prepare h36m again.") from error
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise UserError(f"{path} holds an array of shape {list(boxes.shape)}, not [frames, 4].")
    return boxes.astype(np.float32)


def _read(root: Path, recordings: list[Recording], cameras: dict, split: str, correct_s9: bool) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    for recording in recordings:
        is_shifted = correct_s9 and (recording.subject, recording.action) in _SHIFTED
        world = read_poses(recording.poses)[:: FRAME_STEP[split]]
        if is_shifted:
            world = world + _SHIFT
        frames = moved_frames(world) if split == "train" else np.arange(len(world))
        for name in CAMERAS:
            if not recording.boxes(name).is_file():
                continue
            camera = cameras[recording.subject, name]
            boxes = read_boxes(recording.boxes(name))[:: FRAME_STEP[split]]
            seen = frames[frames < len(boxes)]
            if split == "test" and len(seen) < len(frames):
                raise UserError(f"{recording.boxes(name)} has boxes of fewer frames than {recording.poses} has poses.")
            poses = camera.to_camera(world[seen])
            boxes = _move_boxes(boxes[seen], poses, camera) if is_shifted else boxes[seen]
            table.add(
                [
                    recording.image(name, frame * FRAME_STEP[split]).relative_to(root).as_posix()
                    for frame in seen.tolist()
                ],
                _filled_boxes(boxes, camera.project(poses)),
                camera,
                poses,
                activity=_activity(recording.action),
            )
    return table.build()


def _activity(action: str) -> str:
    name = action.split(" ")[0]
    return _ACTIVITIES.get(name, name)


def _move_boxes(boxes: np.ndarray, poses: np.ndarray, camera: Camera) -> np.ndarray:
    """Boxes [n, 4] moved like the people, whose corrected poses [n, 17, 3], camera frame, tell how far they are."""
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    rays = camera.rays(corners)
    shift = camera.extrinsic_matrix[:3, :3] @ _SHIFT
    depth = poses[:, -1:, 2:] - shift[2]
    moved = camera.project(rays / rays[..., 2:] * depth + shift)
    return np.concatenate([moved[:, 0], moved[:, 1] - moved[:, 0]], axis=-1)


def _filled_boxes(boxes: np.ndarray, joints2d: np.ndarray) -> np.ndarray:
    """Boxes with those of no size, from empty masks, replaced by boxes around the joints."""
    low, high = joints2d.min(axis=1), joints2d.max(axis=1)
    around_joints = np.concatenate([low, high - low], axis=-1)
    return np.where((boxes[:, 2:] > 0).all(-1, keepdims=True), boxes, around_joints)


def prepare(preparation: Preparation) -> None:
    """Write every 5th and every 64th frame of the videos as pictures, and the boxes as arrays.

    Args:
        preparation: the run.

    Raises:
        UserError: official files are missing.
    """
    root, folder = preparation.root, preparation.root / "h36m"
    subjects = sorted({subject for group in SUBJECTS.values() for subject in group})
    recordings, missing = find_recordings(folder, subjects)
    if not (folder / "Release-v1.2/metadata.xml").is_file():
        missing.insert(0, "h36m/Release-v1.2/metadata.xml")
    videos, masks = [], []
    for recording in recordings:
        wanted = [recording.poses]
        for camera in CAMERAS:
            # what was prepared already needs no source any more
            wanted += [] if recording.boxes(camera).is_file() else [recording.box_masks(camera)]
            wanted += [] if recording.image(camera, 0).is_file() else [recording.video(camera)]
            masks += [(recording.box_masks(camera), recording.boxes(camera))]
            videos += [(recording, camera)]
        missing += [str(path.relative_to(root)) for path in wanted if not path.is_file()]
    preparation.require("Human3.6M", missing, DOWNLOAD, is_empty=not recordings)
    frames = []
    for recording, camera in videos:
        if recording.poses.is_file() and recording.video(camera).is_file():
            numbers = range(len(read_poses(recording.poses)))
            paths = {n: recording.image(camera, n) for n in numbers if any(n % step == 0 for step in _EVERY_NTH)}
            frames.append(Frames(recording.video(camera), paths))
    write_all_frames(preparation, frames)
    todo = [(source, target) for source, target in masks if source.is_file() and not target.is_file()]
    boxes = preparation.run("boxes", _write_boxes, todo)
    preparation.done.append(f"{sum(n for n in boxes if n)} boxes in {folder}/S*/BBoxes")


def _write_boxes(task: tuple[Path, Path]) -> tuple[int, list[str]]:
    """Turn a file of box masks into an array of boxes; empty masks become boxes of no size."""
    source, target = task
    boxes = []
    try:
        with h5py.File(source, "r") as file:
            for reference in file["Masks"][:].ravel():
                boxes.append(_mask_box(file[reference]))
    except (OSError, KeyError, ValueError) as error:
        return 0, [f"The boxes in {source} can't be read: {error}."]
    with atomic_file(target) as temporary, temporary.open("wb") as file:
        np.save(file, np.array(boxes, np.float32).reshape(-1, 4))
    return len(boxes), []


def _mask_box(dataset: h5py.Dataset) -> list[float]:
    if dataset.attrs.get("MATLAB_empty"):
        return [0.0, 0.0, 0.0, 0.0]
    mask = dataset[:] != 0  # MATLAB's columns are HDF5's rows
    columns, rows = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(columns):
        return [0.0, 0.0, 0.0, 0.0]
    return [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]


DATASETS = {
    "h36m": NamedDataset(prepare, find, ("train", "test"), Shrinking(), protocol="h36m"),
    # with more of the surroundings, for crops of parts of people
    "h36m-partial": NamedDataset(prepare, find, ("train", "test"), Shrinking(context=1.8), protocol="h36m"),
    # as it was recorded, and as older papers used it
    "h36m-incorrect-S9": NamedDataset(
        prepare, partial(find, correct_s9=False), ("train", "test"), Shrinking(), protocol="h36m"
    ),
}
