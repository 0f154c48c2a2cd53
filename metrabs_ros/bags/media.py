"""Videos and pictures, read as if they were bags with the topics `/image/compressed` and `/camera_info`."""

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header

from metrabs_core.cameras import Camera
from metrabs_core.pictures import PictureError, each_readable, read_picture
from metrabs_core.videos import VideoReader
from metrabs_ros.bags.message_types import known_topic, to_cdr
from metrabs_ros.bags.recording import CAMERA_INFO_TYPE, COMPRESSED_IMAGE_TYPE, Message, Recording

# A folder of pictures is a recording with one picture per second.
_PICTURE_PERIOD_NS = 1_000_000_000
_JPEG_QUALITY, _JPEG_MAX_SIDE = 95, 65500  # the largest that libjpeg writes, pixels
_FRAME_ID = "camera"


class Media(Recording):
    """A video or pictures, read as a bag with two topics.

    Attributes:
        fov_degrees: the field of view over the longer image side that its camera_info states.
    """

    image_topic, camera_info_topic = "/image/compressed", "/camera_info"

    def __init__(self, path: Path, fov_degrees: float, count: int):
        """Prepare to read.

        Args:
            path: of the file or folder.
            fov_degrees: see above.
            count: number of images, maybe an estimate.
        """
        self.path, self.fov_degrees, self.left_out = path, fov_degrees, {}
        kinds = {self.image_topic: COMPRESSED_IMAGE_TYPE, self.camera_info_topic: CAMERA_INFO_TYPE}
        self.topics = {name: known_topic(name, kind, count) for name, kind in kinds.items()}

    @abstractmethod
    def _images(self) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
        """Time in ns, picture as JPEG, and its width and height in pixels."""

    def messages(self, topics=None):  # noqa: D102
        for time_ns, jpeg, (width, height) in self._images():
            header = Header(frame_id=_FRAME_ID)
            header.stamp.sec, header.stamp.nanosec = divmod(time_ns, 1_000_000_000)
            if topics is None or self.image_topic in topics:
                message = CompressedImage(header=header, format="jpeg", data=jpeg)
                yield Message(self.image_topic, time_ns, to_cdr(message, COMPRESSED_IMAGE_TYPE))
            if topics is None or self.camera_info_topic in topics:
                message = camera_info_from_fov(header, width, height, self.fov_degrees)
                yield Message(self.camera_info_topic, time_ns, to_cdr(message, CAMERA_INFO_TYPE))


class Video(Media):
    """A video file."""

    def __init__(self, path: Path, fov_degrees: float):
        """Look at a video. Raises VideoError if it can't be read."""
        self._reader = VideoReader(path)
        super().__init__(path, fov_degrees, self._reader.n_frames)

    def _images(self):
        for frame in self._reader.frames():
            yield round(frame.seconds * 1e9), *_jpeg(frame.image, f"The video {self.path}")


class Pictures(Media):
    """One or more picture files. Those that can't be read are left out, with a warning."""

    def __init__(self, path: Path, files: list[Path], fov_degrees: float):
        """Prepare to read; `path` is the folder or the only file."""
        super().__init__(path, fov_degrees, len(files))
        self._files = files

    def _images(self):
        def read(file):
            return _jpeg(read_picture(file), f"The picture {file}")

        for index, (jpeg, size) in each_readable(self._files, read):
            yield index * _PICTURE_PERIOD_NS, jpeg, size


def _jpeg(image: np.ndarray, subject: str) -> tuple[bytes, tuple[int, int]]:
    """An RGB image as JPEG, and its width and height; `subject` begins the sentence of the PictureError."""
    height, width = image.shape[:2]
    if max(width, height) > _JPEG_MAX_SIDE:
        raise PictureError(
            f"{subject} has {width}x{height} pixels, and a JPEG image has {_JPEG_MAX_SIDE} on a side at most."
        )
    _, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return data.tobytes(), (width, height)


def camera_info_from_fov(header, width: int, height: int, fov_degrees: float) -> CameraInfo:
    """The CameraInfo of an ideal camera: square pixels, optical axis through the middle, no lens distortion.

    Args:
        header: std_msgs/Header of the image.
        width: of the image, pixels.
        height: of the image, pixels.
        fov_degrees: field of view over the longer side of the image.
    """
    (fx, skew, cx), (_, fy, cy), _ = Camera.from_fov(fov_degrees, width, height).intrinsic_matrix.tolist()
    info = CameraInfo(header=header, width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = [fx, skew, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [fx, skew, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info
