"""What bodies and gravity allow: limbs that don't run into each other, balance, and no floating."""

import numpy as np

from training.synthesis.bodies import PART_INDEX
from training.synthesis.rotations import partial_rotation, shortest_rotation, unit

BALANCED = ("stand", "idle", "bend", "crouch", "lunge")


# Rough shares of the body's mass along the bones (after de Leva 1996).
_MASSES = {"root": 0.15, "spine03": 0.15, "spine01": 0.15, "head": 0.09}


_MASSES_OF_SIDE = {"lowerarm01": 0.03, "wrist": 0.02, "upperleg01": 0.06, "lowerleg01": 0.11, "foot": 0.04}


def balance(parts: np.ndarray, positions: np.ndarray, bone_index: dict[str, int]) -> np.ndarray:
    """Tilt a body so that its centre of mass comes to lie nearly above its feet; the soles keep their direction.

    Args:
        parts: float32 [n_parts, 3, 3], global rotations.
        positions: float [n_bones, 3], posed bone heads, metres.
        bone_index: bone name -> index.

    Returns:
        float32 [n_parts, 3, 3].
    """
    masses = _MASSES | {f"{bone}.{s}": m for bone, m in _MASSES_OF_SIDE.items() for s in "LR"}
    centre = sum(m * positions[bone_index[bone]] for bone, m in masses.items()) / sum(masses.values())
    feet = np.stack([(positions[bone_index[f"foot.{s}"]] + positions[bone_index[f"toe2-1.{s}"]]) / 2 for s in "LR"])
    weights = np.exp(-(feet[:, 2] - feet[:, 2].min()) / 0.08)  # a foot in the air carries nothing
    offset = centre - weights @ feet / weights.sum()
    tilt = partial_rotation(shortest_rotation(unit(offset), np.array([0.0, 0.0, 1.0])), 0.85)
    balanced = tilt @ parts
    for s in "LR":
        balanced[PART_INDEX[f"foot.{s}"]] = parts[PART_INDEX[f"foot.{s}"]]
    return balanced.astype(np.float32)


def penetration(positions: np.ndarray, bone_index: dict[str, int]) -> np.ndarray:
    """How deep the limbs of skeletons run into the trunk, the head or each other, by capsules.

    Args:
        positions: float [B, n_bones, 3], posed bone heads, metres.
        bone_index: bone name -> index.

    Returns:
        float [B], the deepest penetration of each, metres; 0 if there is none.
    """

    def at(name):
        return positions[:, bone_index[name]]

    def points(a, b, shares):  # [B, n, 3] on the line from a to b
        return a[:, None] + (b - a)[:, None] * np.array(shares)[None, :, None]

    trunk = _length(at("neck01") - at("root")) + 1e-6
    worst = np.zeros(len(positions))

    def keep_away(samples, a, b, distance):  # distance in lengths of the trunk
        np.maximum(worst, distance * trunk - _distance_to_segment(samples, a, b).min(1), out=worst)

    torso = (at("root"), at("spine01"), 0.25)
    up = at("head") - at("neck01")
    head = (at("neck03"), at("head") + 0.1 * trunk[:, None] * up / (_length(up)[:, None] + 1e-9), 0.17)
    forearms = {s: (at(f"lowerarm01.{s}"), at(f"wrist.{s}")) for s in "LR"}
    shins = {s: (at(f"lowerleg01.{s}"), at(f"foot.{s}")) for s in "LR"}
    thighs = {s: (at(f"upperleg01.{s}"), at(f"lowerleg01.{s}")) for s in "LR"}
    for s, other in ("LR", "RL"):
        elbow, wrist = forearms[s]
        along = wrist - elbow
        hand = wrist + 0.12 * trunk[:, None] * along / (_length(along)[:, None] + 1e-9)
        arm = points(elbow, hand, (0.4, 0.7, 1.0))
        shin = points(*shins[s], (0.0, 0.35, 0.7, 1.0))
        for a, b, radius in (torso, head):
            keep_away(arm, a, b, radius + 0.06)
            keep_away(shin, a, b, radius + 0.06)
        for side in "LR":
            keep_away(arm, *thighs[side], 0.13)
            keep_away(arm, *shins[side], 0.12)
        keep_away(shin, *shins[other], 0.15)
        keep_away(shin, *thighs[other], 0.18)
        keep_away(elbow[:, None], *torso[:2], 0.31)
    keep_away(points(*forearms["L"], (0.3, 0.65, 1.0)), *forearms["R"], 0.1)
    hips = _length(at("upperleg01.L") - at("upperleg01.R"))
    knees = _length(at("lowerleg01.L") - at("lowerleg01.R"))
    return np.maximum(worst, 0.75 * hips - knees - 0.1 * trunk)


def floating(kind: str, positions: np.ndarray, bone_index: dict[str, int]) -> float:
    """How far gravity would let a pose sink: the height of what ought to carry it above its lowest bone.

    Args:
        kind: family of the pose.
        positions: float [n_bones, 3], posed bone heads, metres.
        bone_index: bone name -> index.

    Returns:
        Metres; 0 if there is nothing to complain about, or if the family may jump.
    """
    carrying = {"sit_on_floor": ("root",), "kneel": ("lowerleg01.L", "lowerleg01.R")}.get(kind, ("foot.L", "foot.R"))
    if kind in ("clip", "motion", "free", "lie"):
        return 0.0
    lowest = positions[:, 2].min()
    if kind == "sit":  # on a seat, but not with the hands on the ground
        lowest = min(positions[bone_index[f"wrist.{s}"]][2] for s in "LR")
    height = min(positions[bone_index[bone]][2] for bone in carrying) - lowest
    return max(0.0, float(height) - 0.1)


def _length(v: np.ndarray) -> np.ndarray:
    """Lengths of vectors [..., 3]."""
    return np.sqrt(np.einsum("...i,...i->...", v, v))


def _distance_to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of points [B, n, 3] to the segments a-b, each [B, 3]; float [B, n]."""
    ab, ap = b - a, points - a[:, None]
    t = np.einsum("bni,bi->bn", ap, ab) / (np.einsum("bi,bi->b", ab, ab)[:, None] + 1e-12)
    return _length(ap - np.clip(t, 0, 1)[..., None] * ab[:, None])
