"""Which topics of a recording hold the images, their camera and their depth."""

import warnings
from collections import deque
from contextlib import suppress

import numpy as np
from sensor_msgs.msg import Image

from metrabs_ros.bags.recording import (
    CAMERA_INFO_TYPE,
    COMPRESSED_IMAGE_TYPE,
    IMAGE_TYPE,
    MessageError,
    Recording,
    RecordingError,
    stamp_ns,
)

# Topics of the node itself, such as its overlay, are not meant.
_OWN = "/metrabs_node/"
# How far the stamps of an image and its depth image may be apart, and how far the times at which they were recorded.
_DEPTH_SLOP_NS, _DEPTH_DELAY_NS = 20_000_000, 1_000_000_000


def find_image_topic(recording: Recording, wanted: str | None = None, option: str = "--image-topic") -> str:
    """The topic to read images from.

    Args:
        recording: where to look.
        wanted: name given by the user; None where there is only one to choose from.
        option: what the user may choose it with.

    Raises:
        RecordingError: there is none, there are several, or `wanted` is not an image topic. Lists those that are.
    """
    candidates = [
        topic
        for name, topic in sorted(recording.topics.items())
        if topic.type in (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE) and not name.startswith(_OWN)
    ]
    listed = ", ".join(f"{topic.name} ({topic.count} images)" for topic in candidates)
    if wanted:
        if wanted not in [topic.name for topic in candidates]:
            raise RecordingError(f"{recording.path} has no image topic {wanted}; it has: {listed or 'none'}.")
        return wanted
    if not candidates:
        raise RecordingError(f"{recording.path} has no image topic; its topics are: {_list_topics(recording)}.")
    if len(candidates) > 1:
        raise RecordingError(f"{recording.path} has several image topics, choose one with {option}: {listed}.")
    return candidates[0].name


def find_camera_info_topic(
    recording: Recording, image_topic: str, wanted: str | None = None, option: str = "--camera-info-topic"
) -> str | None:
    """The topic of the camera that took the images: `wanted`, else `camera_info` beside the images, else the only one.

    Returns:
        Its name; None if the recording has no camera_info at all.

    Raises:
        RecordingError: there are several, and none belongs to the images by its name; or `wanted` is not there.
    """
    candidates = sorted(name for name, topic in recording.topics.items() if topic.type == CAMERA_INFO_TYPE)
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
            f"{option}: {listed}."
        )
    return candidates[0] if candidates else None


def _list_topics(recording: Recording) -> str:
    listed = [f"{name} ({topic.type})" for name, topic in sorted(recording.topics.items())]
    listed += [f"{name} (can't be read: {reason})" for name, reason in sorted(recording.left_out.items())]
    return ", ".join(listed) or "none"


class CameraInfos:
    """The camera_info messages of a recording, to be asked for the one that belongs to an image."""

    def __init__(self, recording: Recording, topic: str):
        """Read all messages of the topic. Damaged ones are left out, with a warning.

        Raises:
            RecordingError: there are none, or the recording can't be read.
        """
        self._messages = []
        stamps, n_damaged = [], 0
        for message in recording.messages([topic]):
            try:
                info = recording.deserialize(message)
            except MessageError:
                n_damaged += 1
                continue
            stamps.append(stamp_ns(info.header))
            # One and the same calibration, repeated a million times, is kept once.
            if self._messages and _same_camera(self._messages[-1], info):
                info = self._messages[-1]
            self._messages.append(info)
        if not stamps:
            what = "damaged messages only" if n_damaged else "no messages"
            raise RecordingError(f"The topic {topic} of {recording.path} has {what}.")
        if n_damaged:
            warnings.warn(f"{n_damaged} damaged messages of {topic} were left out.", stacklevel=2)
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


class DepthImages:
    """The depth images of a recording, to be asked for that of one image after the other."""

    def __init__(self, recording: Recording, topic: str):
        """Begin to read a topic, beside whoever else reads the recording.

        Raises:
            RecordingError: the recording has no such topic of images.
        """
        candidates = sorted(name for name, found in recording.topics.items() if found.type == IMAGE_TYPE)
        if topic not in candidates:
            listed = ", ".join(candidates) or "none"
            raise RecordingError(f"{recording.path} has no topic {topic} of (raw) depth images; it has: {listed}.")
        self._recording, self._messages = recording, recording.messages([topic])
        self._recent: deque[tuple[int, Image]] = deque()  # with the time of recording, ns

    def nearest(self, time_ns: int, stamp: int):
        """The depth image whose stamp is nearest to that of an image; None where there is none within 20 ms.

        Args:
            time_ns: when the image was recorded; from call to call, it must not become less.
            stamp: of the image, ns.
        """
        while not self._recent or self._recent[-1][0] <= time_ns + _DEPTH_DELAY_NS:
            message = next(self._messages, None)
            if message is None:
                break
            with suppress(MessageError):
                self._recent.append((message.time_ns, self._recording.deserialize(message)))
        while self._recent and self._recent[0][0] < time_ns - _DEPTH_DELAY_NS:
            self._recent.popleft()
        distances = [abs(stamp_ns(depth.header) - stamp) for _, depth in self._recent]
        if min(distances, default=np.inf) > _DEPTH_SLOP_NS:
            return None
        return self._recent[int(np.argmin(distances))][1]
