"""What people do with their arms: let them hang, swing or cross them, reach for something, hold something."""

import numpy as np

from training.synthesis.pose import MAX_ELBOW, SIGN, Pose
from training.synthesis.rotations import about_x, about_y, norm


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector: azimuth from straight ahead to the left, elevation above the horizon; degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])


def hang_arm(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """An arm that hangs down, more or less."""
    abduct = abs(rng.normal(9, 6)) + 2
    upper = about_y(-SIGN[s] * abduct) @ about_x(-rng.normal(2, 9)) @ np.array([0, 0, -1.0])
    elbow = abs(rng.normal(14, 12))
    lower = _bend_toward(upper, np.array([-0.25 * SIGN[s], -1.0, 0.0]), elbow)
    pose.aim_arm(s, upper, lower, rng.normal(0, 25))
    pose.bend_wrist(s, rng.normal(5, 10), rng.normal(0, 8), rng.uniform(5, 45))


def _bend_toward(upper: np.ndarray, toward: np.ndarray, degrees: float) -> np.ndarray:
    side = toward - upper * (upper @ toward)
    side = side / norm(side)
    return upper * np.cos(np.radians(degrees)) + side * np.sin(np.radians(degrees))


def swing_arm(pose: Pose, s: str, rng: np.random.Generator, phase: float, strength: float) -> None:
    """The swing of somebody who walks or runs; phase -1 to 1, forward, and strength in degrees."""
    flex = strength * phase
    upper = about_y(-SIGN[s] * rng.uniform(4, 14)) @ about_x(-flex) @ np.array([0, 0, -1.0])
    elbow = rng.uniform(8, 30) + max(0.0, flex) * 0.6 + (60 if strength > 45 else 0)
    pose.aim_arm(s, upper, _bend_toward(upper, np.array([-0.2 * SIGN[s], -1.0, 0.0]), elbow), rng.normal(0, 15))
    pose.bend_wrist(s, rng.normal(5, 8), rng.normal(0, 6), rng.uniform(10, 60))


def reach_anywhere(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """Anywhere that a shoulder can turn to, with any bend."""
    azimuth = SIGN[s] * rng.uniform(-35, 125)
    elevation = rng.uniform(-80, 75)
    upper = _direction(azimuth, elevation)
    pose.lift_clavicle(s, max(0.0, elevation + 40) * 0.2, rng.uniform(-5, 10))
    elbow = min(MAX_ELBOW, abs(rng.normal(35, 45)))
    toward = _direction(SIGN[s] * rng.uniform(-80, 30), rng.uniform(-40, 90))
    pose.aim_arm(s, upper, _bend_toward(upper, toward, elbow), rng.normal(0, 40))
    pose.bend_wrist(s, rng.normal(0, 20), rng.normal(0, 12), rng.uniform(0, 70))


def raise_arm(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """An arm above the shoulder."""
    pose.lift_clavicle(s, rng.uniform(12, 25))
    upper = _direction(SIGN[s] * rng.uniform(-10, 100), rng.uniform(25, 85))
    toward = np.array([-SIGN[s] * rng.uniform(-0.3, 1), rng.normal(0, 0.4), 1.0])
    pose.aim_arm(s, upper, _bend_toward(upper, toward, abs(rng.normal(20, 35))), rng.normal(0, 40))
    pose.bend_wrist(s, rng.normal(0, 20), 0, rng.uniform(0, 50))


def _scaled(pose: Pose, x: float, y: float, z: float) -> np.ndarray:
    """A point near the chest in units of the trunk's length, x outward for the left side, y forward, z up."""
    trunk = norm(pose.bone("neck01") - pose.bone("root"))
    return np.array([x, -y, z]) * trunk


def _hand_on_hip(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, SIGN[s] * rng.uniform(0.36, 0.42), rng.uniform(-0.05, 0.12), rng.uniform(-0.6, -0.48))
    pose.reach(s, target, np.array([SIGN[s], rng.uniform(0.1, 0.9), -0.2]), rng.normal(20, 20))
    pose.bend_wrist(s, rng.uniform(10, 50), rng.uniform(-10, 15), rng.uniform(10, 60))


def _at_head(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, SIGN[s] * rng.uniform(0.14, 0.3), rng.uniform(-0.05, 0.3), rng.uniform(0.38, 0.62))
    pose.lift_clavicle(s, rng.uniform(0, 8))
    pose.reach(s, target, np.array([SIGN[s] * rng.uniform(0.3, 1.3), rng.uniform(-0.8, 0.3), -1.0]), rng.normal(0, 30))
    pose.bend_wrist(s, rng.normal(0, 20), rng.normal(0, 10), rng.uniform(10, 70))


def hold_in_front(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """Something held or handled in front of the body: phone, cup, book, box, steering wheel."""
    target = _scaled(pose, SIGN[s] * rng.uniform(-0.1, 0.45), rng.uniform(0.35, 0.95), rng.uniform(-0.55, 0.35))
    pose.reach(s, target, np.array([SIGN[s] * rng.uniform(0.2, 1.2), rng.uniform(0, 0.8), -1.0]), rng.normal(0, 35))
    pose.bend_wrist(s, rng.normal(0, 15), rng.normal(0, 10), rng.uniform(10, 80))


def _in_pocket(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, SIGN[s] * rng.uniform(0.34, 0.4), rng.uniform(0.0, 0.14), rng.uniform(-0.78, -0.66))
    pose.reach(s, target, np.array([SIGN[s] * 0.8, 1.0, 0.0]), rng.normal(0, 10))
    pose.bend_wrist(s, rng.uniform(-5, 15), 0, rng.uniform(0, 20))


def _fold_both(pose: Pose, rng: np.random.Generator, lead_depth: float = 0.36, other_depth: float = 0.27) -> None:
    """Arms crossed before the chest, the wrists so far before the spine, in lengths of the trunk."""
    lead = rng.choice(["L", "R"])
    height = rng.uniform(-0.22, -0.05)
    for s in "LR":
        depth = lead_depth if s == lead else other_depth
        target = _scaled(pose, -SIGN[s] * rng.uniform(0.12, 0.24), depth, height + rng.uniform(-0.03, 0.05))
        pose.reach(s, target, np.array([SIGN[s], -0.25, -1.0]), rng.normal(0, 10))
        pose.bend_wrist(s, rng.uniform(0, 20), 0, rng.uniform(10, 40))


def _fold_loosely(pose: Pose, rng: np.random.Generator) -> None:
    """Arms crossed, far enough before the chest that hardly any body is in their way."""
    _fold_both(pose, rng, 0.42, 0.3)


def _clasp(pose: Pose, rng: np.random.Generator) -> None:
    """Both hands together: before the belly or the chest, behind the back, or behind the head."""
    where = rng.random()
    if where < 0.6:
        y, z = rng.uniform(0.3, 0.5), rng.uniform(-0.75, -0.15)
        pole, x = (1.0, 0.5, -0.8), 0.07
    elif where < 0.85:
        y, z = rng.uniform(-0.42, -0.36), rng.uniform(-0.75, -0.5)
        pole, x = (1.0, 0.8, 0.0), 0.1
    else:
        y, z = rng.uniform(-0.2, -0.1), rng.uniform(0.45, 0.6)
        pole, x = (1.0, -0.1, 0.2), 0.13
    for s in "LR":
        pose.reach(s, _scaled(pose, SIGN[s] * x, y, z), np.array([SIGN[s] * pole[0], *pole[1:]]), rng.normal(0, 20))
        pose.bend_wrist(s, rng.uniform(0, 30), 0, rng.uniform(10, 60))


def _carry(pose: Pose, rng: np.random.Generator) -> None:
    """Both arms carry something wide."""
    width, y, z = rng.uniform(0.12, 0.45), rng.uniform(0.45, 0.8), rng.uniform(-0.5, 0.05)
    for s in "LR":
        pose.reach(s, _scaled(pose, SIGN[s] * width, y, z), np.array([SIGN[s] * 0.8, 0.5, -1.0]), rng.uniform(0, 60))
        pose.bend_wrist(s, rng.uniform(0, 30), 0, rng.uniform(10, 60))


def _on_thigh(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """A hand that rests on the thigh or knee, wherever that is."""
    share = rng.uniform(0.45, 1.0)
    hip, knee = pose.bone(f"upperleg01.{s}"), pose.bone(f"lowerleg01.{s}")
    thigh = pose.rotation(f"upperleg01.{s}") @ np.array([0.0, 0.0, -norm(knee - hip)])
    point = pose.rotation("root") @ (hip - pose.bone("root")) + share * thigh
    point = point + pose.rotation(f"upperleg01.{s}") @ np.array([0.0, -0.11, 0.0])
    chest = pose.rotation("spine01")
    target = chest.T @ (point - _chest_origin(pose))
    pose.reach(s, target, np.array([SIGN[s] * rng.uniform(0.4, 1.2), 0.6, -0.3]), rng.normal(-20, 20))
    pose.bend_wrist(s, rng.uniform(-30, 10), rng.normal(0, 10), rng.uniform(0, 40))


def _chest_origin(pose: Pose) -> np.ndarray:
    """Position of the head of spine01 relative to the root, global axes."""
    chain = ["root", "spine05", "spine04", "spine03", "spine02", "spine01"]
    position = np.zeros(3)
    for part, child in zip(chain, chain[1:]):
        position = position + pose.rotation(part) @ (pose.bone(child) - pose.bone(part))
    return position


def pose_arms(pose: Pose, rng: np.random.Generator, habits: dict[str, float]) -> None:
    """Choose what the arms do: both together, or each for itself."""
    names = list(habits)
    weights = np.array([habits[n] for n in names])
    choice = names[rng.choice(len(names), p=weights / weights.sum())]
    if choice in _BOTH:
        _BOTH[choice](pose, rng)
        return
    for s in "LR":
        if choice == "each" or rng.random() < 0.3:
            pick = rng.choice(list(_EACH), p=list(_EACH_WEIGHTS))
            _EACH[pick](pose, s, rng)
        else:
            _EACH[choice](pose, s, rng)


_BOTH = {"fold": _fold_both, "fold_loosely": _fold_loosely, "clasp": _clasp, "carry": _carry}


_EACH = {
    "hang": hang_arm,
    "hip": _hand_on_hip,
    "head": _at_head,
    "front": hold_in_front,
    "pocket": _in_pocket,
    "random": reach_anywhere,
    "raise": raise_arm,
    "thigh": _on_thigh,
}


_EACH_WEIGHTS = (0.3, 0.09, 0.11, 0.2, 0.06, 0.14, 0.06, 0.04)


STANDING_ARMS = {
    "hang": 26,
    "each": 26,
    "hip": 6,
    "front": 12,
    "pocket": 5,
    "random": 8,
    "raise": 5,
    "fold": 6,
    "clasp": 6,
    "carry": 6,
}


# Of people who stand about: what motion capture clips seldom show.
IDLE_ARMS = {"fold_loosely": 40, "clasp": 18, "pocket": 16, "hip": 12, "front": 14, "head": 5, "each": 10}
SITTING_ARMS = {"thigh": 30, "each": 20, "front": 25, "fold": 6, "clasp": 8, "random": 6, "hang": 5}
