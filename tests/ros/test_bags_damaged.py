"""Bags that are damaged, incomplete or at odds with their metadata: read as far as they are sound, else refused."""

import shutil
import sqlite3

import numpy as np
import pytest
from recordings import (
    HI,
    STORAGES,
    STRING,
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
    IMAGE_TYPE,
    Message,
    MessageError,
    RecordingError,
)
from metrabs_ros.bags.writer import BagWriter, copy


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


def test_folder_with_several_bags_is_refused(tmp_path):
    for name in ("monday", "tuesday"):
        write_mcap(tmp_path / f"{name}.mcap", {"/a": in_mcap(STRING)}, [("/a", 1, HI)])
    with (
        pytest.raises(RecordingError, match="several bags; give one of: monday.mcap, tuesday.mcap"),
        open_recording(tmp_path),
    ):
        pass
