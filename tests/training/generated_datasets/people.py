"""Stick people that walk about, and pictures of them."""

import itertools

import cv2
import numpy as np

# Standing, facing +y, z up, origin at the pelvis, mm; the right side. Midline joints have x = 0.
_MIDLINE = {
    "pelv": (0, 0, 0), "spin": (0, 0, 250), "tors": (0, 0, 250), "spi1": (0, 0, 120), "spi2": (0, 0, 260),
    "spi3": (0, 0, 330), "spi4": (0, 0, 440), "neck": (0, 10, 530), "head": (0, 40, 640), "htop": (0, 30, 760),
    "nose": (0, 130, 640),
}  # fmt: skip
_SIDE = {
    "hip": (110, 0, -20), "kne": (120, 10, -450), "ank": (120, -10, -880), "foo": (125, 60, -920),
    "toe": (130, 140, -940), "hee": (120, -60, -930), "cla": (60, 5, 490), "sho": (180, 0, 500),
    "elb": (220, -20, 220), "wri": (230, 30, -40), "han": (230, 40, -120), "eye": (35, 110, 670), "ear": (75, 40, 660),
}  # fmt: skip
_LEG, _ARM = ("kne", "ank", "foo", "toe", "hee"), ("elb", "wri", "han")
_CHAINS = (
    "pelv-rhip-rkne-rank-rfoo", "pelv-lhip-lkne-lank-lfoo", "pelv-tors-neck-head-htop", "pelv-spin-neck",
    "pelv-spi1-spi2-spi3-neck", "neck-lsho-lelb-lwri-lhan", "neck-rsho-relb-rwri-rhan",
)  # fmt: skip


def bones(names) -> list[tuple[int, int]]:
    """Pairs of indices between which a stick person of these joints has sticks."""
    pairs = [pair for chain in _CHAINS for pair in itertools.pairwise(chain.split("-"))]
    return [(names.index(a), names.index(b)) for a, b in pairs if a in names and b in names]


def walk(
    rng: np.random.Generator,
    joint_names,
    n_frames: int,
    height: float | None = None,
    start=(0.0, 0.0),
    speed: float = 25.0,
    restless: bool = True,
) -> np.ndarray:
    """Positions of joints of somebody who walks and waves, float64 [n_frames, J, 3], mm, z up, feet at z = 0.

    `speed` is mm per frame; with `restless` false, the person stops for half of the frames.
    """
    size = rng.uniform(0.9, 1.1) if height is None else height / 1700
    pace = np.full(n_frames, 1.0)
    if not restless:
        pace[n_frames // 4 : 3 * n_frames // 4] = 0
    phase = np.cumsum(pace) * 0.12 + rng.uniform(0, 6)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(pace) * 0.02
    step = np.stack([-np.sin(heading), np.cos(heading)], 1) * speed * pace[:, None]
    place = np.asarray(start) + np.cumsum(step, 0) - step[0]
    poses = []
    for name in joint_names:
        if name in _MIDLINE:
            point = np.tile(np.float64(_MIDLINE[name]), [n_frames, 1])
        else:
            side = 1 if name[0] == "r" else -1
            part = name[1:]
            point = np.tile(np.float64(_SIDE[part]) * (side, 1, 1), [n_frames, 1])
            swing = np.sin(phase) * side
            if part in _LEG:
                point[:, 1] += 180 * swing * (0.5 if part == "kne" else 1)
                point[:, 2] += 60 * np.maximum(swing, 0) * (0.5 if part == "kne" else 1)
            if part in _ARM:
                point[:, 1] -= 150 * swing * (0.5 if part == "elb" else 1.5)
                point[:, 2] += 120 * (1 + swing) * (0.3 if part == "elb" else 1)
        poses.append(point * size)
    poses = np.stack(poses, 1) + [0, 0, 960 * size]
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    x, y, z = poses[..., 0], poses[..., 1], poses[..., 2]
    turned = np.stack([cos * x - sin * y, sin * x + cos * y, z], -1)
    turned[..., :2] += place[:, None]
    return turned


def y_up(points: np.ndarray) -> np.ndarray:
    """The same places in a world whose y axis points up."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)


def camera_towards(eye, target, up) -> np.ndarray:
    """Extrinsics float64 [4, 4] of a camera at `eye` that looks at `target`, world to camera, mm."""
    eye, target, up = (np.float64(v) for v in (eye, target, up))
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ eye
    return matrix


def project(points, extrinsics, intrinsics, distortion=None) -> np.ndarray:
    """Pixels [..., 2] of world points [..., 3] by OpenCV."""
    rotation, _ = cv2.Rodrigues(np.float64(extrinsics[:3, :3]))
    coeffs = np.zeros(5) if distortion is None else np.float64(distortion)
    flat = np.float64(points).reshape(-1, 1, 3)
    pixels, _ = cv2.projectPoints(flat, rotation, np.float64(extrinsics[:3, 3]), np.float64(intrinsics), coeffs)
    return pixels.reshape([*np.shape(points)[:-1], 2])


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A soft pattern, uint8 [height, width, 3]."""
    coarse = rng.integers(40, 200, [4, 4, 3]).astype(np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def draw(image: np.ndarray, joints2d: np.ndarray, edges, color=(250, 230, 30)) -> np.ndarray:
    """Draw a stick person, thickness by size; returns the mask of what was drawn, bool [h, w]."""
    points = np.round(np.clip(joints2d, -5000, 5000)).astype(int)
    thickness = max(2, int(np.ptp(joints2d[:, 1]) / 12))
    mask = np.zeros(image.shape[:2], np.uint8)
    for i, j in edges:
        cv2.line(mask, tuple(points[i].tolist()), tuple(points[j].tolist()), 255, thickness)
    image[mask > 0] = color
    return mask > 0


def box_of(mask: np.ndarray) -> list[float]:
    """Left, top, width, height of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return [0.0, 0.0, 0.0, 0.0]
    return [float(columns[0]), float(rows[0]), float(np.ptp(columns) + 1), float(np.ptp(rows) + 1)]
