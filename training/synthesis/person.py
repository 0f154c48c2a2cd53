"""Somebody in a scene: the posed and dressed body, and what they wear and carry."""

from dataclasses import dataclass, replace

import numpy as np

from training.synthesis.rotations import about_z
from training.synthesis.solids import Solid


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
