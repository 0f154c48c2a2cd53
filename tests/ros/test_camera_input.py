"""How the node gets its images: topics, pairing with camera_info, and what it says where none comes through."""

import closed_form_model
import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import FOCAL, HEIGHT, WIDTH, camera_info_message, image_message, is_at, picture, wait_for
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

RED_BOX = (40, 60, 50, 120)
EDGES = (39.5, 59.5, 50, 120)  # of its pixels
KEPT = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)


def depth_of(person) -> float:
    return person.joints[0].z


def expected_depth(focal) -> float:
    """Distance, m, at which somebody in RED_BOX stands for a camera of that focal length (px)."""
    matrix = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    return closed_form_model.expected_pose(EDGES, matrix)[0, 2] / 1000


def matrix_of(focal) -> list[float]:
    return [focal, 0.0, (WIDTH - 1) / 2, 0.0, focal, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]


def show_image(node, frame_id="camera") -> Time:
    """Publish an image without camera_info. Returns its stamp."""
    stamp = node.next_stamp()
    node.publish("image", image_message(picture(RED_BOX), stamp, frame_id))
    return stamp


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_stamps_may_jump_back(node, mode):
    node.restart(sync_mode=mode)
    persons = node.persons
    [person] = persons.next(is_at(node.show(picture(RED_BOX)))).persons
    # More calibrations without image than wait for one: an image got lost now and then.
    for _ in range(12):
        node.publish("camera_info", camera_info_message(node.next_stamp()))
    persons.next(is_at(node.show(picture(RED_BOX))))
    ids = []
    for i in range(3):
        stamp = Time(sec=10, nanosec=i * 100_000_000)
        node.publish("camera_info", camera_info_message(stamp))
        node.publish("image", image_message(picture(RED_BOX), stamp))
        [again] = persons.next(is_at(stamp)).persons
        ids.append(again.id)
    assert ids == [ids[0]] * 3 and ids[0] > person.id


def test_camera_info_that_comes_once_is_kept_and_counts_until_the_next(node, process):
    node.restart()
    node.withdraw("camera_info")
    node.create_publisher("camera_info", CameraInfo, KEPT)
    node.publish("camera_info", camera_info_message(node.next_stamp(), k=matrix_of(300.0)))
    # In exact mode that is not enough, and the node knows what would be.
    start = len(process.log)
    node.restart()
    for _ in range(6):
        show_image(node)
    process.wait_for_log(r"\[WARN\].*no stamps in common; .* latest where camera_info comes once", start)
    node.wait_for_status(lambda status: status["level"] == DiagnosticStatus.ERROR)

    node.restart(sync_mode="latest")
    persons = node.persons
    persons.connect(lambda: is_at(show_image(node)))  # the images that come before it are not processed
    [person] = persons.next(is_at(show_image(node))).persons
    assert depth_of(person) == pytest.approx(expected_depth(300.0), rel=1e-4)
    # Those of another camera on the same topic are not this one's.
    node.publish("camera_info", camera_info_message(node.next_stamp(), "other_camera", k=matrix_of(900.0)))
    node.publish("camera_info", camera_info_message(node.next_stamp(), k=matrix_of(500.0)))
    node.publish("camera_info", camera_info_message(node.next_stamp(), "other_camera", k=matrix_of(900.0)))

    def depth():
        [person] = persons.next(is_at(show_image(node))).persons
        return depth_of(person)

    wait_for(lambda: depth() == pytest.approx(expected_depth(500.0), rel=1e-4), "the newer camera_info to count")
    start = len(process.log)
    for _ in range(6):
        show_image(node, "third_camera")
    process.wait_for_log(r"\[WARN\] .*has the frame_id of the images .*; those .* 'camera', 'other_camera'", start)
    node.withdraw("camera_info")


def test_images_without_camera_info_are_not_processed_unless_a_field_of_view_is_given(node, process):
    start = len(process.log)
    node.withdraw("camera_info")
    node.restart()  # which forgets that there ever was a camera_info
    persons = node.persons
    for _ in range(6):
        show_image(node)
    node.wait_for_status(lambda status: status["level"] == DiagnosticStatus.ERROR)
    process.wait_for_log(f"no camera_info arrives on {node.namespace}/camera_info .*: nobody publishes it", start)
    assert persons.messages == []

    assert node.set_parameters(default_fov_degrees=60.0) == ""
    [person] = persons.next(is_at(show_image(node))).persons
    focal = max(WIDTH, HEIGHT) / 2 / np.tan(np.radians(30))
    assert depth_of(person) == pytest.approx(expected_depth(focal), rel=1e-4)


def test_a_field_of_view_is_assumed_where_camera_info_has_a_publisher_that_stays_silent(node):
    assert node.set_parameters(default_fov_degrees=60.0) == ""
    node.withdraw("camera_info")
    node.create_publisher("camera_info", CameraInfo)
    node.restart()
    node.advertise("camera_info", CameraInfo)
    persons, shown = node.persons, []
    wait_for(lambda: shown.append(show_image(node)) or persons.messages, "persons")
    assert len(shown) > 1  # it had its chance
    focal = max(WIDTH, HEIGHT) / 2 / np.tan(np.radians(30))
    [person] = persons.next().persons
    assert depth_of(person) == pytest.approx(expected_depth(focal), rel=1e-4)

    # When it speaks at last, it is believed.
    def depth():
        [person] = persons.next(is_at(node.show(picture(RED_BOX)))).persons
        return depth_of(person)

    wait_for(lambda: depth() == pytest.approx(expected_depth(FOCAL), rel=1e-4), "the camera_info to count")


def test_a_field_of_view_stands_in_for_a_camera_info_of_zeros(node, persons):
    assert node.set_parameters(default_fov_degrees=60.0) == ""
    stamp = node.show(picture(RED_BOX), k=[0.0] * 9)
    assert len(persons.next(is_at(stamp)).persons) == 1


def test_stamps_that_never_meet_are_warned_of_and_forgotten_when_the_node_starts_anew(node, process):
    start = len(process.log)
    node.restart()
    for _ in range(6):
        node.publish("camera_info", camera_info_message(node.next_stamp()))
        node.publish("image", image_message(picture(), node.next_stamp()))
    process.wait_for_log(r"\[WARN\].*have no stamps in common", start)
    node.restart()
    start = len(process.log)
    node.persons.next(is_at(node.show(picture(RED_BOX))))
    for _ in range(2):
        assert node.diagnostics()["level"] != DiagnosticStatus.ERROR
    assert "[WARN]" not in process.log[start:]


def test_the_log_names_the_topics_and_who_publishes_them(node, process, ros):
    start = len(process.log)
    node.withdraw("image")
    node.restart()
    topic = f"{node.namespace}/image"
    line = process.wait_for_log("Subscribed to", start)
    assert f"images on {topic} (sensor_msgs/msg/Image)" in line
    assert f"camera_info on {node.namespace}/camera_info (sensor_msgs/msg/CameraInfo)" in line
    elsewhere = ros.create_publisher(Image, f"{node.namespace}/eye/image_raw", 1)
    line = process.wait_for_log("No image arrives", start)
    assert f"on {topic} (sensor_msgs/msg/Image): nobody publishes it" in line
    assert f"Topics of that type: {elsewhere.topic_name}." in line
    node.wait_for_status(lambda status: status["level"] == DiagnosticStatus.WARN)

    wrong = ros.create_publisher(CompressedImage, topic, 1)
    start = len(process.log)
    node.restart()
    line = process.wait_for_log("No image arrives", start)
    assert "/tester (sensor_msgs/msg/CompressedImage) publishes it, with another type" in line
    for publisher in (elsewhere, wrong):
        ros.destroy_publisher(publisher)

    # Images that stop are missed, too, and the warning comes once.
    start = len(process.log)
    node.restart()
    node.persons.next(is_at(node.show(picture(RED_BOX))))
    assert "No image arrives any more on" in process.wait_for_log("No image arrives", start)
    node.diagnostics()
    assert process.log[start:].count("No image arrives") == 1


def test_compressed_images_and_approximate_stamps(node):
    node.restart(image_transport="compressed", sync_mode="approximate", sync_slop=0.05, qos_reliability="best_effort")
    skipped = int(node.diagnostics().get("skipped_image", 0))

    def send(fraction=1.0):
        # camera_info is 0.03 s older than the image, and 0.07 s younger than the one before.
        older = node.next_stamp()
        stamp = Time(sec=older.sec, nanosec=older.nanosec + 30_000_000)
        data = cv2.imencode(".jpg", picture(RED_BOX)[..., ::-1])[1].tobytes()
        message = CompressedImage(format="jpeg", data=data[: int(fraction * len(data))])
        message.header.stamp = stamp
        node.publish("camera_info", camera_info_message(older))
        node.publish("image/compressed", message)
        return stamp

    persons = node.persons
    persons.connect(lambda: is_at(send()))  # with best effort nothing is sent again to who comes late
    [person] = persons.next(is_at(send())).persons
    assert abs(person.left - EDGES[0]) <= 2 and abs(person.height - RED_BOX[3]) <= 4
    send(fraction=0.5)
    node.wait_for_status(lambda status: int(status.get("skipped_image", 0)) == skipped + 1)
    persons.next(is_at(send()))
    node.withdraw("image/compressed")
