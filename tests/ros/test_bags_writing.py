"""Bags that are written, against rosbags and the mcap library, and what may be replaced by one."""

import array
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from recordings import HI, STORAGES, write_camera_bag
from rosbags.highlevel import AnyReader

from metrabs_msgs.msg import Edge, Person, PersonArray, Point2D, Skeleton
from metrabs_ros.bags.message_types import LATCHED, known_topic
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import CAMERA_INFO_TYPE, Message, RecordingError, Topic
from metrabs_ros.bags.writer import BagWriter, copy


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
        writer.add_topic(known_topic("/persons", "metrabs_msgs/msg/PersonArray"))
        writer.add_topic(known_topic("/skeleton", "metrabs_msgs/msg/Skeleton", latched=True))
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


def test_copy_keeps_messages_and_stops_in_time(tmp_path):
    source = write_camera_bag(tmp_path / "bag.mcap")
    with open_recording(source) as recording:
        copy(recording, tmp_path / "copy", seconds=0.25)
        originals = [message for message in recording.messages() if message.time_ns <= 7_250_000_000]
    with open_recording(tmp_path / "copy") as recording:
        assert list(recording.messages()) == originals
        assert len(originals) == 6


@pytest.mark.parametrize("storage", STORAGES)
def test_failed_writing_leaves_nothing(tmp_path, storage):
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / storage) as writer:
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("storage", STORAGES)
def test_existing_bag_is_replaced_only_by_force(tmp_path, storage):
    path = write_camera_bag(tmp_path / storage, n=2)
    with pytest.raises(RecordingError, match="--force"):
        BagWriter(path)
    with open_recording(path) as recording:
        assert recording.topics["/cam/image_raw"].count == 2
    with BagWriter(path, force=True) as writer:
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
    with open_recording(path) as recording:
        assert "/cam/image_raw" not in recording.topics
    assert [entry.name for entry in Path(tmp_path).iterdir()] == [storage]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("definition", ["string data\r\nint8 other\r\n", ""])
@pytest.mark.parametrize("stated", ["", f"RIHS01_{1:064x}"])
def test_definitions_satisfy_other_readers(tmp_path, storage, definition, stated):
    with BagWriter(tmp_path / storage) as writer:
        writer.add_topic(Topic("/odd", "my_msgs/msg/Odd", definition=definition, type_hash=stated))
        writer.write(Message("/odd", 5, HI))
    with AnyReader([tmp_path / storage]) as reader:  # refuses what it can't parse, and hashes that do not fit
        ((connection, time_ns, data),) = reader.messages()
    assert (connection.topic, time_ns, bytes(data)) == ("/odd", 5, HI)


def folder_of(path, *names):
    path.mkdir()
    for name in names:
        (path / name).write_text("precious")


def database(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE letters(text TEXT)")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "make",
    [
        lambda path: folder_of(path, "thesis.txt"),
        lambda path: folder_of(path, "metadata.yaml", "bag.db3", "notes.txt"),
        lambda path: folder_of(path, ".hidden"),
        lambda path: folder_of(path, "metadata.yaml"),
        lambda path: folder_of(path, "letters.db3"),
        lambda path: (write_camera_bag(path.with_name("bag"), n=1).rename(path) / "bag_1.db3").write_text("precious"),
        lambda path: folder_of(path / "a") if path.mkdir() is None else None,
        lambda path: path.write_text("precious"),
        database,
    ],
)
def test_what_is_no_bag_is_not_replaced(tmp_path, storage, make):
    path = tmp_path / storage
    make(path)
    before = sorted(tmp_path.rglob("*"))
    for force in (False, True):
        with pytest.raises(RecordingError, match=f"{storage} exists already and .* another name"):
            BagWriter(path, force)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("storage", STORAGES)
def test_a_folder_that_gets_something_else_while_the_bag_is_written_stays(tmp_path, storage):
    path = write_camera_bag(tmp_path / "bag", n=1).rename(tmp_path / storage)
    with pytest.raises(RecordingError, match="thesis.txt"), BagWriter(path, force=True):
        (path / "thesis.txt").write_text("precious")
    assert (path / "thesis.txt").read_text() == "precious" and (path / "metadata.yaml").exists()


@pytest.mark.parametrize("before, after", [("bag", "bag.mcap"), ("bag.mcap", "bag")])
def test_a_bag_replaces_one_of_the_other_kind(tmp_path, before, after):
    path = write_camera_bag(tmp_path / before, n=2).rename(tmp_path / after)
    with BagWriter(path, force=True) as writer:
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
    assert path.is_file() == (after == "bag.mcap")
    with open_recording(path) as recording:
        assert list(recording.topics) == ["/camera_info"]
    assert [entry.name for entry in tmp_path.iterdir()] == [after]


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_folder_may_be_there(tmp_path, storage):
    (tmp_path / storage).mkdir()
    write_camera_bag(tmp_path / storage, n=2)
    with open_recording(tmp_path / storage) as recording:
        assert recording.topics["/cam/image_raw"].count == 2


def test_a_link_to_a_bag_is_replaced_and_not_the_bag(tmp_path):
    write_camera_bag(tmp_path / "bag", n=2)
    (tmp_path / "link").symlink_to("bag")
    with BagWriter(tmp_path / "link", force=True) as writer:
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
    assert not (tmp_path / "link").is_symlink()
    with open_recording(tmp_path / "bag") as recording:
        assert recording.topics["/cam/image_raw"].count == 2


@pytest.mark.parametrize("path", [".", "..", "/", "../here", "out.mp4", "out.PNG", "out.db3", "out.bag"])
def test_paths_that_name_no_bag(tmp_path, monkeypatch, path):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for force in (False, True):
        with pytest.raises(RecordingError, match="another name|one that ends in .mcap"):
            BagWriter(path, force)
    assert list(tmp_path.rglob("*")) == [tmp_path / "here"]


def test_a_bag_that_one_is_in_is_not_replaced(tmp_path, monkeypatch):
    path = write_camera_bag(tmp_path / "bag", n=1)
    monkeypatch.chdir(path)
    with pytest.raises(RecordingError, match="the folder that you are in"):
        BagWriter(".", force=True)


@pytest.mark.parametrize("path", ["file/bag", "file/bag.mcap", f"{'x' * 250}"])
def test_a_place_that_can_not_be_written_is_one_sentence(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=f"{path} can't be written"), BagWriter(tmp_path / path):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_full_disk_is_one_sentence(tmp_path, storage):
    """A limit on the size of files stands for the full disk."""
    import resource
    import signal

    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(RecordingError, match="bag.* can't be written"), BagWriter(tmp_path / storage) as writer:
            writer.add_topic(known_topic("/a", "std_msgs/msg/String"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
            for i in range(30):
                writer.write(Message("/a", i, HI + bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir())
