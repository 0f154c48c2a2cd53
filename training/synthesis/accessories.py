"""Things that people wear or hold beyond the clothes that follow the skin: hair, hats, skirts, bags, tools."""

import numpy as np

from training.synthesis import shapes
from training.synthesis.clothing import random_colour
from training.synthesis.rotations import about_x, about_z, cross, random_rotation
from training.synthesis.solids import Solid

OWN = -1  # owner of solids that count as the person


def _solid(rng: np.random.Generator, shape: tuple, colour: np.ndarray, grain: float = 6.0, owner: int = 0) -> Solid:
    positions, normals = shape
    return Solid(positions, normals, np.tile(colour, (len(positions), 1)), grain, owner)


def hair_and_hat(rng: np.random.Generator, head: np.ndarray, rotation: np.ndarray, size: float, colour: np.ndarray,
                 long_hair: float) -> list[Solid]:  # fmt: skip
    """Long hair and headgear.

    Args:
        rng: random generator of the scene.
        head: float [3], joint between skull and neck.
        rotation: float [3, 3], of the head.
        size: of the head, relative to the template's.
        colour: of the hair.
        long_hair: 0 for short hair, up to 1 for hair down to the waist.

    Returns:
        The solids.
    """

    def place(shape):
        positions, normals = shape
        return head + (positions * size) @ rotation.T, normals @ rotation.T

    solids = _long_hair(rng, place, colour, long_hair) if long_hair else []
    return solids + (_hat(rng, place) if rng.random() < 0.2 else [])


_SKULL_CENTRE = np.array([0.0, -0.004, 0.048])  # metres from the joint between skull and neck, in the head's axes
_SKULL_RADII = np.array([0.083, 0.102, 0.108])


def _long_hair(rng: np.random.Generator, place, colour: np.ndarray, long_hair: float) -> list[Solid]:
    """Hair that hangs down, a pony tail or a bun; `place` puts shapes in the head's axes onto the head."""
    centre, radii, solids = _SKULL_CENTRE, _SKULL_RADII, []
    style = rng.random()
    if style < 0.65:
        length, flare = 0.05 + 0.4 * long_hair, rng.uniform(0.85, 1.25)
        around = np.radians(np.linspace(-118, 118, 19) * rng.uniform(0.8, 1.05))
        rows = []
        for t in np.linspace(0, 1, 12):
            if t < 0.45:
                polar = t / 0.45 * np.pi / 2
                scale, z = np.sin(polar), radii[2] * np.cos(polar) * 1.12
            else:
                scale, z = 1 + (flare - 1) * (t - 0.45) / 0.55, -length * (t - 0.45) / 0.55
            wave = 1 + 0.04 * np.sin(around * 9 + rng.uniform(0, 6) + 4 * t)
            scale = (scale + 1e-3) * wave * 1.13
            y = radii[1] * scale * np.cos(around) * (1 if t < 0.45 else 0.9)
            rows.append(np.stack([radii[0] * scale * np.sin(around), y, np.full_like(y, z)], 1))
        solids.append(_solid(rng, place(shapes.grid(centre + np.array(rows)[:, ::-1])), colour, 25, OWN))
    elif style < 0.85:  # pony tail
        length = 0.08 + 0.3 * long_hair
        tail = shapes.ellipsoid(np.array([0.03, 0.03, length / 2]), np.array([0, 0.115, 0.05 - length / 2]),
                                about_x(rng.uniform(5, 30)))  # fmt: skip
        solids.append(_solid(rng, place(tail), colour, 25, OWN))
    else:  # bun
        bun = shapes.ellipsoid(np.full(3, rng.uniform(0.03, 0.05)), np.array([0, 0.09, rng.uniform(0.05, 0.15)]))
        solids.append(_solid(rng, place(bun), colour, 25, OWN))
    return solids


def _hat(rng: np.random.Generator, place) -> list[Solid]:
    """A knitted cap, a cap with a peak, a hat or a helmet; `place` puts shapes in the head's axes onto the head."""
    centre, radii, solids = _SKULL_CENTRE, _SKULL_RADII, []
    kind = rng.random()
    hat = random_colour(rng, "cloth")
    tilt = about_x(rng.uniform(-14, 4))
    if kind < 0.35:  # knitted cap
        dome = shapes.ellipsoid(radii * [1.14, 1.12, 1.2], centre, tilt, (0, rng.uniform(72, 92)))
        solids.append(_solid(rng, place(dome), hat, 30, OWN))
    elif kind < 0.75:  # cap with a peak, or a hat with a brim all around
        dome = shapes.ellipsoid(radii * [1.13, 1.11, rng.uniform(1.1, 1.4)], centre, tilt, (0, 76))
        solids.append(_solid(rng, place(dome), hat, 8, OWN))
        whole = rng.random() < 0.35
        angle = np.radians(np.linspace(0, 360, 25) if whole else np.linspace(200, 340, 15))
        reach = rng.uniform(0.05, 0.1)
        inner = np.stack([radii[0] * 1.1 * np.cos(angle), radii[1] * 1.1 * np.sin(angle), 0 * angle + 0.026], 1)
        outward = np.stack([np.cos(angle), np.sin(angle), 0 * angle - 0.1], 1)
        if not whole:
            outward *= np.sin(np.linspace(0, np.pi, len(angle)))[:, None] ** 0.5
        brim = np.stack([inner, inner + reach * outward])
        solids.append(_solid(rng, place(shapes.grid(centre + brim @ tilt.T)), hat * 0.8, 8, OWN))
    else:  # helmet
        dome = shapes.ellipsoid(radii * rng.uniform(1.2, 1.35), centre + [0, 0.008, 0.008], tilt, (0, 88))
        solids.append(_solid(rng, place(dome), hat, 0, OWN))
    return solids


def skirt(rng: np.random.Generator, vertices: np.ndarray, down: np.ndarray, left: np.ndarray, hem: float,
          colours: tuple[np.ndarray, np.ndarray], flare: float, waist: float = -0.12) -> Solid | None:  # fmt: skip
    """A skirt, the lower part of a dress or of a coat: rings around both legs, wide enough for them.

    Args:
        rng: random generator of the scene.
        vertices: float [V, 3], the posed body.
        down: float [V], surface coordinate along trunk and legs; arms must hold a value above 3.
        left: float [3], direction to the person's left, of the pelvis.
        hem: where it ends, as in `down`.
        colours: of the cloth and of its pattern.
        flare: metres by which it widens down to the hem.
        waist: where it begins.

    Returns:
        The solid, or None if the pose leaves no sensible shape (legs wide apart).
    """
    levels = np.linspace(waist, hem, max(4, int(8 * (hem - waist))))
    bands = [vertices[abs(down - level) < 0.07] for level in levels]
    if min(len(b) for b in bands) < 6:
        return None
    centres = np.stack([b.mean(0) for b in bands])
    axes = np.gradient(centres, axis=0)
    angle = np.linspace(0, 2 * np.pi, 22, endpoint=False)
    rings = []
    for i, (band, centre, axis) in enumerate(zip(bands, centres, axes)):
        axis = axis / (np.linalg.norm(axis) + 1e-9)
        u = left - axis * (left @ axis)
        u = u / (np.linalg.norm(u) + 1e-9)
        w = cross(axis, u)
        directions = np.cos(angle)[:, None] * u + np.sin(angle)[:, None] * w
        reach = ((band - centre) @ directions.T).max(0)
        share = i / (len(levels) - 1)
        wave = 1 + 0.05 * share * np.sin(angle * rng.integers(5, 9) + rng.uniform(0, 6))
        reach = (np.maximum(reach, 0.6 * reach.mean()) + 0.012 + flare * share) * wave
        if reach.max() > 0.55:
            return None
        rings.append(centre + reach[:, None] * directions)
    positions, normals = shapes.grid(np.array(rings)[:, ::-1], closed=True)
    base, other = colours
    stripes = np.arange(len(positions)) // (6 * len(angle)) % 2
    colour = np.where((stripes == 1)[:, None] & (rng.random() < 0.2), other, base)
    return Solid(positions, normals, colour, 5.0, OWN)


def backpack(rng: np.random.Generator, chest: np.ndarray, rotation: np.ndarray, trunk: float) -> list[Solid]:
    """A bag on the back; `chest` is the head of bone spine01, `rotation` the chest's, `trunk` its length, metres."""
    size = np.array([rng.uniform(0.45, 0.65), rng.uniform(0.2, 0.4), rng.uniform(0.6, 0.95)]) * trunk
    centre = chest + rotation @ np.array([0.0, 0.2 * trunk + size[1] / 2, rng.uniform(-0.25, 0.0) * trunk])
    return [
        _solid(rng, shapes.ellipsoid(size * [0.62, 0.62, 0.58], centre, rotation), random_colour(rng, "cloth"), 8, OWN)
    ]


def held(rng: np.random.Generator, wrist: np.ndarray, knuckles: np.ndarray, rotation: np.ndarray) -> list[Solid]:
    """Something in one hand.

    Args:
        rng: random generator of the scene.
        wrist, knuckles: float [3], metres.
        rotation: float [3, 3], of the hand.

    Returns:
        The solids, owner 0.
    """
    along = knuckles - wrist
    grip = knuckles + 0.25 * along
    turn = rotation @ random_rotation(rng, 20)
    kind, colour = rng.random(), random_colour(rng, "cloth")
    if kind < 0.25:  # phone, book
        size = np.array([0.02, rng.uniform(0.06, 0.2), rng.uniform(0.12, 0.28)])
        return [_solid(rng, shapes.box(size, grip, turn), colour, 0)]
    if kind < 0.45:  # cup, bottle, can
        half = turn @ np.array([0, rng.uniform(0.05, 0.13), 0])
        return [_solid(rng, shapes.rod(grip - half, grip + half, rng.uniform(0.025, 0.04)), colour, 0)]
    if kind < 0.75:  # stick, bat, racket, pole, broom
        ahead, behind = rng.uniform(0.3, 1.1), rng.uniform(0.02, 0.5)
        axis = turn @ np.array([0, -1.0, 0])
        thick = rng.uniform(0.008, 0.022)
        tip = grip + ahead * axis
        solids = [_solid(rng, shapes.rod(grip - behind * axis, tip, thick, thick * rng.uniform(0.6, 2.0)), colour, 0)]
        if rng.random() < 0.2:
            solids.append(_solid(rng, shapes.ellipsoid([0.12, 0.15, 0.015], tip, turn), colour * 0.7, 0))
        return solids
    if kind < 0.93:  # bag that hangs
        size = np.array([rng.uniform(0.06, 0.15), rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.4)])
        strap = rng.uniform(0.05, 0.25)
        yaw = about_z(rng.uniform(0, 360))
        bag = shapes.box(size, grip - [0, 0, strap + size[2] / 2], yaw)
        return [_solid(rng, bag, colour, 8), _solid(rng, shapes.rod(grip - [0, 0, strap], grip, 0.012), colour * 0.6)]
    ball = shapes.ellipsoid(np.full(3, rng.uniform(0.04, 0.12)), grip + 0.05 * along / np.linalg.norm(along))
    return [_solid(rng, ball, colour, 4)]


def held_by_both(rng: np.random.Generator, left: np.ndarray, right: np.ndarray) -> list[Solid]:
    """A box, tray or bar between two hands, if they are a box apart; owner 0."""
    across = left - right
    width = np.linalg.norm(across)
    if not 0.15 < width < 0.8:
        return []
    x = across / width
    y = cross(np.array([0.0, 0.0, 1.0]), x)
    y = y / (np.linalg.norm(y) + 1e-9)
    rotation = np.stack([x, y, cross(x, y)], 1)
    size = np.array([width * 0.95, rng.uniform(0.1, 0.35), rng.uniform(0.03, 0.3)])
    return [_solid(rng, shapes.box(size, (left + right) / 2, rotation), random_colour(rng, "cloth"), 4)]
