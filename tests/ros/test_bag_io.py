"""Recordings on disk, against rosbags, the mcap library, PyAV and OpenCV."""

import array
import sqlite3
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import camera_info_message, image_message, picture
from geometry_msgs.msg import Point
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from metrabs_core.errors import UserError
from metrabs_msgs.msg import Edge, Person, PersonArray, Point2D, Skeleton
from metrabs_ros.bag_io import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPE,
    LATCHED,
    BagWriter,
    CameraInfos,
    Message,
    MessageError,
    RecordingError,
    copy,
    find_camera_info_topic,
    find_image_topic,
    open_recording,
    own_typestore,
    stamp_ns,
)

STORAGES = ["bag", "bag.mcap"]


def write_camera_bag(path, image_topics=("/cam/image_raw",), camera_info_topics=("/cam/camera_info",), n=5):
    """A bag with one image and camera_info per 0.1 s and topic."""
    store = get_typestore(Stores.ROS2_KILTED)
    with BagWriter(path) as writer:
        for topic in image_topics:
            writer.add_topic(topic, IMAGE_TYPE, store)
        for topic in camera_info_topics:
            writer.add_topic(topic, CAMERA_INFO_TYPE, store)
        for i in range(n):
            time_ns = 7_000_000_000 + i * 100_000_000
            stamp = Time(sec=7, nanosec=i * 100_000_000)
            for topic in image_topics:
                image = image_message(picture(red=(10 * i, 20, 50, 150)), stamp)
                writer.write(Message(topic, time_ns, serialize_message(image)))
            for topic in camera_info_topics:
                writer.write(Message(topic, time_ns, serialize_message(camera_info_message(stamp))))
    return path


def write_video(path, n=12, rate=10, size=(64, 48), codec="libx264"):
    """A video whose brightness grows by 20 from frame to frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for i in range(n):
            image = np.full([size[1], size[0], 3], 20 * i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("storage", STORAGES)
def test_own_messages_round_trip_through_standard_readers(tmp_path, storage):
    persons = PersonArray(skeleton="toy")
    persons.header.stamp, persons.header.frame_id = Time(sec=3, nanosec=4), "optical"
    person = Person(id=5, score=0.75, left=1.5, top=-2.5, width=10.0, height=20.0, in_view=[True, False])
    person.joints = [Point(x=0.1, y=-0.2, z=3.0), Point(x=0.4, y=0.5, z=2.5)]
    person.uncertainties = array.array("f", [0.03125, 0.25])
    person.joints_image = [Point2D(x=8.0, y=9.0), Point2D(x=-1.0, y=float("nan"))]
    persons.persons = [person]
    skeleton = Skeleton(name="toy", joint_names=["head", "foot"], edges=[Edge(a=0, b=1)])

    path = tmp_path / storage
    with BagWriter(path) as writer:
        writer.add_topic("/persons", "metrabs_msgs/msg/PersonArray", own_typestore())
        writer.add_topic("/skeleton", "metrabs_msgs/msg/Skeleton", own_typestore(), [LATCHED])
        writer.write(Message("/skeleton", 10, serialize_message(skeleton)))
        writer.write(Message("/persons", 20, serialize_message(persons)))

    readings = []
    with AnyReader([path]) as reader:  # knows nothing of metrabs_msgs but what the bag tells
        messages = {c.topic: (t, reader.deserialize(data, c.msgtype)) for c, t, data in reader.messages()}
        (latched,) = reader.topics["/skeleton"].connections
        assert latched.ext.offered_qos_profiles == [LATCHED]
        assert messages["/persons"][0] == 20
        readings.append((messages["/persons"][1], messages["/skeleton"][1]))
    if path.is_file():
        with open(path, "rb") as file:
            decoded = make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages()
            by_topic = {channel.topic: message for _, channel, _, message in decoded}
        readings.append((by_topic["/persons"], by_topic["/skeleton"]))

    for read_persons, read_skeleton in readings:
        assert (read_skeleton.name, list(read_skeleton.joint_names)) == ("toy", ["head", "foot"])
        assert (read_skeleton.edges[0].a, read_skeleton.edges[0].b) == (0, 1)
        assert (read_persons.header.stamp.sec, read_persons.header.frame_id) == (3, "optical")
        (read,) = read_persons.persons
        assert (read.id, read.score, read.left, read.top, read.width, read.height) == (5, 0.75, 1.5, -2.5, 10, 20)
        assert [(p.x, p.y, p.z) for p in read.joints] == [(0.1, -0.2, 3.0), (0.4, 0.5, 2.5)]
        assert list(read.uncertainties) == [0.03125, 0.25]
        assert (read.joints_image[0].x, read.joints_image[0].y) == (8, 9)
        assert np.isnan(read.joints_image[1].y)
        assert list(read.in_view) == [True, False]


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_is_read_as_written(tmp_path, storage):
    path = write_camera_bag(tmp_path / storage)
    with open_recording(path) as recording:
        assert recording.topics == {"/cam/image_raw": IMAGE_TYPE, "/cam/camera_info": CAMERA_INFO_TYPE}
        assert recording.counts == {"/cam/image_raw": 5, "/cam/camera_info": 5}
        messages = list(recording.messages(["/cam/image_raw"]))
        assert [message.time_ns for message in messages] == [7_000_000_000 + i * 100_000_000 for i in range(5)]
        image = recording.deserialize(messages[3])
        assert (image.width, image.height, stamp_ns(image.header)) == (320, 240, 7_300_000_000)
        assert bytes(image.data) == picture(red=(30, 20, 50, 150)).tobytes()


def test_copy_keeps_messages_and_stops_in_time(tmp_path):
    source = write_camera_bag(tmp_path / "bag.mcap")
    with open_recording(source) as recording:
        copy(recording, tmp_path / "copy", seconds=0.25)
        originals = [message for message in recording.messages() if message.time_ns <= 7_250_000_000]
    with open_recording(tmp_path / "copy") as recording:
        assert list(recording.messages()) == originals
        assert len(originals) == 6


HUMBLE_METADATA = """
rosbag2_bagfile_information:
  version: 5
  storage_identifier: sqlite3
  duration: {nanoseconds: 0}
  starting_time: {nanoseconds_since_epoch: 5}
  message_count: 2
  topics_with_message_count:
    - topic_metadata: {name: /odd, type: odd_msgs/msg/Odd, serialization_format: cdr, offered_qos_profiles: ""}
      message_count: 1
    - topic_metadata: {name: /image, type: sensor_msgs/msg/Image, serialization_format: cdr, offered_qos_profiles: ""}
      message_count: 1
  compression_format: ""
  compression_mode: ""
  relative_file_paths: [bag_0.db3]
  files:
    - path: bag_0.db3
      starting_time: {nanoseconds_since_epoch: 5}
      duration: {nanoseconds: 0}
      message_count: 2
"""


def test_humble_bag_with_a_type_nobody_knows_is_copied(tmp_path):
    # Up to Humble, sqlite3 bags hold no definitions of their types.
    image = serialize_message(image_message(picture(red=(10, 20, 50, 150)), Time(sec=7)))
    odd = b"\x00\x01\x00\x00\x07\x00\x00\x00"
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag/metadata.yaml").write_text(HUMBLE_METADATA)
    database = sqlite3.connect(tmp_path / "bag/bag_0.db3")
    database.executescript("""
        CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
            serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL);
        CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
            data BLOB NOT NULL);
        INSERT INTO topics VALUES(1, "/odd", "odd_msgs/msg/Odd", "cdr", ""), (2, "/image", "sensor_msgs/msg/Image",
            "cdr", "");
    """)
    database.executemany("INSERT INTO messages VALUES(?, ?, ?, ?)", [(1, 1, 5, odd), (2, 2, 5, image)])
    database.commit()
    database.close()

    with open_recording(tmp_path / "bag") as recording:
        assert find_image_topic(recording) == "/image"
        copy(recording, tmp_path / "copy.mcap", seconds=1)
    with open_recording(tmp_path / "copy.mcap") as recording:
        assert {message.topic: message.data for message in recording.messages()} == {"/odd": odd, "/image": image}


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kept", [0, 30, 0.1, 0.5, 0.9])
def test_truncated_bag_is_refused(tmp_path, storage, kept):
    path = write_camera_bag(tmp_path / storage, n=8)
    (file,) = [path] if path.is_file() else path.glob("*.db3")
    data = file.read_bytes()
    file.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(RecordingError, match="truncated"), open_recording(path) as recording:
        list(recording.messages())


def test_bag_without_metadata_is_refused(tmp_path):
    path = write_camera_bag(tmp_path / "bag")
    (path / "metadata.yaml").unlink()
    with pytest.raises(RecordingError, match="ros2 bag reindex"), open_recording(path):
        pass


@pytest.mark.parametrize(
    "make, complaint",
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b"no bag"), "is not a recording"),
        (lambda path: path.mkdir(), "holds no pictures"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path, make, complaint):
    make(tmp_path / "thing")
    with pytest.raises(UserError, match=complaint), open_recording(tmp_path / "thing"):
        pass


@pytest.mark.parametrize("name, complaint", [("v.mp4", "can't be read"), ("p.jpg", "is damaged")])
def test_damaged_video_and_picture_are_refused(tmp_path, name, complaint):
    (tmp_path / name).write_bytes(b"garbage" * 100)
    with pytest.raises(UserError, match=complaint), open_recording(tmp_path / name) as recording:
        list(recording.messages())


def test_damaged_message_is_told_from_damaged_bag(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic("/image", IMAGE_TYPE, get_typestore(Stores.ROS2_KILTED))
        writer.write(Message("/image", 1, b"\x00\x01\x00\x00\xff\xff"))
    with open_recording(tmp_path / "bag") as recording:
        (message,) = recording.messages()
        with pytest.raises(MessageError, match="/image is damaged"):
            recording.deserialize(message)


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
        writer.add_topic("/camera_info", CAMERA_INFO_TYPE, get_typestore(Stores.ROS2_KILTED))
        for order, (sec, width) in enumerate([(20, 200), (10, 100), (30, 300)]):
            info = camera_info_message(Time(sec=sec), width=width)
            writer.write(Message("/camera_info", order, serialize_message(info)))
    with open_recording(tmp_path / "bag") as recording:
        cameras = CameraInfos(recording, "/camera_info")
    for second, width in [(0, 100), (14, 100), (16, 200), (20, 200), (26, 300), (99, 300)]:
        assert cameras.nearest(second * 1_000_000_000).width == width


def test_video_becomes_images_with_the_stated_camera(tmp_path):
    path = write_video(tmp_path / "v.mp4", n=12, rate=5, size=(64, 48))
    with open_recording(path, fov_degrees=90) as recording:
        assert recording.counts["/image/compressed"] == 12
        messages = list(recording.messages())
        images = [recording.deserialize(m) for m in messages if m.topic == "/image/compressed"]
        infos = [recording.deserialize(m) for m in messages if m.topic == "/camera_info"]
    assert [stamp_ns(image.header) for image in images] == [i * 200_000_000 for i in range(12)]
    assert [stamp_ns(info.header) for info in infos] == [stamp_ns(image.header) for image in images]
    for i, image in enumerate(images):
        pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(pixels, 20 * i, atol=4)
    # At 90 degrees the edges of the image, half a pixel beyond the outermost centres, are seen under 45 degrees.
    matrix = np.reshape(infos[0].k, [3, 3])
    for x, slope in [(-0.5, -1), (63.5, 1)]:
        np.testing.assert_allclose(np.linalg.inv(matrix) @ [x, 23.5, 1], [slope, 0, 1], atol=1e-9)
    assert (infos[0].width, infos[0].height, list(infos[0].d)) == (64, 48, [0] * 5)


def test_truncated_video_gives_its_frames_or_one_sentence(tmp_path):
    for name in ("v.mkv", "v.mp4"):
        path = write_video(tmp_path / name, n=40, codec="mpeg4")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with open_recording(tmp_path / "v.mkv") as recording:
        assert 0 < len(list(recording.messages(["/image/compressed"]))) < 40
    # An MP4 file has its table of contents at the end.
    with pytest.raises(UserError, match="v.mp4 can't be read"), open_recording(tmp_path / "v.mp4"):
        pass


def images_of(path) -> list[tuple[int, np.ndarray]]:
    """Stamp in seconds and pixels (grey) of all images of a video or of pictures."""
    with open_recording(path) as recording:
        images = [recording.deserialize(message) for message in recording.messages(["/image/compressed"])]
    return [(image.header.stamp.sec, cv2.imdecode(np.frombuffer(image.data, np.uint8), 0)) for image in images]


def test_folder_of_numbered_pictures(tmp_path):
    for name, value in [("10.png", 250), ("1.jpg", 50), ("9.png", 200), ("2.png", 100)]:
        cv2.imwrite(str(tmp_path / name), np.full([20, 30, 3], value, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._1.jpg").write_bytes(b"what macOS notes about 1.jpg")
    stamps, images = zip(*images_of(tmp_path))
    np.testing.assert_allclose([image.mean() for image in images], [50, 100, 200, 250], atol=2)
    assert stamps == (0, 1, 2, 3)


def test_damaged_and_oversized_pictures_are_named_and_left_out(tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full([20, 30, 3], 50 * i, np.uint8))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-40])
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros([2, 70000, 3], np.uint8))
    with pytest.warns(UserWarning) as warned:
        stamps, images = zip(*images_of(tmp_path))
    assert stamps == (0, 2, 3)
    np.testing.assert_allclose([image.mean() for image in images], [0, 100, 150], atol=2)
    said = " ".join(str(warning.message) for warning in warned)
    assert "1.jpg is truncated" in said and "wide.png has 70000x2 pixels, and a JPEG image has 65500" in said
    with pytest.raises(UserError, match="wide.png has 70000x2 pixels"):
        images_of(tmp_path / "wide.png")


@pytest.mark.parametrize("storage", STORAGES)
def test_failed_writing_leaves_nothing(tmp_path, storage):
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / storage) as writer:
        writer.add_topic("/camera_info", CAMERA_INFO_TYPE, get_typestore(Stores.ROS2_KILTED))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("storage", STORAGES)
def test_existing_bag_is_replaced_only_by_force(tmp_path, storage):
    path = write_camera_bag(tmp_path / storage, n=2)
    with pytest.raises(RecordingError, match="--force"):
        BagWriter(path)
    with open_recording(path) as recording:
        assert recording.counts["/cam/image_raw"] == 2
    with BagWriter(path, force=True) as writer:
        writer.add_topic("/camera_info", CAMERA_INFO_TYPE, get_typestore(Stores.ROS2_KILTED))
    with open_recording(path) as recording:
        assert "/cam/image_raw" not in recording.topics
    assert [entry.name for entry in Path(tmp_path).iterdir()] == [storage]
