"""Things made of coloured triangles."""

from dataclasses import dataclass

import numpy as np

OBJECT_ID = 255  # the number in rendered pictures of what belongs to nobody


@dataclass
class Solid:
    """Triangles of one colour scheme: furniture, hair, skirts, things in hands.

    Attributes:
        positions, normals, colours: float [n, 3] each, n a multiple of 3, metres, world.
        grain: repeats of the noise a metre; 0 for smooth surfaces.
        owner: number of the person that it counts as, from 1; 0 for an object of its own.
    """

    positions: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    grain: float
    owner: int = 0


def pack(solids: list[Solid]) -> np.ndarray:
    """All solids as one vertex array, float32 [n, 11]: position, normal, colour, grain, number."""
    rows = np.empty([sum(len(solid.positions) for solid in solids), 11], np.float32)
    start = 0
    for solid in solids:
        part = rows[start : start + len(solid.positions)]
        part[:, :3], part[:, 3:6], part[:, 6:9] = solid.positions, solid.normals, solid.colours
        part[:, 9], part[:, 10] = solid.grain, solid.owner or OBJECT_ID
        start += len(part)
    return rows
