"""Families of human poses, each sampled within the joints' limits for the very body that takes the pose."""

import numpy as np

from training.synthesis.arms import (
    IDLE_ARMS,
    SITTING_ARMS,
    STANDING_ARMS,
    hang_arm,
    hold_in_front,
    pose_arms,
    raise_arm,
    reach_anywhere,
    swing_arm,
)
from training.synthesis.humanoid_clips import Clips
from training.synthesis.pose import Pose
from training.synthesis.rotations import about_x, about_y, about_z, random_rotation


def _look_around(pose: Pose, rng: np.random.Generator) -> None:
    if rng.random() < 0.25:
        pose.turn_head(rng.uniform(15, 45), rng.normal(0, 6), rng.normal(0, 15))  # looking down, at a phone or so
    else:
        pose.turn_head(rng.normal(3, 12), rng.normal(0, 8), np.clip(rng.normal(0, 28), -70, 70))


def _stand(pose: Pose, rng: np.random.Generator, arms: dict[str, float] = STANDING_ARMS) -> None:
    pose.turn("root", about_x(rng.normal(0, 3)) @ about_y(rng.normal(0, 3)))
    pose.bend_spine(rng.normal(4, 7), rng.normal(0, 5), rng.normal(0, 10))
    spread = abs(rng.normal(4, 5))
    relaxed = rng.choice(["L", "R"])
    for s in "LR":
        bent = abs(rng.normal(0, 15)) if s == relaxed and rng.random() < 0.5 else abs(rng.normal(2, 3))
        pose.set_leg(s, bent * 0.55 + rng.normal(0, 4), spread + rng.normal(0, 2), rng.normal(8, 8), bent)
        pose.flatten_foot(s, rng.normal(2, 5))
    pose_arms(pose, rng, arms)
    _look_around(pose, rng)


def _idle(pose: Pose, rng: np.random.Generator) -> None:
    """Standing about: arms crossed, hands clasped, in the pockets, on the hips, or busy with a phone."""
    _stand(pose, rng, IDLE_ARMS)


def _walk(pose: Pose, rng: np.random.Generator) -> None:
    run = rng.random() < 0.22
    stride = rng.uniform(28, 50) if run else rng.uniform(10, 30)
    phase = rng.uniform(0, 2 * np.pi)
    pose.turn("root", about_x(rng.uniform(3, 16) if run else rng.normal(3, 3)))
    pose.bend_spine(rng.normal(4, 5), rng.normal(0, 3), 8 * np.sin(phase) + rng.normal(0, 4))
    for s in "LR":
        p = phase if s == "L" else phase + np.pi
        flex = stride * np.sin(p) + (10 if run else 4)
        swing = max(0.0, np.cos(p))  # the leg that moves forward is bent
        knee = swing * (rng.uniform(70, 110) if run else rng.uniform(35, 62)) + rng.uniform(3, 15 if not run else 35)
        pose.set_leg(s, flex + swing * 8, rng.normal(2, 2), rng.normal(5, 5), knee)
        if np.sin(p) > 0.4:
            pose.point_foot(s, rng.normal(-5, 8))
        elif np.sin(p) < -0.4:
            pose.point_foot(s, rng.uniform(5, 35))
        else:
            pose.flatten_foot(s)
    if rng.random() < 0.72:
        for s in "LR":
            p = phase + np.pi if s == "L" else phase
            swing_arm(pose, s, rng, np.sin(p), rng.uniform(46, 65) if run else rng.uniform(10, 38))
    else:
        pose_arms(pose, rng, STANDING_ARMS)
    _look_around(pose, rng)


def _sit(pose: Pose, rng: np.random.Generator) -> None:
    pose.seat = True
    lean = rng.normal(0, 12)
    pose.turn("root", about_x(lean) @ about_y(rng.normal(0, 3)))
    pose.bend_spine(rng.normal(12, 12), rng.normal(0, 6), rng.normal(0, 10))
    style = rng.random()
    for s in "LR":
        flex = 88 + lean + rng.normal(0, 6)
        pose.set_leg(s, flex, abs(rng.normal(7, 8)), rng.normal(0, 8), rng.uniform(60, 112))
        if style < 0.15:
            pose.set_leg(s, flex, abs(rng.normal(4, 5)), rng.normal(0, 5), rng.uniform(15, 60))
    if 0.15 < style < 0.35:  # one leg over the other
        s = rng.choice(["L", "R"])
        pose.set_leg(s, 105 + lean, -rng.uniform(8, 16), rng.normal(0, 5), rng.uniform(60, 95))
    elif 0.35 < style < 0.42:  # ankle on the other knee
        s = rng.choice(["L", "R"])
        pose.set_leg(s, 100 + lean, 25, 55, 105)
    for s in "LR":
        pose.flatten_foot(s, rng.normal(3, 8), limit=35)
    pose_arms(pose, rng, SITTING_ARMS)
    _look_around(pose, rng)


def _sit_on_floor(pose: Pose, rng: np.random.Generator) -> None:
    style = rng.random()
    lean = rng.normal(-8, 12) if style < 0.35 or style > 0.65 else rng.normal(-22, 8)
    pose.turn("root", about_x(lean))
    pose.bend_spine(rng.normal(20, 14), rng.normal(0, 6), rng.normal(0, 8))
    for s in "LR":
        if style < 0.35:  # cross-legged
            pose.set_leg(s, 97 + lean, rng.uniform(30, 45), rng.uniform(25, 45), rng.uniform(105, 130))
        elif style < 0.65:  # knees up: the soles come down to the ground where the thighs rise by half the knee
            knee = rng.uniform(55, 125)
            pose.set_leg(s, 88 + knee / 2 + lean, abs(rng.normal(6, 6)), rng.normal(0, 6), knee)
        else:  # legs ahead
            pose.set_leg(s, 86 + lean, abs(rng.normal(8, 9)), rng.normal(5, 8), abs(rng.normal(5, 15)))
        pose.point_foot(s, rng.uniform(0, 30))
    pose_arms(pose, rng, SITTING_ARMS)
    _look_around(pose, rng)


def _crouch(pose: Pose, rng: np.random.Generator) -> None:
    knee = rng.uniform(60, 140)
    lean = rng.uniform(0.15, 0.35) * knee
    pose.turn("root", about_x(lean))
    pose.bend_spine(rng.normal(15, 14), rng.normal(0, 6), rng.normal(0, 8))
    for s in "LR":
        k = np.clip(knee + rng.normal(0, 8), 40, 145)
        pose.set_leg(s, k * 0.55 + lean + rng.normal(4, 5), abs(rng.normal(12, 10)), rng.normal(12, 10), k)
        pose.flatten_foot(s, limit=rng.uniform(30, 50))
    pose_arms(pose, rng, STANDING_ARMS | {"thigh": 15})
    pose.turn_head(rng.normal(-15, 18), rng.normal(0, 8), rng.normal(0, 25))


def _kneel(pose: Pose, rng: np.random.Generator) -> None:
    pose.turn("root", about_x(rng.normal(4, 8)))
    pose.bend_spine(rng.normal(8, 12), rng.normal(0, 6), rng.normal(0, 10))
    if rng.random() < 0.55:  # one knee up
        down = rng.choice(["L", "R"])
        for s in "LR":
            if s == down:
                pose.set_leg(s, rng.uniform(-10, 12), rng.normal(4, 4), rng.normal(0, 5), rng.uniform(82, 105))
                pose.point_foot(s, rng.uniform(-20, 45))
            else:
                pose.set_leg(s, rng.uniform(78, 98), abs(rng.normal(10, 8)), rng.normal(5, 8), rng.uniform(75, 105))
                pose.flatten_foot(s)
    else:
        heel = rng.random() < 0.5  # sitting on the heels or upright
        for s in "LR":
            flex = rng.uniform(55, 75) if heel else rng.uniform(-5, 15)
            knee = rng.uniform(135, 150) if heel else rng.uniform(82, 100)
            pose.set_leg(s, flex, abs(rng.normal(6, 5)), rng.normal(0, 6), knee)
            pose.point_foot(s, rng.uniform(30, 55))
    pose_arms(pose, rng, STANDING_ARMS | {"thigh": 15})
    _look_around(pose, rng)


def _bend(pose: Pose, rng: np.random.Generator) -> None:
    lean = rng.uniform(20, 75)
    pose.turn("root", about_x(lean) @ about_y(rng.normal(0, 4)))
    pose.bend_spine(rng.uniform(10, 50), rng.normal(0, 10), rng.normal(0, 14))
    for s in "LR":
        knee = abs(rng.normal(12, 18))
        pose.set_leg(s, lean + knee * 0.5 + rng.normal(0, 6), abs(rng.normal(6, 6)), rng.normal(5, 8), knee)
        pose.flatten_foot(s)
    pose_arms(pose, rng, {"front": 30, "random": 25, "hang": 10, "each": 20, "thigh": 12, "carry": 8})
    pose.turn_head(rng.normal(-12, 20), rng.normal(0, 8), rng.normal(0, 22))


def _lunge(pose: Pose, rng: np.random.Generator) -> None:
    """Wide athletic stances: throwing, batting, skiing, fencing, pushing, climbing a step."""
    lean = rng.normal(14, 14)
    pose.turn("root", about_x(lean) @ about_y(rng.normal(0, 7)))
    pose.bend_spine(rng.normal(12, 12), rng.normal(0, 10), rng.normal(0, 16))
    front = rng.choice(["L", "R"])
    spread, stride, depth = abs(rng.normal(8, 12)), rng.uniform(0, 40), rng.uniform(5, 85)
    for s in "LR":
        knee = (
            np.clip(depth + rng.normal(0, 14), 3, 120) if s == front else np.clip(rng.uniform(0.2, 1.1) * depth, 3, 110)
        )
        flex = lean + knee * 0.5 + (stride if s == front else -0.7 * stride)
        pose.set_leg(s, np.clip(flex, -30, 120), spread + rng.normal(0, 4), rng.normal(10, 12), knee)
        if s == front or rng.random() < 0.5:
            pose.flatten_foot(s, limit=45)
        else:
            pose.point_foot(s, rng.uniform(0, 40))
    pose_arms(pose, rng, {"random": 30, "front": 30, "each": 20, "raise": 10, "carry": 10})
    pose.turn_head(rng.normal(-8, 16), rng.normal(0, 8), rng.normal(0, 25))


def _lie(pose: Pose, rng: np.random.Generator) -> None:
    turn = rng.choice([-90.0, 90.0, 0.0], p=[0.5, 0.3, 0.2])
    pitch = about_x(turn + rng.normal(0, 6)) if turn else about_y(rng.choice([-88, 88]) + rng.normal(0, 8))
    pose.turn("root", pitch @ about_z(rng.normal(0, 8)))
    pose.bend_spine(rng.normal(4, 8), rng.normal(0, 8), rng.normal(0, 8))
    for s in "LR":
        flex = abs(rng.normal(0, 22)) if turn <= 0 else abs(rng.normal(0, 5))
        knee = flex * rng.uniform(1.2, 2.0) + abs(rng.normal(0, 8)) if turn <= 0 else abs(rng.normal(0, 25))
        pose.set_leg(s, flex, abs(rng.normal(6, 7)), rng.normal(8, 10), knee)
        pose.point_foot(s, rng.uniform(0, 35))
    pose_arms(pose, rng, {"hang": 25, "each": 30, "random": 20, "raise": 15, "clasp": 10})
    pose.turn_head(rng.normal(0, 10), rng.normal(0, 8), rng.normal(0, 25))


def _free(pose: Pose, rng: np.random.Generator) -> None:
    """Anything within the joints' limits: sports, dance, stumbling, stretching."""
    pose.turn("root", random_rotation(rng, 14))
    pose.bend_spine(rng.normal(8, 18), rng.normal(0, 12), rng.normal(0, 16))
    for s in "LR":
        flex = rng.normal(20, 35)
        pose.set_leg(
            s,
            np.clip(flex, -25, 115),
            np.clip(rng.normal(10, 16), -12, 60),
            rng.normal(5, 15),
            np.clip(abs(rng.normal(20, 40)), 0, 135),
        )
        pose.point_foot(s, rng.normal(8, 18), rng.normal(0, 8))
    if rng.random() < 0.6:
        pose.flatten_foot(rng.choice(["L", "R"]))
    for s in "LR":
        rng.choice([reach_anywhere, raise_arm, hold_in_front, hang_arm])(pose, s, rng)
    pose.turn_head(rng.normal(0, 16), rng.normal(0, 12), rng.normal(0, 28))


# Families of poses and their shares: two thirds upright, as in everyday life and exercise, and a tail of everything.
_FAMILIES = {
    "stand": (_stand, 31),
    "walk": (_walk, 19),
    "clip": (None, 12),
    "lunge": (_lunge, 6),
    "sit": (_sit, 15),
    "bend": (_bend, 4.5),
    "sit_on_floor": (_sit_on_floor, 3),
    "crouch": (_crouch, 3),
    "kneel": (_kneel, 2.5),
    "lie": (_lie, 2),
    "free": (_free, 2),
    "idle": (_idle, 0),  # only where it is asked for
}


def sample_pose(rng: np.random.Generator, heads: np.ndarray, bone_index: dict[str, int], clips: Clips, kind: str = ""):
    """A random pose for one body.

    Args:
        rng: random generator of the scene.
        heads: float32 [n_bones, 3], rest bone heads, metres.
        bone_index: bone name -> index.
        clips: motion-capture frames (may be empty).
        kind: name of a family, or "" for a random one.

    Returns:
        The Pose.
    """
    names = [n for n in _FAMILIES if n != "clip" or clips.clips]
    weights = np.array([_FAMILIES[n][1] for n in names], float)
    kind = kind or names[rng.choice(len(names), p=weights / weights.sum())]
    pose = Pose(heads, bone_index)
    pose.kind = kind
    if kind == "clip":
        clips.pose(pose, rng)
    else:
        _FAMILIES[kind][0](pose, rng)
    return pose
