"""Colours of skeletons, the same in RViz, in overlay images and in the 3D viewer."""

import colorsys

from metrabs_core.skeletons import Skeleton

# RGB, 0..255. The sides are the person's own, not the picture's.
SIDE_COLOURS = {"left": (255, 150, 40), "right": (50, 180, 255), "middle": (240, 240, 240)}

_GOLDEN_RATIO = 0.618034


def joint_sides(skeleton: Skeleton) -> list[str]:
    """Side of the body of each joint: ``left``, ``right`` or ``middle``."""
    return [
        "middle" if other == i else {"l": "left", "r": "right"}[name[0]]
        for i, (name, other) in enumerate(zip(skeleton.joint_names, skeleton.mirror))
    ]


def bone_sides(skeleton: Skeleton) -> list[str]:
    """Side of each bone: ``left`` or ``right`` where one of its joints is."""
    sides = joint_sides(skeleton)
    return [sides[a] if sides[a] != "middle" else sides[b] for a, b in skeleton.edges]


def id_colour(person_id: int) -> tuple[int, int, int]:
    """RGB colour, 0..255, of a tracked person; the colours of successive ids are far apart."""
    rgb = colorsys.hsv_to_rgb(person_id * _GOLDEN_RATIO % 1, 0.75, 1.0)
    return tuple(round(255 * channel) for channel in rgb)
