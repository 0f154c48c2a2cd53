"""Motion capture clips in BVH: the joints of people who move naturally, whatever the skeleton is called.

Everything here is in one frame: x to the left of somebody who faces -y, y backwards, z up.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from metrabs_core.errors import UserError
from training.synthesis.bvh import Bvh, read_bvh
from training.synthesis.rotations import frame

# Joints of a clip, by the names that the native skeleton has for them.
JOINT_NAMES = (
    "pelv", "lhip", "rhip", "lkne", "rkne", "lank", "rank", "ltoe", "rtoe", "neck", "head", "lsho", "rsho", "lelb",
    "relb", "lwri", "rwri", "lhan", "rhan",
)  # fmt: skip
_INDEX = {name: i for i, name in enumerate(JOINT_NAMES)}
_MIRROR = [_INDEX[{"l": "r", "r": "l"}.get(n[0], n[0]) + n[1:] if n[0] in "lr" else n] for n in JOINT_NAMES]
_FLIP = np.array([-1.0, 1.0, 1.0])
# Segments whose rotation is known, not only their direction.
SEGMENTS = ("pelvis", "chest", "head", "clavicle.L", "clavicle.R", "foot.L", "foot.R")
_MIRRORED_SEGMENTS = [0, 1, 2, 4, 3, 6, 5]
# What programs call the joint at the beginning of each bone, most telling first; "leg" is a shin where there is
# an "upleg". Case, digits, punctuation and the side are left out.
_SIDED = {
    "hip": ("upleg", "upperleg", "thigh", "femur", "uleg", "hip"),
    "kne": ("lowerleg", "lowleg", "loleg", "shin", "shank", "calf", "tibia", "leg", "knee"),
    "ank": ("ankle", "foot"),
    "toe": ("toebase", "toes", "toe", "ball", "foot"),
    "sho": ("upperarm", "uparm", "uarm", "humerus", "arm", "shldr", "shoulder"),
    "elb": ("forearm", "lowerarm", "lowarm", "loarm", "farm", "radius", "elbow"),
    "wri": ("wrist", "hand"),
    "han": ("fingerbase", "handmiddle", "middle", "middleproximal", "handindex", "hand", "fingers"),
}
_MIDDLE = {"neck": ("neck", "lowerneck", "neckbase"), "head": ("head", "skull")}
_CHAINS = (("hip", "kne", "ank", "toe"), ("sho", "elb", "wri", "han"))
_OPTIONAL = {"toe", "han"}
_RIGID = (("lhip", "lkne"), ("rhip", "rkne"), ("lsho", "lelb"), ("rsho", "relb"))
_PREFIX = re.compile(
    r"^(.*:|mixamorig\d*[_.]?|(bip\d*|j|b|bone|def|org|cc_base|sk|skeleton|character\d*)[\s_.-]+)", re.I
)
# Thighs, shins and trunk make up this share of the stature (after de Leva 1996).
_MEASURED_SHARE = 0.78
_ADULT = 1.7  # metres


@dataclass(frozen=True)
class Clip:
    """One clip.

    Attributes:
        name: the file's name.
        joints: float32 [n_frames, 19, 3], `JOINT_NAMES` relative to the pelvis (the middle of the hips), in metres of
            a person of 1.7 m; NaN for toes and hands that the skeleton lacks.
        segments: float32 [n_frames, 7, 3, 3], rotation of each of `SEGMENTS` from a person who stands upright and
            faces -y; NaN for feet of which nothing is known.
        seconds: its duration.
    """

    name: str
    joints: np.ndarray
    segments: np.ndarray
    seconds: float


@dataclass(frozen=True)
class Motions:
    """All usable clips of a folder.

    Attributes:
        clips: the clips.
        left_out: one sentence for each file that could not be used.
    """

    clips: list[Clip]
    left_out: list[str]

    @property
    def n_frames(self) -> int:
        """Number of frames of all clips together."""
        return sum(len(clip.joints) for clip in self.clips)

    @property
    def weights(self) -> np.ndarray:
        """Share of each clip in what is sampled, float64 [n_clips]: as the square root of its duration."""
        lengths = np.sqrt([clip.seconds for clip in self.clips])
        return lengths / lengths.sum()

    def sample(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One frame of a random clip, mirrored half of the time: joints [19, 3] and segments [7, 3, 3], see `Clip`."""
        clip = self.clips[rng.choice(len(self.clips), p=self.weights)]
        i = rng.integers(len(clip.joints))
        joints, segments = clip.joints[i].astype(float), clip.segments[i].astype(float)
        if rng.random() < 0.5:
            joints = joints[_MIRROR] * _FLIP
            segments = segments[_MIRRORED_SEGMENTS] * np.outer(_FLIP, _FLIP)
        return joints, segments


def read_motions(folder: Path | None) -> Motions:
    """Read all BVH files in a folder and the folders in it.

    A file that is damaged, or whose skeleton lacks limbs, is left out.

    Args:
        folder: the folder, or None for no clips at all.
    """
    clips, left_out = [], []
    paths = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() == ".bvh") if folder else []
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        try:
            clips.append(_read_clip(path))
        except (UserError, OSError) as error:
            left_out.append(f"{path} is left out: {error}")
    return Motions(clips, left_out)


def _read_clip(path: Path) -> Clip:
    bvh = read_bvh(path)
    found = find_joints(bvh)
    rest = bvh.rest()
    places, turns = bvh.forward_kinematics()
    upright = _upright(bvh, found, rest, places)
    places, rest = places @ upright.T, rest @ upright.T
    turns = upright @ turns @ upright.T

    joints = np.full([len(places), len(JOINT_NAMES), 3], np.nan)
    standing = np.full([len(JOINT_NAMES), 3], np.nan)
    for name, joint in found.items():
        joints[:, _INDEX[name]], standing[_INDEX[name]] = places[:, joint], rest[joint]
    hips = [_INDEX["lhip"], _INDEX["rhip"]]
    joints[:, 0], standing[0] = joints[:, hips].mean(1), standing[hips].mean(0)
    size = _size(standing)
    if not size > 0:
        raise UserError("its skeleton has no size.")
    for a, b in _RIGID:
        lengths = np.linalg.norm(joints[:, _INDEX[b]] - joints[:, _INDEX[a]], axis=-1)
        if not (abs(lengths / np.linalg.norm(standing[_INDEX[b]] - standing[_INDEX[a]]) - 1) < 0.1).all():
            raise UserError("the lengths of its bones change from frame to frame.")
    if _stands(standing):
        segments = _segments_from_rotations(bvh, found, turns, standing)
    else:
        segments = _segments_from_directions(joints)
    joints = (joints - joints[:, :1]) * (_MEASURED_SHARE * _ADULT / size)
    seconds = len(joints) * bvh.frame_time
    return Clip(path.name, joints.astype(np.float32), segments.astype(np.float32), seconds)


# -- which joint is which ---------------------------------------------------------------------------------------------


def find_joints(bvh: Bvh) -> dict[str, int]:
    """Which joint of a file is which of `JOINT_NAMES`, without the pelvis; toes and hands may be absent.

    Raises:
        UserError: a joint that is needed has no usual name, or isn't where it belongs in the hierarchy.
    """
    found = {}
    meanings = [_meanings(name) for name in bvh.names]
    for name, words in _MIDDLE.items():
        joint = _first(meanings, words, "")
        if joint is not None:
            found[name] = joint
    for side in "lr":
        for chain in _CHAINS:
            above = None
            for name in chain:
                joint = _first(meanings, _SIDED[name], side, bvh, above)
                if joint is None and name in _OPTIONAL and bvh.parents.count(above) == 1:
                    joint = bvh.parents.index(above)
                if joint is not None:
                    found[side + name] = above = joint
                elif name not in _OPTIONAL:
                    break
    if "neck" not in found and "lsho" in found and "rsho" in found:  # where the arms part
        found["neck"] = _fork(bvh, found["lsho"], found["rsho"])
    if "head" not in found and found.get("neck", -1) >= 0:
        found["head"] = next((j for j, p in enumerate(bvh.parents) if p == found["neck"] and not bvh.names[j]), -1)
    missing = [name for name in JOINT_NAMES[1:] if name[1:] not in _OPTIONAL and found.get(name, -1) < 0]
    if missing:
        raise UserError(f"its skeleton has no joint that is known as {', '.join(_SPELLED[name] for name in missing)}.")
    return found


_LIMBS = {"hip": "hip", "kne": "knee", "ank": "ankle", "sho": "shoulder", "elb": "elbow", "wri": "wrist"}
_SPELLED = {"neck": "neck", "head": "head"} | {
    side + name: f"{whole} {word}" for side, whole in (("l", "left"), ("r", "right")) for name, word in _LIMBS.items()
}


def _first(meanings: list[set], words: tuple[str, ...], side: str, bvh: Bvh | None = None, above: int | None = None):
    """The first joint that the most telling of some words names, and which lies away from an ancestor if given one."""
    for word in words:
        for joint, readings in enumerate(meanings):
            if (side, word) in readings:
                if above is None:
                    return joint
                chain = [joint, *_ancestors(bvh, joint)]
                if above in chain[1:] and any(np.any(bvh.offsets[j]) for j in chain[: chain.index(above)]):
                    return joint
    return None


def _meanings(name: str) -> set[tuple[str, str]]:
    """All ways to read a joint's name as a side ("l", "r" or "") and a word."""
    while (short := _PREFIX.sub("", name)) != name and short:
        name = short
    word = re.sub(r"[^a-z]", "", name.lower())
    readings = {("", word)}
    for side, whole in (("l", "left"), ("r", "right")):
        for mark in (whole, side):
            if word.startswith(mark):
                readings.add((side, word[len(mark) :]))
            if word.endswith(mark):
                readings.add((side, word[: -len(mark)]))
    return readings


def _fork(bvh: Bvh, a: int, b: int) -> int:
    """The last joint that two joints descend from, -1 if there is none; parents come before their children."""
    return max(set(_ancestors(bvh, a)) & set(_ancestors(bvh, b)), default=-1)


def _ancestors(bvh: Bvh, joint: int) -> list[int]:
    result = []
    while (joint := bvh.parents[joint]) >= 0:
        result.append(joint)
    return result


# -- how the skeleton stands ------------------------------------------------------------------------------------------


def _upright(bvh: Bvh, found: dict[str, int], rest: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rotation float64 [3, 3] from a file's axes to z up: most files have y up."""

    def upward(points):  # pelvis to neck, and ankles to pelvis; [..., 3] each
        hips = (points[..., found["lhip"], :] + points[..., found["rhip"], :]) / 2
        ankles = (points[..., found["lank"], :] + points[..., found["rank"], :]) / 2
        return points[..., found["neck"], :] - hips, hips - ankles

    trunk, legs = upward(rest)
    if trunk @ legs < 0.7 * np.linalg.norm(trunk) * np.linalg.norm(legs):  # the rest pose isn't one that people take
        trunk, legs = (np.median(v, axis=0) for v in upward(places))
    up = trunk + legs
    axis = int(np.argmax(abs(up)))
    if axis == 2:
        return np.diag([np.sign(up[2]), 1.0, np.sign(up[2])])
    rotations = {1: np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]), 0: np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])}
    turn = np.diag([1.0, np.sign(up[axis]), np.sign(up[axis])])
    return turn @ rotations[axis]


def _size(standing: np.ndarray) -> float:
    """Length of thigh, shin and trunk together."""
    place = {name: standing[i] for i, name in enumerate(JOINT_NAMES)}
    legs = [
        np.linalg.norm(place[f"{s}kne"] - place[f"{s}hip"]) + np.linalg.norm(place[f"{s}ank"] - place[f"{s}kne"])
        for s in "lr"
    ]
    return float(np.mean(legs) + np.linalg.norm(place["neck"] - place["pelv"]))


def _stands(standing: np.ndarray) -> bool:
    """Whether a rest pose is one of somebody who stands with stretched legs."""
    place = {name: standing[i] for i, name in enumerate(JOINT_NAMES)}
    trunk = place["neck"] - place["pelv"]
    bones = [
        trunk,
        *(place[f"{s}hip"] - place[f"{s}kne"] for s in "lr"),
        *(place[f"{s}kne"] - place[f"{s}ank"] for s in "lr"),
    ]
    across = place["lhip"] - place["rhip"]
    level = abs(across[2]) < 0.3 * np.linalg.norm(across)
    return bool(level and all(b[2] > 0.8 * np.linalg.norm(b) for b in bones))


# -- rotations of what is more than a bone ----------------------------------------------------------------------------

_FOOT_SLOPE = 35.0  # degrees that the line from ankle to toes slopes down when a foot is flat on the ground


def _segments_from_rotations(bvh: Bvh, found: dict[str, int], turns: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """Rotations of `SEGMENTS` of a skeleton whose rest pose stands: how far its joints have turned since."""
    across = standing[_INDEX["lhip"]] - standing[_INDEX["rhip"]]
    across[2] = 0
    facing = _frames(np.array([0, 0, 1.0]), across)
    pelvis = _fork(bvh, found["lhip"], found["rhip"])
    chest = _fork(bvh, found["lsho"], found["rsho"])
    joints = [pelvis, chest, found["head"]]
    for side in "lr":
        parent = bvh.parents[found[f"{side}sho"]]
        joints.append(parent if parent > chest else chest)
    joints += [found["lank"], found["rank"]]
    segments = turns[:, joints] @ facing
    for k, side in ((5, "l"), (6, "r")):
        sole = standing[_INDEX[f"{side}toe"]] - standing[_INDEX[f"{side}ank"]]
        if sole[2] < -0.85 * np.linalg.norm(sole):  # a foot that points down in the rest pose
            segments[:, k] = np.nan
    return segments


def _segments_from_directions(joints: np.ndarray) -> np.ndarray:
    """Rotations of `SEGMENTS` as far as the places of the joints tell them."""
    place = {name: joints[:, i] for i, name in enumerate(JOINT_NAMES)}
    trunk = place["neck"] - place["pelv"]
    pelvis = _frames(trunk, place["lhip"] - place["rhip"])
    chest = _frames(trunk, place["lsho"] - place["rsho"])
    segments = np.stack([pelvis, chest, chest, chest, chest, pelvis, pelvis], 1)
    slope = Rotation.from_euler("X", -_FOOT_SLOPE, degrees=True).as_matrix()
    for k, side in ((5, "l"), (6, "r")):
        forward = place[f"{side}toe"] - place[f"{side}ank"]
        shin = place[f"{side}kne"] - place[f"{side}ank"]
        back = -forward / np.linalg.norm(forward, axis=-1, keepdims=True)
        left = np.cross(back, shin)
        left = left / np.linalg.norm(left, axis=-1, keepdims=True)
        segments[:, k] = np.stack([left, back, np.cross(left, back)], -1) @ slope
    return segments


def _frames(up: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Rotations whose third axis is `up` and whose first lies nearest to `left`, [..., 3] each; float64 [..., 3, 3]."""
    return frame(-up, left)
