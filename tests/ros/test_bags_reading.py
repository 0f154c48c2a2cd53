"""Bags that are read, made by this package, by the mcap library and by hand in SQL."""

import shutil
import sqlite3

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import image_message, picture
from rclpy.serialization import serialize_message
from recordings import (
    HI,
    STORAGES,
    STRING,
    in_mcap,
    messages_of,
    write_camera_bag,
    write_mcap,
    write_sqlite,
)
from rosbags import rosbag2
from rosbags.typesys import Stores, get_typestore

from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPE,
    stamp_ns,
)
from metrabs_ros.bags.topics import find_image_topic
from metrabs_ros.bags.writer import copy


@pytest.mark.parametrize("storage", STORAGES)
def test_bag_is_read_as_written(tmp_path, storage):
    path = write_camera_bag(tmp_path / storage)
    with open_recording(path) as recording:
        described = {name: (topic.type, topic.count) for name, topic in recording.topics.items()}
        assert described == {"/cam/image_raw": (IMAGE_TYPE, 5), "/cam/camera_info": (CAMERA_INFO_TYPE, 5)}
        messages = list(recording.messages(["/cam/image_raw"]))
        assert [message.time_ns for message in messages] == [7_000_000_000 + i * 100_000_000 for i in range(5)]
        image = recording.deserialize(messages[3])
        assert (image.width, image.height, stamp_ns(image.header)) == (320, 240, 7_300_000_000)
        assert bytes(image.data) == picture(red=(30, 20, 50, 150)).tobytes()


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


def write_ahead_log(folder, n_written, n_logged):
    """A bag that a recorder wrote in SQLite's WAL mode and did not close."""
    folder.mkdir()
    rows = [("/a", i, HI) for i in range(n_written + n_logged)]
    original = folder.with_name("original.db3")
    before = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
    connection = write_sqlite(original, {"/a": in_mcap(STRING)}, rows[:n_written], before)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.executemany(
        "INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?)", [r[1:] for r in rows[n_written:]]
    )
    connection.commit()
    for ending in ("", "-wal"):
        shutil.copy(f"{original}{ending}", folder / f"bag.db3{ending}")
    connection.close()
    return folder


def test_messages_in_a_write_ahead_log_are_read(tmp_path):
    folder = write_ahead_log(tmp_path / "bag", 2, 5)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert before["bag.db3-wal"]
    for path in (folder, folder / "bag.db3"):
        with open_recording(path) as recording:
            assert messages_of(recording) == {"/a": [HI] * 7}
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}


NO_SUMMARY = dict.fromkeys(["use_statistics", "use_summary_offsets", "repeat_channels", "repeat_schemas"], False)


def options_of_mcap():
    from mcap.writer import IndexType

    yield {}
    yield {"use_chunking": False}  # as rosbag2's preset "fastwrite"
    yield {"use_chunking": False, "index_types": IndexType.NONE, **NO_SUMMARY}
    yield {"index_types": IndexType.NONE, **NO_SUMMARY}
    yield {"repeat_channels": False, "repeat_schemas": False}
    yield {"repeat_schemas": False}
    yield {"use_statistics": False}
    yield {"profile": ""}


@pytest.mark.parametrize("options", list(options_of_mcap()), ids=str)
def test_every_kind_of_mcap_file(tmp_path, options):
    topics = {"/a": in_mcap(STRING), "/b": in_mcap("std_msgs/msg/Int8")}
    messages = [("/ab"[::2] if i % 3 else "/b", i, HI + bytes([i])) for i in range(40)]
    path = write_mcap(tmp_path / "bag.mcap", topics, messages, chunk_size=200, **options)
    with open_recording(path) as recording:
        assert [tuple(message) for message in recording.messages()] == messages
        assert sum(topic.count for topic in recording.topics.values()) == 40
        assert [message.time_ns for message in recording.messages(["/b"])] == [m[1] for m in messages if m[0] == "/b"]
        first, second = recording.messages(), recording.messages()  # which do not disturb each other
        assert [next(first), next(second), next(first)] == [messages[0], messages[0], messages[1]]


def test_indexed_messages_come_in_order_of_time(tmp_path):
    times = np.random.default_rng(0).permutation(50).tolist()
    path = write_mcap(tmp_path / "bag.mcap", {"/a": in_mcap(STRING)}, [("/a", t, HI) for t in times], chunk_size=200)
    with open_recording(path) as recording:
        assert [message.time_ns for message in recording.messages()] == list(range(50))


@pytest.mark.parametrize("storage", ["sqlite3", "mcap"])
def test_split_bag_without_metadata(tmp_path, storage):
    folder = tmp_path / "bag"
    folder.mkdir()
    for part in (0, 1, 10, 2):
        messages = [("/a", 10 * part + i, HI + bytes([part])) for i in range(3)]
        if storage == "mcap":
            write_mcap(folder / f"bag_{part}.mcap", {"/a": in_mcap(STRING)}, messages)
        else:
            write_sqlite(folder / f"bag_{part}.db3", {"/a": in_mcap(STRING)}, messages).close()
    (folder / f"._bag_0.{storage}").write_bytes(b"what macOS notes")
    with open_recording(folder) as recording:
        assert [message.time_ns for message in recording.messages()] == [0, 1, 2, 10, 11, 12, 20, 21, 22, 100, 101, 102]


@pytest.mark.parametrize("mode", [rosbag2.CompressionMode.FILE, rosbag2.CompressionMode.MESSAGE])
@pytest.mark.parametrize("plugin", list(rosbag2.StoragePlugin))
@pytest.mark.parametrize("metadata", [True, False])
def test_compressed_bags(tmp_path, mode, plugin, metadata):
    writer = rosbag2.Writer(tmp_path / "bag", version=9, storage_plugin=plugin)
    writer.set_compression(mode, rosbag2.CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/a", STRING, typestore=get_typestore(Stores.ROS2_KILTED))
        for i in range(5):
            writer.write(connection, i, HI + bytes([i]))
    if not metadata:
        (tmp_path / "bag/metadata.yaml").unlink()
    with open_recording(tmp_path / "bag") as recording:
        assert messages_of(recording) == {"/a": [HI + bytes([i]) for i in range(5)]}


ODD_NAMES = ["a#b", "a?mode=ro", "a%20b", "12:30:05", "with blanks", "straße", "-x", "file:x"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("ending", ["", ".mcap"])
def test_odd_names_of_bags_and_their_folders(tmp_path, monkeypatch, name, ending):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_camera_bag(name + ending, n=2)
    assert [path.name for path in folder.iterdir()] == [name + ending]
    for path in (name + ending, folder / (name + ending)):
        with open_recording(path) as recording:
            assert len(list(recording.messages())) == 4
            find_image_topic(recording)
            copy(recording, folder / "copy", seconds=0.05)
        shutil.rmtree(folder / "copy")


def test_pictures_with_a_metadata_file_of_their_own(tmp_path):
    (tmp_path / "metadata.yaml").write_text("author: somebody")
    cv2.imwrite(str(tmp_path / "1.png"), picture()[..., ::-1])
    with open_recording(tmp_path) as recording:
        assert recording.topics["/image/compressed"].count == 1
