"""People as messages, as markers and drawn into the image."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from metrabs_core.appearance import SIDE_COLOURS, bone_sides, id_colour, joint_sides
from metrabs_core.skeletons import NATIVE, SKELETONS
from metrabs_ros.markers import delete_all_message, markers_message
from metrabs_ros.overlay import draw_overlay
from metrabs_ros.person_messages import persons_message, skeleton_from_message, skeleton_message

SKELETON = skeleton_message(NATIVE.name, NATIVE.joint_names, NATIVE.edges)
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="camera_optical")
IMAGE_SIZE = (640, 480)


def prediction(n=2, seed=0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    poses3d = rng.normal(size=[n, NATIVE.n_joints, 3]).astype(np.float32) * [400, 700, 100] + [0, 0, 4000]
    return {
        "boxes": np.tile(np.float32([200, 100, 100, 300, 0.75]), [n, 1]),
        "poses3d": poses3d.astype(np.float32),
        "poses2d": (poses3d[..., :2] / poses3d[..., 2:] * 500 + [319.5, 239.5]).astype(np.float32),
        "uncertainties": rng.uniform(10, 500, [n, NATIVE.n_joints]).astype(np.float32),
    }


def persons(ids=(3, 8), **changes):
    return persons_message(HEADER, NATIVE.name, {**prediction(len(ids)), **changes}, ids, IMAGE_SIZE)


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


def test_joints_out_of_the_image_and_behind_the_camera():
    poses2d = np.full([1, NATIVE.n_joints, 2], 100.0)
    poses2d[0, :6] = [[-0.5, 100], [-0.49, 100], [639.49, 100], [639.5, 100], [100, 479.6], [-1e9, np.inf]]
    poses3d = np.full([1, NATIVE.n_joints, 3], 1000.0)
    poses3d[0, 6] = [0, 0, -1000]
    [person] = persons([1], poses2d=poses2d, poses3d=poses3d).persons
    assert list(person.in_view[:8]) == [False, True, True, False, False, False, False, True]
    assert np.isnan([person.joints_image[6].x, person.joints_image[6].y]).all()


def test_nobody():
    message = persons([])
    assert message.persons == []
    assert markers_message(message, SKELETON).markers == []
    image = np.full([48, 64, 3], 7, np.uint8)
    np.testing.assert_array_equal(draw_overlay(image, message, SKELETON), image)


@pytest.mark.parametrize("name", SKELETONS)
def test_skeleton_message(name):
    skeleton = SKELETONS[name]
    message = skeleton_message(name, skeleton.joint_names, np.array(skeleton.edges))
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
    markers = {(m.ns, m.id): m for m in markers_message(message, SKELETON).markers}
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
    markers = markers_message(persons([8, 9]), SKELETON, previous_ids={3, 8}).markers
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
    message = persons([5], poses2d=poses2d)
    drawn = draw_overlay(image, message, SKELETON)
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
    draw_overlay(np.zeros([480, 640, 3], np.uint8), persons(poses2d=poses2d), SKELETON)


def test_overlay_lines_are_thicker_for_larger_people():
    def covered(scale):
        image = np.zeros([1200, 1600, 3], np.uint8)
        box = np.float32([[100, 100, 100 * scale, 300 * scale, 0.9]])
        poses2d = np.full([1, NATIVE.n_joints, 2], np.nan)
        poses2d[0, [NATIVE.index("lsho"), NATIVE.index("lelb")]] = [[800, 400], [800, 1000]]
        drawn = draw_overlay(image, persons([1], boxes=box, poses2d=poses2d), SKELETON)
        return (drawn[700, 780:820] == SIDE_COLOURS["left"]).all(axis=-1).sum()

    assert covered(4) > covered(1) >= 1


def test_overlay_of_small_image_with_large_label_fits():
    assert draw_overlay(np.zeros([20, 30, 3], np.uint8), persons([123456]), SKELETON).shape == (20, 30, 3)
