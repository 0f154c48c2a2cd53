"""An image on its way through the node, from message to what the pipeline takes."""

from dataclasses import dataclass

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from metrabs_core.cameras import Camera
from metrabs_ros.camera_info import CameraInfoError, camera_of_image
from metrabs_ros.image_conversion import ImageError, to_depth, to_rgb


class FrameError(Exception):
    """A frame that can't be processed; the message is one sentence for the log.

    Attributes:
        reason: short name for the diagnostics.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Frame:
    """An image on its way to the pipeline.

    Attributes:
        image: the image as it came.
        camera_info: its calibration, or None where a field of view is to be assumed.
        arrival: steady time of arrival, s.
        depth: the depth image that belongs to it, or None.
    """

    image: Image | CompressedImage
    camera_info: CameraInfo | None
    arrival: float
    depth: Image | None = None

    @property
    def seconds(self) -> float:
        """Stamp of the image, s."""
        return self.image.header.stamp.sec + self.image.header.stamp.nanosec * 1e-9

    def decode(self, rectified: bool, fov_degrees: float) -> tuple[np.ndarray, Camera]:
        """The image, uint8 [H, W, 3], RGB, and the camera that took it; see `camera_of_image` about the arguments.

        Raises:
            FrameError: image or camera_info can't be used.
        """
        try:
            image = to_rgb(self.image)
        except ImageError as error:
            raise FrameError("image", str(error)) from error
        height, width = image.shape[:2]
        try:
            return image, camera_of_image(self.camera_info, width, height, rectified, fov_degrees)
        except CameraInfoError as error:
            raise FrameError(error.reason, str(error)) from error

    def decode_depth(self, image: np.ndarray) -> np.ndarray | None:
        """The depth image, float32 [H, W], mm, of the decoded image [H, W, 3]; None where there is none.

        Raises:
            FrameError: it can't be used.
        """
        if self.depth is None:
            return None
        try:
            return to_depth(self.depth, image.shape[1], image.shape[0])
        except ImageError as error:
            raise FrameError("depth", str(error)) from error
