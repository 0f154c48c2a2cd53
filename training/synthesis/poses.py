"""Sampling of human poses: motion-capture frames and priors with joint limits, per person and body-aware.

A pose is a rotation per part of the body (`bodies.PARTS`) relative to its parent, where no rotation at all means to
stand upright with straight, hanging arms. Hands that touch something (hips, phone, own thighs) are placed by inverse
kinematics on the very body that takes the pose.

Motion-capture clips are the ``humanoid3d_*.txt`` files of the `pybullet` wheel (zlib licence), if a folder of them is
given; without them the sampled priors stand alone.
"""

import json
from pathlib import Path

import numpy as np

from training.synthesis.bodies import PART_INDEX, PARTS
from training.synthesis.rotations import about_x, about_y, about_z, cross, from_quaternion, random_rotation

_SIGN = {"L": 1.0, "R": -1.0}

# Anatomical limits, degrees: how far a forearm turns inward/outward, a wrist bends, and so on.
_MAX_ELBOW = 148.0
_MAX_KNEE = 150.0


class Pose:
    """A pose in the making, of one body.

    Args:
        heads: float32 [n_bones, 3], the body's rest bone heads, metres.
        bone_index: bone name -> index.

    Attributes:
        local: rotation of each part relative to its parent, float64 [3, 3]; absent means none.
        kind: name of the family that the pose comes from.
        seat: whether thighs or bottom rest on a seat that is to be drawn ("" or "seat").
    """

    def __init__(self, heads: np.ndarray, bone_index: dict[str, int]):
        self.heads = heads.astype(float)
        self.bone_index = bone_index
        self.local: dict[str, np.ndarray] = {}
        self.world: dict[str, np.ndarray] = {}
        self.kind = ""
        self.seat = False

    def bone(self, name: str) -> np.ndarray:
        """Rest position of a bone's head, float64 [3]."""
        return self.heads[self.bone_index[name]]

    def turn(self, part: str, rotation: np.ndarray) -> None:
        """Append a rotation, in the part's own axes, to what the part does already."""
        self.local[part] = self.local.get(part, np.eye(3)) @ rotation

    def rotation(self, part: str) -> np.ndarray:
        """Global rotation of a part, float64 [3, 3]."""
        if part in self.world:
            return self.world[part]
        parent = PARTS[part][0]
        above = np.eye(3) if parent is None else self.rotation(parent)
        return above @ self.local.get(part, np.eye(3))

    def rotations(self) -> np.ndarray:
        """Global rotations of all parts, float32 [n_parts, 3, 3]."""
        result = np.empty([len(PARTS), 3, 3])
        for part, (parent, _) in PARTS.items():
            above = np.eye(3) if parent is None else result[PART_INDEX[parent]]
            result[PART_INDEX[part]] = self.world[part] if part in self.world else above @ self.local.get(part, _EYE)
        return result.astype(np.float32)

    # -- trunk ---------------------------------------------------------------------------------------------------

    def bend_spine(self, flex: float, side: float = 0.0, twist: float = 0.0) -> None:
        """Spread a bend over the five spine bones; degrees, positive forward, to the left, to the left."""
        for part, share in zip(("spine05", "spine04", "spine03", "spine02", "spine01"), (0.2, 0.25, 0.25, 0.2, 0.1)):
            self.turn(part, about_z(twist * share) @ about_y(side * share) @ about_x(flex * share))

    def turn_head(self, flex: float, side: float, twist: float) -> None:
        """Spread a head movement over the neck; degrees, positive looks down, leans left, looks left."""
        for part, share in zip(("neck01", "neck02", "neck03", "head"), (0.25, 0.2, 0.2, 0.35)):
            self.turn(part, about_z(twist * share) @ about_y(side * share) @ about_x(flex * share))

    def torso_point(self, point: np.ndarray) -> np.ndarray:
        """Where a rest-pose point that moves with the upper spine lies, in the axes of the posed upper spine."""
        return point - self.bone("spine01")

    # -- arms ----------------------------------------------------------------------------------------------------

    def lift_clavicle(self, s: str, up: float, forward: float = 0.0) -> None:
        """Raise (degrees) and bring forward one shoulder."""
        self.turn(f"clavicle.{s}", about_y(-_SIGN[s] * up) @ about_z(-_SIGN[s] * forward))

    def aim_arm(self, s: str, upper: np.ndarray, lower: np.ndarray, twist: float = 0.0) -> None:
        """Point the upper arm and the forearm along directions given in the chest's axes.

        Args:
            s: side, "L" or "R".
            upper: float [3], direction from shoulder to elbow.
            lower: float [3], direction from elbow to wrist.
            twist: extra turn of the forearm, degrees, positive turns the thumb outward.
        """
        upper = upper / _norm(upper)
        lower = lower / _norm(lower)
        hinge = cross(upper, lower)
        if _norm(hinge) < 0.05:
            hinge = cross(upper, np.array([0.0, -1.0, 0.3]))
        x, z = -hinge / _norm(hinge), -upper
        swing = np.stack([x, cross(z, x), z], 1)
        elbow = np.degrees(np.arccos(np.clip(upper @ lower, -1, 1)))
        self._set_arm(s, swing, min(elbow, _MAX_ELBOW), twist)

    def _set_arm(self, s: str, swing: np.ndarray, elbow: float, twist: float) -> None:
        # Half of the twist about the humerus happens at the shoulder bone, half further down, as in the flesh.
        upper = swing @ np.array([0.0, 0.0, -1.0])
        down = np.array([0.0, 0.0, -1.0])
        minimal = _shortest_rotation(down, upper)
        residue = minimal.T @ swing
        angle = np.degrees(np.arctan2(residue[1, 0], residue[0, 0]))
        chest_to_clavicle = self.local.get(f"clavicle.{s}", np.eye(3)).T
        self.local[f"upperarm01.{s}"] = chest_to_clavicle @ minimal @ about_z(angle / 2)
        self.local[f"upperarm02.{s}"] = about_z(angle / 2)
        self.local[f"lowerarm01.{s}"] = about_x(-elbow) @ about_z(_SIGN[s] * twist / 3)
        self.local[f"lowerarm02.{s}"] = about_z(_SIGN[s] * twist / 3)
        self.local[f"wrist.{s}"] = about_z(_SIGN[s] * twist / 3)

    def arm_lengths(self, s: str) -> tuple[float, float]:
        """Lengths of upper arm and forearm, metres."""
        shoulder, elbow, wrist = (self.bone(f"{b}.{s}") for b in ("upperarm01", "lowerarm01", "wrist"))
        return float(_norm(elbow - shoulder)), float(_norm(wrist - elbow))

    def reach(self, s: str, target: np.ndarray, pole: np.ndarray, twist: float = 0.0) -> None:
        """Two-bone inverse kinematics: bring the wrist to a point.

        Args:
            s: side.
            target: float [3], in the axes of the chest, origin at the head of bone spine01, metres.
            pole: float [3], the way the elbow points.
            twist: extra turn of the forearm, degrees.
        """
        clavicle = self.local.get(f"clavicle.{s}", np.eye(3))
        base = self.torso_point(self.bone(f"clavicle.{s}"))
        shoulder = base + clavicle @ (self.bone(f"upperarm01.{s}") - self.bone(f"clavicle.{s}"))
        upper, lower = self.arm_lengths(s)
        u, f = _two_bones(target - shoulder, upper, lower, pole)
        self.aim_arm(s, u, f, twist)

    def bend_wrist(self, s: str, flex: float, deviation: float, curl: float) -> None:
        """Bend the hand (positive toward the palm, toward the thumb) and curl the fingers, degrees."""
        self.turn(f"wrist.{s}", about_y(_SIGN[s] * flex) @ about_x(-deviation))
        self.curl_fingers(s, curl)

    def curl_fingers(self, s: str, curl: float) -> None:
        """Bend the fingers at both of their joints, degrees."""
        self.turn(f"fingers1.{s}", about_y(_SIGN[s] * curl))
        self.turn(f"fingers2.{s}", about_y(_SIGN[s] * curl))

    # -- legs ----------------------------------------------------------------------------------------------------

    def set_leg(self, s: str, flex: float, abduct: float, turn_out: float, knee: float) -> None:
        """Hip flexion, abduction, outward turn, and knee flexion, degrees."""
        hip = about_x(-flex) @ about_y(-_SIGN[s] * abduct) @ about_z(_SIGN[s] * turn_out)
        self.local[f"upperleg01.{s}"] = hip
        self.local[f"lowerleg01.{s}"] = about_x(np.clip(knee, 0, _MAX_KNEE))

    def point_foot(self, s: str, down: float, inward: float = 0.0) -> None:
        """Bend the ankle: toes down, and sole turned inward, degrees."""
        self.world.pop(f"foot.{s}", None)
        self.local[f"foot.{s}"] = about_x(down) @ about_y(_SIGN[s] * inward)

    def flatten_foot(self, s: str, toe_out: float = 0.0, limit: float = 40.0) -> None:
        """Turn the sole parallel to the ground, as far as the ankle can."""
        shin = self.rotation(f"lowerleg01.{s}")
        forward = shin @ np.array([0.0, -1.0, 0.0])
        if _norm(forward[:2]) < 0.2:
            forward = -(shin @ np.array([0.0, 0.0, 1.0])) * np.sign(forward[2] + 1e-9)
        yaw = np.degrees(np.arctan2(forward[0], -forward[1])) + _SIGN[s] * toe_out
        wanted = shin.T @ about_z(yaw)
        angle = np.degrees(np.arccos(np.clip((np.trace(wanted) - 1) / 2, -1, 1)))
        self.local[f"foot.{s}"] = _partial(wanted, min(1.0, limit / max(angle, 1e-6)))

    def leg_lengths(self, s: str) -> tuple[float, float]:
        """Lengths of thigh and shin, metres."""
        hip, knee, ankle = (self.bone(f"{b}.{s}") for b in ("upperleg01", "lowerleg01", "foot"))
        return float(_norm(knee - hip)), float(_norm(ankle - knee))


_EYE = np.eye(3)


def _norm(v: np.ndarray) -> float:
    """Length of a single vector; `numpy.linalg.norm` takes much longer."""
    return float(np.sqrt(v @ v))


def _shortest_rotation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns unit vector a into b, float64 [3, 3]."""
    v, c = cross(a, b), float(a @ b)
    if c < -0.9999:
        return about_x(180.0)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


def _partial(rotation: np.ndarray, fraction: float) -> np.ndarray:
    """A fraction of a rotation about the same axis."""
    if fraction >= 1:
        return rotation
    angle = np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1))
    axis = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    axis = axis / (_norm(axis) + 1e-12)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    a = angle * fraction
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def _two_bones(reach: np.ndarray, first: float, second: float, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of two bones in a row that span a vector, bending toward the pole (cosine rule)."""
    distance = _norm(reach)
    along = reach / (distance + 1e-9)
    distance = np.clip(distance, abs(first - second) + 0.02, (first + second) * 0.998)
    side = pole - along * (pole @ along)
    if _norm(side) < 1e-3 * _norm(pole):  # the pole says nothing: any side will do
        side = cross(along, np.eye(3)[np.argmin(abs(along))])
    side = side / _norm(side)
    cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
    sine = np.sqrt(max(0.0, 1 - cosine**2))
    u = along * cosine + side * sine
    f = along * distance - u * first
    return u, f / _norm(f)


# -- arms -----------------------------------------------------------------------------------------------------------


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector: azimuth from straight ahead to the left, elevation above the horizon; degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])


def _hang(pose: Pose, s: str, rng: np.random.Generator) -> None:
    abduct = abs(rng.normal(9, 6)) + 2
    upper = about_y(-_SIGN[s] * abduct) @ about_x(-rng.normal(2, 9)) @ np.array([0, 0, -1.0])
    elbow = abs(rng.normal(14, 12))
    lower = _bend_toward(upper, np.array([-0.25 * _SIGN[s], -1.0, 0.0]), elbow)
    pose.aim_arm(s, upper, lower, rng.normal(0, 25))
    pose.bend_wrist(s, rng.normal(5, 10), rng.normal(0, 8), rng.uniform(5, 45))


def _bend_toward(upper: np.ndarray, toward: np.ndarray, degrees: float) -> np.ndarray:
    side = toward - upper * (upper @ toward)
    side = side / _norm(side)
    return upper * np.cos(np.radians(degrees)) + side * np.sin(np.radians(degrees))


def _swing(pose: Pose, s: str, rng: np.random.Generator, phase: float, strength: float) -> None:
    flex = strength * phase
    upper = about_y(-_SIGN[s] * rng.uniform(4, 14)) @ about_x(-flex) @ np.array([0, 0, -1.0])
    elbow = rng.uniform(8, 30) + max(0.0, flex) * 0.6 + (60 if strength > 45 else 0)
    pose.aim_arm(s, upper, _bend_toward(upper, np.array([-0.2 * _SIGN[s], -1.0, 0.0]), elbow), rng.normal(0, 15))
    pose.bend_wrist(s, rng.normal(5, 8), rng.normal(0, 6), rng.uniform(10, 60))


def _reach_random(pose: Pose, s: str, rng: np.random.Generator) -> None:
    azimuth = _SIGN[s] * rng.uniform(-35, 125)
    elevation = rng.uniform(-80, 75)
    upper = _direction(azimuth, elevation)
    pose.lift_clavicle(s, max(0.0, elevation + 40) * 0.2, rng.uniform(-5, 10))
    elbow = min(_MAX_ELBOW, abs(rng.normal(35, 45)))
    toward = _direction(_SIGN[s] * rng.uniform(-80, 30), rng.uniform(-40, 90))
    pose.aim_arm(s, upper, _bend_toward(upper, toward, elbow), rng.normal(0, 40))
    pose.bend_wrist(s, rng.normal(0, 20), rng.normal(0, 12), rng.uniform(0, 70))


def _raise_arm(pose: Pose, s: str, rng: np.random.Generator) -> None:
    pose.lift_clavicle(s, rng.uniform(12, 25))
    upper = _direction(_SIGN[s] * rng.uniform(-10, 100), rng.uniform(25, 85))
    toward = np.array([-_SIGN[s] * rng.uniform(-0.3, 1), rng.normal(0, 0.4), 1.0])
    pose.aim_arm(s, upper, _bend_toward(upper, toward, abs(rng.normal(20, 35))), rng.normal(0, 40))
    pose.bend_wrist(s, rng.normal(0, 20), 0, rng.uniform(0, 50))


def _scaled(pose: Pose, x: float, y: float, z: float) -> np.ndarray:
    """A point near the chest in units of the trunk's length, x outward for the left side, y forward, z up."""
    trunk = _norm(pose.bone("neck01") - pose.bone("root"))
    return np.array([x, -y, z]) * trunk


def _hand_on_hip(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, _SIGN[s] * rng.uniform(0.36, 0.42), rng.uniform(-0.05, 0.12), rng.uniform(-0.6, -0.48))
    pose.reach(s, target, np.array([_SIGN[s], rng.uniform(0.1, 0.9), -0.2]), rng.normal(20, 20))
    pose.bend_wrist(s, rng.uniform(10, 50), rng.uniform(-10, 15), rng.uniform(10, 60))


def _at_head(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, _SIGN[s] * rng.uniform(0.14, 0.3), rng.uniform(-0.05, 0.3), rng.uniform(0.38, 0.62))
    pose.lift_clavicle(s, rng.uniform(0, 8))
    pose.reach(s, target, np.array([_SIGN[s] * rng.uniform(0.3, 1.3), rng.uniform(-0.8, 0.3), -1.0]), rng.normal(0, 30))
    pose.bend_wrist(s, rng.normal(0, 20), rng.normal(0, 10), rng.uniform(10, 70))


def _in_front(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """Something held or handled before the body: phone, cup, book, box, steering wheel."""
    target = _scaled(pose, _SIGN[s] * rng.uniform(-0.1, 0.45), rng.uniform(0.35, 0.95), rng.uniform(-0.55, 0.35))
    pose.reach(s, target, np.array([_SIGN[s] * rng.uniform(0.2, 1.2), rng.uniform(0, 0.8), -1.0]), rng.normal(0, 35))
    pose.bend_wrist(s, rng.normal(0, 15), rng.normal(0, 10), rng.uniform(10, 80))


def _in_pocket(pose: Pose, s: str, rng: np.random.Generator) -> None:
    target = _scaled(pose, _SIGN[s] * rng.uniform(0.34, 0.4), rng.uniform(0.0, 0.14), rng.uniform(-0.78, -0.66))
    pose.reach(s, target, np.array([_SIGN[s] * 0.8, 1.0, 0.0]), rng.normal(0, 10))
    pose.bend_wrist(s, rng.uniform(-5, 15), 0, rng.uniform(0, 20))


def _fold_both(pose: Pose, rng: np.random.Generator) -> None:
    """Arms crossed before the chest."""
    lead = rng.choice(["L", "R"])
    height = rng.uniform(-0.22, -0.05)
    for s in "LR":
        depth = 0.36 if s == lead else 0.27
        target = _scaled(pose, -_SIGN[s] * rng.uniform(0.12, 0.24), depth, height + rng.uniform(-0.03, 0.05))
        pose.reach(s, target, np.array([_SIGN[s], -0.25, -1.0]), rng.normal(0, 10))
        pose.bend_wrist(s, rng.uniform(0, 20), 0, rng.uniform(10, 40))


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
        pose.reach(s, _scaled(pose, _SIGN[s] * x, y, z), np.array([_SIGN[s] * pole[0], *pole[1:]]), rng.normal(0, 20))
        pose.bend_wrist(s, rng.uniform(0, 30), 0, rng.uniform(10, 60))


def _carry(pose: Pose, rng: np.random.Generator) -> None:
    """Both arms carry something wide."""
    width, y, z = rng.uniform(0.12, 0.45), rng.uniform(0.45, 0.8), rng.uniform(-0.5, 0.05)
    for s in "LR":
        pose.reach(s, _scaled(pose, _SIGN[s] * width, y, z), np.array([_SIGN[s] * 0.8, 0.5, -1.0]), rng.uniform(0, 60))
        pose.bend_wrist(s, rng.uniform(0, 30), 0, rng.uniform(10, 60))


def _on_thigh(pose: Pose, s: str, rng: np.random.Generator) -> None:
    """A hand that rests on the thigh or knee, wherever that is."""
    share = rng.uniform(0.45, 1.0)
    hip, knee = pose.bone(f"upperleg01.{s}"), pose.bone(f"lowerleg01.{s}")
    thigh = pose.rotation(f"upperleg01.{s}") @ np.array([0.0, 0.0, -_norm(knee - hip)])
    point = pose.rotation("root") @ (hip - pose.bone("root")) + share * thigh
    point = point + pose.rotation(f"upperleg01.{s}") @ np.array([0.0, -0.11, 0.0])
    chest = pose.rotation("spine01")
    target = chest.T @ (point - _chest_origin(pose))
    pose.reach(s, target, np.array([_SIGN[s] * rng.uniform(0.4, 1.2), 0.6, -0.3]), rng.normal(-20, 20))
    pose.bend_wrist(s, rng.uniform(-30, 10), rng.normal(0, 10), rng.uniform(0, 40))


def _chest_origin(pose: Pose) -> np.ndarray:
    """Position of the head of spine01 relative to the root, global axes."""
    chain = ["root", "spine05", "spine04", "spine03", "spine02", "spine01"]
    position = np.zeros(3)
    for part, child in zip(chain, chain[1:]):
        position = position + pose.rotation(part) @ (pose.bone(child) - pose.bone(part))
    return position


def _pose_arms(pose: Pose, rng: np.random.Generator, habits: dict[str, float]) -> None:
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


_BOTH = {"fold": _fold_both, "clasp": _clasp, "carry": _carry}
_EACH = {
    "hang": _hang,
    "hip": _hand_on_hip,
    "head": _at_head,
    "front": _in_front,
    "pocket": _in_pocket,
    "random": _reach_random,
    "raise": _raise_arm,
    "thigh": _on_thigh,
}
_EACH_WEIGHTS = (0.3, 0.09, 0.11, 0.2, 0.06, 0.14, 0.06, 0.04)
_STANDING_ARMS = {
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
_SITTING_ARMS = {"thigh": 30, "each": 20, "front": 25, "fold": 6, "clasp": 8, "random": 6, "hang": 5}


# -- families of poses ------------------------------------------------------------------------------------------------


def _look_around(pose: Pose, rng: np.random.Generator) -> None:
    if rng.random() < 0.25:
        pose.turn_head(rng.uniform(15, 45), rng.normal(0, 6), rng.normal(0, 15))  # looking down, at a phone or so
    else:
        pose.turn_head(rng.normal(3, 12), rng.normal(0, 8), np.clip(rng.normal(0, 28), -70, 70))


def _stand(pose: Pose, rng: np.random.Generator) -> None:
    pose.turn("root", about_x(rng.normal(0, 3)) @ about_y(rng.normal(0, 3)))
    pose.bend_spine(rng.normal(4, 7), rng.normal(0, 5), rng.normal(0, 10))
    spread = abs(rng.normal(4, 5))
    relaxed = rng.choice(["L", "R"])
    for s in "LR":
        bent = abs(rng.normal(0, 15)) if s == relaxed and rng.random() < 0.5 else abs(rng.normal(2, 3))
        pose.set_leg(s, bent * 0.55 + rng.normal(0, 4), spread + rng.normal(0, 2), rng.normal(8, 8), bent)
        pose.flatten_foot(s, rng.normal(2, 5))
    _pose_arms(pose, rng, _STANDING_ARMS)
    _look_around(pose, rng)


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
            _swing(pose, s, rng, np.sin(p), rng.uniform(46, 65) if run else rng.uniform(10, 38))
    else:
        _pose_arms(pose, rng, _STANDING_ARMS)
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
    _pose_arms(pose, rng, _SITTING_ARMS)
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
    _pose_arms(pose, rng, _SITTING_ARMS)
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
    _pose_arms(pose, rng, _STANDING_ARMS | {"thigh": 15})
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
    _pose_arms(pose, rng, _STANDING_ARMS | {"thigh": 15})
    _look_around(pose, rng)


def _bend(pose: Pose, rng: np.random.Generator) -> None:
    lean = rng.uniform(20, 75)
    pose.turn("root", about_x(lean) @ about_y(rng.normal(0, 4)))
    pose.bend_spine(rng.uniform(10, 50), rng.normal(0, 10), rng.normal(0, 14))
    for s in "LR":
        knee = abs(rng.normal(12, 18))
        pose.set_leg(s, lean + knee * 0.5 + rng.normal(0, 6), abs(rng.normal(6, 6)), rng.normal(5, 8), knee)
        pose.flatten_foot(s)
    _pose_arms(pose, rng, {"front": 30, "random": 25, "hang": 10, "each": 20, "thigh": 12, "carry": 8})
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
    _pose_arms(pose, rng, {"random": 30, "front": 30, "each": 20, "raise": 10, "carry": 10})
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
    _pose_arms(pose, rng, {"hang": 25, "each": 30, "random": 20, "raise": 15, "clasp": 10})
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
        rng.choice([_reach_random, _raise_arm, _in_front, _hang])(pose, s, rng)
    pose.turn_head(rng.normal(0, 16), rng.normal(0, 12), rng.normal(0, 28))


class Clips:
    """Motion-capture frames of the ``humanoid3d_*.txt`` files in a folder.

    Each frame holds 44 numbers: duration, root position (3) and quaternion (4), chest 4, neck 4, right hip 4,
    right knee 1, right ankle 4, right shoulder 4, right elbow 1, then the left leg and arm likewise; x forward,
    y up, z right, all rotations relative to standing with hanging arms.
    """

    _FROM_CLIP = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

    def __init__(self, folder: Path | None):
        self.clips = []
        for path in sorted(Path(folder).glob("humanoid3d_*.txt")) if folder else []:
            frames = np.array(json.loads(path.read_text())["Frames"], float)
            if frames.ndim == 2 and frames.shape[1] == 44:
                self.clips.append(frames)

    def pose(self, pose: Pose, rng: np.random.Generator) -> None:
        """Take a random frame, mirrored half of the time, slightly varied."""
        frames = self.clips[rng.integers(len(self.clips))]
        values = frames[rng.integers(len(frames))]
        mirrored = rng.random() < 0.5
        c = self._FROM_CLIP

        def rotation(start):
            r = c @ from_quaternion(values[start : start + 4]) @ c.T
            if mirrored:
                flip = np.diag([-1.0, 1.0, 1.0])
                r = flip @ r @ flip
            return r @ random_rotation(rng, 4)

        pose.turn("root", rotation(4))
        chest = rotation(8)
        for part in ("spine05", "spine04", "spine03", "spine02"):
            pose.turn(part, _partial(chest, 0.25))
        neck = rotation(12)
        for part in ("neck01", "neck02", "neck03", "head"):
            pose.turn(part, _partial(neck, 0.25))
        pose.turn_head(rng.normal(0, 8), rng.normal(0, 5), rng.normal(0, 15))
        for start, side in ((16, "R"), (30, "L")):
            s = ("L" if side == "R" else "R") if mirrored else side
            pose.turn(f"upperleg01.{s}", rotation(start))
            pose.turn(f"lowerleg01.{s}", about_x(np.clip(np.degrees(-values[start + 4]) + rng.normal(0, 4), 0, 150)))
            pose.turn(f"foot.{s}", rotation(start + 5))
            arm = rotation(start + 9)
            elbow = np.clip(np.degrees(values[start + 13]) + rng.normal(0, 6), 0, _MAX_ELBOW)
            pose._set_arm(s, arm, elbow, rng.normal(0, 20))
            pose.bend_wrist(s, rng.normal(0, 12), rng.normal(0, 8), rng.uniform(5, 60))


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


BALANCED = ("stand", "bend", "crouch", "lunge")
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
    tilt = _partial(_shortest_rotation(_unit(offset), np.array([0.0, 0.0, 1.0])), 0.85)
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


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.sqrt(v @ v) + 1e-9)


def _length(v: np.ndarray) -> np.ndarray:
    """Lengths of vectors [..., 3]."""
    return np.sqrt(np.einsum("...i,...i->...", v, v))


def _distance_to_segment(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of points [B, n, 3] to the segments a-b, each [B, 3]; float [B, n]."""
    ab, ap = b - a, points - a[:, None]
    t = np.einsum("bni,bi->bn", ap, ab) / (np.einsum("bi,bi->b", ab, ab)[:, None] + 1e-12)
    return _length(ap - np.clip(t, 0, 1)[..., None] * ab[:, None])
