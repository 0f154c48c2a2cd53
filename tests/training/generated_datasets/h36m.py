"""A small Human3.6M: CDF poses, HDF5 box masks, videos, metadata XML; four cameras, any subjects and actions."""

from dataclasses import dataclass, field
from pathlib import Path

import cdflib.cdfwrite
import cv2
import h5py
import numpy as np
from scipy.spatial.transform import Rotation

from generated_datasets import people
from generated_datasets.videos import write_video

CAMERAS = ("54138969", "55011271", "58860488", "60457274")
ALL_SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
NAMES = ["rhip", "rkne", "rank", "lhip", "lkne", "lank", "tors", "neck", "head", "htop",
         "lsho", "lelb", "lwri", "rsho", "relb", "rwri", "pelv"]  # fmt: skip
PLACES = (1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27, 0)  # of the 17 among the 32 recorded joints
EDGES = people.bones(NAMES)


@dataclass
class Truth:
    """What the files were written from.

    poses[subject, action]: float64 [frames, 17, 3] mm, as recorded; extrinsics[subject, camera] [4, 4];
    intrinsics[camera] [3, 3]; distortion[camera] [5] in OpenCV's order; boxes[subject, action, camera] [frames, 4].
    """

    poses: dict = field(default_factory=dict)
    extrinsics: dict = field(default_factory=dict)
    intrinsics: dict = field(default_factory=dict)
    distortion: dict = field(default_factory=dict)
    boxes: dict = field(default_factory=dict)


def generate(
    root: Path,
    seed: int = 0,
    subjects=ALL_SUBJECTS,
    actions=("Directions",),
    n_frames: int = 70,
    side: int = 128,
    videos: bool = True,
    restless: bool = True,
) -> Truth:
    """Write root/h36m as the official archives unpack; nothing of what `prepare` makes.

    Args:
        root: data root.
        seed: of everything.
        subjects: of the seven that have poses.
        actions: names of recordings, like "Directions", "Greeting", "SittingDown 1".
        n_frames: of every recording.
        side: of the square pictures, px.
        videos: write the videos and the box masks, too; without them, boxes are those of the joints.
        restless: people move in every frame; else they stand still half of the time.
    """
    rng = np.random.default_rng(seed)
    truth, folder = Truth(), root / "h36m"
    outside = np.zeros([4, 11, 6])
    inside = np.zeros([4, 9])
    for number, name in enumerate(CAMERAS):
        focal, centre = side * rng.uniform(1.1, 1.2, 2), side / 2 + rng.uniform(-4, 4, 2)
        radial, tangential = rng.uniform([-0.22, 0.15, -0.02], [-0.18, 0.25, 0.0]), rng.uniform(-0.002, 0.002, 2)
        inside[number] = [*focal, *centre, *radial, *tangential]
        truth.intrinsics[name] = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
        truth.distortion[name] = np.array([*radial[:2], *tangential, radial[2]])
        for subject in range(1, 12):
            angle = number * np.pi / 2 + 0.7 + rng.uniform(-0.1, 0.1)
            eye = np.array([4900 * np.cos(angle), 4900 * np.sin(angle), rng.uniform(1400, 1700)])
            matrix = people.camera_towards(eye, [0, 0, 900], [0, 0, 1])
            truth.extrinsics[subject, name] = matrix
            outside[number, subject - 1] = [*Rotation.from_matrix(matrix[:3, :3]).as_euler("XYZ"), *eye]
    numbers = " ".join(repr(float(x)) for x in [*outside.ravel(), *inside.ravel()])
    metadata = folder / "Release-v1.2/metadata.xml"
    metadata.parent.mkdir(parents=True, exist_ok=True)
    metadata.write_text(f'<?xml version="1.0"?>\n<document>\n<mapping/>\n<w0>[{numbers}]</w0>\n</document>\n')
    for subject in subjects:
        for action in actions:
            _write_recording(folder, rng, truth, subject, action, n_frames, side, videos, restless)
    return truth


def _write_recording(folder, rng, truth, subject, action, n_frames, side, videos, restless):
    poses = people.walk(rng, NAMES, n_frames, start=rng.uniform(-600, 600, 2), speed=12, restless=restless)
    truth.poses[subject, action] = poses
    recorded = rng.uniform(-1000, 1000, [n_frames, 32, 3])
    recorded[:, PLACES] = poses
    path = folder / f"S{subject}/MyPoseFeatures/D3_Positions/{action}.cdf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    file = cdflib.cdfwrite.CDF(path)
    variable = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Var_Type": "zVariable",
                "Dim_Sizes": [n_frames, 96], "Compress": 5}  # fmt: skip
    file.write_var(variable, var_data=recorded.reshape(1, n_frames, 96).astype(np.float32))
    file.close()
    for camera in CAMERAS:
        background = people.background(rng, side, side)
        pixels = people.project(
            poses, truth.extrinsics[subject, camera], truth.intrinsics[camera], truth.distortion[camera]
        )
        if not videos:
            low, high = pixels.min(1), pixels.max(1)
            truth.boxes[subject, action, camera] = np.concatenate([low, high - low], axis=-1)
            continue
        pictures, boxes = [], []
        for frame in pixels:
            picture = background.copy()
            boxes.append(people.box_of(people.draw(picture, frame, EDGES)))
            pictures.append(picture)
        truth.boxes[subject, action, camera] = np.array(boxes)
        _write_box_masks(folder / f"S{subject}/MySegmentsMat/ground_truth_bb/{action}.{camera}.mat", boxes, side)
        write_video(folder / f"S{subject}/Videos/{action}.{camera}.mp4", pictures)


def _write_box_masks(path: Path, boxes, side: int) -> None:
    """A MATLAB 7.3 file: a cell array of logical pictures, ones in the box; HDF5 has MATLAB's axes reversed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_group("#refs#")
        refs = file.create_dataset("Masks", (len(boxes), 1), dtype=h5py.ref_dtype)
        refs.attrs["MATLAB_class"] = np.bytes_("cell")
        for number, (left, top, width, height) in enumerate(np.int64(boxes)):
            mask = np.zeros([side, side], np.uint8)
            mask[top : top + height, left : left + width] = 1
            cell = cells.create_dataset(f"c{number}", data=mask.T, compression="gzip")
            cell.attrs["MATLAB_class"], cell.attrs["MATLAB_int_decode"] = np.bytes_("logical"), np.int32(1)
            refs[number, 0] = cell.ref
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2018 HDF5 schema 1.00 ."
    with path.open("r+b") as file:
        file.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def write_prepared(root: Path, truth: Truth) -> None:
    """Write what `prepare h36m` makes of the files: boxes and (black) pictures of the frames that are used."""
    picture = cv2.imencode(".jpg", np.zeros([16, 16, 3], np.uint8))[1].tobytes()
    for (subject, action), poses in truth.poses.items():
        for camera in CAMERAS:
            boxes = root / f"h36m/S{subject}/BBoxes/{action}.{camera}.npy"
            boxes.parent.mkdir(parents=True, exist_ok=True)
            np.save(boxes, truth.boxes[subject, action, camera].astype(np.float32))
            images = root / f"h36m/S{subject}/Images/{action}.{camera}"
            images.mkdir(parents=True, exist_ok=True)
            for frame in range(len(poses)):
                if frame % 5 == 0 or frame % 64 == 0:
                    (images / f"frame_{frame:06d}.jpg").write_bytes(picture)
