"""Motion capture in BVH: reading against SciPy's rotations, skeletons of many programs, damaged files, retargeting."""

import numpy as np
import pytest
from bvh_files import ROTATIONS, SKELETON, movement, write_bvh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metrabs_core.errors import UserError
from training.synthesis.bodies import BodyModel
from training.synthesis.bvh import read_bvh
from training.synthesis.motions import JOINT_NAMES, read_motions
from training.synthesis.phenotypes import sample_phenotype
from training.synthesis.pose import Pose
from training.synthesis.retargeting import follow

J = {name: i for i, name in enumerate(JOINT_NAMES)}


def renamed(names):
    return [(names.get(n, n), names.get(p, p), offset) for n, p, offset in SKELETON]


def sided(pattern, parts):
    """Names for all limbs: pattern with {side} and {part}, parts by the names of SKELETON without Left and Right."""
    return {f"{side}{old}": pattern(side, new) for side in ("Left", "Right") for old, new in parts.items()}


_LIMBS = ("UpLeg", "Leg", "Foot", "ToeBase", "Shoulder", "Arm", "ForeArm", "Hand", "FingerBase")
CONVENTIONS = {
    "CMU's ASF": {"Hips": "root", "Spine": "thorax", "Neck": "lowerneck", "Head": "head"}
    | sided(lambda side, part: side[0].lower() + part, dict(zip(_LIMBS, ("femur", "tibia", "foot", "toes", "clavicle",
            "humerus", "radius", "wrist", "hand")))),
    "Mixamo": {n: f"mixamorig:{n}" for n, _, _ in SKELETON} | {"LeftFingerBase": "mixamorig:LeftHandMiddle1"},
    "thigh and shin": {"Hips": "Pelvis"}
    | sided(lambda side, part: side + part, dict(zip(_LIMBS, ("Thigh", "Shin", "Foot", "Toe", "Collar", "UpperArm",
            "LowerArm", "Hand", "Middle1")))),
    "hips, knees and elbows": sided(lambda side, part: side + part, dict(zip(_LIMBS, ("Hip", "Knee", "Ankle", "Toe",
            "Collar", "Shoulder", "Elbow", "Wrist", "Hand")))),
    "Biped": {"Hips": "Bip01", "Neck": "Bip01 Neck", "Head": "Bip01 Head"}
    | sided(lambda side, part: f"Bip01 {side[0]} {part}", dict(zip(_LIMBS, ("Thigh", "Calf", "Foot", "Toe0",
            "Clavicle", "UpperArm", "Forearm", "Hand", "Finger1")))),
    "Blender": sided(lambda side, part: f"{part}.{side[0]}", dict(zip(_LIMBS, ("thigh", "shin", "foot", "toe",
            "shoulder", "upper_arm", "forearm", "hand", "finger")))),
    "Unreal": {"Hips": "pelvis", "Neck": "neck_01", "Head": "head"}
    | sided(lambda side, part: f"{part}_{side[0].lower()}", dict(zip(_LIMBS, ("thigh", "calf", "foot", "ball",
            "clavicle", "upperarm", "lowerarm", "hand", "middle_01")))),
    "SMPL": sided(lambda side, part: f"{side[0]}_{part}", dict(zip(_LIMBS, ("Hip", "Knee", "Ankle", "Foot", "Collar",
            "Shoulder", "Elbow", "Wrist", "Hand")))),
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(ROTATIONS), n_joints=st.integers(1, 8))
def test_joints_are_where_scipys_rotations_put_them(tmp_path_factory, seed, order, n_joints):
    rng = np.random.default_rng(seed)
    parents = [None, *(int(rng.integers(i)) for i in range(1, n_joints))]
    offsets = rng.normal(0, 20, [n_joints, 3])
    skeleton = [(f"joint{i}", None if p is None else f"joint{p}", tuple(offsets[i])) for i, p in enumerate(parents)]
    values = rng.uniform(-180, 180, [3, 3 + 3 * n_joints])
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    write_bvh(path, skeleton, values, channels=order)
    bvh = read_bvh(path)
    places, turns = bvh.forward_kinematics()
    assert bvh.frame_time == 0.025
    intrinsic = "".join(channel[0] for channel in order)
    for frame in range(3):
        angles = values[frame, 3:].reshape(-1, 3)
        for joint in range(n_joints):
            chain = [joint]
            while parents[chain[-1]] is not None:
                chain.append(parents[chain[-1]])
            turn, place = Rotation.identity(), values[frame, :3]
            for j in reversed(chain):
                place = place + turn.apply(offsets[j])
                turn = turn * Rotation.from_euler(intrinsic, angles[j], degrees=True)
            k = bvh.names.index(f"joint{joint}")
            np.testing.assert_allclose(places[frame, k], place, atol=1e-3)
            np.testing.assert_allclose(turns[frame, k], turn.as_matrix(), atol=1e-6)


def test_a_joint_with_position_channels_goes_where_they_say(tmp_path):
    text = """HIERARCHY
ROOT a {
OFFSET 1 0 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
JOINT b {
OFFSET 0 2 0
CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
End Site {
OFFSET 0 0 3 } } }
MOTION
Frames: 2
Frame Time: .04
10 0 0 90 0 0   0 5 0 0 0 0
10 0 0 0 0 0   0 2 0 0 90 0
"""
    (tmp_path / "a.bvh").write_text(text)
    places, _ = read_bvh(tmp_path / "a.bvh").forward_kinematics()
    np.testing.assert_allclose(places[0], [[11, 0, 0], [6, 0, 0], [6, 0, 3]], atol=1e-9)
    np.testing.assert_allclose(places[1], [[11, 0, 0], [11, 2, 0], [11, -1, 0]], atol=1e-9)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_skeletons_of_many_programs_are_the_same_person(tmp_path, convention):
    values = movement(np.random.default_rng(1))
    (tmp_path / "theirs").mkdir()
    write_bvh(tmp_path / "ours.bvh", SKELETON, values)
    write_bvh(tmp_path / "theirs" / "a.bvh", renamed(CONVENTIONS[convention]), values)
    theirs, ours = read_motions(tmp_path).clips[::-1]
    known = np.isfinite(theirs.joints)
    assert known[:, [i for name, i in J.items() if name[1:] not in ("han", "toe")]].all()
    np.testing.assert_allclose(theirs.joints[known], ours.joints[known], atol=1e-6)
    np.testing.assert_allclose(theirs.segments, ours.segments, atol=1e-6)


@pytest.mark.parametrize("unit", [0.01, 1.0, 1 / 2.54, 10.0])
@pytest.mark.parametrize("up", ["y", "z"])
def test_units_and_axes_are_found(tmp_path, unit, up):
    values = movement(np.random.default_rng(2))
    write_bvh(tmp_path / "a.bvh", SKELETON, values)
    skeleton = [(name, parent, tuple(unit * np.array(offset))) for name, parent, offset in SKELETON]
    channels = ROTATIONS
    values[:, :3] *= unit
    if up == "z":  # y up becomes z up: x stays, y becomes z, z becomes -y
        skeleton = [(n, p, (x, -z, y)) for n, p, (x, y, z) in skeleton]
        angles = values[:, 3:].reshape(len(values), -1, 3)
        angles[..., 2] *= 1  # about the old y
        channels = ("Yrotation", "Xrotation", "Zrotation")  # the old z, x and y
        angles[..., 0] *= -1
        values[:, :3] = values[:, [0, 2, 1]] * [1, -1, 1]
    write_bvh(tmp_path / "b.bvh", skeleton, values, channels)
    a, b = read_motions(tmp_path).clips
    np.testing.assert_allclose(b.joints, a.joints, atol=1e-4)
    np.testing.assert_allclose(b.segments, a.segments, atol=1e-4)
    assert a.joints[:, J["head"], 2].mean() > 0.4  # the head is above the pelvis, in metres
    thigh = np.linalg.norm(a.joints[:, J["lkne"]] - a.joints[:, J["lhip"]], axis=-1)
    np.testing.assert_allclose(thigh, 0.42, rtol=0.05)


def test_left_is_left_and_the_front_is_in_front(tmp_path):
    write_bvh(tmp_path / "a.bvh", SKELETON, np.zeros([1, 3 + 3 * len(SKELETON)]))
    (clip,) = read_motions(tmp_path).clips
    joints = clip.joints[0]
    for name in ("hip", "kne", "ank", "sho", "elb", "wri"):
        assert joints[J["l" + name], 0] > 0.05 > -0.05 > joints[J["r" + name], 0]
    assert joints[J["ltoe"], 1] < joints[J["lank"], 1] - 0.1
    assert joints[J["lank"], 2] < joints[J["lhip"], 2] < joints[J["neck"], 2] < joints[J["head"], 2]
    np.testing.assert_allclose(clip.segments[0], np.tile(np.eye(3), (7, 1, 1)), atol=1e-6)


def test_long_clips_do_not_rule(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in (("short", 10), ("long", 1000)):
        write_bvh(tmp_path / f"{name}.bvh", SKELETON, movement(rng, n, 5.0))
    long, short = read_motions(tmp_path).weights
    np.testing.assert_allclose(long / short, 10)


GOOD = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  End Site
  {
    OFFSET 0 1 0
  }
}
MOTION
Frames: 1
Frame Time: 0.03
0 0 0
"""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no BVH"),
        (GOOD, "no joint that is known as left hip"),
        (GOOD.replace("Frames: 1", "Frames: 0").replace("\n0 0 0\n", "\n"), "0 frames"),
        (GOOD.replace("Frames: 1", "Frames: 2"), "2 frames of 3 channels need 6 numbers, but it has 3"),
        (GOOD.replace("Frames: 1", "Frames: x"), "how many frames"),
        (GOOD.replace("\n0 0 0", "\n0 nan 0"), "not finite"),
        (GOOD.replace("OFFSET 0 1 0", "OFFSET 0 inf 0"), "not finite"),
        (GOOD.replace("\n0 0 0", "\n0 0,5 0"), "where a number should be"),
        (GOOD.replace("  }\n}", "  }"), "ends before the last joint"),
        (GOOD.replace("  }\n}", "  }\n}\n}"), "hierarchy is broken at '}'"),
        (GOOD.replace("  OFFSET 0 0 0\n", ""), "no OFFSET"),
        (GOOD.replace("  OFFSET 0 0 0\n", "  OFFSET 0 0\n"), "hierarchy is broken at 'OFFSET 0 0'"),
        (GOOD.replace("CHANNELS 3", "CHANNELS 6"), "hierarchy is broken at 'CHANNELS 6"),
        (GOOD.replace("ROOT Hips\n{", "ROOT Hips"), "hierarchy is broken"),
        (GOOD[: len(GOOD) // 3], "no BVH"),
        (GOOD.replace("0.03", "nan"), "frame time is nan"),
        (GOOD.replace("0.03", "0"), "frame time is 0"),
    ],
)
def test_a_damaged_file_is_named_and_left_out(tmp_path, text, complaint):
    (tmp_path / "bad.bvh").write_text(text)
    write_bvh(tmp_path / "good.bvh", SKELETON, movement(np.random.default_rng(0)))
    (tmp_path / "._good.bvh").write_bytes(b"\0\5\x16\7")
    motions = read_motions(tmp_path)
    assert [clip.name for clip in motions.clips] == ["good.bvh"]
    (sentence,) = motions.left_out
    assert sentence.startswith(f"{tmp_path / 'bad.bvh'} is left out: ")
    assert complaint in sentence


def test_line_ends_byte_order_marks_and_case_make_no_difference(tmp_path):
    write_bvh(tmp_path / "a.bvh", SKELETON, movement(np.random.default_rng(0)))
    text = (tmp_path / "a.bvh").read_text()
    (tmp_path / "b.BVH").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (tmp_path / "c.bvh").write_bytes(text.replace("\n", "\r").replace("rotation", "ROTATION").encode())
    a, *others = read_motions(tmp_path).clips
    assert len(others) == 2
    for other in others:
        np.testing.assert_array_equal(other.joints, a.joints)


def test_a_root_at_the_end_of_the_world_is_left_out(tmp_path):
    values = movement(np.random.default_rng(0))
    values[2, :3] = 1e300
    write_bvh(tmp_path / "a.bvh", SKELETON, values)
    (sentence,) = read_motions(tmp_path).left_out
    assert "lengths of its bones change" in sentence


def test_a_skeleton_without_limbs_or_length_is_left_out(tmp_path):
    values = movement(np.random.default_rng(0))
    armless = [row for row in SKELETON if "Arm" not in row[0] and "Hand" not in row[0] and "Finger" not in row[0]]
    write_bvh(tmp_path / "armless.bvh", armless, values[:, : 3 + 3 * len(armless)])
    write_bvh(tmp_path / "flat.bvh", [(n, p, (0, 0, 0)) for n, p, _ in SKELETON], values)
    armless, flat = read_motions(tmp_path).left_out
    assert "no joint that is known as left elbow, right elbow, left wrist, right wrist" in armless
    assert "no joint that is known as" in flat


def test_bones_of_a_body_point_where_the_actors_do(tmp_path):
    body = BodyModel()
    write_bvh(tmp_path / "a.bvh", SKELETON, movement(np.random.default_rng(3), 40))
    motions = read_motions(tmp_path)
    rng = np.random.default_rng(4)
    phenotypes, statures = zip(*[sample_phenotype(rng, body.phenotype_labels) for _ in range(40)])
    bodies = body.build(body.set_stature(np.stack(phenotypes), np.array(statures)))
    rotations, actors = [], []
    for heads in bodies.heads:
        pose = Pose(heads, body.bone_index)
        joints, segments = motions.sample(rng)
        follow(pose, joints, segments, rng)
        rotations.append(pose.rotations())
        actors.append(joints)
    rotations, actors = np.stack(rotations), np.stack(actors)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-4)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(-1, -2), np.tile(np.eye(3), (*rotations.shape[:2], 1, 1)),
                               atol=1e-4)  # fmt: skip
    _, places = body.bone_poses(bodies.heads, body.alignments(bodies.heads), rotations)

    def at(bone):
        if bone == "hips":
            return (at("upperleg01.L") + at("upperleg01.R")) / 2
        return places[:, body.bone_index[bone]]

    pairs = [("upperleg01.R", "upperleg01.L", "rhip", "lhip"), ("hips", "neck01", "pelv", "neck"),
             ("neck01", "head", "neck", "head")]  # fmt: skip
    for s in "LR":
        bones = {"hip": "upperleg01", "kne": "lowerleg01", "ank": "foot", "sho": "upperarm01", "elb": "lowerarm01",
                 "wri": "wrist"}  # fmt: skip
        for a, b in (("hip", "kne"), ("kne", "ank"), ("sho", "elb"), ("elb", "wri")):
            pairs.append((f"{bones[a]}.{s}", f"{bones[b]}.{s}", s.lower() + a, s.lower() + b))
    for start, end, a, b in pairs:
        ours, theirs = at(end) - at(start), actors[:, J[b]] - actors[:, J[a]]
        cosine = np.sum(ours * theirs, -1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        assert np.degrees(np.arccos(cosine.clip(-1, 1))).max() < 1, (start, end)


def test_without_the_body_model_the_command_that_makes_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="python -m training.synthesis.assets body"):
        BodyModel()


def test_damage_is_a_users_error(tmp_path):
    (tmp_path / "a.bvh").write_text("")
    with pytest.raises(UserError):
        read_bvh(tmp_path / "a.bvh")
