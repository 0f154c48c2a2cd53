"""Where cameras stand, and what lenses they have."""

from dataclasses import dataclass

import cv2
import numpy as np

from metrabs_core.cameras import Camera, look_at_rotation, roll_rotation
from metrabs_core.skeletons import NATIVE
from training.synthesis.person import Person
from training.synthesis.rotations import about_z

_SHOULDERS = NATIVE.index("lsho"), NATIVE.index("rsho")


_SIZES = ((384, 288), (288, 384), (320, 320), (400, 232), (352, 240), (240, 336), (300, 400))


@dataclass(frozen=True, eq=False, kw_only=True)
class View(Camera):
    """A camera with the size of its picture. The world is z up, in metres, and so are the extrinsics.

    Attributes:
        width, height: pixels.
    """

    width: int
    height: int

    @classmethod
    def looking_at(cls, lens: Camera, size: tuple[int, int], position: np.ndarray, target: np.ndarray, roll: float):
        """A camera at a position [3] that looks at a target [3], rolled by degrees; size is width and height."""
        upright = look_at_rotation(target - position, up=(0.0, 0.0, 1.0))
        rotation = roll_rotation(np.radians(roll)) @ upright
        extrinsics = np.eye(4)
        extrinsics[:3, :3], extrinsics[:3, 3] = rotation, -rotation @ position
        return cls(
            lens.intrinsic_matrix,
            lens.distortion_coeffs,
            extrinsic_matrix=extrinsics,
            world_up=(0.0, 0.0, 1.0),
            width=size[0],
            height=size[1],
        )


def _sample_distortion(rng: np.random.Generator, intrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """Lens distortion that stays monotonic well beyond the corners, float64 [5]."""
    k1 = rng.uniform(-0.38, 0.12)
    d = np.array([k1, -k1 * rng.uniform(0.1, 0.45), rng.normal(0, 0.001), rng.normal(0, 0.001), rng.normal(0, 0.01)])
    radius = np.hypot(width / 2, height / 2) / intrinsics[0, 0] * 1.6
    r = np.linspace(0, radius, 60)
    for _ in range(12):
        slope = 1 + 3 * d[0] * r**2 + 5 * d[1] * r**4 + 7 * d[4] * r**6
        if slope.min() > 0.35 and slope.max() < 2.0:
            return d
        d = d * 0.7
    return np.zeros(5)


def _sample_lens(rng: np.random.Generator, width: int, height: int, kind: str) -> Camera:
    """Focal lengths, principal point and lens distortion of a camera."""
    if kind == "everyday":
        fov = np.radians(rng.uniform(45, 95))
    else:
        fov = np.radians(rng.uniform(35, 100) if rng.random() < 0.6 and kind != "street" else rng.uniform(38, 72))
    focal = max(width, height) / 2 / np.tan(fov / 2)
    aspect = rng.normal(1, 0.01) if rng.random() < 0.2 else 1.0
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    if rng.random() < 0.4:
        centre += rng.normal(0, 0.015, 2) * width
    intrinsics = np.array([[focal, 0, centre[0]], [0, focal * aspect, centre[1]], [0, 0, 1.0]])
    distortion = _sample_distortion(rng, intrinsics, width, height) if rng.random() < 0.35 else ()
    return Camera(intrinsics, distortion)


def _sample_azimuth(rng: np.random.Generator, person: Person) -> float:
    """Where a camera stands around a person, radians from -y toward x."""
    azimuth = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.3:  # people who are photographed turn to the camera more often than chance would have it
        left = person.joints[_SHOULDERS[0]] - person.joints[_SHOULDERS[1]]
        azimuth = np.arctan2(left[1], left[0]) + rng.normal(0, 0.7)
    return azimuth


def _everyday_view(rng: np.random.Generator, person: Person) -> View:
    """A camera on a robot, a table, a tripod or in a hand: 0.3 to 2 m high, 1 to 6 m away, hardly tilted.

    Half of the time it tries to see the whole person, else it is near, and the picture's edge cuts off legs or head if
    that needs no more than 25 degrees of tilt.
    """
    style = rng.random()
    furthest = 6.0 if style < 0.5 else 3.5
    distance, camera_height = np.exp(rng.uniform(np.log(1.0), np.log(furthest))), rng.uniform(0.3, 2.0)
    size = np.array(_SIZES[rng.integers(len(_SIZES))])
    lens = _sample_lens(rng, *size, "everyday")
    low, high = person.vertices.min(0), person.vertices.max(0)
    # Far people get a picture of more pixels, as cameras have more of them than these pictures.
    zoom = np.clip(150 * distance / (lens.intrinsic_matrix[0, 0] * max(high[2], 0.8)), 1.0, 1.7)
    width, height = (zoom * size / 4).round().astype(int) * 4
    lens = lens.scaled((width / size[0], height / size[1]))
    focal, middle_row = lens.intrinsic_matrix[1, 1:]

    def angle(z):  # above the horizon, radians
        return np.arctan2(z - camera_height, distance)

    below, above = np.arctan((height - 1 - middle_row) / focal), np.arctan(middle_row / focal)
    if style < 0.5:
        room = max(0.0, below + above - (angle(high[2]) - angle(low[2]))) / 2
        tilt = (angle(high[2]) + angle(low[2]) + below - above) / 2 + rng.uniform(-0.9, 0.9) * room
    elif style < 0.8:  # legs cut off
        tilt = angle(low[2] + rng.uniform(0.1, 0.7) * (high[2] - low[2])) + below
    else:  # head cut off
        tilt = angle(low[2] + rng.uniform(0.6, 0.97) * (high[2] - low[2])) - above
    tilt = np.clip(tilt, *np.radians([-25, 25]))

    azimuth = _sample_azimuth(rng, person)
    away = distance * np.array([np.sin(azimuth), -np.cos(azimuth)])
    position = np.array([*((low + high)[:2] / 2 + away), camera_height])
    beside = np.arctan(rng.uniform(-0.75, 0.75) * width / 2 / lens.intrinsic_matrix[0, 0])
    target = position + np.array([*(about_z(np.degrees(beside))[:2, :2] @ -away), distance * np.tan(tilt)])
    return View.looking_at(lens, (int(width), int(height)), position, target, rng.normal(0, 3))


def sample_view(rng: np.random.Generator, person: Person, kind: str) -> View:
    """A camera that sees the first person at a wanted size, somewhere in the picture.

    Args:
        rng: random generator of the scene.
        person: who stands at the world's origin.
        kind: of the scene, see `scene.make_scene`.
    """
    if kind == "everyday":
        return _everyday_view(rng, person)
    size = width, height = _SIZES[rng.integers(len(_SIZES))]
    lens = _sample_lens(rng, width, height, kind)
    focal = lens.intrinsic_matrix[0, 0]

    low, high = person.vertices.min(0), person.vertices.max(0)
    extent = max(high[2] - low[2], 0.6 * np.linalg.norm((high - low)[:2]), 0.5)
    wanted = np.exp(rng.uniform(np.log(140), np.log(310)))  # pixels
    middle = (low + high) / 2
    if kind == "street":
        wanted = np.exp(rng.uniform(np.log(75), np.log(160)))
    elif kind == "close":  # cut off by the picture's edge: most often below the chest, the waist or the knees
        cut = low[2] + (high[2] - low[2]) * rng.uniform(0.15, 0.75)
        top = high[2] if rng.random() < 0.85 else low[2] + (high[2] - low[2]) * rng.uniform(0.7, 0.95)
        extent, middle[2] = max(top - cut, 0.35), (top + cut) / 2
        wanted = height * rng.uniform(0.75, 1.1)
    distance = np.clip(focal * extent / wanted, 0.7, 30.0 if kind == "street" else 12.0)
    style = rng.random()
    if style < 0.62:
        camera_height = rng.uniform(0.9, 1.9)
    elif style < 0.8:
        camera_height = rng.uniform(0.3, 0.9)
    else:
        camera_height = rng.uniform(1.9, 3.0) + max(0.0, distance - 4) * rng.uniform(0, 0.35)
    if kind == "street" and rng.random() < 0.8:
        camera_height = min(rng.uniform(2.2, 7.0), 0.55 * distance)
    azimuth = _sample_azimuth(rng, person)
    horizontal = np.sqrt(max(distance**2 - (camera_height - middle[2]) ** 2, (0.6 * distance) ** 2))
    position = np.array([*(middle[:2] + horizontal * np.array([np.sin(azimuth), -np.cos(azimuth)])), camera_height])
    roll = rng.normal(0, 3) if rng.random() < 0.85 else rng.uniform(-25, 25)
    view = View.looking_at(lens, size, position, middle, roll)
    # Turn away such that the person isn't always in the middle.
    reach = np.array([width, height]) / 2 * rng.uniform(-0.75, 0.75, 2)
    reach *= [0.6, 0.15] if kind == "close" else np.clip(1.2 - wanted / 580, 0.2, 1)
    yaw, pitch = np.arctan(reach[0] / focal), np.arctan(reach[1] / focal)
    turn = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([pitch * 0.6, 0.0, 0.0]))[0]
    return view.turned(turn)
