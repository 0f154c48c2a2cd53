"""Bags that are read, made by this package, by the mcap library and by hand in SQL."""

import shutil
import sqlite3

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from conftest import camera_info_message, image_message, picture
from rclpy.serialization import serialize_message
from recordings import (
    HI,
    change_metadata,
    in_mcap,
    messages_of,
    write_camera_bag,
    write_mcap,
    write_sqlite,
)
from rosbags import rosbag2
from rosbags.typesys import Stores, get_typestore

from metrabs_core.errors import UserError
from metrabs_ros.bags.message_types import known_topic
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import (
    CAMERA_INFO_TYPE,
    IMAGE_TYPE,
    Message,
    MessageError,
    RecordingError,
    stamp_ns,
)
from metrabs_ros.bags.topics import CameraInfos, find_camera_info_topic, find_image_topic
from metrabs_ros.bags.writer import BagWriter, copy

STORAGES = ["bag", "bag.mcap"]
STRING = "std_msgs/msg/String"


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


def no_qos(information):
    for topic in information["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = ""


def no_qos_of_one(information):
    information["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"] = ""


def nonsense_qos(information):
    for topic in information["topics_with_message_count"]:
        topic["topic_metadata"]["offered_qos_profiles"] = "- history: [what is this"


def another_hash(information):
    for topic in information["topics_with_message_count"]:
        topic["topic_metadata"]["type_description_hash"] = f"RIHS01_{1:064x}"


def no_hash(information):
    for topic in information["topics_with_message_count"]:
        del topic["topic_metadata"]["type_description_hash"]


def write_latched(path, plugin=rosbag2.StoragePlugin.SQLITE3):
    """A bag by rosbags with quality of service in both places: three strings on each of /a and /b."""
    store = get_typestore(Stores.ROS2_KILTED)
    with rosbag2.Writer(path, version=9, storage_plugin=plugin) as writer:
        latched = known_topic("/a", STRING, latched=True).qos
        connections = [
            writer.add_connection(name, STRING, typestore=store, offered_qos_profiles=latched) for name in ("/a", "/b")
        ]
        for i in range(3):
            for connection in connections:
                writer.write(connection, i, HI)
    return path


@pytest.mark.parametrize("plugin", list(rosbag2.StoragePlugin))
@pytest.mark.parametrize("change", [no_qos, no_qos_of_one, nonsense_qos, another_hash, no_hash])
def test_metadata_that_differs_from_the_file_loses_no_message(tmp_path, plugin, change):
    path = write_latched(tmp_path / "bag", plugin)
    change_metadata(path, change)
    with open_recording(path) as recording:
        assert messages_of(recording) == {"/a": [HI] * 3, "/b": [HI] * 3}
        copy(recording, tmp_path / "copy", seconds=1)
    with open_recording(tmp_path / "copy") as recording:
        assert messages_of(recording) == {"/a": [HI] * 3, "/b": [HI] * 3}


def fewer(information):
    information["topics_with_message_count"][0]["message_count"] = 2


def more(information):
    information["topics_with_message_count"][0]["message_count"] = 300


def without_topic(information):
    del information["topics_with_message_count"][0]


def with_another_topic(information):
    first = information["topics_with_message_count"][0]
    other = {"topic_metadata": {**first["topic_metadata"], "name": "/a2"}, "message_count": 1}
    information["topics_with_message_count"].append(other)


@pytest.mark.parametrize("plugin", list(rosbag2.StoragePlugin))
@pytest.mark.parametrize(
    "change, complaint",
    [
        (fewer, "3 of /a instead of 2"),
        (more, "3 of /a instead of 300"),
        (without_topic, "3 of /a instead of 0"),
        (with_another_topic, "0 of /a2 instead of 1"),
    ],
)
def test_numbers_of_messages_that_differ_from_metadata_are_an_error(tmp_path, plugin, change, complaint):
    path = write_latched(tmp_path / "bag", plugin)
    change_metadata(path, change)
    with pytest.raises(RecordingError, match=f"{complaint}.*ros2 bag reindex"), open_recording(path):
        pass
    (path / "metadata.yaml").unlink()  # the way out that the message names
    with open_recording(path) as recording:
        assert messages_of(recording) == {"/a": [HI] * 3, "/b": [HI] * 3}


def test_messages_deleted_from_the_database_are_missed(tmp_path):
    path = write_latched(tmp_path / "bag")
    with sqlite3.connect(path / "bag.db3") as connection:
        connection.execute("DELETE FROM messages WHERE timestamp = 2 AND topic_id = 2")
    with pytest.raises(RecordingError, match="2 of /b instead of 3"), open_recording(path):
        pass


def test_index_that_promises_too_much_is_an_error(tmp_path):
    path = write_mcap(tmp_path / "bag.mcap", {"/a": in_mcap(STRING)}, [("/a", i, HI) for i in range(3)])
    data = path.read_bytes()
    place = data.rindex((1).to_bytes(2, "little") + (3).to_bytes(8, "little"))  # of channel 1: 3 messages
    path.write_bytes(data[: place + 2] + (4).to_bytes(8, "little") + data[place + 10 :])
    with open_recording(path) as recording:
        assert recording.topics["/a"].count == 4
        with pytest.raises(RecordingError, match="only 3 of /a"):
            list(recording.messages())


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


def test_rollback_journal_is_named(tmp_path):
    folder = tmp_path / "bag"
    folder.mkdir()
    connection = write_sqlite(tmp_path / "original.db3", {"/a": in_mcap(STRING)}, [("/a", i, HI) for i in range(200)])
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("PRAGMA cache_spill = 1")
    connection.execute("UPDATE messages SET data = zeroblob(5000)")  # so much that pages are written before the commit
    for ending in ("", "-journal"):
        shutil.copy(f"{tmp_path / 'original.db3'}{ending}", folder / f"bag.db3{ending}")
    connection.rollback()
    connection.close()
    with pytest.raises(RecordingError, match="bag.db3-journal"), open_recording(folder):
        pass


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


def test_folder_with_several_bags_is_refused(tmp_path):
    for name in ("monday", "tuesday"):
        write_mcap(tmp_path / f"{name}.mcap", {"/a": in_mcap(STRING)}, [("/a", 1, HI)])
    with (
        pytest.raises(RecordingError, match="several bags; give one of: monday.mcap, tuesday.mcap"),
        open_recording(tmp_path),
    ):
        pass


@pytest.mark.parametrize("storage", STORAGES)
def test_sound_bag_without_metadata_and_one_that_was_cut_off(tmp_path, storage):
    folder = write_camera_bag(tmp_path / storage)
    if folder.is_file():
        folder = tmp_path / "folder"
        folder.mkdir()
        shutil.move(tmp_path / storage, folder)
    (folder / "metadata.yaml").unlink(missing_ok=True)
    (file,) = folder.iterdir()
    with open_recording(folder) as recording:
        assert {name: len(found) for name, found in messages_of(recording).items()} == {
            "/cam/image_raw": 5, "/cam/camera_info": 5
        }  # fmt: skip
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(RecordingError, match="truncated.*ros2 bag reindex"), open_recording(folder) as recording:
        list(recording.messages())


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


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("kept", [0, 30, 0.1, 0.5, 0.9])
def test_truncated_bag_is_refused(tmp_path, storage, kept):
    path = write_camera_bag(tmp_path / storage, n=8)
    (file,) = [path] if path.is_file() else path.glob("*.db3")
    data = file.read_bytes()
    file.write_bytes(data[: kept if isinstance(kept, int) else int(len(data) * kept)])
    with pytest.raises(RecordingError, match="truncated"), open_recording(path) as recording:
        list(recording.messages())


@pytest.mark.parametrize("storage", STORAGES)
def test_damage_anywhere_is_one_sentence(tmp_path, storage):
    """Bytes are overwritten here and there; whatever the libraries make of it must not get through."""
    path = write_latched(tmp_path / "bag", getattr(rosbag2.StoragePlugin, "MCAP" if "mcap" in storage else "SQLITE3"))
    (file,) = [*path.glob("*.db3"), *path.glob("*.mcap")]
    data, rng = file.read_bytes(), np.random.default_rng(0)
    n_refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            damaged[place : place + 8] = rng.bytes(8)
        file.write_bytes(damaged[: len(data)])
        try:
            with open_recording(path) as recording:
                messages_of(recording)
        except RecordingError as error:
            assert "\n" not in str(error)
            n_refused += 1
    assert n_refused > 15


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


def test_pictures_with_a_metadata_file_of_their_own(tmp_path):
    (tmp_path / "metadata.yaml").write_text("author: somebody")
    cv2.imwrite(str(tmp_path / "1.png"), picture()[..., ::-1])
    with open_recording(tmp_path) as recording:
        assert recording.topics["/image/compressed"].count == 1


@pytest.mark.parametrize("content", ["", "no: metadata", "[1, 2", "rosbag2_bagfile_information: 3", "\0"])
def test_damaged_metadata_is_named(tmp_path, content):
    path = write_camera_bag(tmp_path / "bag")
    (path / "metadata.yaml").write_text(content)
    with (
        pytest.raises(RecordingError, match="metadata.yaml is damaged. Write it anew with: ros2 bag reindex"),
        open_recording(path),
    ):
        pass


def test_missing_file_of_a_bag_is_named(tmp_path):
    path = write_camera_bag(tmp_path / "bag")
    (path / "bag.db3").rename(path / "bag_1.db3")
    with pytest.raises(RecordingError, match="lacks files that its metadata.yaml names: bag.db3"), open_recording(path):
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


def test_damaged_message_is_told_from_damaged_bag(tmp_path):
    with BagWriter(tmp_path / "bag") as writer:
        writer.add_topic(known_topic("/image", IMAGE_TYPE))
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
        writer.add_topic(known_topic("/camera_info", CAMERA_INFO_TYPE))
        for order, (sec, width) in enumerate([(20, 200), (10, 100), (30, 300)]):
            info = camera_info_message(Time(sec=sec), width=width)
            writer.write(Message("/camera_info", order, serialize_message(info)))
    with open_recording(tmp_path / "bag") as recording:
        cameras = CameraInfos(recording, "/camera_info")
    for second, width in [(0, 100), (14, 100), (16, 200), (20, 200), (26, 300), (99, 300)]:
        assert cameras.nearest(second * 1_000_000_000).width == width
