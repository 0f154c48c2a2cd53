"""RGB-D cameras: a bag through the node and through metrabs-bag, with a model whose RGB distances are known."""

import re
from itertools import groupby

import numpy as np
import pytest
from closed_form_model import expected_pose
from conftest import FOCAL, HEIGHT, WIDTH, camera_info_message, image_message, picture
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.serialization import deserialize_message
from recordings import write_rgbd_bag

from metrabs_msgs.msg import PersonArray
from metrabs_ros import bag
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.result_topics import PERSONS_TOPIC

BOX = (40, 60, 50, 120)
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
RGB_POSE = expected_pose((39.5, 59.5, 50, 120), INTRINSICS) / 1000  # 5.67 m away
TOPICS = {"/cam/image": "image", "/cam/camera_info": "camera_info", "/cam/depth": "depth/image_rect_raw"}


def surface(metres, background=9.0) -> np.ndarray:
    """Depth image, mm: of the person in BOX, and of what is behind."""
    depth = np.full([HEIGHT, WIDTH], 1000 * background)
    left, top, width, height = BOX
    depth[top : top + height, left : left + width] = 1000 * metres
    return depth


SURFACES = [5.2, 5.2, 6.3, None, 0.0, 4.0]  # m, of each frame of the bag; None: no depth image; 0: nothing is known


@pytest.fixture(scope="module")
def rgbd_bag(tmp_path_factory):
    depths = [None if metres is None else surface(metres) for metres in SURFACES]
    return write_rgbd_bag(
        tmp_path_factory.mktemp("rgbd") / "in", [picture(BOX)] * len(depths), depths,
        ["16UC1", "32FC1"] * 3, [0, 40_000_000, -20_000_000] * 2,
    )  # fmt: skip


@pytest.fixture
def node(node):
    """Other tests find no depth images of these."""
    yield node
    for topic in ("depth", "depth/image_rect_raw"):
        node.withdraw(topic)


def check(person, metres):
    """That somebody is the body's half thickness behind the surface, and is seen where the model says."""
    joints = np.array([(joint.x, joint.y, joint.z) for joint in person.joints])
    assert person.distance_source == ("depth" if metres else "rgb")
    if metres:
        assert metres + 0.09 < joints[0, 2] < metres + 0.2
    else:
        np.testing.assert_allclose(joints, RGB_POSE, atol=1e-4)
    np.testing.assert_allclose(joints[:, :2] / joints[:, 2:], RGB_POSE[:, :2] / RGB_POSE[:, 2:], atol=1e-5)
    assert person.uncertainties[0] == pytest.approx(0.042 * joints[0, 2] / RGB_POSE[0, 2], rel=1e-3)


@pytest.mark.parametrize("mode", ["exact", "approximate", "latest"])
def test_an_rgbd_bag_through_the_node(node, rgbd_bag, mode):
    node.restart(depth_topic="depth/image_rect_raw", sync_mode=mode)
    persons, found = node.persons, {}
    with open_recording(rgbd_bag) as recording:
        messages = [(TOPICS[m.topic], recording.deserialize(m)) for m in recording.messages(TOPICS)]
    for topic, message in messages:
        node.advertise(topic, type(message))
    for stamp, of_image in groupby(messages, key=lambda message: message[1].header.stamp):
        n_messages = [node.publish(*message) for message in of_image]
        if len(n_messages) == len(TOPICS):
            found[stamp.nanosec] = persons.next().persons
    for i, metres in enumerate(SURFACES):
        if metres is not None:
            [person] = found.pop(i * 100_000_000)
            check(person, metres)
    assert not found and persons.messages == []  # an image without depth waits for it


def test_an_rgbd_bag_through_metrabs_bag(tmp_path, rgbd_bag, closed_form_model_path, models_loaded_once, capsys):
    arguments = [str(rgbd_bag), str(tmp_path / "out"), f"--model={closed_form_model_path}", "--image-topic=/cam/image"]
    assert bag.main([*arguments, "--depth-topic=/cam/depth"]) == 0
    assert "1 images have no depth image of their stamp" in capsys.readouterr().err
    with open_recording(tmp_path / "out") as recording:
        messages = [deserialize_message(m.data, PersonArray) for m in recording.messages([PERSONS_TOPIC])]
    for message, metres in zip(messages, SURFACES, strict=True):
        [person] = message.persons
        check(person, metres)
    assert bag.main([*arguments, "--depth-topic=/cam/camera_info", "--force"]) == 1
    assert "no topic /cam/camera_info of (raw) depth images; it has: /cam/depth, /cam/image" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    [
        ({"encoding": "rgb8"}, "encoding 'rgb8' is not supported; publish 16UC1 or 32FC1"),
        ({"width": WIDTH - 1}, "319x240 pixels, but the image 320x240; register the depth to the image"),
        ({"data": b"\0" * 100}, "truncated: 100 bytes"),
    ],
    ids=["encoding", "size", "truncated"],
)
def test_images_with_depth_that_cannot_be_used_are_skipped(node, process, change, words):
    node.restart(depth_topic="depth")
    start, before = len(process.log), int(node.diagnostics().get("skipped_depth", 0))
    stamp = node.next_stamp()
    depth = image_message(surface(5.2).astype(np.uint16), stamp, encoding="16UC1")
    for field, value in change.items():
        setattr(depth, field, value)
    node.publish("depth", depth)
    node.publish("camera_info", camera_info_message(stamp))
    node.publish("image", image_message(picture(BOX), stamp))
    node.wait_for_status(lambda status: int(status.get("skipped_depth", 0)) == before + 1)
    process.wait_for_log(re.escape(words), start)


def test_the_node_says_where_no_depth_comes(node, process):
    start = len(process.log)
    node.restart(depth_topic="elsewhere")
    for _ in range(6):
        node.show(picture(BOX))
    line = process.wait_for_log(r"\[WARN\].*no depth image with their stamps", start)
    assert f"on {node.namespace}/elsewhere (sensor_msgs/msg/Image): nobody publishes it. Start the camera" in line
    node.wait_for_status(lambda status: status["level"] == DiagnosticStatus.ERROR)
