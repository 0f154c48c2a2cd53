"""MPI-INF-3DHP (Mehta et al., 3DV 2017).

As the official scripts unpack::

    3dhp/S1/Seq1/annot.mat                       annot3, univ_annot3: per camera [frames, 84], mm, camera frame
    3dhp/S1/Seq1/camera.calibration              text
    3dhp/S1/Seq1/imageSequence/video_0.avi       per camera
    3dhp/S1/Seq1/FGmasks/video_0.avi             red: the person, also the chair
    3dhp/S1/Seq1/ChairMasks/video_0.avi          black: the chair; for MuCo-3DHP only
    3dhp/TS1/annot_data.mat                      test, MATLAB 7.3: annot3, univ_annot3, valid_frame, activity_annotation
    3dhp/TS1/imageSequence/img_000001.jpg

and what ``metrabs-train prepare mpi-inf-3dhp`` makes of that::

    3dhp/S1/Seq1/imageSequence/img_0_000000.jpg  camera, frame from zero: every 5th
    3dhp/S1/Seq1/PersonMasks/video_0.npz         run lengths of the person in the frames that are trained on
    3dhp/detections.npz                          people that the detector finds
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import av
import boxlib
import cv2
import h5py
import numpy as np
import rlemasklib

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.pictures import PictureError, read_picture
from metrabs_core.skeletons import SKELETONS
from training.datasets import matlab
from training.datasets.annotations import Annotations, look_for_images
from training.datasets.colours import adjust_3dhp_colours
from training.datasets.detections import FILE_NAME, detect_people, read_detections
from training.datasets.frame_selection import moved_frames
from training.datasets.named import Hips, NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder
from training.datasets.videos import Frames, write_all_frames

SKELETON = SKELETONS["mpi_inf_3dhp_17"]
SUBJECTS = {"train": (1, 2, 3, 4, 5, 6, 7), "val": (8,)}
CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
JOINTS_28 = (
    *("spi3", "spi4", "spi2", "spin", "pelv", "neck", "head", "htop"),
    *("lcla", "lsho", "lelb", "lwri", "lhan", "rcla", "rsho", "relb", "rwri", "rhan"),
    *("lhip", "lkne", "lank", "lfoo", "ltoe", "rhip", "rkne", "rank", "rfoo", "rtoe"),
)
_JOINTS = [JOINTS_28.index(name) for name in SKELETON.joint_names]
# The test sequences and MuPoTS-3D have the same 17 joints, but pelvis, spine and head in this order at the end.
TEST_JOINTS = [*range(14), 15, 16, 14]
ACTIVITIES = ("Stand/Walk", "Exercise", "Sit on Chair", "Reach/Crouch", "On Floor", "Sports", "Misc.")
SCENES = ("green-screen", "no-green-screen", "outdoor")
FRAME_STEP = 5
_MASK_THRESHOLD = 100

DOWNLOAD = """MPI-INF-3DHP is for non-commercial research: http://gvv.mpi-inf.mpg.de/3dhp-dataset
Accept the licence in the conf.ig of the official mpi_inf_3dhp.zip, choose all eight subjects, run get_dataset.sh and
get_testset.sh, and put the result into $DATA_ROOT/3dhp, so that there are
  3dhp/S1/Seq1/annot.mat, camera.calibration ...  (S1 to S8, Seq1 and Seq2)
  3dhp/S1/Seq1/imageSequence/video_0.avi, FGmasks/video_0.avi ...  (cameras 0, 1, 2, 4, 5, 6, 7, 8)
  3dhp/TS1/annot_data.mat, 3dhp/TS1/imageSequence/img_000001.jpg ...  (TS1 to TS6)"""


@dataclass(frozen=True)
class Sequence:
    """What one subject did, before all cameras."""

    folder: Path
    subject: int
    number: int

    @property
    def path(self) -> Path:
        """The sequence's folder."""
        return self.folder / f"S{self.subject}/Seq{self.number}"

    @property
    def labels(self) -> list[Path]:
        """The files with poses and cameras."""
        return [self.path / "annot.mat", self.path / "camera.calibration"]

    def image(self, camera: int, frame: int, kind: str = "imageSequence") -> Path:
        """A prepared picture; frames are counted from zero."""
        return self.path / kind / f"img_{camera}_{frame:06d}.jpg"

    def video(self, camera: int, kind: str = "imageSequence") -> Path:
        """A video as it comes."""
        return self.path / kind / f"video_{camera}.avi"

    def frame_limit(self, camera: int) -> int:
        """The number of frames that a video can have; one ends before its poses do."""
        return 3911 if (self.subject, self.number, camera) == (6, 2, 2) else sys.maxsize

    def masks(self, camera: int) -> Path:
        """The prepared masks."""
        return self.path / f"PersonMasks/video_{camera}.npz"


def find(root: Path, split: str) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train": every 5th frame of seven subjects in which somebody has moved and is seen as a whole; "val":
            the same of subject 8; "test": the valid frames of TS1 to TS6.
    """
    folder = root / "3dhp"
    detections = [path for path in [folder / FILE_NAME] if path.is_file()]
    if split == "test":
        paths = [folder / f"TS{number}/annot_data.mat" for number in range(1, 7)]
        found = [path for path in paths if path.is_file()]
        missing = [str(path.relative_to(root)) for path in paths if path not in found]
        return Annotations(SKELETON, found + detections * bool(found), lambda: _read_test(root, found), missing)
    sequences, missing = find_sequences(folder, SUBJECTS[split])
    files = [path for sequence in sequences for path in sequence.labels]
    masks = [s.masks(c) for s in sequences for c in CAMERAS if s.masks(c).is_file()]
    return Annotations(
        SKELETON, files + (masks + detections) * bool(files), lambda: _read_train(root, sequences), missing
    )


def find_sequences(folder: Path, subjects: tuple[int, ...]) -> tuple[list[Sequence], list[str]]:
    """The sequences of which there are poses and cameras, and the files that are missing."""
    sequences, missing = [], []
    for subject in subjects:
        if not (folder / f"S{subject}").is_dir():
            missing.append(f"3dhp/S{subject} (subject {subject})")
            continue
        for number in (1, 2):
            sequence = Sequence(folder, subject, number)
            lacking = [str(path.relative_to(folder.parent)) for path in sequence.labels if not path.is_file()]
            missing += lacking
            if not lacking:
                sequences.append(sequence)
    return sequences, missing


def read_cameras(path: Path) -> dict[int, tuple[Camera, np.ndarray]]:
    """The cameras in a ``camera.calibration`` file, by their numbers, each with its picture's width and height.

    Raises:
        UserError: the file is something else.
    """
    cameras = {}
    try:
        for block in re.split(r"^\s*name\s+", path.read_text(), flags=re.MULTILINE)[1:]:
            number, *lines = block.splitlines()
            entries = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
            intrinsics, extrinsics = (
                np.array(entries[name], np.float64).reshape(4, 4) for name in ("intrinsic", "extrinsic")
            )
            camera = Camera(intrinsics[:3, :3], extrinsic_matrix=extrinsics)
            cameras[int(number)] = camera, np.array(entries["size"], np.int64)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path} is no camera calibration of MPI-INF-3DHP: {error!r}.") from error
    if not cameras:
        raise UserError(f"{path} is no camera calibration of MPI-INF-3DHP: it has no camera.")
    return cameras


def read_poses(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Metric and universal positions of the 28 joints before each camera: float64 [frames, 28, 3], mm, camera frame.

    Raises:
        UserError: the file is something else.
    """
    metric, universal = matlab.load(path, "annot3", "univ_annot3")
    try:
        poses = [
            tuple(np.float64(cell).reshape(-1, 28, 3) for cell in cells)
            for cells in zip(metric.ravel(), universal.ravel())
        ]
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} has no poses of 28 joints: {error}.") from error
    if len(poses) <= max(CAMERAS):
        raise UserError(f"{path} has poses for {len(poses)} cameras, not for 14.")
    return poses


def test_camera(number: int) -> Camera:
    """The camera of a test sequence, 1 to 6: published with the data set, as sensor, lens, position and axes."""
    if number <= 4:
        return _camera_from_sensor(
            (10, 10),
            (2048, 2048),
            focal_length=7.32506,
            pixel_aspect=1.00044,
            centre_offset=(-0.0322884, 0.0929296),
            distortion=(),
            origin=(3427.28, 1387.86, 309.42),
            up=(-0.208215, 0.976233, 0.06014),
            right=(0.000575281, 0.0616098, -0.9981),
        )
    return _camera_from_sensor(
        (10, 5.625),
        (1920, 1080),
        focal_length=8.770747185,
        pixel_aspect=0.993236423,
        centre_offset=(-0.104908645, 0.104899704),
        distortion=(-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332),
        origin=(-2104.3074, 1038.6707, -4596.6367),
        up=(0.025272345, 0.995038509, 0.096227370),
        right=(-0.939647257, -0.009210289, 0.342020929),
    )


def _camera_from_sensor(
    sensor_mm, size, focal_length, pixel_aspect, centre_offset, distortion, origin, up, right
) -> Camera:
    pixels_per_mm = np.array(size) / sensor_mm * [1, pixel_aspect]
    intrinsics = np.eye(3)
    intrinsics[[0, 1], [0, 1]] = focal_length * pixels_per_mm
    intrinsics[:2, 2] = (np.array(sensor_mm) / 2 + centre_offset) * pixels_per_mm
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = [right, np.negative(up), np.cross(up, right)]
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ origin
    return Camera(intrinsics, distortion, extrinsic_matrix=extrinsics)


def _read_test(root: Path, paths: list[Path]) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    detections = _detections(root)
    for path in paths:
        number = int(path.parent.name[2:])
        camera = test_camera(number)
        try:
            with h5py.File(path, "r") as file:
                frames = np.flatnonzero(file["valid_frame"][:].ravel())
                metric, universal = (file[name][:, 0][frames][:, TEST_JOINTS] for name in ("annot3", "univ_annot3"))
                activities = file["activity_annotation"][:].ravel()[frames].astype(int)
                names = [ACTIVITIES[activity - 1] for activity in activities]
        except (OSError, KeyError, ValueError, IndexError) as error:
            raise UserError(f"{path} is damaged or no annotation of MPI-INF-3DHP's test set: {error}.") from error
        images = [f"3dhp/TS{number}/imageSequence/img_{frame + 1:06d}.jpg" for frame in frames]
        boxes = _boxes(camera.project(metric), images, detections)
        scene = SCENES[(number - 1) // 2]
        table.add(images, boxes, camera, metric, universal, activity=names, scene=scene)
    return table.build()


def _read_train(root: Path, sequences: list[Sequence]) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    detections = _detections(root)
    for sequence in sequences:
        for number, (frames, metric, universal, camera) in _selected_frames(sequence).items():
            images = [sequence.image(number, frame).relative_to(root).as_posix() for frame in frames.tolist()]
            boxes = _boxes(camera.project(metric), images, detections)
            masks = _read_masks(sequence.masks(number), frames)
            table.add(images, boxes, camera, metric, universal, masks=masks)
    return table.build()


def _selected_frames(sequence: Sequence) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray, Camera]]:
    """Per camera, the numbers [n] of the frames to train on, their metric and universal poses, and the camera."""
    poses, cameras = read_poses(sequence.labels[0]), read_cameras(sequence.labels[1])
    selected = {}
    for number in CAMERAS:
        if number not in cameras:
            raise UserError(f"{sequence.labels[1]} has no camera {number}.")
        camera, size = cameras[number]
        metric, universal = (pose[::FRAME_STEP, _JOINTS] for pose in poses[number])
        pixels = camera.project(metric)
        inside = ((pixels >= 0) & (pixels < size)).all(-1) & (metric[..., 2] > 0)
        frames = FRAME_STEP * np.arange(len(metric))
        seen = np.flatnonzero(inside.all(-1) & (frames < sequence.frame_limit(number)))
        rows = seen[moved_frames(metric[seen])]
        selected[number] = frames[rows], metric[rows], universal[rows], camera
    return selected


def _detections(root: Path) -> dict[str, np.ndarray]:
    path = root / "3dhp" / FILE_NAME
    return read_detections(path) if path.is_file() else {}


def _boxes(joints2d: np.ndarray, images: list[str], detections: dict[str, np.ndarray]) -> np.ndarray:
    """Boxes around joints and, if it is of the same person, around the best detection."""
    boxes = np.zeros([len(images), 4], np.float32)
    for row, (points, image) in enumerate(zip(joints2d, images)):
        around_joints = boxes[row] = boxlib.expand(boxlib.bb_of_points(points), 1.05)
        found = detections.get(image.removeprefix("3dhp/"), ())
        if len(found):
            around_both = boxlib.box_hull(found[np.argmax(found[:, 4]), :4], around_joints)
            if boxlib.iou(around_both, around_joints) > 0.5:
                boxes[row] = around_both
    return boxes


def _read_masks(path: Path, frames: np.ndarray) -> list[dict | None]:
    if not path.is_file():
        return [None] * len(frames)
    try:
        with np.load(path, allow_pickle=False) as archive:
            data, size = archive["mask_bytes"].tobytes(), archive["size"].tolist()
            ends = np.cumsum(archive["mask_length"])
            counts = dict(zip(archive["frame"].tolist(), zip(ends - archive["mask_length"], ends)))
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged: remove it and run metrabs-train prepare mpi-inf-3dhp again.") from error
    spans = [counts.get(frame, (0, 0)) for frame in frames.tolist()]
    return [{"size": size, "counts": data[start:end]} if end > start else None for start, end in spans]


def prepare(preparation: Preparation) -> None:
    """Write frames of the videos as pictures, find the people in them, and cut the masks down to the person.

    Args:
        preparation: the run. With ``all_frames``, every frame of pictures, masks and chair masks is written, as the
            MATLAB script needs them that composes MuCo-3DHP.

    Raises:
        UserError: official files are missing.
    """
    root, folder = preparation.root, preparation.root / "3dhp"
    sequences, missing = find_sequences(folder, (*SUBJECTS["train"], *SUBJECTS["val"]))
    kinds = ("imageSequence", "FGmasks", "ChairMasks") if preparation.all_frames else ("imageSequence", "FGmasks")
    for sequence in sequences:
        for kind in kinds:
            missing += [
                str(sequence.video(number, kind).relative_to(root))
                for number in CAMERAS
                if not sequence.video(number, kind).is_file() and not sequence.image(number, 0, kind).is_file()
            ]
    test = find(root, "test")
    missing += test.missing + (look_for_images(test.read())[1] if test.files else [])
    preparation.require("MPI-INF-3DHP", missing, DOWNLOAD, is_empty=not sequences)
    step = 1 if preparation.all_frames else FRAME_STEP
    frames, masks = [], []
    for sequence in sequences:
        poses = read_poses(sequence.labels[0])
        for number in CAMERAS:
            n_frames = min(len(poses[number][0]), sequence.frame_limit(number))
            for kind in kinds if preparation.all_frames else kinds[:1]:
                if sequence.video(number, kind).is_file():
                    paths = {n: sequence.image(number, n, kind) for n in range(0, n_frames, step)}
                    frames.append(Frames(sequence.video(number, kind), paths))
        if not all(sequence.masks(number).is_file() for number in CAMERAS):
            for number, (selected, metric, _, camera) in _selected_frames(sequence).items():
                if len(selected) and not sequence.masks(number).is_file():
                    boxes = map(boxlib.bb_of_points, camera.project(metric))
                    masks.append((sequence, number, dict(zip(selected.tolist(), boxes))))
    write_all_frames(preparation, frames)
    written = preparation.run("masks", _write_masks, masks)
    preparation.done.append(f"{sum(n for n in written if n)} person masks")
    images = []
    for split in ("train", "val", "test"):
        found = find(root, split)
        if found.files:
            images += [path.removeprefix("3dhp/") for path in found.read().columns["image_path"].tolist()]
    detect_people(preparation, folder, [image for image in images if (folder / image).is_file()])


def _write_masks(task: tuple[Sequence, int, dict[int, np.ndarray]]) -> tuple[int, list[str]]:
    """Write the person's masks in those frames of one video of which boxes around the joints are given."""
    sequence, number, boxes = task
    masks, problems, size = {}, [], (0, 0)
    for frame, picture, problem in _mask_pictures(sequence, number, list(boxes)):
        if picture is None:
            problems.append(problem)
            continue
        size = picture.shape[:2]
        mask = person_component(picture[..., 0] > _MASK_THRESHOLD, boxlib.expand(boxes[frame], 1.05))
        masks[frame] = rlemasklib.encode(mask)["counts"]
    if not masks:  # nothing to train on, or nothing could be read
        return 0, problems
    with atomic_file(sequence.masks(number)) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            frame=np.array(list(masks)),
            size=np.array(size),
            mask_bytes=np.frombuffer(b"".join(masks.values()), np.uint8),
            mask_length=np.array([len(mask) for mask in masks.values()]),
        )
    return len(masks), problems


def _mask_pictures(sequence: Sequence, number: int, frames: list[int]):
    """Frames of a mask video, or the pictures that were made of it.

    Yields:
        the number, the picture uint8 [h, w, 3] or None if it is damaged, and a sentence about that.
    """
    video = sequence.video(number, "FGmasks")
    if not video.is_file():
        for frame in frames:
            try:
                yield frame, read_picture(sequence.image(number, frame, "FGmasks")), ""
            except PictureError as error:
                yield frame, None, str(error)
        return
    wanted = set(frames)
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame, picture in enumerate(container.decode(stream)):
                if frame in wanted:
                    wanted.remove(frame)
                    yield frame, picture.to_ndarray(format="rgb24"), ""
                if not wanted:
                    return
            reason = "it ends early"
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    yield -1, None, f"The mask video {video} is damaged, {len(wanted)} of its frames are missing: {reason}."


def person_component(foreground: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The connected part of a mask whose box overlaps a person's box most.

    Args:
        foreground: bool [h, w].
        box: float [4] of the person.

    Returns:
        uint8 [h, w], zeros and ones; pixels far from the box (1.3 times as large) are zeros.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(foreground.astype(np.uint8), connectivity=4)
    overlaps = [boxlib.iou(np.float32(part), np.float32(box)) for part in stats[1:, :4]]
    mask = np.zeros(foreground.shape, np.uint8)
    if not overlaps:
        return mask
    left, top, width, height = boxlib.expand(np.float64(box), 1.3)
    near = (slice(max(0, int(top)), max(0, int(top + height))), slice(max(0, int(left)), max(0, int(left + width))))
    mask[near] = labels[near] == 1 + int(np.argmax(overlaps))
    return mask


def _adjust_colours(image_path: Path, crop: np.ndarray) -> np.ndarray:
    """The first four test sequences are dark and green, as the training sequences are before they are shrunk."""
    return adjust_3dhp_colours(crop) if image_path.parts[-3] in ("TS1", "TS2", "TS3", "TS4") else crop


DATASETS = {
    "mpi-inf-3dhp": NamedDataset(
        prepare,
        find,
        ("train", "val", "test"),
        Shrinking(adjust_3dhp=True),
        shrunk_parts=("train", "val"),
        hips=Hips.MPI_INF_3DHP,
        protocol="mpi_inf_3dhp",
        adjust_colours=_adjust_colours,
    )
}
