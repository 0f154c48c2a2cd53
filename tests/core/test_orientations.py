"""Orientations of joints against a body that is put together from turns that are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metrabs_core.orientations import joint_orientations
from metrabs_core.skeletons import NATIVE, SKELETONS

# A person with the arms stretched out, mm: x forward, y left, z up. Of each joint: with what it turns, and from where.
T_POSE = {
    "pelv": (0, 0, 950), "spi1": (0, 0, 1050), "spi2": (0, 0, 1180), "spi3": (0, 0, 1240), "neck": (0, 0, 1450),
    "head": (0, 0, 1540), "htop": (0, 0, 1750), "nose": (110, 0, 1600), "leye": (90, 30, 1640), "lear": (0, 75, 1600),
    "lcla": (0, 70, 1400), "lsho": (0, 180, 1400), "lelb": (0, 450, 1400), "lwri": (0, 700, 1400),
    "lhan": (0, 780, 1400), "lhip": (0, 90, 950), "lkne": (0, 90, 500), "lank": (0, 90, 80), "ltoe": (150, 90, 80),
    "lhee": (-50, 90, 30), "lhip_coco": (0, 130, 970),
}  # fmt: skip
T_POSE |= {f"r{name[1:]}": (x, -y, z) for name, (x, y, z) in T_POSE.items() if name[0] == "l"}
BEFORE = {"lelb": "lsho", "lwri": "lelb", "lhan": "lwri", "lkne": "lhip", "lank": "lkne", "ltoe": "lank"}
BEFORE |= {"lhee": "lank", "lhip_coco": "lhip"}
BEFORE |= {f"r{name[1:]}": f"r{parent[1:]}" for name, parent in BEFORE.items()}
# Joints whose bone turns, and that bone's direction.
SWINGS = {"lsho": (0, 1, 0), "lelb": (0, 1, 0), "lwri": (0, 1, 0), "rsho": (0, -1, 0), "relb": (0, -1, 0)}
SWINGS |= {"lhip": (0, 0, -1), "lkne": (0, 0, -1), "lank": (1, 0, 0), "rhip": (0, 0, -1), "rkne": (0, 0, -1)}


def body(seed):
    """Joints by name, and the true rotation of each."""
    rng = np.random.default_rng(seed)
    root = Rotation.random(random_state=seed)
    rotations, places = {}, {}
    for name in sorted(T_POSE, key=lambda name: _depth(name)):
        parent = BEFORE.get(name)
        turned = rotations[parent] if parent else root
        start = places[parent] if parent else np.zeros(3)
        offset = np.subtract(T_POSE[name], T_POSE[parent]) if parent else np.array(T_POSE[name])
        places[name] = start + turned.apply(offset)
        swing = Rotation.identity()
        if name in SWINGS:
            # About an axis across the bone: the smallest turn that takes the bone to where it is then.
            axis = np.cross(SWINGS[name], rng.normal(size=3))
            swing = Rotation.from_rotvec(axis / np.linalg.norm(axis) * rng.uniform(0, 2.9))
        rotations[name] = turned * swing
    return places, rotations


def _depth(name):
    return 1 + _depth(BEFORE[name]) if name in BEFORE else 0


def array(places, skeleton=NATIVE):
    return np.array([[places[name] for name in skeleton.joint_names]])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_turns_of_limbs_come_out_as_they_were_made(seed):
    places, rotations = body(seed)
    found = joint_orientations(array(places) + 1000, NATIVE)[0]
    for name, quaternion in zip(NATIVE.joint_names, found):
        assert (Rotation.from_quat(quaternion) * rotations[name].inv()).magnitude() < 1e-6, name


def test_the_head_turns_with_the_face_and_the_chest_with_the_shoulders():
    places = {name: np.array(place, float) for name, place in T_POSE.items()}
    turned = Rotation.from_euler("z", 50, degrees=True)
    face = ("nose", "leye", "reye", "lear", "rear")
    places |= {name: turned.apply(places[name]) for name in face}
    twisted = Rotation.from_euler("z", -20, degrees=True)
    arms = [name for name in T_POSE if name[1:] in ("cla", "sho", "elb", "wri", "han")]
    places |= {name: twisted.apply(places[name]) for name in arms}
    found = dict(zip(NATIVE.joint_names, joint_orientations(array(places), NATIVE)[0]))
    for name in NATIVE.joint_names:
        expected = turned if name in (*face, "head", "htop") else twisted
        expected = expected if name in (*face, "head", "htop", *arms, "spi3", "neck") else Rotation.identity()
        assert (Rotation.from_quat(found[name]) * expected.inv()).magnitude() < 1e-6, name


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_has_the_frames_of_its_joints(name):
    skeleton = SKELETONS[name]
    places, rotations = body(3)
    places |= {"tors": places["spi1"], "spin": places["spi1"]}
    found = joint_orientations(array(places, skeleton), skeleton)[0]
    for joint, quaternion in zip(skeleton.joint_names, found):
        # Without hands and toes, wrists and ankles have no bone of their own.
        if joint[1:] in ("wri", "ank") and name not in ("native_34", "smpl_24"):
            expected = rotations[BEFORE[joint]]
        else:
            expected = rotations.get(joint, rotations["pelv"])
        assert (Rotation.from_quat(quaternion) * expected.inv()).magnitude() < 1e-6, joint


def test_bones_without_a_direction_have_no_frame_and_neither_has_what_turns_with_them():
    places, _ = body(5)
    places["lelb"] = places["lsho"]  # no upper arm
    elbow = Rotation.from_quat(joint_orientations(array(places), NATIVE)[0, NATIVE.index("relb")])
    places["rwri"] = places["relb"] + elbow.apply([0, 0, 0])  # no forearm
    found = dict(zip(NATIVE.joint_names, joint_orientations(array(places), NATIVE)[0]))
    without = {name for name, quaternion in found.items() if np.isnan(quaternion).any()}
    assert without == {"lsho", "lelb", "lwri", "lhan", "relb", "rwri", "rhan"}
    assert np.isnan(joint_orientations(np.zeros([1, 34, 3]), NATIVE)).all()
    assert joint_orientations(np.zeros([0, 34, 3]), NATIVE).shape == (0, 34, 4)


def test_a_bone_that_is_turned_round_has_no_frame():
    places = {name: np.array(place, float) for name, place in T_POSE.items()}
    places["lkne"] = places["lhip"] + [0, 0, 450]  # straight up
    found = dict(zip(NATIVE.joint_names, joint_orientations(array(places), NATIVE)[0]))
    assert np.isnan(found["lhip"]).all() and np.isfinite(found["rhip"]).all()
