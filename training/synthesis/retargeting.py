"""Gives a body the pose of a motion capture frame: each bone points where the actor's bone does.

The bodies differ from the actor in proportions, so it is the directions that are kept, not the places.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from training.synthesis.motions import JOINT_NAMES, SEGMENTS
from training.synthesis.pose import Pose
from training.synthesis.rotations import about_z, cross, frame, shortest_rotation, unit

_SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
_SPINE_SHARES = (0.2, 0.45, 0.7, 0.9, 1.0)  # of the turn from pelvis to chest
_NECK = ("neck01", "neck02", "neck03", "head")
_NECK_SHARES = (0.25, 0.45, 0.65, 1.0)
_DOWN = np.array([0.0, 0.0, -1.0])
_LEFT = np.array([1.0, 0.0, 0.0])
_MAX_CLAVICLE = 35.0
_MAX_ANKLE = 60.0
_MAX_WRIST = 60.0
# A hinge's axis is what the bend says from the second angle on, and what is natural up to the first; degrees.
_ELBOW_BLEND = (8.0, 25.0)
_KNEE_BLEND = (12.0, 35.0)


def follow(pose: Pose, joints: np.ndarray, segments: np.ndarray, rng: np.random.Generator) -> None:
    """Pose a body like a motion capture frame; the hands, of which clips know little, at random.

    Args:
        pose: to be filled.
        joints: float [19, 3], see `motions.Clip`.
        segments: float [7, 3, 3], see `motions.Clip`.
        rng: random generator.
    """
    place = dict(zip(JOINT_NAMES, joints))
    turned = dict(zip(SEGMENTS, segments))
    _follow_trunk(pose, place, turned)
    _follow_head(pose, place, turned)
    for s, side in (("L", "l"), ("R", "r")):
        _follow_arm(pose, s, side, place, turned, rng)
        _follow_leg(pose, s, side, place, turned)
    pose.seat = _sits(place)


def _follow_trunk(pose: Pose, place: dict, turned: dict) -> None:
    across = place["lhip"] - place["rhip"]
    pelvis = _keep_first(across, turned["pelvis"][:, 2])
    bend = Rotation.from_matrix(pelvis.T @ turned["chest"]).as_rotvec()
    spine = [pelvis @ Rotation.from_rotvec(share * bend).as_matrix() for share in _SPINE_SHARES]
    # Lean the spine such that the neck is in the right direction from the middle of the hips.
    heads = [pose.bone(part) for part in (*_SPINE, "neck01")]
    hips = (pose.bone("upperleg01.L") + pose.bone("upperleg01.R")) / 2
    below = pelvis @ (heads[0] - hips)
    above = sum(turn @ (end - start) for turn, start, end in zip(spine, heads, heads[1:]))
    wanted = place["neck"] / np.linalg.norm(place["neck"])
    along = wanted @ below  # |t wanted - below| = |above|
    reach = along + np.sqrt(max(0.0, along**2 - below @ below + above @ above))
    lean = _turn(above, reach * wanted - below)
    pose.world["root"] = pelvis
    for part, turn in zip(_SPINE, spine):
        pose.world[part] = lean @ turn


def _follow_head(pose: Pose, place: dict, turned: dict) -> None:
    chest = pose.world["spine01"]
    bend = Rotation.from_matrix(turned["chest"].T @ turned["head"]).as_rotvec()
    neck = [chest @ Rotation.from_rotvec(share * bend).as_matrix() for share in _NECK_SHARES]
    heads = [pose.bone(part) for part in _NECK]
    above = sum(turn @ (end - start) for turn, start, end in zip(neck, heads, heads[1:]))
    lean = _turn(above, place["head"] - place["neck"])
    for part, turn in zip(_NECK, neck):
        pose.world[part] = lean @ turn


def _follow_arm(pose: Pose, s: str, side: str, place: dict, turned: dict, rng: np.random.Generator) -> None:
    chest = pose.world["spine01"]
    shrug = Rotation.from_matrix(turned["chest"].T @ turned[f"clavicle.{s}"]).as_rotvec()
    pose.world[f"clavicle.{s}"] = chest @ Rotation.from_rotvec(_limited(shrug, _MAX_CLAVICLE)).as_matrix()
    upper = unit(place[f"{side}elb"] - place[f"{side}sho"])
    lower = unit(place[f"{side}wri"] - place[f"{side}elb"])
    swing = _turn(_DOWN, chest.T @ upper)
    hinge = _hinge(cross(lower, upper), chest @ swing[:, 0], upper, lower, _ELBOW_BLEND)
    # As in `Pose.aim_arm`: half of the turn about the upper arm happens at the shoulder, half further down.
    shoulder = _keep_third(-upper, hinge)
    residue = (chest @ swing).T @ shoulder
    angle = np.degrees(np.arctan2(residue[1, 0], residue[0, 0]))
    turns = chest @ swing @ about_z(angle / 2), shoulder
    _straighten(pose, (f"upperarm01.{s}", f"upperarm02.{s}"), f"lowerarm01.{s}", turns, upper)
    forearm = _keep_third(-lower, hinge)
    twist = (1 if s == "L" else -1) * rng.normal(0, 25)
    turns = forearm @ about_z(twist / 3), forearm @ about_z(2 * twist / 3)
    _straighten(pose, (f"lowerarm01.{s}", f"lowerarm02.{s}"), f"wrist.{s}", turns, lower)
    pose.world[f"wrist.{s}"] = forearm @ about_z(twist)
    hand = place[f"{side}han"] - place[f"{side}wri"]
    if np.linalg.norm(hand) > 0.02:  # false for NaN
        bend = Rotation.from_matrix(_turn(lower, hand)).as_rotvec()
        bent = Rotation.from_rotvec(_limited(bend, _MAX_WRIST)).as_matrix()
        pose.world[f"wrist.{s}"] = bent @ pose.world[f"wrist.{s}"]
    pose.curl_fingers(s, rng.uniform(5, 60))


def _straighten(pose: Pose, parts: tuple, end: str, turns: tuple, direction: np.ndarray) -> None:
    """Turn the two halves of a bone, which aren't quite in line, such that the whole has a direction."""
    s = end[-1]
    shoulder, elbow, wrist = (pose.bone(f"{b}.{s}") for b in ("upperarm01", "lowerarm01", "wrist"))
    hinge = cross(elbow - shoulder, wrist - elbow)
    start, middle, end = (pose.bone(name) for name in (*parts, end))
    align = _keep_third(-_DOWN, _LEFT) @ _keep_third(start - end, -hinge).T  # as in `BodyModel.alignments`
    lean = _turn(turns[0] @ align @ (middle - start) + turns[1] @ align @ (end - middle), direction)
    for part, turn in zip(parts, turns):
        pose.world[part] = lean @ turn


def _follow_leg(pose: Pose, s: str, side: str, place: dict, turned: dict) -> None:
    thigh = unit(place[f"{side}kne"] - place[f"{side}hip"])
    shin = unit(place[f"{side}ank"] - place[f"{side}kne"])
    foot = turned[f"foot.{s}"]
    known = np.isfinite(foot).all()
    natural = pose.world["root"] @ _turn(_DOWN, pose.world["root"].T @ thigh)[:, 0]
    if known:
        natural = natural + foot[:, 0]
    hinge = _hinge(cross(thigh, shin), natural, thigh, shin, _KNEE_BLEND)
    pose.world[f"upperleg01.{s}"] = _keep_third(-thigh, hinge)
    pose.world[f"lowerleg01.{s}"] = _keep_third(-shin, hinge)
    if known:
        bend = Rotation.from_matrix(pose.world[f"lowerleg01.{s}"].T @ foot).as_rotvec()
        bent = Rotation.from_rotvec(_limited(bend, _MAX_ANKLE)).as_matrix()
        pose.world[f"foot.{s}"] = pose.world[f"lowerleg01.{s}"] @ bent
    else:
        pose.flatten_foot(s)


def _sits(place: dict) -> bool:
    """Whether something must carry the bottom: both thighs level, and the feet far before the hips."""
    thighs = [unit(place[f"{side}kne"] - place[f"{side}hip"]) for side in "lr"]
    feet = (place["lank"] + place["rank"]) / 2
    before = np.linalg.norm(feet[:2])
    return bool(all(abs(t[2]) < 0.45 for t in thighs) and before > 0.25 and feet[2] < -0.2 and place["neck"][2] > 0.3)


def _hinge(bend: np.ndarray, natural: np.ndarray, first: np.ndarray, second: np.ndarray, blend: tuple) -> np.ndarray:
    """Axis of a hinge between two bones: the cross product of their directions, unless they are nearly in line."""
    angle = np.degrees(np.arccos(np.clip(first @ second, -1, 1)))
    share = np.clip((angle - blend[0]) / (blend[1] - blend[0]), 0, 1)
    return share * bend / (np.linalg.norm(bend) + 1e-9) + (1 - share) * unit(natural)


def _keep_first(first: np.ndarray, third: np.ndarray) -> np.ndarray:
    """Rotation whose first axis is given and whose third lies nearest to another vector, float64 [3, 3]."""
    x = unit(first)
    y = unit(cross(third, x))
    return np.stack([x, y, cross(x, y)], 1)


def _keep_third(third: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Rotation whose third axis is given and whose first lies nearest to another vector, float64 [3, 3]."""
    return frame(-third[None], first[None])[0]


def _turn(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns the direction of a into that of b, float64 [3, 3]."""
    return shortest_rotation(unit(a), unit(b))


def _limited(rotvec: np.ndarray, degrees: float) -> np.ndarray:
    """A rotation vector that is no longer than an angle."""
    angle = np.degrees(np.linalg.norm(rotvec))
    return rotvec * min(1.0, degrees / max(angle, 1e-9))
