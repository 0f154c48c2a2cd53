"""The node in a process of its own, through real DDS, with a real SavedModel whose answers are known."""

import re
import signal
import time

import closed_form_model
import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import (
    FOCAL,
    HEIGHT,
    WIDTH,
    NodeClient,
    NodeProcess,
    camera_info_message,
    image_message,
    picture,
    wait_for,
)
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from visualization_msgs.msg import Marker, MarkerArray

from metrabs_core.drawing import draw_people
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix
from metrabs_msgs.msg import PersonArray, Skeleton
from metrabs_msgs.srv import EstimatePoses
from metrabs_ros.person_messages import people_from_message

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# Only while the node is not active.
STATIC_PARAMETERS = {"image_transport": "raw", "sync_mode": "exact", "qos_reliability": "reliable"}
LIVE_PARAMETERS = {
    "default_fov_degrees": 0.0,
    "detector_threshold": 0.38,
    "max_detections": -1,
    "num_aug": 1,
    "skeleton": "",
}
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
RED_BOX, BLUE_BOX = (40, 60, 50, 120), (180, 30, 60, 150)


@pytest.fixture(scope="module")
def process(closed_form_model_path):
    """One node for most tests. Reliable: on a busy machine no image may get lost on the way to it."""
    process = NodeProcess(model=closed_form_model_path, qos_reliability="reliable")
    yield process
    process.end(signal.SIGKILL)
    print(process.log)  # shown where a test failed


@pytest.fixture
def node(ros, process):
    """What a user does with the node; it is active, and a fresh sequence of images begins."""
    client = NodeClient(ros, process.namespace)
    client.wait_until_active()
    yield client
    assert process.process.poll() is None, process.log
    assert client.set_parameters(**LIVE_PARAMETERS) == ""
    client.close()


@pytest.fixture
def persons(node):
    with node.listen(PersonArray, "~/persons") as listener:
        yield listener


@pytest.fixture
def diagnostics(node):
    with node.listen(DiagnosticArray, "/diagnostics") as listener:
        yield listener


def is_at(stamp):
    return lambda message: message.header.stamp == stamp


def joints_of(person) -> np.ndarray:
    return np.array([(joint.x, joint.y, joint.z) for joint in person.joints])


def edges_of(box) -> tuple:
    """Box in the message of a rectangle of whole pixels: it reaches to the pixels' outer edges."""
    left, top, width, height = box
    return left - 0.5, top - 0.5, width, height


def counts(diagnostics, node) -> dict[str, str]:
    """The next status of the node, as a dict; `level` and `message` are in it, too."""
    status = diagnostics.next(lambda message: message.status[0].name == node.name).status[0]
    return {"level": status.level, "message": status.message, **{pair.key: pair.value for pair in status.values}}


# Output


def test_people_are_where_the_model_says_in_metres_in_the_frame_of_the_image(node, persons):
    stamp = node.show(picture(RED_BOX, BLUE_BOX), frame_id="left_eye_optical", d=[0.1, -0.2, 0.01, 0.02, 0.3])
    message = persons.next(is_at(stamp))
    assert message.header.frame_id == "left_eye_optical"
    assert message.skeleton == NATIVE.name
    scores = closed_form_model.RED_SCORE, closed_form_model.BLUE_SCORE
    for person, rectangle, score in zip(message.persons, (RED_BOX, BLUE_BOX), scores, strict=True):
        box = edges_of(rectangle)
        assert (person.left, person.top, person.width, person.height) == box
        assert person.score == pytest.approx(score)
        pose = closed_form_model.expected_pose(box, INTRINSICS, [0.1, -0.2, 0.01, 0.02, 0.3])
        np.testing.assert_allclose(joints_of(person), pose / 1000, atol=1e-5)
        pixels = np.array([(point.x, point.y) for point in person.joints_image])
        projected = pose @ INTRINSICS.T
        np.testing.assert_allclose(pixels, projected[:, :2] / projected[:, 2:], atol=1e-3)
        np.testing.assert_allclose(person.uncertainties, closed_form_model.UNCERTAINTY / 1000, rtol=1e-6)
        assert list(person.in_view) == [True] * NATIVE.n_joints


def test_an_image_without_people_gives_an_empty_message(node, persons):
    stamp = node.show(picture())
    assert persons.next(is_at(stamp)).persons == []


def test_people_keep_their_ids(node, persons):
    ids = []
    for shift in range(5):
        red, blue = (40 + 10 * shift, 60, 50, 120), (180 - 10 * shift, 30, 60, 150)
        ids.append([person.id for person in persons.next(is_at(node.show(picture(red, blue)))).persons])
    assert ids == [ids[0]] * 5
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize(
    "encoding, channels", [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 0]), ("bgra8", [2, 1, 0, 0])]
)
def test_encodings_and_padded_rows(node, persons, encoding, channels):
    pixels = picture(RED_BOX, BLUE_BOX)[..., channels]
    padded = np.concatenate([pixels, np.full([HEIGHT, 3, len(channels)], 255, np.uint8)], axis=1)
    stamp = node.next_stamp()
    message = image_message(padded, stamp, encoding=encoding)
    message.width = WIDTH
    node.publish("camera_info", camera_info_message(stamp))
    node.publish("image", message)
    red, blue = persons.next(is_at(stamp)).persons
    assert (red.left, red.top, red.width, red.height) == edges_of(RED_BOX)
    assert (blue.left, blue.top, blue.width, blue.height) == edges_of(BLUE_BOX)


def test_a_late_subscriber_gets_the_skeleton(node):
    with node.listen(Skeleton, "~/skeleton", LATCHED) as skeletons:
        message = skeletons.next()
    assert message.name == NATIVE.name
    assert tuple(message.joint_names) == NATIVE.joint_names
    assert tuple((edge.a, edge.b) for edge in message.edges) == NATIVE.edges


def test_markers_appear_and_are_deleted(node, persons):
    with node.listen(MarkerArray, "~/markers") as markers:
        stamp = node.show(picture(RED_BOX, BLUE_BOX))
        red, blue = (person.id for person in persons.next(is_at(stamp)).persons)
        shown = markers.next().markers
        assert {(m.ns, m.id) for m in shown} == {(ns, i) for ns in ("bones", "joints", "ids") for i in (red, blue)}
        assert all(m.action == Marker.ADD and m.header.stamp == stamp for m in shown)
        node.show(picture(None, BLUE_BOX))
        after = markers.next().markers
        assert {(m.ns, m.id) for m in after if m.action == Marker.DELETE} == {
            (n, red) for n in ("bones", "joints", "ids")
        }
        assert {m.id for m in after if m.action == Marker.ADD} == {blue}
        node.show(picture())
        assert {(m.action, m.id) for m in markers.next().markers} == {(Marker.DELETE, blue)}
        node.show(picture())
        assert markers.next().markers == []


def test_the_overlay_is_the_image_with_the_people_drawn(node, persons):
    image = picture(RED_BOX, BLUE_BOX)
    with node.listen(Image, "~/overlay") as overlays:
        stamp = node.show(image, frame_id="eye")
        overlay = overlays.next()
    assert (overlay.header.stamp, overlay.header.frame_id) == (stamp, "eye")
    assert (overlay.encoding, overlay.step) == ("rgb8", 3 * WIDTH)
    people = people_from_message(persons.next(is_at(stamp)), NATIVE)
    expected = draw_people(image, people.boxes, people.poses2d, people.poses3d, people.ids, NATIVE)
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(pixels, expected)
    assert (pixels != image).any()


def test_diagnostics_tell_what_happens(node, persons, diagnostics):
    before = int(counts(diagnostics, node)["processed"])
    persons.next(is_at(node.show(picture(RED_BOX))))
    status = wait_for(
        lambda: next(iter([s for s in [counts(diagnostics, node)] if int(s["processed"]) == before + 1]), None),
        "the processed frame in the diagnostics",
    )
    assert (status["state"], status["device"], status["persons"]) == ("active", "CPU", "1")
    assert status["model"].endswith("closed_form")
    assert status["image_topic"] == f"{node.namespace}/image"
    assert float(status["processing_ms"]) >= float(status["inference_ms"]) > 0


# Bad input


@pytest.mark.parametrize(
    "reason, image_change, camera_info_change",
    [
        ("image", {"encoding": "32FC1"}, {}),
        ("image", {"data": picture().tobytes()[:-1]}, {}),
        ("image", {"step": 3 * WIDTH - 1}, {}),
        ("image", {"data": b""}, {}),
        ("image", {"width": 0, "height": 0}, {}),
        ("size_mismatch", {}, {"width": WIDTH + 1}),
        ("uncalibrated_camera", {}, {"k": [0.0] * 9}),
        ("camera_info", {}, {"distortion_model": "equidistant", "d": [0.0] * 4}),
        ("camera_info", {}, {"k": [float("nan")] * 9}),
    ],
    ids=["encoding", "truncated", "step", "no_data", "empty", "other_size", "uncalibrated", "fisheye", "broken_matrix"],
)
def test_bad_frames_are_skipped_counted_and_told(
    node, process, persons, diagnostics, reason, image_change, camera_info_change
):
    def skipped():
        return int(counts(diagnostics, node).get(f"skipped_{reason}", 0))

    before = skipped()
    stamp = node.next_stamp()
    message = image_message(picture(RED_BOX), stamp)
    for field, value in image_change.items():
        setattr(message, field, value)
    node.publish("camera_info", camera_info_message(stamp, **camera_info_change))
    node.publish("image", message)
    wait_for(lambda: skipped() == before + 1, "the skipped frame in the diagnostics")
    # The node lives, and the next frame is a frame like any other.
    good = node.show(picture(RED_BOX))
    assert persons.next().header.stamp == good
    assert "[WARN]" in process.log
    assert "Traceback" not in process.log


def test_a_warning_is_not_repeated_with_every_frame(node, process, diagnostics):
    before = int(counts(diagnostics, node).get("skipped_image", 0))
    for _ in range(5):
        stamp = node.next_stamp()
        node.publish("camera_info", camera_info_message(stamp))
        node.publish("image", image_message(picture(), stamp, encoding="32FC1"))
        time.sleep(0.05)
    wait_for(lambda: int(counts(diagnostics, node).get("skipped_image", 0)) > before, "skipped frames")
    assert process.log.count("'32FC1' is not supported") <= 1


def test_images_without_camera_info_are_not_processed_unless_a_field_of_view_is_given(node, process, diagnostics):
    node.restart()  # which forgets that there ever was a camera_info
    with node.listen(PersonArray, "~/persons") as persons:
        for _ in range(6):
            node.publish("image", image_message(picture(RED_BOX), node.next_stamp()))
        wait_for(lambda: counts(diagnostics, node)["level"] == DiagnosticStatus.ERROR, "an error in the diagnostics")
        wait_for(lambda: f"no camera_info on {node.namespace}/camera_info" in process.log, "a warning")
        assert persons.messages == []

        assert node.set_parameters(default_fov_degrees=60.0) == ""
        stamp = node.next_stamp()
        node.publish("image", image_message(picture(RED_BOX), stamp))
        [person] = persons.next(is_at(stamp)).persons
    focal = max(WIDTH, HEIGHT) / 2 / np.tan(np.radians(30))
    matrix = np.array([[focal, 0, (WIDTH - 1) / 2], [0, focal, (HEIGHT - 1) / 2], [0, 0, 1]])
    pose = closed_form_model.expected_pose(edges_of(RED_BOX), matrix)
    np.testing.assert_allclose(joints_of(person), pose / 1000, rtol=1e-4)


def test_a_field_of_view_stands_in_for_a_camera_info_of_zeros(node, persons):
    assert node.set_parameters(default_fov_degrees=60.0) == ""
    stamp = node.show(picture(RED_BOX), k=[0.0] * 9)
    assert len(persons.next(is_at(stamp)).persons) == 1


def test_stamps_that_never_meet_are_told(node, process, diagnostics):
    for _ in range(6):
        node.publish("camera_info", camera_info_message(node.next_stamp()))
        node.publish("image", image_message(picture(), node.next_stamp()))
    wait_for(lambda: "have no stamps in common" in process.log, "a warning")


# Parameters


def test_parameters_that_may_change_take_effect_with_the_next_frame(node, persons):
    assert node.set_parameters(detector_threshold=0.7) == ""
    assert len(persons.next(is_at(node.show(picture(RED_BOX, BLUE_BOX)))).persons) == 1
    assert node.set_parameters(detector_threshold=0.3, max_detections=0) == ""
    assert persons.next(is_at(node.show(picture(RED_BOX, BLUE_BOX)))).persons == []


def test_the_skeleton_may_change(node, persons):
    with node.listen(Skeleton, "~/skeleton", LATCHED) as skeletons:
        assert node.set_parameters(skeleton="coco_19") == ""
        message = persons.next(is_at(node.show(picture(RED_BOX))))
        skeleton = skeletons.next(lambda skeleton: skeleton.name == "coco_19")
    assert message.skeleton == "coco_19"
    assert tuple(skeleton.joint_names) == SKELETONS["coco_19"].joint_names
    pose = conversion_matrix(SKELETONS["coco_19"]) @ closed_form_model.expected_pose(edges_of(RED_BOX), INTRINSICS)
    np.testing.assert_allclose(joints_of(message.persons[0]), pose / 1000, atol=1e-5)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("model", "/elsewhere", "model can't change while the node is active"),
        ("sync_mode", "approximate", "sync_mode can't change while the node is active: deactivate"),
        ("image_transport", "compressed", "image_transport can't change"),
        ("skeleton", "stick_figure", "no skeleton 'stick_figure'; it has .*smpl_24"),
        ("detector_threshold", 1.5, "detector_threshold out of range"),
        ("num_aug", 0, "num_aug out of range"),
        ("num_aug", "many", "type"),
        ("default_fov_degrees", -1.0, "out of range"),
    ],
)
def test_parameters_are_refused_with_a_reason(node, name, value, words):
    before = node.get_parameter(name)
    assert re.search(words, node.set_parameters(**{name: value}))
    assert node.get_parameter(name) == before


# Service


def request(image, boxes=(), **camera_info) -> EstimatePoses.Request:
    message = EstimatePoses.Request()
    message.image = image_message(image, NodeClient.next_stamp(), "hand_eye")
    message.camera_info = camera_info_message(message.image.header.stamp, **camera_info)
    message.boxes = [RegionOfInterest(x_offset=x, y_offset=y, width=w, height=h) for x, y, w, h in boxes]
    return message


def test_the_service_finds_people(node):
    sent = request(picture(RED_BOX, BLUE_BOX))
    response = node.call(EstimatePoses, "estimate_poses", sent)
    assert response.success and not response.message
    assert response.persons.header == sent.image.header
    assert [person.id for person in response.persons.persons] == [-1, -1]
    pose = closed_form_model.expected_pose(edges_of(RED_BOX), INTRINSICS)
    np.testing.assert_allclose(joints_of(response.persons.persons[0]), pose / 1000, atol=1e-5)


def test_the_service_takes_boxes(node):
    boxes = [(10, 20, 30, 100), (100, 90, 40, 80), (0, 0, 320, 240)]
    response = node.call(EstimatePoses, "estimate_poses", request(picture(), boxes))
    for person, box in zip(response.persons.persons, boxes, strict=True):
        assert (person.left, person.top, person.width, person.height) == box and person.score == 1
        pose = closed_form_model.expected_pose(box, INTRINSICS)
        np.testing.assert_allclose(joints_of(person), pose / 1000, atol=1e-5)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"encoding": "32FC1"}, "not supported"),
        ({"width": 10, "step": 30}, "10x240.*camera_info describes"),
        ({"height": 0}, "empty"),
    ],
)
def test_the_service_says_what_was_wrong(node, changes, words):
    message = request(picture())
    for field, value in changes.items():
        setattr(message.image, field, value)
    response = node.call(EstimatePoses, "estimate_poses", message)
    assert not response.success and re.search(words, response.message)


def test_the_service_refuses_empty_boxes(node):
    response = node.call(EstimatePoses, "estimate_poses", request(picture(), [(1, 1, 0, 5)]))
    assert not response.success and "empty" in response.message


def test_a_slow_request_holds_up_neither_parameters_nor_is_it_lost(node, persons):
    future = node.call_async(EstimatePoses, "estimate_poses", request(picture(RED_BOX, slow_seconds=1.0)))
    stamp = node.show(picture(BLUE_BOX))
    assert node.set_parameters(num_aug=1) == ""
    assert not future.done()
    persons.next(is_at(stamp))
    wait_for(future.done, "the answer")
    assert future.result().success


# Overload


def test_the_newest_frame_wins(node, persons, diagnostics):
    dropped = int(counts(diagnostics, node)["dropped_for_newer"])
    first = node.show(picture(RED_BOX, slow_seconds=1.5))
    time.sleep(0.7)  # the first is in work
    rest = [node.show(picture(RED_BOX)) for _ in range(5)]
    assert persons.next().header.stamp == first
    assert persons.next().header.stamp == rest[-1]
    wait_for(lambda: int(counts(diagnostics, node)["dropped_for_newer"]) == dropped + 4, "four dropped frames")
    assert persons.messages == []


# Life cycle


def test_deactivation_stops_output_and_removes_markers(node, persons):
    with node.listen(MarkerArray, "~/markers") as markers:
        persons.next(is_at(node.show(picture(RED_BOX))))
        [first_id] = {marker.id for marker in markers.next().markers}
        assert node.change_state("deactivate")
        assert markers.next(lambda message: message.markers[0].action == Marker.DELETEALL)
        assert node.state() == "inactive"
        assert not node.call(EstimatePoses, "estimate_poses", request(picture())).success
        assert node.change_state("activate")
        persons.next(is_at(node.show(picture(RED_BOX))))


def test_the_model_is_released_and_loaded_again(node, persons):
    for transition in ("deactivate", "cleanup"):
        assert node.change_state(transition)
    path = node.get_parameter("model").string_value
    assert node.set_parameters(model="/no/such/model") == ""
    assert not node.change_state("configure")
    assert node.state() == "unconfigured"
    assert node.set_parameters(model=path) == ""
    assert node.change_state("configure")
    assert node.change_state("activate")
    persons.next(is_at(node.show(picture(RED_BOX))))


def test_compressed_images_and_approximate_stamps(node, diagnostics):
    skipped = int(counts(diagnostics, node).get("skipped_image", 0))
    node.restart(image_transport="compressed", sync_mode="approximate", sync_slop=0.05, qos_reliability="best_effort")
    node.advertise("camera_info", CameraInfo)
    node.advertise("image/compressed", CompressedImage)
    time.sleep(0.5)  # until the node knows the publishers, too: with best effort nothing is sent again

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

    with node.listen(PersonArray, "~/persons") as persons:
        [person] = persons.next(is_at(send())).persons
        assert abs(person.left - (RED_BOX[0] - 0.5)) <= 2 and abs(person.height - RED_BOX[3]) <= 4
        send(fraction=0.5)
        counted = skipped + 1
        wait_for(lambda: int(counts(diagnostics, node).get("skipped_image", 0)) == counted, "the corrupt image counted")
        persons.next(is_at(send()))
    node.restart(**STATIC_PARAMETERS)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_inference_ends_the_process_cleanly(ros, start_node, closed_form_model_path, sent):
    process = start_node(model=closed_form_model_path, qos_reliability="reliable")
    node = NodeClient(ros, process.namespace)
    node.wait_until_active()
    node.show(picture(RED_BOX, slow_seconds=4.0))
    time.sleep(0.3)
    assert process.end(sent) == 0, process.log
    assert "Traceback" not in process.log and "[ERROR]" not in process.log
    node.close()


def test_a_signal_while_loading_ends_the_process_cleanly(ros, start_node, closed_form_model_path):
    process = start_node(model=closed_form_model_path)
    wait_for(lambda: ros.count_publishers(f"{process.namespace}/metrabs_node/persons"), "the node")
    assert process.end(signal.SIGINT) == 0, process.log
    assert "Traceback" not in process.log and "[ERROR]" not in process.log


def test_a_missing_model_ends_the_process_with_one_sentence(start_node, tmp_path):
    process = start_node(model=tmp_path / "nothing")
    assert process.end() == 1
    assert process.log.count("[ERROR]") == 1 and str(tmp_path / "nothing") in process.log
    assert "Traceback" not in process.log


@pytest.mark.parametrize(
    "name, value, words",
    [("detector_threshold", 1.5, "out of range"), ("sync_mode", "roughly", "one of: exact, approximate")],
)
def test_a_wrong_parameter_ends_the_process_with_one_sentence(start_node, name, value, words):
    process = start_node(**{name: value})
    assert process.end() == 1
    assert words in process.log and name in process.log and "Traceback" not in process.log


def test_without_autostart_the_node_waits(ros, start_node, closed_form_model_path):
    process = start_node(model=closed_form_model_path, autostart=False)
    node = NodeClient(ros, process.namespace)
    assert node.state() == "unconfigured"
    assert node.change_state("shutdown")
    assert node.state() == "finalized"
    assert process.end(signal.SIGTERM) == 0
    node.close()
