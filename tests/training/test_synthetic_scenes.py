"""What is drawn around synthetic people, and where cameras are: against OpenCV, catalogue sizes and known ranges."""

import zipfile

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrabs_core.cameras import Camera
from metrabs_core.skeletons import NATIVE
from training.synthesis import assets, furniture, shapes
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.labels import label_person
from training.synthesis.photography import ambient_occlusion
from training.synthesis.renderer import FAR, NEAR, Lights, _contact, metric_depth
from training.synthesis.rotations import about_z
from training.synthesis.solids import Solid
from training.synthesis.views import View, sample_view

pytest_plugins = ["synthetic_people"]
pytestmark = pytest.mark.usefixtures("renderer_alone")

J = {name: i for i, name in enumerate(NATIVE.joint_names)}


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
