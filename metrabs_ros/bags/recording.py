"""What everything that can be read as a bag has in common."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rclpy.serialization import deserialize_message
from rosbags.interfaces import Qos
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from metrabs_core.errors import UserError

IMAGE_TYPE, COMPRESSED_IMAGE_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
_CLASSES = {IMAGE_TYPE: Image, COMPRESSED_IMAGE_TYPE: CompressedImage, CAMERA_INFO_TYPE: CameraInfo}


class RecordingError(UserError):
    """A recording that can't be read or written; the message is one sentence for the user."""


class MessageError(UserError):
    """One damaged message of a readable recording; the message is one sentence for the user."""


class Topic(NamedTuple):
    """A topic of a recording.

    Attributes:
        name: "/camera/image_raw", for example.
        type: of its messages, "sensor_msgs/msg/Image".
        count: number of messages; for some videos an estimate.
        definition: text of the type's definition with those of all types that it contains; '' where it is not known.
        type_hash: RIHS01 hash of the type; '' where it is not known.
        qos: quality of service that its publishers offered, as far as it is known.
    """

    name: str
    type: str
    count: int = 0
    definition: str = ""
    type_hash: str = ""
    qos: Sequence[Qos] = ()


class Message(NamedTuple):
    """One message of a recording: topic name, time of recording in ns, and the message in CDR."""

    topic: str
    time_ns: int
    data: bytes


class Recording(ABC):
    """Something that can be read as a bag.

    Attributes:
        path: where it lies.
        topics: by name.
        left_out: name of each topic that can't be read -> why, to follow "The topic ... is left out: ".
    """

    path: Path
    topics: dict[str, Topic]
    left_out: dict[str, str]

    @abstractmethod
    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """All messages of the given topics (default: of all), in order of time.

        Raises:
            RecordingError: the rest of the recording can't be read.
        """

    def deserialize(self, message: Message):
        """An image or camera_info as a message of rclpy.

        Raises:
            MessageError: its bytes are not a message of its type.
        """
        try:
            return deserialize_message(message.data, _CLASSES[self.topics[message.topic].type])
        except RuntimeError as error:
            raise MessageError(f"A message of {message.topic} is damaged.") from error


def stamp_ns(header) -> int:
    """Stamp of a std_msgs/Header, ns."""
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec
