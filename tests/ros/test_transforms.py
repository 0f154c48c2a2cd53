"""TF in and out, in the real node through DDS."""

import closed_form_model
import numpy as np
import pytest
from conftest import FOCAL, HEIGHT, WIDTH, Listener, destroy, is_at, picture, transform, wait_for
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import Marker, MarkerArray

from metrabs_core.orientations import joint_orientations
from metrabs_core.skeletons import NATIVE

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
BOX = (40, 60, 50, 120)
POSE = closed_form_model.expected_pose((39.5, 59.5, 50, 120), INTRINSICS) / 1000
# A camera 1.2 m above the base that looks ahead, 10 degrees down and 25 degrees rolled.
OPTICAL = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
TO_BASE = Rotation.from_euler("yx", [10, 25], degrees=True) * OPTICAL, np.array([0.1, 0.0, 1.2])


def joints_of(person) -> np.ndarray:
    return np.array([(joint.x, joint.y, joint.z) for joint in person.joints])


class Robot:
    """Publishes where its base and its camera are."""

    def __init__(self, ros, node):
        self.moving = ros.create_publisher(TFMessage, "/tf", 100)
        self.static = ros.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.static.publish(TFMessage(transforms=[transform("base", "camera", node.next_stamp(), *TO_BASE)]))

    def wait_until_heard(self):
        wait_for(lambda: self.moving.get_subscription_count() and self.static.get_subscription_count(), "the node")

    def stand(self, stamp, yaw_degrees, place):
        rotation = Rotation.from_euler("z", yaw_degrees, degrees=True)
        self.moving.publish(TFMessage(transforms=[transform("map", "base", stamp, rotation, place)]))


@pytest.fixture
def robot(ros, node):
    robot = Robot(ros, node)
    yield robot
    for publisher in (robot.moving, robot.static):
        destroy(ros, ros.destroy_publisher, publisher)


def test_people_stay_where_they_are_in_the_map_while_the_base_turns(node, robot):
    node.restart(target_frame="map")
    assert node.set_parameters(tf_timeout=10.0) == ""
    robot.wait_until_heard()
    persons = node.persons

    def send():
        stamp = node.show(picture(BOX))
        robot.stand(stamp, 0, [0, 0, 0])
        persons.next(is_at(stamp))
        return lambda _: True

    with node.listen(MarkerArray, "~/markers").connect(send) as markers:
        for i in range(12):
            yaw, place = 30.0 * i, np.array([0.2 * i, -0.1 * i, 0])
            stamp = node.show(picture(BOX))
            robot.stand(stamp, yaw, place)  # after the image, which waits
            message = persons.next(is_at(stamp))
            base = Rotation.from_euler("z", yaw, degrees=True)
            expected = base.apply(TO_BASE[0].apply(POSE) + TO_BASE[1]) + place
            assert message.header.frame_id == "map"
            np.testing.assert_allclose(joints_of(message.persons[0]), expected, atol=1e-4)
            up = TO_BASE[0].inv().apply([0, 0, 1])
            uncertainty = closed_form_model.expected_uncertainty(up) / 1000
            np.testing.assert_allclose(message.persons[0].uncertainties, uncertainty, rtol=1e-5)
        shown = {m.ns: m for m in markers.next(lambda m: m.markers and m.markers[0].header.stamp == stamp).markers}
    assert {marker.header.frame_id for marker in shown.values() if marker.action == Marker.ADD} == {"map"}
    assert shown["ids"].pose.position.z == pytest.approx(expected[:, 2].max() + 0.3)


def test_images_whose_place_is_not_known_are_skipped_and_both_frames_are_named(node, process, robot):
    node.restart(target_frame="nowhere")
    assert node.set_parameters(tf_timeout=0.05) == ""
    start, before = len(process.log), int(node.diagnostics().get("skipped_transform", 0))
    for i in range(1, 3):
        node.show(picture(BOX), frame_id="eye")
        node.wait_for_status(lambda status, i=i: int(status.get("skipped_transform", 0)) == before + i)
    process.wait_for_log(r"'eye' to target_frame 'nowhere' is not known 0.05 s after", start)
    assert process.log[start:].count("target_frame") == 1


@pytest.mark.parametrize("frames", ["persons", "joints"])
def test_people_have_frames_while_they_are_seen(ros, node, frames):
    node.restart(publish_tf=frames)
    assert node.set_parameters(joint_orientations=True) == ""
    persons = node.persons
    with Listener(ros, TFMessage, "/tf", 100) as heard:

        def send():
            persons.next(is_at(node.show(picture(BOX))))
            return lambda _: True

        heard.connect(send)
        stamp = node.show(picture(BOX))
        [person] = persons.next(is_at(stamp)).persons
        found = {t.child_frame_id: t for t in heard.next(lambda m: m.transforms[0].header.stamp == stamp).transforms}
        persons.next(is_at(node.show(picture())))
        persons.next(is_at(node.show(picture())))
        assert heard.messages == []
    turned = joint_orientations(POSE[np.newaxis] * 1000, NATIVE)[0]
    known = {i for i in range(NATIVE.n_joints) if np.isfinite(turned[i]).all()}
    names = {f"person_{person.id}/{NATIVE.joint_names[i]}": i for i in known}
    names = {f"person_{person.id}": 0, **(names if frames == "joints" else {})}
    assert set(found) == set(names)
    for name, joint in names.items():
        assert found[name].header.frame_id == "camera"
        q, t = found[name].transform.rotation, found[name].transform.translation
        np.testing.assert_allclose([t.x, t.y, t.z], POSE[joint], atol=1e-5)
        difference = Rotation.from_quat([q.x, q.y, q.z, q.w]) * Rotation.from_quat(turned[joint]).inv()
        assert difference.magnitude() < 1e-3
    for joint, q in enumerate(person.orientations):
        found_there = np.array([q.x, q.y, q.z, q.w])
        assert np.isnan(found_there).all() if joint not in known else np.isfinite(found_there).all()
