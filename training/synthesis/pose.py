"""A pose in the making: rotations of a body's parts relative to a person who stands with hanging arms.

A pose is a rotation per part of the body (`bodies.PARTS`) relative to its parent, where no rotation at all means to
stand upright with straight, hanging arms. Hands that touch something (hips, phone, own thighs) are placed by inverse
kinematics on the very body that takes the pose.
"""

import numpy as np

from training.synthesis.bodies import PART_INDEX, PARTS
from training.synthesis.rotations import about_x, about_y, about_z, cross, norm, partial_rotation, shortest_rotation

SIGN = {"L": 1.0, "R": -1.0}


# Anatomical limits, degrees: how far a forearm turns inward/outward, a wrist bends, and so on.
MAX_ELBOW = 148.0


_MAX_KNEE = 150.0


class Pose:
    """A pose in the making, of one body.

    Args:
        heads: float32 [n_bones, 3], the body's rest bone heads, metres.
        bone_index: bone name -> index.

    Attributes:
        local: rotation of each part relative to its parent, float64 [3, 3]; absent means none.
        world: global rotation of the parts that are posed by it, float64 [3, 3]; it takes the place of the local one.
        kind: name of the family that the pose comes from.
        seat: whether thighs or bottom rest on a seat that is to be drawn.
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
        self.turn(f"clavicle.{s}", about_y(-SIGN[s] * up) @ about_z(-SIGN[s] * forward))

    def aim_arm(self, s: str, upper: np.ndarray, lower: np.ndarray, twist: float = 0.0) -> None:
        """Point the upper arm and the forearm along directions given in the chest's axes.

        Args:
            s: side, "L" or "R".
            upper: float [3], direction from shoulder to elbow.
            lower: float [3], direction from elbow to wrist.
            twist: extra turn of the forearm, degrees, positive turns the thumb outward.
        """
        upper = upper / norm(upper)
        lower = lower / norm(lower)
        hinge = cross(upper, lower)
        if norm(hinge) < 0.05:
            hinge = cross(upper, np.array([0.0, -1.0, 0.3]))
        x, z = -hinge / norm(hinge), -upper
        swing = np.stack([x, cross(z, x), z], 1)
        elbow = np.degrees(np.arccos(np.clip(upper @ lower, -1, 1)))
        self.set_arm(s, swing, min(elbow, MAX_ELBOW), twist)

    def set_arm(self, s: str, swing: np.ndarray, elbow: float, twist: float) -> None:
        """Turn the upper arm by a rotation in the chest's axes, bend the elbow and twist the forearm, degrees."""
        # Half of the twist about the humerus happens at the shoulder bone, half further down, as in the flesh.
        upper = swing @ np.array([0.0, 0.0, -1.0])
        down = np.array([0.0, 0.0, -1.0])
        minimal = shortest_rotation(down, upper)
        residue = minimal.T @ swing
        angle = np.degrees(np.arctan2(residue[1, 0], residue[0, 0]))
        chest_to_clavicle = self.local.get(f"clavicle.{s}", np.eye(3)).T
        self.local[f"upperarm01.{s}"] = chest_to_clavicle @ minimal @ about_z(angle / 2)
        self.local[f"upperarm02.{s}"] = about_z(angle / 2)
        self.local[f"lowerarm01.{s}"] = about_x(-elbow) @ about_z(SIGN[s] * twist / 3)
        self.local[f"lowerarm02.{s}"] = about_z(SIGN[s] * twist / 3)
        self.local[f"wrist.{s}"] = about_z(SIGN[s] * twist / 3)

    def arm_lengths(self, s: str) -> tuple[float, float]:
        """Lengths of upper arm and forearm, metres."""
        shoulder, elbow, wrist = (self.bone(f"{b}.{s}") for b in ("upperarm01", "lowerarm01", "wrist"))
        return float(norm(elbow - shoulder)), float(norm(wrist - elbow))

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
        u, f = two_bones(target - shoulder, upper, lower, pole)
        self.aim_arm(s, u, f, twist)

    def bend_wrist(self, s: str, flex: float, deviation: float, curl: float) -> None:
        """Bend the hand (positive toward the palm, toward the thumb) and curl the fingers, degrees."""
        self.turn(f"wrist.{s}", about_y(SIGN[s] * flex) @ about_x(-deviation))
        self.curl_fingers(s, curl)

    def curl_fingers(self, s: str, curl: float) -> None:
        """Bend the fingers at both of their joints, degrees."""
        self.turn(f"fingers1.{s}", about_y(SIGN[s] * curl))
        self.turn(f"fingers2.{s}", about_y(SIGN[s] * curl))

    # -- legs ----------------------------------------------------------------------------------------------------

    def set_leg(self, s: str, flex: float, abduct: float, turn_out: float, knee: float) -> None:
        """Hip flexion, abduction, outward turn, and knee flexion, degrees."""
        hip = about_x(-flex) @ about_y(-SIGN[s] * abduct) @ about_z(SIGN[s] * turn_out)
        self.local[f"upperleg01.{s}"] = hip
        self.local[f"lowerleg01.{s}"] = about_x(np.clip(knee, 0, _MAX_KNEE))

    def point_foot(self, s: str, down: float, inward: float = 0.0) -> None:
        """Bend the ankle: toes down, and sole turned inward, degrees."""
        self.world.pop(f"foot.{s}", None)
        self.local[f"foot.{s}"] = about_x(down) @ about_y(SIGN[s] * inward)

    def flatten_foot(self, s: str, toe_out: float = 0.0, limit: float = 40.0) -> None:
        """Turn the sole parallel to the ground, as far as the ankle can."""
        shin = self.rotation(f"lowerleg01.{s}")
        forward = shin @ np.array([0.0, -1.0, 0.0])
        if norm(forward[:2]) < 0.2:
            forward = -(shin @ np.array([0.0, 0.0, 1.0])) * np.sign(forward[2] + 1e-9)
        yaw = np.degrees(np.arctan2(forward[0], -forward[1])) + SIGN[s] * toe_out
        wanted = shin.T @ about_z(yaw)
        angle = np.degrees(np.arccos(np.clip((np.trace(wanted) - 1) / 2, -1, 1)))
        self.local[f"foot.{s}"] = partial_rotation(wanted, min(1.0, limit / max(angle, 1e-6)))


_EYE = np.eye(3)


def two_bones(reach: np.ndarray, first: float, second: float, pole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Directions of two bones in a row that span a vector, bending toward the pole (cosine rule)."""
    distance = norm(reach)
    along = reach / (distance + 1e-9)
    distance = np.clip(distance, abs(first - second) + 0.02, (first + second) * 0.998)
    side = pole - along * (pole @ along)
    if norm(side) < 1e-3 * norm(pole):  # the pole says nothing: any side will do
        side = cross(along, np.eye(3)[np.argmin(abs(along))])
    side = side / norm(side)
    cosine = (first**2 + distance**2 - second**2) / (2 * first * distance)
    sine = np.sqrt(max(0.0, 1 - cosine**2))
    u = along * cosine + side * sine
    f = along * distance - u * first
    return u, f / norm(f)
