"""A small MPI-INF-3DHP: MATLAB 5 poses, calibration text, AVI videos with masks; HDF5 test sequences with pictures."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import h5py
import numpy as np
import scipy.io

from generated_datasets import detections as found
from generated_datasets import people
from generated_datasets.videos import write_video

CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
N_CAMERAS = 14
NAMES_28 = ["spi3", "spi4", "spi2", "spin", "pelv", "neck", "head", "htop", "lcla", "lsho", "lelb", "lwri", "lhan",
            "rcla", "rsho", "relb", "rwri", "rhan", "lhip", "lkne", "lank", "lfoo", "ltoe",
            "rhip", "rkne", "rank", "rfoo", "rtoe"]  # fmt: skip
NAMES_17 = [
    "htop",
    "neck",
    "rsho",
    "relb",
    "rwri",
    "lsho",
    "lelb",
    "lwri",
    "rhip",
    "rkne",
    "rank",
    "lhip",
    "lkne",
    "lank",
    "pelv",
    "spin",
    "head",
]  # fmt: skip (the order in test files)
UNIVERSAL_HEIGHT = 1500
# intrinsics of the test cameras as OpenCV takes them: of TS1 to TS4, and of TS5 and TS6
TEST_INTRINSICS = (
    np.array([[1500.1723, 0, 1017.3873], [0, 1500.8324, 1043.4910], [0, 0, 1]]),
    np.array([[1683.9835, 0, 939.8575], [0, 1672.5937, 556.3522], [0, 0, 1]]),
)
TEST_DISTORTION = (np.zeros(5), np.array([-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332]))


@dataclass
class Truth:
    """What the files were written from.

    poses[subject, sequence, camera] and universal[...]: float64 [frames, 28, 3] mm, camera frame;
    intrinsics and extrinsics[subject, sequence, camera]; masks[subject, sequence, camera]: bool [frames, h, w] of the
    person; pictures[...]: uint8 [frames, h, w, 3] before video compression;
    test_poses[number], test_universal[number]: float64 [frames, 17, 3] mm, camera frame, NAMES_17;
    valid[number]: bool [frames]; activities[number]: int [frames], from one.
    """

    poses: dict = field(default_factory=dict)
    universal: dict = field(default_factory=dict)
    intrinsics: dict = field(default_factory=dict)
    extrinsics: dict = field(default_factory=dict)
    masks: dict = field(default_factory=dict)
    test_poses: dict = field(default_factory=dict)
    test_universal: dict = field(default_factory=dict)
    pictures: dict = field(default_factory=dict)
    valid: dict = field(default_factory=dict)
    activities: dict = field(default_factory=dict)


def generate(
    root: Path,
    seed: int = 0,
    subjects=(1, 2, 3, 4, 5, 6, 7, 8),
    sequences=(1, 2),
    n_frames: int = 21,
    side: int = 128,
    test_sequences=(1, 2, 3, 4, 5, 6),
    n_test_frames: int = 4,
    videos: bool = True,
    detections: bool = True,
    spread: float = 300,
) -> Truth:
    """Write root/3dhp as the official scripts unpack it; nothing of what `prepare` makes, except, if wanted, its
    `detections.npz`, so that no detector is needed.

    Training pictures are side x side, with a calibration to match; test pictures have the official sizes, because
    their cameras aren't in the files. Every third test frame is invalid.
    """
    rng = np.random.default_rng(seed)
    truth, folder = Truth(), root / "3dhp"
    for subject in subjects:
        for number in sequences:
            _write_sequence(folder, rng, truth, subject, number, n_frames, side, videos, spread)
    for number in test_sequences:
        _write_test_sequence(folder, rng, truth, number, n_test_frames)
    if detections:
        _write_detections(folder, truth, n_frames)
    return truth


def _write_detections(folder, truth, n_frames):
    boxes = {}
    for (subject, number, camera), poses in truth.poses.items():
        if camera in CAMERAS:
            pixels = people.project(poses, np.eye(4), truth.intrinsics[subject, number, camera])
            for frame in range(0, n_frames, 5):
                name = f"S{subject}/Seq{number}/imageSequence/img_{camera}_{frame:06d}.jpg"
                boxes[name] = [found.around(pixels[frame])]
    for number, poses in truth.test_poses.items():
        kind = int(number > 4)
        pixels = people.project(poses, np.eye(4), TEST_INTRINSICS[kind], TEST_DISTORTION[kind])
        for frame, points in enumerate(pixels, start=1):
            boxes[f"TS{number}/imageSequence/img_{frame:06d}.jpg"] = [found.around(points)]
    found.write(folder, boxes)


def _write_sequence(folder, rng, truth, subject, number, n_frames, side, videos, spread):
    path = folder / f"S{subject}/Seq{number}"
    path.mkdir(parents=True, exist_ok=True)
    state = rng.bit_generator.state
    poses = people.y_up(people.walk(rng, NAMES_28, n_frames, start=rng.uniform(-spread, spread, 2), speed=12))
    after = rng.bit_generator.state
    rng.bit_generator.state = state  # the same movements, with the universal height
    universal = people.y_up(
        people.walk(rng, NAMES_28, n_frames, UNIVERSAL_HEIGHT, start=rng.uniform(-spread, spread, 2), speed=12)
    )
    rng.bit_generator.state = after
    annot2, annot3, univ_annot3 = (np.empty((N_CAMERAS, 1), object) for _ in range(3))
    text = "Skeletool Camera Calibration File V1.0\n"
    for camera in range(N_CAMERAS):
        angle = camera * 2 * np.pi / N_CAMERAS
        eye = [5200 * np.cos(angle), rng.uniform(1000, 1800), 5200 * np.sin(angle)]
        extrinsics = people.camera_towards(eye, [0, 900, 0], [0, 1, 0])
        focal, centre = side * rng.uniform(0.95, 1.05), side / 2 + rng.uniform(-2, 2, 2)
        intrinsics = np.array([[focal, 0, centre[0]], [0, focal * 1.002, centre[1]], [0, 0, 1]])
        key = subject, number, camera
        truth.intrinsics[key], truth.extrinsics[key] = intrinsics, extrinsics
        for target, world in ((truth.poses, poses), (truth.universal, universal)):
            target[key] = world @ extrinsics[:3, :3].T + extrinsics[:3, 3]
        annot3[camera, 0] = truth.poses[key].reshape(n_frames, -1)
        univ_annot3[camera, 0] = truth.universal[key].reshape(n_frames, -1)
        annot2[camera, 0] = people.project(poses, extrinsics, intrinsics).reshape(n_frames, -1)
        inside = np.eye(4)
        inside[:3, :3] = intrinsics
        text += (
            f"name          {camera}\n  sensor      10 10\n  size        {side} {side}\n  animated    0\n"
            f"  intrinsic   {_numbers(inside)} \n  extrinsic   {_numbers(extrinsics)} \n  radial      0\n"
        )
        if camera in CAMERAS:
            _write_videos(path, rng, truth, key, annot2[camera, 0].reshape(n_frames, -1, 2), side, videos)
    (path / "camera.calibration").write_text(text)
    content = {"annot2": annot2, "annot3": annot3, "univ_annot3": univ_annot3,
               "cameras": np.arange(N_CAMERAS)[:, None], "frames": np.arange(n_frames)[:, None]}  # fmt: skip
    scipy.io.savemat(path / "annot.mat", content, do_compression=True)


def _numbers(matrix) -> str:
    return " ".join(f"{x:.9g}" for x in np.ravel(matrix))


def _write_videos(path, rng, truth, key, pixels, side, videos):
    background = people.background(rng, side, side)
    pictures, masks, reds, chairs = [], [], [], []
    edges = people.bones(NAMES_28)
    for joints in pixels:
        picture = background.copy()
        mask = people.draw(picture, joints, edges)
        red = np.zeros_like(picture)
        red[mask, 0] = 255
        red[2:10, 2:10, 0] = 255  # something else in the foreground
        chair = np.full_like(picture, 255)
        chair[-20:-4, 4:14] = 0
        pictures.append(picture)
        masks.append(mask)
        reds.append(red)
        chairs.append(chair)
    truth.masks[key], truth.pictures[key] = np.array(masks), np.array(pictures)
    if videos:
        for kind, frames in (("imageSequence", pictures), ("FGmasks", reds), ("ChairMasks", chairs)):
            write_video(path / kind / f"video_{key[2]}.avi", frames, rate=25)


def _write_test_sequence(folder, rng, truth, number, n_frames):
    path = folder / f"TS{number}"
    (path / "imageSequence").mkdir(parents=True, exist_ok=True)
    outdoors = int(number > 4)
    size = [(2048, 2048), (1920, 1080)][outdoors]
    places = np.array([0.0, 900.0, 4500.0])  # before the camera, which looks along z with y down
    poses, universal = [], []
    for height, target in ((rng.uniform(1600, 1800), poses), (UNIVERSAL_HEIGHT, universal)):
        walker = people.walk(np.random.default_rng([number, 5]), NAMES_17, n_frames, height)
        target.append(np.stack([walker[..., 0], -walker[..., 2], walker[..., 1]], -1) + places)
    truth.test_poses[number], truth.test_universal[number] = poses[0], universal[0]
    truth.valid[number] = np.arange(n_frames) % 3 != 2
    truth.activities[number] = rng.integers(1, 8, n_frames)
    pixels = people.project(poses[0], np.eye(4), TEST_INTRINSICS[outdoors], TEST_DISTORTION[outdoors])
    with h5py.File(path / "annot_data.mat", "w", userblock_size=512) as file:
        file["annot3"], file["univ_annot3"] = poses[0][:, None], universal[0][:, None]
        file["annot2"] = pixels[:, None]
        file["valid_frame"] = truth.valid[number][:, None].astype(np.float64)
        file["activity_annotation"] = truth.activities[number][:, None].astype(np.float64)
    background = people.background(rng, *size)
    for frame, joints in enumerate(pixels):
        picture = background.copy()
        people.draw(picture, joints, people.bones(NAMES_17))
        name = path / f"imageSequence/img_{frame + 1:06d}.jpg"
        cv2.imwrite(str(name), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
