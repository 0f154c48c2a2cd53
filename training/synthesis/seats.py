"""What carries people who sit, and tables before them."""

import numpy as np

from training.synthesis import furniture, shapes
from training.synthesis.furniture import Rooms
from training.synthesis.person import Person
from training.synthesis.rotations import about_z
from training.synthesis.solids import Solid


def solid_of(rng: np.random.Generator, shape: tuple, colour=None) -> Solid:
    """A shape (positions and normals) in one colour [3], or a random one, with a random grain."""
    colour = furniture.random_colour(rng) if colour is None else colour
    grain = float(rng.choice([0.0, 1.0, 3.0, 8.0]))
    return Solid(*shape, np.tile(colour, (len(shape[0]), 1)), grain)


def seat_and_table(rng: np.random.Generator, person: Person, rooms: Rooms) -> list[Solid]:
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
    solids = [
        solid_of(rng, shapes.box([2 * wide, 2 * half, thick], centre + [0, 0, top - thick / 2], rotation), colour)
    ]
    if thick < top:
        if rng.random() < 0.25:
            solids.append(solid_of(rng, shapes.rod(centre, centre + [0, 0, top - thick], 0.03), legs))
        else:
            solids += _four_legs(rng, centre, rotation, wide, half, top - thick, legs)
    if rng.random() < 0.6:  # a back, behind where the person's back is
        spine = min(
            float((person.joints[[0, 3, 6, 9]] @ -forward).max()) + 0.13, float((person.vertices @ -forward).max())
        )
        low, high = (0.0 if rng.random() < 0.5 else 0.15), rng.uniform(0.25, 0.75)
        middle = centre - forward * (spine + 0.04 + float(centre @ forward)) + [0, 0, top + (low + high) / 2]
        solids.append(solid_of(rng, shapes.box([2 * wide, 0.05, high - low], middle, rotation), colour))
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
    solids = [solid_of(rng, board)]
    legs = furniture.random_colour(rng)
    solids += _four_legs(rng, middle, rotation, width / 2, depth / 2, height, legs)
    for _ in range(rng.integers(0, 4)):
        spot = middle + rotation @ np.array([*(rng.uniform(-0.4, 0.4, 2) * [width, depth]), 0])
        tall = rng.uniform(0.03, 0.3)
        size = [*rng.uniform(0.05, 0.35, 2), tall]
        turn = about_z(rng.uniform(0, 90))
        solids.append(solid_of(rng, shapes.box(size, spot + [0, 0, height + 0.018 + tall / 2], turn)))
    return solids


def _four_legs(rng, centre, rotation, half_x: float, half_y: float, height: float, colour) -> list[Solid]:
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            foot = centre + rotation @ np.array([x * (half_x - 0.03), y * (half_y - 0.03), 0])
            legs.append(solid_of(rng, shapes.rod(foot, foot + [0, 0, height], 0.018, sides=6), colour))
    return legs
