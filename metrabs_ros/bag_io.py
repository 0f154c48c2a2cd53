"""Recordings on disk: rosbag2 (sqlite3 or MCAP), video files and pictures in; rosbag2 out.

A video or a picture is read as if it were a bag with the topics `/image/compressed` and `/camera_info`, so that
everything else handles one kind of recording only.
"""

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import rosbags.rosbag2 as rosbag2
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

import metrabs_msgs
from metrabs_core.errors import UserError
from metrabs_core.pictures import PICTURE_SUFFIXES, PictureError, each_readable, is_picture, pictures_in, read_picture
from metrabs_core.videos import VIDEO_SUFFIXES, VideoReader, is_video

IMAGE_TYPE, COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_CLASSES = {IMAGE_TYPE: Image, COMPRESSED_IMAGE_TYPE: CompressedImage, CAMERA_INFO_TYPE: CameraInfo}

# A folder of pictures is a recording with one picture per second.
_PICTURE_PERIOD_NS = 1_000_000_000
_JPEG_QUALITY, _JPEG_MAX_SIDE = 95, 65500  # the largest that libjpeg writes, pixels
_FRAME_ID = "camera"


class RecordingError(UserError):
    """A recording that can't be read or written; the message is one sentence for the user."""


class MessageError(UserError):
    """One damaged message of a readable recording; the message is one sentence for the user."""


class Message(NamedTuple):
    """One message of a recording: topic name, time of recording in ns, and the message in CDR."""

    topic: str
    time_ns: int
    data: bytes


class Recording(ABC):
    """Something that can be read as a bag.

    Attributes:
        path: where it lies.
        topics: name -> message type ("sensor_msgs/msg/Image").
        counts: name -> number of messages; for some videos an estimate.
        typestore: rosbags typestore with the definitions of the types in `topics`, as far as they are known.
    """

    path: Path
    topics: dict[str, str]
    counts: dict[str, int]

    @abstractmethod
    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """All messages of the given topics (default: of all), in order of time.

        Raises:
            RecordingError: the rest of the recording can't be read.
        """

    def qos(self, topic: str) -> list[Qos]:
        """Quality of service that the topic's publishers offered, as far as it is known."""
        return []

    def deserialize(self, message: Message):
        """An image or camera_info as a message of rclpy.

        Raises:
            MessageError: its bytes are not a message of its type.
        """
        try:
            return deserialize_message(message.data, _CLASSES[self.topics[message.topic]])
        except RuntimeError as error:
            raise MessageError(f"A message of {message.topic} is damaged.") from error


@contextmanager
def open_recording(path, fov_degrees: float = 55.0) -> Iterator[Recording]:
    """Open a bag, a video, a picture or a folder of pictures.

    Args:
        path: a rosbag2 folder, a single `.mcap` or `.db3` file, a video or image file, or a folder of image files.
        fov_degrees: for videos and pictures: field of view over the longer image side that their camera_info states.

    Raises:
        RecordingError, PictureError, VideoError: there is nothing readable at `path`.
    """
    path = Path(path)
    if not path.exists():
        raise RecordingError(f"{path} does not exist.")
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".mcap", ".db3") or path.is_dir() and (path / "metadata.yaml").exists():
        with _open_bag(path) as bag:
            yield bag
    elif path.is_dir():
        yield _Pictures(path, _pictures_in(path), fov_degrees)
    elif is_picture(path):
        yield _Pictures(path, [path], fov_degrees)
    elif is_video(path):
        yield _Video(path, fov_degrees)
    else:
        raise RecordingError(
            f"{path} is not a recording: give a rosbag2 folder, a .mcap file, a video ({' '.join(VIDEO_SUFFIXES)}), a "
            f"picture ({' '.join(PICTURE_SUFFIXES)}) or a folder of pictures."
        )


def _pictures_in(folder: Path) -> list[Path]:
    if list(folder.glob("*.db3")) or list(folder.glob("*.mcap")):
        raise RecordingError(
            f"The bag {folder} has no metadata.yaml, so its recording was cut off; repair it with: ros2 bag reindex "
            f"{folder}"
        )
    return pictures_in(folder)


# Bags


@contextmanager
def _open_bag(path: Path) -> Iterator["_Bag"]:
    reader = AnyReader([path], default_typestore=get_typestore(Stores.ROS2_KILTED))
    with _readable(path):
        reader.open()
    try:
        yield _Bag(path, reader)
    finally:
        reader.close()


@contextmanager
def _readable(path: Path):
    """Turns what a damaged file makes the reader raise, which can be anything, into one sentence."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RecordingError(
            f"The bag {path} can't be read; it is truncated, damaged or not a ROS 2 bag ({reason})."
        ) from error


class _Bag(Recording):
    def __init__(self, path: Path, reader: AnyReader):
        self.path = path
        self.typestore = reader.typestore
        self._reader = reader
        self.topics = {}
        for connection in reader.connections:
            known = self.topics.setdefault(connection.topic, connection.msgtype)
            if known != connection.msgtype:
                raise RecordingError(
                    f"The topic {connection.topic} of the bag {path} has two types, {known} and {connection.msgtype}."
                )
        self.counts = dict.fromkeys(self.topics, 0)
        for connection in reader.connections:
            self.counts[connection.topic] += connection.msgcount

    def messages(self, topics=None):
        wanted = [c for c in self._reader.connections if topics is None or c.topic in topics]
        if not wanted:
            return
        messages = self._reader.messages(wanted)
        while True:
            with _readable(self.path):
                item = next(messages, None)
            if item is None:
                return
            connection, time_ns, data = item
            yield Message(connection.topic, time_ns, bytes(data))

    def qos(self, topic):
        profiles = []
        for connection in self._reader.connections:
            if connection.topic == topic:
                profiles += connection.ext.offered_qos_profiles
        return profiles


# Videos and pictures


class Media(Recording):
    """A video or pictures, read as a bag with two topics."""

    image_topic, camera_info_topic = "/image/compressed", "/camera_info"

    def __init__(self, path: Path, fov_degrees: float, count: int):
        self.path = path
        self.typestore = get_typestore(Stores.ROS2_KILTED)
        self.topics = {self.image_topic: COMPRESSED_IMAGE_TYPE, self.camera_info_topic: CAMERA_INFO_TYPE}
        self.counts = dict.fromkeys(self.topics, count)
        self._fov_degrees = fov_degrees

    @abstractmethod
    def _images(self) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
        """Time in ns, picture as JPEG, and its width and height in pixels."""

    def messages(self, topics=None):  # noqa: D102
        for time_ns, jpeg, (width, height) in self._images():
            header = Header(frame_id=_FRAME_ID)
            header.stamp.sec, header.stamp.nanosec = divmod(time_ns, 1_000_000_000)
            if topics is None or self.image_topic in topics:
                message = CompressedImage(header=header, format="jpeg", data=jpeg)
                yield Message(self.image_topic, time_ns, to_cdr(message, COMPRESSED_IMAGE_TYPE, self.typestore))
            if topics is None or self.camera_info_topic in topics:
                message = camera_info_from_fov(header, width, height, self._fov_degrees)
                yield Message(self.camera_info_topic, time_ns, to_cdr(message, CAMERA_INFO_TYPE, self.typestore))


def _jpeg(image: np.ndarray, subject: str) -> tuple[bytes, tuple[int, int]]:
    """An RGB image as JPEG, and its width and height; `subject` begins the sentence of the PictureError."""
    height, width = image.shape[:2]
    if max(width, height) > _JPEG_MAX_SIDE:
        raise PictureError(
            f"{subject} has {width}x{height} pixels, and a JPEG image has {_JPEG_MAX_SIDE} on a side at most."
        )
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes(), (width, height)


class _Video(Media):
    def __init__(self, path: Path, fov_degrees: float):
        self._reader = VideoReader(path)
        super().__init__(path, fov_degrees, self._reader.n_frames)

    def _images(self):
        for frame in self._reader.frames():
            yield round(frame.seconds * 1e9), *_jpeg(frame.image, f"The video {self.path}")


class _Pictures(Media):
    def __init__(self, path: Path, files: list[Path], fov_degrees: float):
        super().__init__(path, fov_degrees, len(files))
        self._files = files

    def _images(self):
        def read(file):
            return _jpeg(read_picture(file), f"The picture {file}")

        for index, (jpeg, size) in each_readable(self._files, read):
            yield index * _PICTURE_PERIOD_NS, jpeg, size


def camera_info_from_fov(header, width: int, height: int, fov_degrees: float) -> CameraInfo:
    """The CameraInfo of an ideal camera: square pixels, optical axis through the middle, no lens distortion.

    Args:
        header: std_msgs/Header of the image.
        width: of the image, pixels.
        height: of the image, pixels.
        fov_degrees: field of view over the longer side of the image.
    """
    focal_length = max(width, height) / 2 / np.tan(np.radians(fov_degrees) / 2)
    cx, cy = (width - 1) / 2, (height - 1) / 2
    info = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [focal_length, 0.0, cx, 0.0, focal_length, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal_length, 0.0, cx, 0.0, 0.0, focal_length, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


# Which topics


def find_image_topic(recording: Recording, wanted: str | None = None, besides: str = "/metrabs_node/") -> str:
    """The topic to read images from.

    Args:
        recording: where to look.
        wanted: name given by the user; None where there is only one to choose from.
        besides: start of topic names that don't count (the node's own overlay).

    Raises:
        RecordingError: there is none, there are several, or `wanted` is not an image topic. Lists those that are.
    """
    candidates = [
        name
        for name, kind in recording.topics.items()
        if kind in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE) and not name.startswith(besides)
    ]
    listed = ", ".join(f"{name} ({recording.counts[name]} images)" for name in sorted(candidates))
    if wanted:
        if wanted not in candidates:
            raise RecordingError(f"{recording.path} has no image topic {wanted}; it has: {listed or 'none'}.")
        return wanted
    if not candidates:
        raise RecordingError(f"{recording.path} has no image topic; its topics are: {_list_topics(recording)}.")
    if len(candidates) > 1:
        raise RecordingError(f"{recording.path} has several image topics, choose one with --image-topic: {listed}.")
    return candidates[0]


def find_camera_info_topic(recording: Recording, image_topic: str, wanted: str | None = None) -> str | None:
    """The topic of the camera that took the images: `wanted`, else `camera_info` beside the images, else the only one.

    Returns:
        Its name; None if the recording has no camera_info at all.

    Raises:
        RecordingError: there are several, and none belongs to the images by its name; or `wanted` is not there.
    """
    candidates = sorted(name for name, kind in recording.topics.items() if kind == CAMERA_INFO_TYPE)
    listed = ", ".join(candidates)
    if wanted:
        if wanted not in candidates:
            raise RecordingError(f"{recording.path} has no camera_info topic {wanted}; it has: {listed or 'none'}.")
        return wanted
    raw_topic = image_topic.removesuffix("/compressed")
    beside = raw_topic.rsplit("/", 1)[0] + "/camera_info"
    if beside in candidates:
        return beside
    if len(candidates) > 1:
        raise RecordingError(
            f"{recording.path} has several camera_info topics, and none beside {image_topic}; choose one with "
            f"--camera-info-topic: {listed}."
        )
    return candidates[0] if candidates else None


def _list_topics(recording: Recording) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(recording.topics.items())) or "none"


class CameraInfos:
    """The camera_info messages of a recording, to be asked for the one that belongs to an image."""

    def __init__(self, recording: Recording, topic: str):
        """Read all messages of the topic.

        Raises:
            RecordingError: there are none, or the recording can't be read.
            MessageError: one is damaged.
        """
        self._messages = []
        stamps = []
        for message in recording.messages([topic]):
            info = recording.deserialize(message)
            stamps.append(stamp_ns(info.header))
            # One and the same calibration, repeated a million times, is kept once.
            if self._messages and _same_camera(self._messages[-1], info):
                info = self._messages[-1]
            self._messages.append(info)
        if not stamps:
            raise RecordingError(f"The topic {topic} of {recording.path} has no messages.")
        self._stamps = np.array(stamps)
        order = np.argsort(self._stamps, kind="stable")
        self._stamps, self._messages = self._stamps[order], [self._messages[i] for i in order]

    def nearest(self, stamp: int):
        """The message with the stamp nearest to that of an image, ns."""
        after = int(np.searchsorted(self._stamps, stamp))
        candidates = [i for i in (after - 1, after) if 0 <= i < len(self._stamps)]
        return self._messages[min(candidates, key=lambda i: abs(int(self._stamps[i]) - stamp))]


def _same_camera(a, b) -> bool:
    def numbers(info):
        roi = info.roi
        size = (info.width, info.height, info.binning_x, info.binning_y)
        return (*size, roi.x_offset, roi.y_offset, roi.width, roi.height, *info.k, *info.d, *info.p)

    return a.distortion_model == b.distortion_model and numbers(a) == numbers(b)


def stamp_ns(header) -> int:
    """Stamp of a std_msgs/Header, ns."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


# Writing

_FOREVER = QosTime(9223372036, 854775807)

# Quality of service of a topic whose last message a late subscriber gets, too.
LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)


def own_typestore():
    """A rosbags typestore with the types of ROS 2 and of metrabs_msgs."""
    store = get_typestore(Stores.ROS2_KILTED)
    share = next(
        parent / "share/metrabs_msgs"
        for parent in Path(metrabs_msgs.__file__).parents
        if (parent / "share/metrabs_msgs/msg").is_dir()
    )
    types = {}
    for path in share.glob("msg/*.msg"):
        types |= get_types_from_msg(path.read_text(), f"metrabs_msgs/msg/{path.stem}")
    store.register(types)
    return store


def to_cdr(message, message_type: str, typestore) -> bytes:
    """The bytes of an rclpy message, the same for equal messages.

    Fast CDR leaves whatever was in memory in the gaps between fields; rosbags writes zeros.
    """
    data = serialize_message(message)
    return bytes(typestore.serialize_cdr(typestore.deserialize_cdr(data, message_type), message_type))


class BagWriter:
    """Writes a bag under a temporary name and gives it its name when it is complete.

    A path that ends in `.mcap` becomes one MCAP file, any other a rosbag2 folder with sqlite3 storage. Used as a
    context manager: an exception inside leaves nothing behind.
    """

    def __init__(self, path, force: bool = False):
        """Prepare to write.

        Args:
            path: the bag to write.
            force: replace what exists at `path`.

        Raises:
            RecordingError: `path` exists and `force` is not set.
        """
        self.path = Path(path)
        if self.path.exists() and not force:
            raise RecordingError(f"{self.path} exists already; use --force to replace it.")
        self._as_file = self.path.suffix == ".mcap"
        plugin = rosbag2.StoragePlugin.MCAP if self._as_file else rosbag2.StoragePlugin.SQLITE3
        # In a folder of its own, as the names of the files inside a bag are made from the name of the bag.
        self._folder = self.path.with_name(f".{self.path.name}.partial")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._writer = rosbag2.Writer(self._folder / self.path.name, version=9, storage_plugin=plugin)
        self._connections = {}

    def __enter__(self):
        self._folder.mkdir(parents=True)
        self._writer.open()
        return self

    def __exit__(self, exception_type, exception, traceback):
        if exception_type is None:
            self._writer.close()
            self._install()
        else:
            self._writer.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _install(self):
        written = self._folder / self.path.name
        if self._as_file:
            written = written / f"{self.path.name}.mcap"
        if self.path.is_dir():
            shutil.rmtree(self.path)
        elif self.path.exists():
            self.path.unlink()
        os.replace(written, self.path)

    def add_topic(self, topic: str, message_type: str, typestore, qos: Collection[Qos] = ()):
        """Declare a topic before its first message.

        Args:
            topic: its name.
            message_type: "sensor_msgs/msg/Image", for example.
            typestore: rosbags typestore that knows the type; the definition goes into the bag. A type that it does not
                know is written without one.
            qos: quality of service to play the topic with.
        """
        if message_type not in typestore.fielddefs:
            typestore = get_typestore(Stores.EMPTY)
            typestore.register({message_type: ([], [])})
        self._connections[topic] = self._writer.add_connection(
            topic, message_type, typestore=typestore, offered_qos_profiles=list(qos)
        )

    def write(self, message: Message):
        """Append a message of a declared topic."""
        self._writer.write(self._connections[message.topic], message.time_ns, message.data)


def copy(recording: Recording, path, seconds: float):
    """Write the first seconds of a recording as a bag.

    Raises:
        RecordingError: `path` exists, or the recording can't be read.
    """
    with BagWriter(path) as writer:
        for topic, kind in recording.topics.items():
            writer.add_topic(topic, kind, recording.typestore, recording.qos(topic))
        start = None
        for message in recording.messages():
            start = message.time_ns if start is None else start
            if message.time_ns - start >= seconds * 1e9:
                break
            writer.write(message)
