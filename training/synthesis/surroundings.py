"""What is around the people of a scene: light, other people, obstacles, a room or a place outdoors."""

import numpy as np

from training.synthesis import shapes
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.furniture import Rooms
from training.synthesis.person import Person
from training.synthesis.renderer import Lights
from training.synthesis.rotations import about_z, cross
from training.synthesis.seats import solid_of
from training.synthesis.views import View


def sample_lights(rng: np.random.Generator, outdoors: bool) -> Lights:
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


def sample_obstacles(rng: np.random.Generator, view: View, people: list[Person]) -> list:
    """Things that stand between the camera and some people, and things around them."""
    objects = []
    for _ in range(rng.choice([0, 1, 2, 3], p=[0.45, 0.3, 0.15, 0.1])):
        person = people[rng.integers(len(people))]
        target = person.joints[0, :2]
        toward = view.position[:2] - target
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
        objects.append(solid_of(rng, shape))
    return objects


def place_others(rng: np.random.Generator, view: View, first: Person, others: list[Person]) -> list[Person]:
    """Stand the others where the camera sees them, without running into anybody; leaves out who finds no place."""
    placed = [first]
    to_world = view.extrinsic_matrix[:3, :3].T
    first_distance = np.linalg.norm(first.joints[0] - view.position)
    for person in others:
        radius = float(np.max(np.linalg.norm(person.vertices[::20, :2], axis=1)))
        for _ in range(12):
            u = rng.uniform(0, view.width)
            ray = to_world @ np.linalg.solve(view.intrinsic_matrix, np.array([u, view.height / 2, 1.0]))
            ray = ray[:2] / np.linalg.norm(ray[:2])
            distance = first_distance * np.exp(rng.uniform(np.log(0.75), np.log(1.6)))
            spot = view.position[:2] + ray * distance
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


def make_room(rng: np.random.Generator, view: View, people: list[Person], backgrounds: Backgrounds, rooms: Rooms):
    """Floor, walls and ceiling around camera and people, and the furniture."""
    points = np.concatenate([p.vertices[::50, :2] for p in people] + [view.position[None, :2]])
    yaw = rng.uniform(0, 90)
    axes = about_z(yaw)[:2, :2]
    local = points @ axes
    low = local.min(0) - rng.uniform(0.15, 3.5, 2)
    high = local.max(0) + rng.uniform(0.15, 3.5, 2)
    top = rng.uniform(2.3, 4.0) if rng.random() < 0.8 else 12.0
    top = max(top, view.position[2] + 0.2)

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


def make_outdoors(rng: np.random.Generator, view: View, people: list[Person], backgrounds: Backgrounds):
    """Open ground, and walls of something (houses, trees, hedges, photographs) on some sides of it."""
    ground = backgrounds.texture(rng, "ground")
    size = rng.uniform(1.0, 4.0)
    corners = 55 * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]])
    tint = _tint(rng)
    surfaces = [(corners + [*view.position[:2], 0], [0, 0, 1.0], [110 / size, 110 / size], ground, tint)]
    furthest = max(np.linalg.norm(p.joints[0, :2] - view.position[:2]) for p in people)
    turn = rng.uniform(0, 360)
    for i in range(5):
        if rng.random() < 0.2:
            continue
        rotation = about_z(turn + 72 * i + rng.uniform(-12, 12))
        distance, width, height = furthest + rng.uniform(2.0, 25), rng.uniform(12, 60), rng.uniform(1.5, 14)
        offset = np.array([*view.position[:2], 0.0])
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
