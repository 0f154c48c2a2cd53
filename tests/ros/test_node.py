"""The node in a process of its own, through real DDS, with a real SavedModel whose answers are known."""

import re

import closed_form_model
import numpy as np
import pytest
from conftest import (
    FOCAL,
    HEIGHT,
    WIDTH,
    NodeClient,
    camera_info_message,
    image_message,
    is_at,
    picture,
    wait_for,
)
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image, RegionOfInterest
from visualization_msgs.msg import Marker, MarkerArray

from metrabs_core.drawing import draw_people
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix
from metrabs_msgs.msg import Skeleton
from metrabs_msgs.srv import EstimatePoses
from metrabs_ros.parameters import PARAMETERS
from metrabs_ros.person_messages import people_from_message

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
RED_BOX, BLUE_BOX = (40, 60, 50, 120), (180, 30, 60, 150)


def joints_of(person) -> np.ndarray:
    return np.array([(joint.x, joint.y, joint.z) for joint in person.joints])


def edges_of(box) -> tuple:
    """Box in the message of a rectangle of whole pixels: it reaches to the pixels' outer edges."""
    left, top, width, height = box
    return left - 0.5, top - 0.5, width, height


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
    with node.listen_to_results(MarkerArray, "~/markers") as markers:
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
    with node.listen_to_results(Image, "~/overlay") as overlays:
        stamp = node.show(image, frame_id="eye")
        overlay = overlays.next()
    assert (overlay.header.stamp, overlay.header.frame_id) == (stamp, "eye")
    assert (overlay.encoding, overlay.step) == ("rgb8", 3 * WIDTH)
    people = people_from_message(persons.next(is_at(stamp)), NATIVE)
    expected = draw_people(image, people.boxes, people.poses2d, people.poses3d, people.ids, NATIVE)
    pixels = np.frombuffer(overlay.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
    np.testing.assert_array_equal(pixels, expected)
    assert (pixels != image).any()


def test_diagnostics_tell_what_happens(node, persons):
    before = int(node.diagnostics()["processed"])
    persons.next(is_at(node.show(picture(RED_BOX))))
    status = node.wait_for_status(lambda status: int(status["processed"]) == before + 1 and status["persons"] == "1")
    assert (status["state"], status["device"], status["persons"]) == ("active", "CPU", "1")
    assert status["model"].endswith("closed_form")
    assert status["image_topic"] == f"{node.namespace}/image"
    assert float(status["processing_ms"]) >= float(status["inference_ms"]) > 0


# Bad input


@pytest.mark.parametrize(
    "reason, image_change, camera_info_change, words",
    [
        ("image", {"encoding": "32FC1"}, {}, "'32FC1' is not supported"),
        ("image", {"data": picture().tobytes()[:-1]}, {}, "truncated: 230399 bytes"),
        ("image", {"step": 3 * WIDTH - 1}, {}, "step is 959 bytes"),
        ("image", {"data": b""}, {}, "truncated: 0 bytes"),
        ("image", {"width": 0, "height": 0}, {}, "empty .0x0 pixels"),
        ("size_mismatch", {}, {"width": WIDTH + 1}, "320x240 pixels, but camera_info describes 321x240"),
        ("uncalibrated_camera", {}, {"k": [0.0] * 9}, "K is all zeros.*default_fov_degrees"),
        ("camera_info", {}, {"distortion_model": "unheard_of", "d": [0.1] * 4}, "lens model 'unheard_of' is not known"),
        ("camera_info", {}, {"k": [float("nan")] * 9}, "K is not the matrix of a camera"),
    ],
    ids=["encoding", "truncated", "step", "no_data", "empty", "other_size", "uncalibrated", "lens", "broken_matrix"],
)
def test_bad_frames_are_skipped_counted_and_warned_of_once(
    node, process, reason, image_change, camera_info_change, words
):
    before, start = int(node.diagnostics().get(f"skipped_{reason}", 0)), len(process.log)
    node.restart()  # which forgets what has been warned of
    for i in range(1, 3):
        stamp = node.next_stamp()
        message = image_message(picture(RED_BOX), stamp)
        for field, value in image_change.items():
            setattr(message, field, value)
        node.publish("camera_info", camera_info_message(stamp, **camera_info_change))
        node.publish("image", message)
        node.wait_for_status(lambda status, i=i: int(status.get(f"skipped_{reason}", 0)) == before + i)
    # The node lives, and the next frame is a frame like any other.
    persons = node.persons
    persons.next(is_at(node.show(picture(RED_BOX))))
    warnings = [line for line in process.log[start:].splitlines() if "[WARN]" in line]
    assert len(warnings) == 1 and re.search(words, warnings[0]), warnings
    assert "Traceback" not in process.log[start:]


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
        ("default_fov_degrees", 171, "out of range"),
        ("suppress_implausible_poses", 1, "type"),
        ("smoothing", "medium", "smoothing is 'medium', but must be one of: off, light, strong"),
        ("region_of_interest", [0, 0, 10], "region_of_interest is .0, 0, 10., but must be 4 whole numbers"),
        ("region_of_interest", [0, 0, 10, -1], "none below 0"),
        ("cameras", ["front"], "cameras can't change while the node is active: start the node anew"),
        ("max_distance", -1.0, "max_distance out of range"),
    ],
)
def test_parameters_are_refused_with_a_reason(node, name, value, words):
    before = node.get_parameter(name)
    assert re.search(words, node.set_parameters(**{name: value}))
    assert node.get_parameter(name) == before


def test_integers_stand_for_floats(node):
    assert node.set_parameters(track_max_age=2, default_fov_degrees=60) == ""
    assert node.get_parameter("track_max_age").double_value == 2.0
    assert node.get_parameter("default_fov_degrees").double_value == 60.0


def test_unchanged_values_are_not_refused(node):
    """`ros2 param load` sets everything that a file holds."""
    values = {parameter.name: node.get_parameter(parameter.name) for parameter in PARAMETERS}
    kinds = {bool: "bool_value", int: "integer_value", float: "double_value", str: "string_value"}
    kinds[list] = "integer_array_value"
    unchanged = {p.name: getattr(values[p.name], kinds[type(p.default)]) for p in PARAMETERS} | {"cameras": []}
    assert unchanged["model"].endswith("closed_form")
    assert node.set_parameters(**{**unchanged, "num_aug": 2}) == ""
    assert node.get_parameter("num_aug").integer_value == 2
    assert "sync_queue_size can't change" in node.set_parameters(**{**unchanged, "sync_queue_size": 11})


# Limits


@pytest.mark.parametrize(
    "limits, left_out",
    [
        ({"region_of_interest": [0, 0, 150, 0]}, "blue"),
        ({"region_of_interest": [100, 0, 0, 240]}, "red"),
        ({"min_box_height": 130.0}, "red"),
        ({"min_distance": 5.0}, "blue"),  # they are 5.67 and 4.53 metres away, and further aside
        ({"max_distance": 5.0}, "red"),
    ],
)
def test_people_outside_of_limits_are_left_out_and_counted(node, persons, limits, left_out):
    assert node.set_parameters(**limits) == ""
    [name] = limits
    key = f"people_left_out_{name}"
    before = int(node.diagnostics().get(key, 0))
    [person] = persons.next(is_at(node.show(picture(RED_BOX, BLUE_BOX)))).persons
    assert (person.left, person.top, person.width, person.height) == edges_of(
        {"red": BLUE_BOX, "blue": RED_BOX}[left_out]
    )
    node.wait_for_status(lambda status: int(status.get(key, 0)) == before + 1)


def test_images_beyond_the_rate_are_left_out_and_counted(node, persons):
    before = node.diagnostics()
    assert node.set_parameters(max_rate=0.001) == ""
    first = node.show(picture(RED_BOX))
    persons.next(is_at(first))
    for _ in range(5):
        node.show(picture(RED_BOX))
    expected = int(before["left_out_for_rate"]) + 5
    status = node.wait_for_status(lambda status: int(status["left_out_for_rate"]) == expected)
    assert int(status["processed"]) == int(before["processed"]) + 1
    assert status["level"] == DiagnosticStatus.OK and persons.messages == []
    assert node.set_parameters(max_rate=0.0) == ""
    persons.next(is_at(node.show(picture(RED_BOX))))


# Motion


def test_people_have_velocities_and_are_smoothed_if_that_is_wanted(node, persons):
    node.restart(smoothing="light")
    persons = node.persons
    # To the right by 10 pixels in 0.1 s, at 5.67 metres' depth.
    speed = 10 / FOCAL * closed_form_model.PERSON_HEIGHT / 1000 * FOCAL / RED_BOX[3] / 0.1
    for i in range(12):
        box = RED_BOX[0] + 10 * i, *RED_BOX[1:]
        [person] = persons.next(is_at(node.show(picture(box)))).persons
        velocity = np.array([person.velocity.x, person.velocity.y, person.velocity.z])
        if i < 5:
            assert np.isnan(velocity).all()
    np.testing.assert_allclose(velocity, [speed, 0, 0], atol=1e-3)
    late = closed_form_model.expected_pose(edges_of(box), INTRINSICS) / 1000 - joints_of(person)
    assert (late[:, 0] > 0.02).all() and (late[:, 0] < 0.4 * speed).all()
    np.testing.assert_allclose(late[:, 1:], 0, atol=0.02)
    assert person.joints_image[0].x == pytest.approx(box[0] - 0.5, abs=0.01)  # where it is seen, not late
    assert node.set_parameters(smoothing=False) == ""  # as YAML reads `off`
    assert node.get_parameter("smoothing").string_value == "off"
    [person] = persons.next(is_at(node.show(picture(box)))).persons
    np.testing.assert_allclose(
        joints_of(person), closed_form_model.expected_pose(edges_of(box), INTRINSICS) / 1000, atol=1e-4
    )


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
    future = node.call_async(EstimatePoses, "estimate_poses", request(picture(RED_BOX, slow_seconds=3.0)))
    stamp = node.show(picture(BLUE_BOX))
    assert node.set_parameters(num_aug=1) == ""
    assert not future.done()
    persons.next(is_at(stamp))
    wait_for(future.done, "the answer")
    assert future.result().success


# Overload


def test_the_newest_frame_wins(node, persons):
    before = node.diagnostics()
    first = node.show(picture(RED_BOX, slow_seconds=4.0))
    node.wait_for_status(lambda status: int(status["received"]) == int(before["received"]) + 1)  # it is in work
    rest = [node.show(picture(RED_BOX)) for _ in range(5)]
    status = node.wait_for_status(lambda status: "none was processed" in status["message"])
    assert status["level"] == DiagnosticStatus.WARN
    assert persons.next().header.stamp == first
    assert persons.next().header.stamp == rest[-1]
    dropped = int(before["dropped_for_newer"]) + 4
    assert int(node.diagnostics()["dropped_for_newer"]) == dropped
    assert persons.messages == []


# Life cycle


def test_deactivation_stops_output_and_removes_markers(node, persons):
    with node.listen_to_results(MarkerArray, "~/markers") as markers:
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
