"""Several cameras in one node, with a model whose answers are known."""

import signal

import closed_form_model
import numpy as np
import pytest
from conftest import (
    FOCAL,
    HEIGHT,
    WIDTH,
    Listener,
    NodeClient,
    NodeProcess,
    camera_info_message,
    image_message,
    is_at,
    picture,
    transform,
    wait_for,
)
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from metrabs_msgs.msg import PersonArray, Skeleton
from metrabs_msgs.srv import EstimatePoses

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
RED_BOX, BLUE_BOX = (40, 60, 50, 120), (180, 30, 60, 150)
# Both look ahead or back from 1.2 m above the base, and the rear one is tilted.
OPTICAL = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
IN_BASE = {
    "front": (OPTICAL, np.array([0.2, 0.0, 1.2])),
    "rear": (Rotation.from_euler("zyx", [180, 15, 5], degrees=True) * OPTICAL, np.array([-0.2, 0.0, 1.2])),
}


class Robot(NodeClient):
    """Its cameras, and what the node finds in their images."""

    def __init__(self, ros, namespace):
        super().__init__(ros, namespace)
        self.wait_until_active()
        self.found = {camera: self.listen(PersonArray, f"~/{camera}/persons") for camera in IN_BASE}
        for camera, listener in self.found.items():
            listener.connect(lambda camera=camera: is_at(self.see(camera, picture())))

    def see(self, camera, image, **camera_info):
        topics = f"{camera}/image", f"{camera}/camera_info"
        return self.show(image, f"{camera}_optical", topics, **camera_info)

    def status(self, condition):
        """The next statuses of both cameras, as dicts, that fulfil a condition."""

        def statuses(message) -> dict:
            return {
                s.name.removeprefix(f"{self.name}: "): {"level": s.level, **{v.key: v.value for v in s.values}}
                for s in message.status
                if s.name.startswith(self.name)
            }

        with self.listen(DiagnosticArray, "/diagnostics") as listener:
            return statuses(listener.next(lambda m: statuses(m) and condition(statuses(m))))


@pytest.fixture(scope="module")
def process(closed_form_model_path):
    process = NodeProcess(
        model=closed_form_model_path, qos_reliability="reliable", cameras="[front, rear]", publish_tf="persons"
    )
    yield process
    assert process.end(signal.SIGTERM) == 0, process.log


@pytest.fixture(scope="module")
def robot(ros, process):
    robot = Robot(ros, process.namespace)
    yield robot
    robot.close()


@pytest.fixture(autouse=True)
def log(process):
    start = len(process.log)
    yield
    print(process.log[start:])


def joints_of(person) -> np.ndarray:
    return np.array([(joint.x, joint.y, joint.z) for joint in person.joints])


def expected(rectangle) -> np.ndarray:
    left, top, width, height = rectangle
    return closed_form_model.expected_pose((left - 0.5, top - 0.5, width, height), INTRINSICS) / 1000


def test_each_camera_has_its_own_topics_people_and_frames(ros, robot):
    ids = {}
    with Listener(ros, TFMessage, "/tf", 100) as frames, robot.listen(MarkerArray, "~/rear/markers") as markers:

        def send():
            robot.found["rear"].next(is_at(robot.see("rear", picture(RED_BOX))))
            return lambda _: True

        for listener in (frames, markers):
            listener.connect(send)
        stamps = {"front": robot.see("front", picture(RED_BOX, BLUE_BOX)), "rear": robot.see("rear", picture(BLUE_BOX))}
        for camera, rectangles in (("front", [RED_BOX, BLUE_BOX]), ("rear", [BLUE_BOX])):
            message = robot.found[camera].next(is_at(stamps[camera]))
            assert message.header.frame_id == f"{camera}_optical"
            for person, rectangle in zip(message.persons, rectangles, strict=True):
                np.testing.assert_allclose(joints_of(person), expected(rectangle), atol=1e-4)
            ids[camera] = [person.id for person in message.persons]
            sent = frames.next(lambda m, camera=camera: m.transforms[0].header.stamp == stamps[camera]).transforms
            assert [t.child_frame_id for t in sent] == [f"{camera}/person_{person}" for person in ids[camera]]
        shown = markers.next(lambda m: m.markers[0].header.stamp == stamps["rear"])
        assert {marker.id for marker in shown.markers if not marker.action} == set(ids["rear"])
    with robot.listen(Skeleton, "~/rear/skeleton", LATCHED) as skeletons:
        assert skeletons.next().joint_names
    # Each has its own numbers, and keeps them.
    [again] = robot.found["rear"].next(is_at(robot.see("rear", picture(BLUE_BOX)))).persons
    assert again.id == ids["rear"][0] and ids["front"] == [1, 2]


def test_what_waits_is_processed_together_and_the_newest_of_each_camera_wins(robot):
    before = robot.status(lambda _: True)
    robot.see("front", picture(RED_BOX, slow_seconds=3.0))
    robot.status(lambda s: int(s["front"]["received"]) == int(before["front"]["received"]) + 1)  # it is in work
    for listener in robot.found.values():
        listener.messages.clear()
    for _ in range(3):
        stamps = {camera: robot.see(camera, picture(RED_BOX)) for camera in robot.found}
    for camera, stamp in stamps.items():
        robot.found[camera].next(is_at(stamp))
    after = robot.status(lambda s: all(int(s[c]["processed"]) > int(before[c]["processed"]) for c in s))
    dropped = {c: int(after[c]["dropped_for_newer"]) - int(before[c]["dropped_for_newer"]) for c in after}
    assert dropped == {"front": 2, "rear": 2}


def test_what_is_wrong_with_one_camera_is_no_matter_of_the_other(process, robot):
    before, start = robot.status(lambda _: True), len(process.log)
    skipped = int(before["rear"].get("skipped_camera_info", 0))
    for _ in range(3):
        robot.see("rear", picture(RED_BOX), k=[float("nan")] * 9)
        robot.found["front"].next(is_at(robot.see("front", picture(RED_BOX))))
    status = robot.status(lambda s: int(s["rear"].get("skipped_camera_info", 0)) == skipped + 3)
    assert "skipped_camera_info" not in status["front"] and status["front"]["level"] == DiagnosticStatus.OK
    assert status["front"]["image_topic"] == f"{robot.namespace}/front/image"
    assert process.log[start:].count("rear: camera_info's K is not the matrix of a camera") == 1


def test_the_service_answers_as_with_one_camera(robot):
    stamp = robot.next_stamp()
    request = EstimatePoses.Request(
        image=image_message(picture(RED_BOX), stamp), camera_info=camera_info_message(stamp)
    )
    response = robot.call(EstimatePoses, "estimate_poses", request)
    assert response.success, response.message
    [person] = response.persons.persons
    np.testing.assert_allclose(joints_of(person), expected(RED_BOX), atol=1e-4)


def test_people_of_all_cameras_come_in_the_target_frame_with_crops_upright_in_it(ros, process, robot):
    static = ros.create_publisher(TFMessage, "/tf_static", LATCHED)
    stamp = robot.next_stamp()
    transforms = [transform("base_link", f"{camera}_optical", stamp, *place) for camera, place in IN_BASE.items()]
    static.publish(TFMessage(transforms=transforms))
    robot.restart(target_frame="base_link")
    assert robot.set_parameters(tf_timeout=10.0) == ""
    wait_for(static.get_subscription_count, "the node")
    # While a slow image is in work, one of each camera waits.
    robot.found["front"].next(is_at(robot.see("front", picture())))
    before = robot.status(lambda _: True)
    robot.see("front", picture(slow_seconds=2.0))
    robot.status(lambda s: int(s["front"]["received"]) == int(before["front"]["received"]) + 1)
    stamps = {camera: robot.see(camera, picture(RED_BOX)) for camera in robot.found}
    for camera, (rotation, place) in IN_BASE.items():
        message = robot.found[camera].next(is_at(stamps[camera]))
        assert message.header.frame_id == "base_link"
        [person] = message.persons
        np.testing.assert_allclose(joints_of(person), rotation.apply(expected(RED_BOX)) + place, atol=1e-3)
        uncertainty = closed_form_model.expected_uncertainty(rotation.inv().apply([0, 0, 1])) / 1000
        np.testing.assert_allclose(person.uncertainties, uncertainty, rtol=1e-4)
    robot.restart(target_frame="")
    ros.destroy_publisher(static)


@pytest.mark.parametrize(
    "parameters, words",
    [
        ({"ros4hri": True}, "ros4hri takes one camera only"),
        ({"depth_topic": "/depth"}, "depth_topic begins with the name of each, so it can't be '/depth'"),
    ],
)
def test_parameters_that_do_not_go_with_cameras_keep_the_node_from_becoming_active(process, robot, parameters, words):
    if "ros4hri" in parameters:
        pytest.importorskip("hri_msgs")
    start = len(process.log)
    assert robot.change_state("deactivate")
    assert robot.set_parameters(**parameters) == ""
    assert not robot.change_state("activate")
    process.wait_for_log(words, start)
    assert robot.set_parameters(ros4hri=False, depth_topic="") == ""
    assert robot.change_state("activate")


@pytest.mark.parametrize("names", ["[front, front]", "[a-b]", "['']", "[/front]", "[1st]"])
def test_wrong_names_are_refused_at_the_start(start_node, names):
    process = start_node(cameras=names)
    assert process.end() == 1
    assert "must be different names that topics can begin with" in process.log
