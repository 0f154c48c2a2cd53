"""One scene: who stands where, the camera, the lights, the things around, and the finished picture with its labels.

World: z up, metres, the ground at z = 0. Camera: x right, y down, z forward.
"""

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import rlemasklib

from metrabs_core.skeletons import NATIVE
from training.synthesis import accessories, furniture, shapes
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.furniture import Rooms
from training.synthesis.renderer import OBJECT_ID, SUPERSAMPLING, Lights, Renderer, Solid, metric_depth
from training.synthesis.rotations import about_z, cross

# How much flesh and cloth may lie before a joint that counts as visible, in lengths of the trunk.
_FLESH = np.array([
    0.1 if name in ("nose", "leye", "reye", "lear", "rear") else 0.16 if name[1:] in ("wri", "han", "toe", "hee", "elb",
    "ank") else 0.22 if name[1:] in ("kne", "sho") else 0.32 for name in NATIVE.joint_names
])  # fmt: skip
_SHOULDERS = NATIVE.index("lsho"), NATIVE.index("rsho")
_SIZES = ((384, 288), (288, 384), (320, 320), (400, 232), (352, 240), (240, 336), (300, 400))


@dataclass
class Person:
    """A posed person, to be placed.

    Attributes:
        vertices: float32 [V, 3], metres; x to the person's left, y backwards, z up, lowest vertex at 0.
        normals: float32 [V, 3].
        joints: float32 [34, 3], native joints in the same frame.
        kind: family of the pose.
        seat: height of the seat that carries the person, metres, or None.
        look: what the body's shaders need, see `clothing.Outfit`.
        solids: hair, skirt, bag, things in the hands; owner `accessories.OWN` if they count as the person.
    """

    vertices: np.ndarray
    normals: np.ndarray
    joints: np.ndarray
    kind: str
    seat: float | None
    look: dict
    solids: list[Solid]

    def placed(self, yaw: float, position: np.ndarray) -> "Person":
        """The person turned by a yaw (degrees) and moved to a ground position [2]."""
        rotation = about_z(yaw).astype(np.float32)
        offset = np.array([position[0], position[1], 0.0], np.float32)
        return Person(
            self.vertices @ rotation.T + offset,
            self.normals @ rotation.T,
            self.joints @ rotation.T + offset,
            self.kind,
            self.seat,
            self.look,
            [
                replace(s, positions=s.positions @ rotation.T + offset, normals=s.normals @ rotation.T)
                for s in self.solids
            ],
        )


@dataclass
class Camera:
    """A pinhole camera with OpenCV's lens distortion.

    Attributes:
        intrinsics: float64 [3, 3], pixels.
        distortion: float64 [5] (k1, k2, p1, p2, k3) or [0].
        extrinsics: float64 [4, 4], world metres to camera metres.
        width, height: pixels.
    """

    intrinsics: np.ndarray
    distortion: np.ndarray
    extrinsics: np.ndarray
    width: int
    height: int
    position: np.ndarray = field(init=False)

    def __post_init__(self):
        self.position = -self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points [n, 3] to camera coordinates [n, 3], metres."""
        return points @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera-frame points [n, 3] in front of the camera to distorted pixels, float64 [n, 2]."""
        zero = np.zeros(3)
        distortion = self.distortion if len(self.distortion) else None
        return cv2.projectPoints(np.asarray(points, np.float64), zero, zero, self.intrinsics, distortion)[0][:, 0]


def _look_at(position: np.ndarray, target: np.ndarray, roll: float) -> np.ndarray:
    """World-to-camera matrix of a camera that looks at a point, rolled by degrees; float64 [4, 4]."""
    z = (target - position) / np.linalg.norm(target - position)
    x = cross(z, np.array([0.0, 0.0, 1.0]))
    x = x / (np.linalg.norm(x) + 1e-9)
    rotation = np.stack([x, cross(z, x), z])
    rotation = about_z(roll) @ rotation
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, -rotation @ position
    return matrix


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


def _sample_lens(rng: np.random.Generator, width: int, height: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics float64 [3, 3] and distortion float64 [5] or [0] of a camera."""
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
    distortion = _sample_distortion(rng, intrinsics, width, height) if rng.random() < 0.35 else np.zeros(0)
    return intrinsics, distortion


def _sample_azimuth(rng: np.random.Generator, person: Person) -> float:
    """Where a camera stands around a person, radians from -y toward x."""
    azimuth = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.3:  # people who are photographed turn to the camera more often than chance would have it
        left = person.joints[_SHOULDERS[0]] - person.joints[_SHOULDERS[1]]
        azimuth = np.arctan2(left[1], left[0]) + rng.normal(0, 0.7)
    return azimuth


def _everyday_camera(rng: np.random.Generator, person: Person) -> Camera:
    """A camera on a robot, a table, a tripod or in a hand: 0.3 to 2 m high, 1 to 6 m away, hardly tilted.

    Half of the time it tries to see the whole person, else it is near, and the picture's edge cuts off legs or head if
    that needs no more than 25 degrees of tilt.
    """
    style = rng.random()
    furthest = 6.0 if style < 0.5 else 3.5
    distance, camera_height = np.exp(rng.uniform(np.log(1.0), np.log(furthest))), rng.uniform(0.3, 2.0)
    size = _SIZES[rng.integers(len(_SIZES))]
    intrinsics, distortion = _sample_lens(rng, *size, "everyday")
    low, high = person.vertices.min(0), person.vertices.max(0)
    # Far people get a picture of more pixels, as cameras have more of them than these pictures.
    zoom = np.clip(150 * distance / (intrinsics[0, 0] * max(high[2], 0.8)), 1.0, 1.7)
    width, height = (int(round(zoom * side / 4)) * 4 for side in size)
    intrinsics[0] *= width / size[0]
    intrinsics[1] *= height / size[1]

    def angle(z):  # above the horizon, radians
        return np.arctan2(z - camera_height, distance)

    below = np.arctan((height - 1 - intrinsics[1, 2]) / intrinsics[1, 1])
    above = np.arctan(intrinsics[1, 2] / intrinsics[1, 1])
    if style < 0.5:
        room = max(0.0, below + above - (angle(high[2]) - angle(low[2]))) / 2
        tilt = (angle(high[2]) + angle(low[2]) + below - above) / 2 + rng.uniform(-0.9, 0.9) * room
    elif style < 0.8:  # legs cut off
        tilt = angle(low[2] + rng.uniform(0.1, 0.7) * (high[2] - low[2])) + below
    else:  # head cut off
        tilt = angle(low[2] + rng.uniform(0.6, 0.97) * (high[2] - low[2])) - above
    tilt = np.clip(tilt, *np.radians([-25, 25]))

    middle, azimuth = (low + high) / 2, _sample_azimuth(rng, person)
    away = distance * np.array([np.sin(azimuth), -np.cos(azimuth)])
    position = np.array([*(middle[:2] + away), camera_height])
    beside = np.arctan(rng.uniform(-0.75, 0.75) * width / 2 / intrinsics[0, 0])
    target = position + np.array([*(about_z(np.degrees(beside))[:2, :2] @ -away), distance * np.tan(tilt)])
    return Camera(intrinsics, distortion, _look_at(position, target, rng.normal(0, 3)), width, height)


def _sample_camera(rng: np.random.Generator, person: Person, kind: str) -> Camera:
    """A camera that sees the first person at a wanted size, somewhere in the picture."""
    if kind == "everyday":
        return _everyday_camera(rng, person)
    width, height = _SIZES[rng.integers(len(_SIZES))]
    intrinsics, distortion = _sample_lens(rng, width, height, kind)
    focal = intrinsics[0, 0]

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
    camera = Camera(intrinsics, distortion, _look_at(position, middle, roll), width, height)
    # Turn away such that the person isn't always in the middle.
    reach = np.array([width, height]) / 2 * rng.uniform(-0.75, 0.75, 2)
    reach *= [0.6, 0.15] if kind == "close" else np.clip(1.2 - wanted / 580, 0.2, 1)
    yaw, pitch = np.arctan(reach[0] / focal), np.arctan(reach[1] / focal)
    turn = cv2.Rodrigues(np.array([0.0, yaw, 0.0]))[0] @ cv2.Rodrigues(np.array([pitch * 0.6, 0.0, 0.0]))[0]
    extrinsics = camera.extrinsics.copy()
    extrinsics[:3] = turn @ extrinsics[:3]
    return Camera(intrinsics, distortion, extrinsics, width, height)


def _sample_lights(rng: np.random.Generator, outdoors: bool) -> Lights:
    """Ambient light of sky and ground, a key light and up to two more."""
    share = rng.uniform(0.3, 0.6) if outdoors else rng.uniform(0.4, 0.8)  # of ambient light
    directions, colours = np.zeros([3, 3]), np.zeros([3, 3])
    for i in range(3):
        elevation = np.radians(rng.uniform(22, 80) if i == 0 else rng.uniform(5, 70))
        azimuth = rng.uniform(0, 2 * np.pi)
        directions[i] = [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)]
        strength = (1 - share) * (1.4 if i == 0 else rng.uniform(0, 0.5) * (rng.random() < (0.2 if outdoors else 0.7)))
        colours[i] = strength * np.clip(rng.normal(1, 0.1, 3), 0.6, 1.4)
    sky = share * np.clip(rng.normal(1, 0.06, 3), 0.7, 1.3)
    ground = sky * rng.uniform(0.45, 0.95) * np.clip(rng.normal(1, 0.08, 3), 0.7, 1.3)
    hard = rng.random() < (0.75 if outdoors else 0.5)
    shadow = rng.uniform(0.75, 1.0) if hard else rng.uniform(0.2, 0.7)
    return Lights(directions, colours, sky, ground, shadow)


def _solid(rng: np.random.Generator, shape: tuple, colour=None) -> Solid:
    colour = furniture.random_colour(rng) if colour is None else colour
    grain = float(rng.choice([0.0, 1.0, 3.0, 8.0]))
    return Solid(*shape, np.tile(colour, (len(shape[0]), 1)), grain)


def _furniture(rng: np.random.Generator, person: Person, rooms: Rooms) -> list[Solid]:
    """A stool, chair, bench or block under a sitting person, and sometimes a table before them."""
    pelvis, knees = person.joints[0], (person.joints[4] + person.joints[5]) / 2
    forward = (knees - pelvis)[:2]
    forward = np.array([*(forward / (np.linalg.norm(forward) + 1e-6)), 0.0])
    yaw = np.degrees(np.arctan2(forward[0], -forward[1]))
    solids = []
    if rng.random() < 0.4:
        solids = rooms.seat(rng, person.seat, np.array([*pelvis[:2], 0.0]) + 0.05 * forward, yaw)
    if not solids:
        solids = _seat(rng, person, forward, about_z(yaw))
    if rng.random() < 0.35:
        solids += _table(rng, person, knees, forward, about_z(yaw))
    return solids


def _seat(rng: np.random.Generator, person: Person, forward: np.ndarray, rotation: np.ndarray) -> list[Solid]:
    top, colour, legs = person.seat, furniture.random_colour(rng), furniture.random_colour(rng)
    centre = np.array([*person.joints[0, :2], 0.0]) + 0.12 * forward
    half = rng.uniform(0.2, 0.3)
    wide = half if rng.random() < 0.75 else rng.uniform(0.5, 1.2)
    thick = top if rng.random() < 0.3 else rng.uniform(0.03, 0.12)
    solids = [_solid(rng, shapes.box([2 * wide, 2 * half, thick], centre + [0, 0, top - thick / 2], rotation), colour)]
    if thick < top:
        if rng.random() < 0.25:
            solids.append(_solid(rng, shapes.rod(centre, centre + [0, 0, top - thick], 0.03), legs))
        else:
            solids += _four_legs(rng, centre, rotation, wide, half, top - thick, legs)
    if rng.random() < 0.6:  # a back, behind where the person's back is
        spine = min(
            float((person.joints[[0, 3, 6, 9]] @ -forward).max()) + 0.13, float((person.vertices @ -forward).max())
        )
        low, high = (0.0 if rng.random() < 0.5 else 0.15), rng.uniform(0.25, 0.75)
        middle = centre - forward * (spine + 0.04 + float(centre @ forward)) + [0, 0, top + (low + high) / 2]
        solids.append(_solid(rng, shapes.box([2 * wide, 0.05, high - low], middle, rotation), colour))
    return solids


def _table(rng: np.random.Generator, person: Person, knees: np.ndarray, forward: np.ndarray,
           rotation: np.ndarray) -> list[Solid]:  # fmt: skip
    """A table with things on it before somebody who sits, if knees and belly leave room for one."""
    clearance = float(person.vertices[:, 2][person.vertices @ forward > knees @ forward - 0.25].max(initial=0))
    height = max(float(knees[2]) + 0.09, person.seat + 0.2)
    if clearance > height + 0.9:
        return []
    depth, width = rng.uniform(0.5, 1.0), rng.uniform(0.7, 2.0)
    belly = float((person.joints[[0, 3, 6]] @ forward).max()) + rng.uniform(0.2, 0.4)
    side = np.array([-forward[1], forward[0], 0.0])
    middle = forward * (belly + depth / 2) + side * float(person.joints[0] @ side)
    board = shapes.box([width, depth, 0.035], middle + [0, 0, height], rotation)
    solids = [_solid(rng, board)]
    legs = furniture.random_colour(rng)
    solids += _four_legs(rng, middle, rotation, width / 2, depth / 2, height, legs)
    for _ in range(rng.integers(0, 4)):
        spot = middle + rotation @ np.array([*(rng.uniform(-0.4, 0.4, 2) * [width, depth]), 0])
        tall = rng.uniform(0.03, 0.3)
        size = [*rng.uniform(0.05, 0.35, 2), tall]
        turn = about_z(rng.uniform(0, 90))
        solids.append(_solid(rng, shapes.box(size, spot + [0, 0, height + 0.018 + tall / 2], turn)))
    return solids


def _four_legs(rng, centre, rotation, half_x: float, half_y: float, height: float, colour) -> list[Solid]:
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            foot = centre + rotation @ np.array([x * (half_x - 0.03), y * (half_y - 0.03), 0])
            legs.append(_solid(rng, shapes.rod(foot, foot + [0, 0, height], 0.018, sides=6), colour))
    return legs


def _occluders(rng: np.random.Generator, camera: Camera, people: list[Person]) -> list:
    """Things that stand between the camera and some people, and things around them."""
    objects = []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1])):
        person = people[rng.integers(len(people))]
        target = person.joints[0, :2]
        toward = camera.position[:2] - target
        distance = np.linalg.norm(toward)
        if distance < 1.2:
            continue
        before = rng.random() < 0.6
        share = rng.uniform(0.3, 0.75) if before else rng.uniform(-0.6, -0.2)
        sideways = np.array([-toward[1], toward[0]]) / distance * rng.normal(0, 0.45)
        spot = np.array([*(target + toward * share + sideways), 0.0])
        clearance = min(np.min(np.linalg.norm(p.vertices[::40, :2] - spot[:2], axis=1)) for p in people)
        size = min(rng.uniform(0.1, 0.6), clearance - 0.05)
        if size < 0.04:
            continue
        top = rng.uniform(0.3, 1.1) if before and rng.random() < 0.75 else rng.uniform(0.5, 2.2)
        if size < 0.15:
            top = rng.uniform(1.0, 3.0)
        kind = rng.random()
        if kind < 0.55:
            sides = [1.4 * size, 1.4 * size * rng.uniform(0.5, 1), top]
            shape = shapes.box(sides, spot + [0, 0, top / 2], about_z(rng.uniform(0, 90)))
        elif kind < 0.85:
            shape = shapes.rod(spot, spot + [0, 0, top], size, size * rng.uniform(0.5, 1), sides=18)
        else:  # bush
            shape = shapes.ellipsoid([size, size, top / 2], spot + [0, 0, top / 2])
        objects.append(_solid(rng, shape))
    return objects


def _place_others(rng: np.random.Generator, camera: Camera, first: Person, others: list[Person]) -> list[Person]:
    """Stand the others where the camera sees them, without running into anybody; leaves out who finds no place."""
    placed = [first]
    to_world = camera.extrinsics[:3, :3].T
    first_distance = np.linalg.norm(first.joints[0] - camera.position)
    for person in others:
        radius = float(np.max(np.linalg.norm(person.vertices[::20, :2], axis=1)))
        for _ in range(12):
            u = rng.uniform(0, camera.width)
            ray = to_world @ np.linalg.solve(camera.intrinsics, np.array([u, camera.height / 2, 1.0]))
            ray = ray[:2] / np.linalg.norm(ray[:2])
            distance = first_distance * np.exp(rng.uniform(np.log(0.75), np.log(1.6)))
            spot = camera.position[:2] + ray * distance
            if distance < max(1.0, radius + 0.5):
                continue
            yaw = rng.uniform(0, 360)
            moved = person.placed(yaw, spot)
            gaps = [
                np.min(np.linalg.norm(moved.vertices[::97, None, :2] - p.vertices[None, ::97, :2], axis=-1))
                for p in placed
            ]
            if min(gaps) > 0.06:
                placed.append(moved)
                break
    return placed


_WHITE = np.full([4, 4, 3], 225, np.uint8)


def _tint(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.55, 1.15) * np.exp(rng.normal(0, rng.choice([0.02, 0.05, 0.1]), 3))


def _make_room(rng: np.random.Generator, camera: Camera, people: list[Person], backgrounds: Backgrounds, rooms: Rooms):
    """Floor, walls and ceiling around camera and people, and the furniture."""
    points = np.concatenate([p.vertices[::50, :2] for p in people] + [camera.position[None, :2]])
    yaw = rng.uniform(0, 90)
    axes = about_z(yaw)[:2, :2]
    local = points @ axes
    low = local.min(0) - rng.uniform(0.15, 3.5, 2)
    high = local.max(0) + rng.uniform(0.15, 3.5, 2)
    top = rng.uniform(2.3, 4.0) if rng.random() < 0.8 else 12.0
    top = max(top, camera.position[2] + 0.2)

    def corner(x, y, z):
        return np.array([*(axes @ np.array([x, y])), z])

    (x0, y0), (x1, y1) = low, high
    size = rng.uniform(0.6, 3.0)
    surfaces = [
        (np.stack([corner(x0, y0, 0), corner(x1, y0, 0), corner(x1, y1, 0), corner(x0, y1, 0)]), [0, 0, 1.0],
         [(x1 - x0) / size, (y1 - y0) / size], backgrounds.texture(rng), _tint(rng))
    ]  # fmt: skip
    wall, tint = backgrounds.texture(rng), _tint(rng)
    size = rng.uniform(0.8, 5.0)
    for (ax, ay), (bx, by) in (
        ((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))
    ):  # fmt: skip
        a, b = corner(ax, ay, 0), corner(bx, by, 0)
        normal = cross(np.array([0, 0, 1.0]), b - a)
        normal = normal / np.linalg.norm(normal)
        length = np.linalg.norm(b - a)
        if rng.random() < 0.25:
            wall = backgrounds.texture(rng)
        lift = np.array([0, 0, top])
        surfaces.append((np.stack([a, b, b + lift, a + lift]), normal, [length / size, top / size], wall, tint))
        for _ in range(rng.integers(0, 3)):  # pictures, doors, windows
            w, h = rng.uniform(0.3, 1.5), rng.uniform(0.3, 2.0)
            if length < w + 0.2:
                continue
            s, z = rng.uniform(0.1, length - w - 0.1), rng.choice([0.0, rng.uniform(0.3, 1.6)])
            along = (b - a) / length
            p = a + along * s + normal * 0.02 + np.array([0, 0, z])
            hang = np.array([0, 0, min(h, max(0.2, top - z - 0.1))])
            picture = backgrounds.texture(rng)
            quad = np.stack([p, p + along * w, p + along * w + hang, p + hang])
            surfaces.append((quad, normal, [1, 1], picture, _tint(rng)))
    ceiling = np.stack([corner(x0, y0, top), corner(x1, y0, top), corner(x1, y1, top), corner(x0, y1, top)])
    surfaces.append((ceiling, [0, 0, -1.0], [1, 1], _WHITE, _tint(rng)))
    return surfaces, rooms.furnish(rng, axes, low, high, local)


def _outdoor_surfaces(rng: np.random.Generator, camera: Camera, people: list[Person], backgrounds: Backgrounds):
    """Open ground, and walls of something (houses, trees, hedges, photographs) on some sides of it."""
    ground = backgrounds.texture(rng, "ground")
    size = rng.uniform(1.0, 4.0)
    corners = 55 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    tint = _tint(rng)
    surfaces = [(corners + [*camera.position[:2], 0], [0, 0, 1.0], [110 / size, 110 / size], ground, tint)]
    furthest = max(np.linalg.norm(p.joints[0, :2] - camera.position[:2]) for p in people)
    turn = rng.uniform(0, 360)
    for i in range(5):
        if rng.random() < 0.2:
            continue
        rotation = about_z(turn + 72 * i + rng.uniform(-12, 12))
        distance, width, height = furthest + rng.uniform(2.0, 25), rng.uniform(12, 60), rng.uniform(1.5, 14)
        offset = np.array([*camera.position[:2], 0.0])
        quad = np.array([[-width / 2, distance, 0], [width / 2, distance, 0], [width / 2, distance, height],
                         [-width / 2, distance, height]])  # fmt: skip
        photograph = backgrounds.paths and rng.random() < 0.55
        picture = backgrounds.texture(rng, "view" if photograph else "wall")
        repeats = (
            [max(1, round(width / height / 2)), 1] if photograph else np.array([width, height]) / rng.uniform(2, 8)
        )
        surfaces.append(
            (quad[[3, 2, 1, 0]] @ rotation.T + offset, rotation @ np.array([0, -1.0, 0]), repeats, picture, tint)
        )
    return surfaces


_GRAIN = np.random.default_rng(3).normal(0, 24, (512, 512)).round().clip(-127, 127).astype(np.int8)


def _add_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Sensor noise of a standard deviation of 1 to 10, the same in all channels or in each its own."""
    height, width = image.shape[:2]
    source = _GRAIN if max(height, width) <= 500 else np.tile(_GRAIN, (2, 2))
    planes = []
    for _ in range(3 if rng.random() < 0.4 else 1):
        top, left = rng.integers(0, len(source) - np.minimum([height, width], len(source) - 12))
        planes.append(source[top : top + height, left : left + width])
    grain = cv2.merge(planes * (3 // len(planes)))
    return cv2.addWeighted(image, 1.0, grain, rng.uniform(1, 10) / 24, 0, dtype=cv2.CV_8U)


def _degrade(rng: np.random.Generator, image: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, int]:
    """What cameras do to pictures: blur, motion, exposure, white balance, noise; and a JPEG quality."""
    # The camera meters the light, on people and all, not quite right, before its white balance errs as well.
    wanted = np.clip(rng.normal(110, 20), 55, 170)
    metered = float(image.mean())
    if people.any() and rng.random() < 0.8:
        metered = 0.65 * metered + 0.35 * float(image[people].mean())
    gain = np.clip(wanted / max(8.0, metered), 0.6, 2.5) * np.exp(rng.normal(0, 0.05, 3))
    gamma = np.exp(rng.normal(-0.1, 0.18))
    table = np.arange(256, dtype=np.float32)[:, None] / 255
    table = np.clip(table**gamma * gain, 0, 1)
    if rng.random() < 0.5:  # contrast
        table = np.clip((table - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.normal(0, 0.04), 0, 1)
    image = cv2.LUT(image.astype(np.uint8), (table * 255).astype(np.uint8)[None])
    kind = rng.random()
    if kind < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 1.1))
    elif kind < 0.45:
        length, angle = int(rng.integers(3, 7)), rng.uniform(0, 180)
        kernel = np.zeros([length, length], np.float32)
        kernel[length // 2] = 1
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    elif kind < 0.55:
        soft = cv2.GaussianBlur(image, (0, 0), 1.5)
        image = cv2.addWeighted(image, 1.7, soft, -0.7, 0)
    if rng.random() < 0.5:
        image = _add_noise(rng, image)
    if rng.random() < 0.03:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image, int(rng.integers(45, 97))


def _pinhole_canvas(camera: Camera) -> tuple[np.ndarray, int, int, np.ndarray | None]:
    """The pinhole picture to render for a camera with lens distortion, and how to warp it.

    Returns:
        Intrinsics, width and height of the pinhole picture, and float32 [height, width, 2], where each pixel of the
        distorted picture lies in it (None without distortion).
    """
    if not len(camera.distortion):
        return camera.intrinsics, camera.width, camera.height, None
    step = 8
    xs, ys = np.arange(-step, camera.width + 2 * step, step), np.arange(-step, camera.height + 2 * step, step)
    grid = np.stack(np.meshgrid(xs, ys), -1).astype(np.float64)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-9)
    rays = cv2.undistortPoints(grid.reshape(-1, 1, 2), camera.intrinsics, camera.distortion, criteria=criteria)
    focal = camera.intrinsics[[0, 1], [0, 1]]
    pixels = rays.reshape(*grid.shape) * focal
    low = np.floor(pixels[1:-1, 1:-1].reshape(-1, 2).min(0)) - 2
    high = np.ceil(pixels[1:-1, 1:-1].reshape(-1, 2).max(0)) + 2
    size = np.minimum(high - low + 2, 2.2 * max(camera.width, camera.height)).astype(int) // 4 * 4  # see SUPERSAMPLING
    centre = -low
    intrinsics = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1.0]])
    coarse = (pixels + centre).astype(np.float32)
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    lookup = [((v + step) / step).astype(np.float32) for v in (x, y)]
    fine = cv2.remap(coarse, lookup[0], lookup[1], cv2.INTER_CUBIC)
    return intrinsics, int(size[0]), int(size[1]), fine


def _ambient_occlusion(depth: np.ndarray, width: int, height: int, focal: float) -> np.ndarray:
    """Light that corners and folds keep, from how far a place lies behind its neighbourhood in the depth buffer.

    The idea is Luft, Colditz and Deussen's ("Image enhancement by unsharp masking the depth buffer", 2006).

    Args:
        depth: float32, depth buffer, 1 where nothing is.
        width, height: of the picture, pixels.
        focal: of the picture, pixels.

    Returns:
        uint8 [height, width], 255 for all light.
    """
    small = cv2.resize(depth, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
    covered = (small < 1).astype(np.float32)
    metres = metric_depth(small) * covered
    near = max(float(metres.sum() / max(covered.sum(), 1)), 0.5)
    sigma = (0, 0), float(np.clip(0.03 * focal / near, 0.7, 8))
    around = cv2.GaussianBlur(metres, *sigma) / (cv2.GaussianBlur(covered, *sigma) + 1e-6)
    behind = metres - around
    darkness = np.clip(behind * 5, 0, 1) * (behind < 0.45)
    light = (255 - 125 * darkness).astype(np.uint8)
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def _nearest_sample(pixels: np.ndarray) -> np.ndarray:
    """Indices of the samples that lie nearest pixels' centres."""
    return np.round((pixels + 0.5) * SUPERSAMPLING - 0.5).astype(int)


def make_scene(
    rng: np.random.Generator,
    kind: str,
    people: list[Person],
    renderer: Renderer,
    backgrounds: Backgrounds,
    rooms: Rooms,
    attempts: int = 3,
) -> tuple:
    """Lay out, render and label one scene.

    Args:
        rng: random generator of the scene.
        kind: "any", "close" (cut off by the picture's edge), "street" (small, from a raised camera) or "everyday" (as
            robots see people).
        people: posed, not yet placed; the first is what the picture is about.
        renderer: draws.
        backgrounds: photographs and textures.
        rooms: furniture.
        attempts: how often to try if nobody is seen.

    Returns:
        The picture, uint8 [height, width, 3] RGB, its JPEG quality, the camera dict and the list of people dicts as
        in the dataset format.
    """
    first = people[0].placed(rng.uniform(0, 360), np.zeros(2))
    camera = _sample_camera(rng, first, kind)
    placed = _place_others(rng, camera, first, people[1:])
    where = rng.random()
    place = "room" if where < 0.4 else "outdoors" if where < 0.72 else "photograph" if where < 0.94 else "clutter"
    if place == "photograph" and not backgrounds.paths:
        place = "room"
    solids = [s for p in placed if p.seat is not None for s in _furniture(rng, p, rooms)]
    solids += _occluders(rng, camera, placed)
    for number, person in enumerate(placed, start=1):
        solids += [replace(s, owner=number if s.owner == accessories.OWN else 0) for s in person.solids]
    lights = _sample_lights(rng, place == "outdoors")
    surfaces = []
    if place == "room":
        surfaces, furnished = _make_room(rng, camera, placed, backgrounds, rooms)
        solids += furnished
    elif place == "outdoors":
        surfaces = _outdoor_surfaces(rng, camera, placed, backgrounds)

    scale = float(rng.choice([0.45, 0.6, 0.8]))  # what is far away may be out of focus
    intrinsics, width, height, warp = _pinhole_canvas(camera)
    drawn = [(p.vertices, p.normals, p.look) for p in placed]
    colour, depth, rendered, shadow = renderer.render(
        intrinsics, camera.extrinsics, width, height, lights, drawn, solids, surfaces, scale, not surfaces
    )
    if surfaces:
        behind = rendered[..., :3]
        if place == "outdoors":
            sky = backgrounds.sky(rng, width, height)
            free = cv2.cvtColor(255 - rendered[..., 3], cv2.COLOR_GRAY2RGB)
            behind = cv2.add(np.ascontiguousarray(behind), cv2.multiply(sky, free, scale=1 / 255))
    else:
        source = backgrounds.photograph if place == "photograph" else backgrounds.clutter
        behind = source(rng, width, height)
        if rng.random() < 0.7:
            soft = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.6, 4.0))
            light = 255 - cv2.multiply(soft, rng.uniform(0.2, 0.7))
            behind = cv2.multiply(behind, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 255)

    image = cv2.cvtColor(cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGBA2RGB)
    shade = cv2.cvtColor(_ambient_occlusion(depth, width, height, intrinsics[0, 0]), cv2.COLOR_GRAY2RGB)
    image = cv2.multiply(image, shade, scale=1 / 255)
    ids = np.ascontiguousarray(colour[..., 3])
    uncovered = cv2.compare(ids, 0, cv2.CMP_EQ)
    uncovered = cv2.cvtColor(cv2.resize(uncovered, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2RGB)
    image = cv2.add(image, cv2.multiply(behind, uncovered, scale=1 / 255))
    if warp is None:
        rows, columns = (_nearest_sample(np.arange(n)) for n in (height, width))
        ids_at_pixels = ids[rows[:, None], columns]
    else:
        image = cv2.remap(image, warp, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        ids_at_pixels = cv2.remap(ids, (warp + 0.5) * np.float32(SUPERSAMPLING) - 0.5, None, cv2.INTER_NEAREST)
    labels = []
    for i, person in enumerate(placed):
        label = _label(person, i + 1, camera, intrinsics, ids, depth, ids_at_pixels)
        if label is not None:
            labels.append(label)
    if not labels and attempts > 1:
        kind = kind if kind == "everyday" else "any"
        return make_scene(rng, kind, people, renderer, backgrounds, rooms, attempts - 1)
    image, quality = _degrade(rng, image, (ids_at_pixels > 0) & (ids_at_pixels < OBJECT_ID))
    camera_label = {
        "intrinsic_matrix": camera.intrinsics.tolist(),
        "distortion_coeffs": camera.distortion.tolist(),
        "extrinsic_matrix": _in_millimetres(camera.extrinsics).tolist(),
    }
    return image, quality, camera_label, labels


def _in_millimetres(extrinsics: np.ndarray) -> np.ndarray:
    scaled = extrinsics.copy()
    scaled[:3, 3] *= 1000
    return scaled


def _label(person: Person, number: int, camera: Camera, intrinsics: np.ndarray, ids: np.ndarray, depth: np.ndarray,
           ids_at_pixels: np.ndarray) -> dict | None:  # fmt: skip
    """Annotation of one person, or None if too little is seen or something lies beside or behind the camera."""
    mask = ids_at_pixels == number
    if np.count_nonzero(mask) < 250:
        return None
    joints = camera.to_camera(person.joints.astype(np.float64))
    vertices = camera.to_camera(person.vertices[::5].astype(np.float64))
    if joints[:, 2].min() < 0.2 or vertices[:, 2].min() < 0.1:
        return None
    joints2d = camera.project(joints)
    inside = np.all((joints2d >= -0.5) & (joints2d <= np.array([camera.width, camera.height]) - 0.5), 1)

    # A joint is visible if what the depth buffer has at its place is this person's skin or cloth right before it.
    undistorted = joints[:, :2] / joints[:, 2:] * intrinsics[[0, 1], [0, 1]] + intrinsics[[0, 1], [2, 2]]
    pixels = _nearest_sample(np.clip(undistorted, -1e6, 1e6))
    pixels = np.clip(pixels, 0, np.array(ids.shape[::-1]) - 1)
    surface = metric_depth(depth[pixels[:, 1], pixels[:, 0]])
    size = np.linalg.norm(person.joints[12] - person.joints[0])  # trunk length
    flesh = _FLESH * size
    visible = inside & (ids[pixels[:, 1], pixels[:, 0]] == number) & (joints[:, 2] - surface < flesh)
    if visible.sum() < 4 or inside.sum() < 8:
        return None

    # The box holds body and clothes; without distortion far outside, where the lens model means nothing.
    outline = camera.project(vertices)
    near = np.abs(vertices[:, :2] / vertices[:, 2:]) < 1.6 * np.array([camera.width, camera.height]) / intrinsics[0, 0]
    outline = outline[near.all(1)]
    margin = 0.012 * intrinsics[0, 0] / joints[:, 2].mean()
    low = np.clip(outline.min(0) - margin, -0.5, np.array([camera.width, camera.height]) - 0.5)
    high = np.clip(outline.max(0) + margin, -0.5, np.array([camera.width, camera.height]) - 0.5)
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    low = np.minimum(low, [columns[0] - 0.5, rows[0] - 0.5])
    high = np.maximum(high, [columns[-1] + 0.5, rows[-1] + 0.5])
    rle = rlemasklib.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = rle["counts"]
    return {
        "box": np.round([*low, *(high - low)], 2).tolist(),
        "joints3d": np.round(joints * 1000, 2).tolist(),
        "joints2d": np.round(joints2d, 3).tolist(),
        "visible": visible.astype(int).tolist(),
        "mask": {"size": list(mask.shape), "counts": counts.decode() if isinstance(counts, bytes) else counts},
    }
