"""Topics of bags: odd ones beside the images, and which are taken for images and camera."""

import pytest
from builtin_interfaces.msg import Time
from conftest import camera_info_message, image_message, picture
from rclpy.serialization import serialize_message
from recordings import HI, STORAGES, STRING, in_mcap, messages_of, write_camera_bag, write_mcap, write_sqlite

from metrabs_ros.bags.message_types import known_topic
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPE,
    Message,
    RecordingError,
)
from metrabs_ros.bags.topics import CameraInfos, find_camera_info_topic, find_image_topic
from metrabs_ros.bags.writer import BagWriter, copy

CRLF = b"string data\r\nint8 other\r\n"
UNKNOWN_PART = b"other_msgs/Thing thing\nuint8[<=3] a\n"
ODD_TOPICS = {
    "empty": ("my_msgs/msg/Odd", "cdr", "", b""),
    "unknown": ("my_msgs/action/Odd_FeedbackMessage", "cdr", "unknown", b""),
    "crlf": ("my_msgs/msg/Odd", "cdr", "ros2msg", CRLF),
    "unknown_part": ("my_msgs/msg/Odd", "cdr", "ros2msg", UNKNOWN_PART),
    "garbage": ("my_msgs/msg/Odd", "cdr", "ros2msg", "§$%&/()=".encode()),
    "idl": ("my_msgs/msg/Odd", "cdr", "ros2idl", b"=" * 80 + b"\nIDL: my_msgs/msg/Odd\nmodule { nonsense"),
    "service": ("my_msgs/srv/Odd_Event", "cdr", "ros2msg", b"string data\n"),
    "wide": ("my_msgs/msg/Odd", "cdr", "ros2msg", b"wstring data\n"),
}


def write_with(tmp_path, storage, topic, name="/other"):
    topics = {"/cam/image": in_mcap(IMAGE_TYPE), name: topic}
    image = serialize_message(image_message(picture(red=(10, 20, 50, 150)), Time(sec=7)))
    messages = [("/cam/image", 1, image), (name, 2, b"\0\1\0\0odd"), ("/cam/image", 3, image)]
    if storage == "bag.mcap":
        return write_mcap(tmp_path / storage, topics, messages), image
    (tmp_path / storage).mkdir()
    write_sqlite(tmp_path / storage / "bag_0.db3", topics, messages).close()
    return tmp_path / storage, image


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kind", ODD_TOPICS)
def test_definition_of_an_unrelated_topic_does_not_matter(tmp_path, storage, kind):
    message_type, _, language, definition = ODD_TOPICS[kind]
    path, image = write_with(tmp_path, storage, ODD_TOPICS[kind])
    expected = {"/cam/image": [image, image], "/other": [b"\0\1\0\0odd"]}
    with open_recording(path) as recording:
        assert recording.topics["/other"].type == message_type and not recording.left_out
        assert messages_of(recording) == expected
        for name in ("copy", "copy.mcap"):
            copy(recording, tmp_path / name, seconds=1)
    for name in ("copy", "copy.mcap"):
        with open_recording(tmp_path / name) as recording:
            assert messages_of(recording) == expected
            kept = definition.decode().replace("\r\n", "\n") if language.startswith("ros2") else ""
            assert recording.topics["/other"].definition == kept


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("encoding, language, definition", [("json", "jsonschema", b"{}"), ("ros1", "ros1msg", b"")])
def test_topic_that_is_not_of_ros2_is_left_out(tmp_path, storage, encoding, language, definition):
    path, image = write_with(tmp_path, storage, ("Odd", encoding, language, definition))
    with open_recording(path) as recording:
        assert messages_of(recording) == {"/cam/image": [image, image]}
        assert recording.left_out == {"/other": f"its messages are {encoding}, not ROS 2's CDR"}
        assert find_image_topic(recording) == "/cam/image"


@pytest.mark.parametrize(
    "topic, reason",
    [
        (("Odd", "protobuf", "protobuf", b"\n\xff\xfe\0\x80"), "its messages are protobuf, not ROS 2's CDR"),
        ((None, "cdr", "", b""), "it has no type"),
        ((None, "", "", b""), "its messages are of no known encoding, not ROS 2's CDR"),
    ],
)
def test_channels_of_other_programs_are_left_out(tmp_path, topic, reason):
    path, image = write_with(tmp_path, "bag.mcap", topic)
    with open_recording(path) as recording:
        assert messages_of(recording) == {"/cam/image": [image, image]}
        assert recording.left_out == {"/other": reason}


def test_images_that_are_left_out_are_named_where_they_are_missed(tmp_path):
    path = write_mcap(
        tmp_path / "bag.mcap", {"/cam/image": (IMAGE_TYPE, "ros1", "ros1msg", b"")}, [("/cam/image", 1, b"")]
    )
    with (
        open_recording(path) as recording,
        pytest.raises(RecordingError, match=r"no image topic; .* /cam/image \(can't be read: its messages are ros1"),
    ):
        find_image_topic(recording)


def test_topic_with_two_types_is_left_out(tmp_path):
    path = tmp_path / "bag"
    path.mkdir()
    write_mcap(path / "bag_0.mcap", {"/a": in_mcap(STRING), "/b": in_mcap(STRING)}, [("/a", 1, HI), ("/b", 1, HI)])
    write_mcap(path / "bag_1.mcap", {"/a": in_mcap("std_msgs/msg/Int8")}, [("/a", 2, HI)])
    with open_recording(path) as recording:
        assert messages_of(recording) == {"/b": [HI]}
        assert recording.left_out == {"/a": "it has several types, std_msgs/msg/Int8 and std_msgs/msg/String"}


def test_damaged_camera_info_is_left_out(tmp_path):
    infos = [serialize_message(camera_info_message(Time(sec=i), width=100 * i)) for i in (1, 2, 3)]
    topics = {"/camera_info": in_mcap(CAMERA_INFO_TYPE)}
    path = write_mcap(
        tmp_path / "bag.mcap", topics, [("/camera_info", i, d) for i, d in enumerate([infos[0], b"\0", infos[2]])]
    )
    with (
        open_recording(path) as recording,
        pytest.warns(UserWarning, match="1 damaged messages of /camera_info were left"),
    ):
        cameras = CameraInfos(recording, "/camera_info")
    assert [cameras.nearest(i * 10**9).width for i in (1, 3)] == [100, 300]
    path = write_mcap(tmp_path / "bag.mcap", topics, [("/camera_info", 1, b"\0")])
    with open_recording(path) as recording, pytest.raises(RecordingError, match="damaged messages only"):
        CameraInfos(recording, "/camera_info")


def test_choice_of_image_topic(tmp_path):
    path = write_camera_bag(
        tmp_path / "bag", ["/left/image_raw", "/right/image_raw", "/metrabs_node/overlay"], ["/info"]
    )
    with open_recording(path) as recording:
        with pytest.raises(
            RecordingError, match=r"--image-topic: /left/image_raw \(5 images\), /right/image_raw \(5 im"
        ):
            find_image_topic(recording)
        assert find_image_topic(recording, "/right/image_raw") == "/right/image_raw"
        with pytest.raises(RecordingError, match="no image topic /up; it has: /left/image_raw"):
            find_image_topic(recording, "/up")
        assert find_camera_info_topic(recording, "/left/image_raw") == "/info"
    path = write_camera_bag(tmp_path / "blind", [], ["/info"])
    with (
        open_recording(path) as recording,
        pytest.raises(RecordingError, match="no image topic; .* /info"),
    ):
        find_image_topic(recording)


def test_choice_of_camera_info_topic(tmp_path):
    path = write_camera_bag(tmp_path / "bag", ["/a/image", "/c/image"], ["/a/camera_info", "/b/camera_info"])
    with open_recording(path) as recording:
        assert find_camera_info_topic(recording, "/a/image") == "/a/camera_info"
        assert find_camera_info_topic(recording, "/b/image/compressed") == "/b/camera_info"
        assert find_camera_info_topic(recording, "/a/image", "/b/camera_info") == "/b/camera_info"
        with pytest.raises(RecordingError, match="--camera-info-topic: /a/camera_info, /b/camera_info"):
            find_camera_info_topic(recording, "/c/image")
        with pytest.raises(RecordingError, match="no camera_info topic /d"):
            find_camera_info_topic(recording, "/a/image", "/d")
    path = write_camera_bag(tmp_path / "uncalibrated", ["/a/image"], [])
    with open_recording(path) as recording:
        assert find_camera_info_topic(recording, "/a/image") is None


def test_nearest_camera_info(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
        for order, (sec, width) in enumerate([(20, 200), (10, 100), (30, 300)]):
            info = camera_info_message(Time(sec=sec), width=width)
            writer.write(Message("/camera_info", order, serialize_message(info)))
    with open_recording(tmp_path / "bag") as recording:
        cameras = CameraInfos(recording, "/camera_info")
    for second, width in [(0, 100), (14, 100), (16, 200), (20, 200), (26, 300), (99, 300)]:
        assert cameras.nearest(second * 1_000_000_000).width == width
