"""People as messages, as markers and drawn into the image."""

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from metrabs_core.appearance import SIDE_COLOURS, bone_sides, id_colour, joint_sides
from metrabs_core.drawing import draw_people
from metrabs_core.pipeline import People
from metrabs_core.skeletons import NATIVE, SKELETONS
from metrabs_ros.markers import delete_all_message, markers_message
from metrabs_ros.person_messages import people_from_message, persons_message, skeleton_from_message, skeleton_message

HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_optical")


def prediction(n=2, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    poses3d = rng.normal(size=[n, NATIVE.n_joints, 3]).astype(np.float32) * [400, 700, 100] + [0, 0, 4000]
    return {
        "boxes": np.tile(np.float32([200, 100, 100, 300, 0.75]), [n, 1]),
        "poses3d": poses3d.astype(np.float32),
        "poses2d": (poses3d[..., :2] / poses3d[..., 2:] * 500 + [319.5, 239.5]).astype(np.float32),
        "uncertainties": rng.uniform(10, 500, [n, NATIVE.n_joints]).astype(np.float32),
    }


def found(ids=(3, 8), **changes) -> People:
    people = People.untracked({**prediction(len(ids)), **changes}, NATIVE, np.zeros([480, 640, 3], np.uint8))
    velocities = np.float32([[1200, -300, 50], [np.nan] * 3])[: len(ids)]
    are_measured = np.arange(len(ids)) == 1
    return replace(people, ids=np.array(ids, np.int64), velocities=velocities, are_measured=are_measured)


def persons(ids=(3, 8), **changes):
    return persons_message(HEADER, found(ids, **changes))


def draw(image, people):
    return draw_people(image, people.boxes, people.poses2d, people.poses3d, people.ids, people.skeleton)


def test_persons_are_in_metres():
    expected, message = prediction(), persons()
    assert message.header == HEADER and message.skeleton == NATIVE.name
    for i, (person, person_id) in enumerate(zip(message.persons, (3, 8), strict=True)):
        assert person.id == person_id
        assert (person.left, person.top, person.width, person.height, person.score) == (200, 100, 100, 300, 0.75)
        joints = [(joint.x, joint.y, joint.z) for joint in person.joints]
        np.testing.assert_allclose(joints, expected["poses3d"][i] / 1000, rtol=1e-6)
        np.testing.assert_allclose(person.uncertainties, expected["uncertainties"][i] / 1000, rtol=1e-6)
        np.testing.assert_allclose([(p.x, p.y) for p in person.joints_image], expected["poses2d"][i], rtol=1e-6)
        velocity = person.velocity.x, person.velocity.y, person.velocity.z
        assert person.distance_source == ("rgb", "depth")[i]
        np.testing.assert_allclose(velocity, [(1.2, -0.3, 0.05), (np.nan,) * 3][i], rtol=1e-6)


def test_people_come_back_out_of_a_message():
    people = found([3, 8])
    again = people_from_message(persons_message(HEADER, people), NATIVE)
    assert again.skeleton == NATIVE
    for name, array in people.arrays().items():
        np.testing.assert_allclose(getattr(again, name), array, rtol=1e-6)
    nobody = people_from_message(persons([]), NATIVE)
    assert nobody.poses3d.shape == (0, NATIVE.n_joints, 3) and nobody.in_view.shape == (0, NATIVE.n_joints)


def test_nobody():
    message = persons([])
    assert message.persons == []
    assert markers_message(message, NATIVE).markers == []
    image = np.full([48, 64, 3], 7, np.uint8)
    np.testing.assert_array_equal(draw(image, found([])), image)


@pytest.mark.parametrize("name", SKELETONS)
def test_skeleton_message(name):
    skeleton = SKELETONS[name]
    message = skeleton_message(skeleton)
    assert tuple(message.joint_names) == skeleton.joint_names
    assert tuple((edge.a, edge.b) for edge in message.edges) == skeleton.edges
    assert skeleton_from_message(message) == skeleton


def test_sides():
    sides = dict(zip(NATIVE.joint_names, joint_sides(NATIVE)))
    assert (sides["lank"], sides["rwri"], sides["pelv"], sides["nose"], sides["head"]) == (
        "left",
        "right",
        "middle",
        "middle",
        "middle",
    )
    names = [tuple(NATIVE.joint_names[joint] for joint in edge) for edge in NATIVE.edges]
    bones = dict(zip(names, bone_sides(NATIVE)))
    assert (bones["pelv", "lhip"], bones["spi3", "rcla"], bones["neck", "head"]) == ("left", "right", "middle")


def test_colours_of_successive_ids_differ():
    colours = np.array([id_colour(person_id) for person_id in range(20)])
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 60


def test_markers_of_a_person():
    message = persons()
    markers = {(m.ns, m.id): m for m in markers_message(message, NATIVE).markers}
    assert set(markers) == {(ns, person_id) for ns in ("bones", "joints", "ids") for person_id in (3, 8)}
    for person in message.persons:
        bones, joints, label = (markers[ns, person.id] for ns in ("bones", "joints", "ids"))
        assert (bones.type, joints.type, label.type) == (Marker.LINE_LIST, Marker.SPHERE_LIST, Marker.TEXT_VIEW_FACING)
        assert bones.points == [person.joints[joint] for edge in NATIVE.edges for joint in edge]
        assert len(bones.colors) == len(bones.points)
        left_bone = NATIVE.edges.index((NATIVE.index("lelb"), NATIVE.index("lwri")))
        colour = bones.colors[2 * left_bone]
        np.testing.assert_allclose(np.array([colour.r, colour.g, colour.b]) * 255, SIDE_COLOURS["left"])
        assert joints.points == person.joints
        certain, uncertain = np.argmin(person.uncertainties), np.argmax(person.uncertainties)
        assert joints.colors[certain].a > joints.colors[uncertain].a > 0
        assert label.text == str(person.id)
        assert label.pose.position.y < min(joint.y for joint in person.joints)
    for marker in markers.values():
        assert marker.header == HEADER
        assert marker.action == Marker.ADD and marker.pose.orientation.w == 1 and marker.color.a > 0
        assert marker.scale.x > 0 and marker.lifetime.sec + marker.lifetime.nanosec > 0


def test_markers_of_people_who_left_are_deleted_in_all_namespaces():
    markers = markers_message(persons([8, 9]), NATIVE, previous_ids={3, 8}).markers
    deleted = {(m.ns, m.id) for m in markers if m.action == Marker.DELETE}
    assert deleted == {("bones", 3), ("joints", 3), ("ids", 3)}
    assert {m.id for m in markers if m.action == Marker.ADD} == {8, 9}


def test_delete_all():
    [marker] = delete_all_message().markers
    assert marker.action == Marker.DELETEALL


def test_overlay_draws_where_the_people_are():
    image = np.full([480, 640, 3], 90, np.uint8)
    poses2d = np.full([1, NATIVE.n_joints, 2], np.nan)
    left = [NATIVE.index(name) for name in ("lsho", "lelb", "lwri")]
    poses2d[0, left] = [[250.3, 150.2], [250.3, 250.2], [350.3, 250.2]]
    drawn = draw(image, found([5], poses2d=poses2d))
    assert (image == 90).all(), "the input must not be drawn into"
    is_left = (drawn == SIDE_COLOURS["left"]).all(axis=-1)
    y, x = np.nonzero(is_left)
    assert (x.min(), x.max()) == pytest.approx((250, 350), abs=6)
    assert (y.min(), y.max()) == pytest.approx((150, 250), abs=6)
    assert is_left[200, 250] and is_left[250, 300]
    # Nothing of the other side, since none of its joints has a place in the image.
    assert not (drawn == SIDE_COLOURS["right"]).all(axis=-1).any()
    # The label is above the box, in the person's colour.
    label = (drawn == id_colour(5)).all(axis=-1)
    assert label[80:99, 200:260].mean() > 0.3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -1e9])
def test_overlay_survives_joints_that_are_nowhere(value):
    poses2d = prediction()["poses2d"]
    poses2d[:, ::3] = value
    draw(np.zeros([480, 640, 3], np.uint8), found(poses2d=poses2d))


def test_overlay_lines_are_thicker_for_larger_people():
    def covered(scale):
        image = np.zeros([1200, 1600, 3], np.uint8)
        box = np.float32([[100, 100, 100 * scale, 300 * scale, 0.9]])
        poses2d = np.full([1, NATIVE.n_joints, 2], np.nan)
        poses2d[0, [NATIVE.index("lsho"), NATIVE.index("lelb")]] = [[800, 400], [800, 1000]]
        drawn = draw(image, found([1], boxes=box, poses2d=poses2d))
        return (drawn[700, 780:820] == SIDE_COLOURS["left"]).all(axis=-1).sum()

    assert covered(4) > covered(1) >= 1


def test_overlay_of_small_image_with_large_label_fits():
    assert draw(np.zeros([20, 30, 3], np.uint8), found([123456])).shape == (20, 30, 3)
