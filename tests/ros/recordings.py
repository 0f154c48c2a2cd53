"""Recordings for tests: bags by this package's writer, and files as other programs write them."""

import sqlite3

import av
import numpy as np
import yaml
from builtin_interfaces.msg import Time
from conftest import camera_info_message, image_message, picture
from mcap.writer import Writer
from rclpy.serialization import serialize_message

from metrabs_ros.bags.message_types import known_definition, known_topic
from metrabs_ros.bags.recording import CAMERA_INFO_TYPE, IMAGE_TYPE, Message
from metrabs_ros.bags.writer import BagWriter

# Names of a bag of either storage, as ``BagWriter`` takes them: a folder with sqlite3, an MCAP file.
STORAGES = ["bag", "bag.mcap"]
STRING = "std_msgs/msg/String"
# A message of that type that says "hi".
HI = b"\x00\x01\x00\x00\x03\x00\x00\x00hi\x00"


def write_camera_bag(
    path, image_topics=("/cam/image_raw",), camera_info_topics=("/cam/camera_info",), n=5, **camera_info_fields
):
    """A bag with one image and camera_info per 0.1 s and topic."""
    with BagWriter(path) as writer:
        for topic in image_topics:
            writer.add_topic(known_topic(topic, IMAGE_TYPE))
        for topic in camera_info_topics:
            writer.add_topic(known_topic(topic, CAMERA_INFO_TYPE))
        for i in range(n):
            time_ns = 7_000_000_000 + i * 100_000_000
            stamp = Time(sec=7, nanosec=i * 100_000_000)
            for topic in image_topics:
                image = image_message(picture(red=(10 * i, 20, 50, 150)), stamp)
                writer.write(Message(topic, time_ns, serialize_message(image)))
            info = camera_info_message(stamp, **camera_info_fields)
            for topic in camera_info_topics:
                writer.write(Message(topic, time_ns, serialize_message(info)))
    return path


def red_box(i):
    """Left, top, width and height of a rectangle that moves to the right."""
    return 20 + 5 * i, 30, 60, 150


def write_bag(path, images, camera_info=True, **camera_info_fields):
    """A bag of images, 10 per second, and their camera_info."""
    with BagWriter(path) as writer:
        writer.add_topic(known_topic("/cam/image", IMAGE_TYPE))
        writer.add_topic(known_topic("/cam/camera_info", CAMERA_INFO_TYPE))
        for i, image in enumerate(images):
            stamp = Time(sec=5 + i // 10, nanosec=i % 10 * 100_000_000)
            time_ns = stamp.sec * 10**9 + stamp.nanosec + 3_000_000
            message = image if isinstance(image, bytes) else serialize_message(image_message(image, stamp, "optical"))
            writer.write(Message("/cam/image", time_ns, message))
            if camera_info:
                info = camera_info_message(stamp, "optical", **camera_info_fields)
                writer.write(Message("/cam/camera_info", time_ns, serialize_message(info)))
    return path


def write_rgbd_bag(path, images, depths, encodings, delays):
    """A bag of images, camera_info and depth images (mm, float [H, W], or None), 10 per second.

    Args:
        path: of the bag.
        images: uint8 [H, W, 3].
        depths: of each.
        encodings: of each depth image.
        delays: by how much later each depth image is recorded than its image, ns.
    """
    messages = []
    for i, (image, depth, encoding, delay) in enumerate(zip(images, depths, encodings, delays, strict=True)):
        stamp, time_ns = Time(sec=5, nanosec=i * 100_000_000), 5_003_000_000 + i * 100_000_000
        messages.append(Message("/cam/image", time_ns, serialize_message(image_message(image, stamp, "optical"))))
        info = serialize_message(camera_info_message(stamp, "optical"))
        messages.append(Message("/cam/camera_info", time_ns, info))
        if depth is not None:
            pixels = depth.astype(np.uint16) if encoding == "16UC1" else (depth / 1000).astype(np.float32)
            message = image_message(pixels, stamp, "optical", encoding)
            messages.append(Message("/cam/depth", time_ns + delay, serialize_message(message)))
    with BagWriter(path) as writer:
        for name, kind in (("image", IMAGE_TYPE), ("depth", IMAGE_TYPE), ("camera_info", CAMERA_INFO_TYPE)):
            writer.add_topic(known_topic(f"/cam/{name}", kind))
        for message in sorted(messages, key=lambda message: message.time_ns):
            writer.write(message)
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


def write_mcap(path, topics, messages, profile="ros2", **options):
    """An MCAP file by the mcap library.

    Args:
        path: of the file.
        topics: name -> (type, encoding of the messages, encoding of the definition, definition as bytes); None for
            the type stands for a channel without a schema.
        messages: (topic, time in ns, data).
        profile: as the file's head states it.
        options: of the library's writer.
    """
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile=profile)
        ids = {}
        for name, (message_type, encoding, language, definition) in topics.items():
            schema = writer.register_schema(message_type, language, definition) if message_type is not None else 0
            ids[name] = writer.register_channel(name, encoding, schema)
        for name, time_ns, data in messages:
            writer.add_message(ids[name], time_ns, data, time_ns)
        writer.finish()
    return path


def in_mcap(message_type: str) -> tuple:
    """How `write_mcap` wants a topic with a type of ROS 2."""
    return message_type, "cdr", "ros2msg", known_definition(message_type).encode()


SQLITE_SCHEMA = """
    CREATE TABLE schema(schema_version INTEGER PRIMARY KEY, ros_distro TEXT NOT NULL);
    INSERT INTO schema VALUES (4, 'jazzy');
    CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL,
        serialization_format TEXT NOT NULL, offered_qos_profiles TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT NOT NULL, encoding TEXT NOT NULL,
        encoded_message_definition TEXT NOT NULL, type_description_hash TEXT NOT NULL);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, timestamp INTEGER NOT NULL,
        data BLOB NOT NULL);
    CREATE INDEX timestamp_idx ON messages (timestamp ASC);
"""


def write_sqlite(path, topics, messages, before=""):
    """An sqlite3 file as rosbag2 of Jazzy writes it; arguments as for `write_mcap`. Returns the open connection.

    Args:
        path: of the file.
        topics: see `write_mcap`.
        messages: see `write_mcap`.
        before: SQL to begin with.
    """
    connection = sqlite3.connect(path)
    connection.executescript(before + SQLITE_SCHEMA)
    ids = {name: number for number, name in enumerate(topics, 1)}
    for name, (message_type, encoding, language, definition) in topics.items():
        connection.execute("INSERT INTO topics VALUES(?, ?, ?, ?, '', '')", (ids[name], name, message_type, encoding))
        connection.execute(
            "INSERT INTO message_definitions VALUES(?, ?, ?, ?, '')",
            (ids[name], message_type, language, definition.decode()),
        )
    rows = [(ids[name], time_ns, data) for name, time_ns, data in messages]
    connection.executemany("INSERT INTO messages(topic_id, timestamp, data) VALUES(?, ?, ?)", rows)
    connection.commit()
    return connection


def change_metadata(bag, change):
    """Call `change` with the content of a bag's metadata.yaml, and write what it has become."""
    path = bag / "metadata.yaml"
    document = yaml.safe_load(path.read_text())
    change(document["rosbag2_bagfile_information"])
    path.write_text(yaml.safe_dump(document))


def messages_of(recording) -> dict[str, list[bytes]]:
    """The bytes of all messages by topic."""
    found = {name: [] for name in recording.topics}
    for message in recording.messages():
        found[message.topic].append(message.data)
    return found
