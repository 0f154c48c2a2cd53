"""From a camera_info to the camera of an image.

The functions look only at the fields of a message, so they take messages of rclpy and of rosbags alike.
"""

from dataclasses import replace

import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError


class CameraInfoError(UserError):
    """A camera calibration that can't be used; the message is for the log.

    Attributes:
        reason: short name for the diagnostics.
    """

    reason = "camera_info"


class UncalibratedCameraError(CameraInfoError):
    """There is no camera_info, or its matrix was never filled in."""

    reason = "uncalibrated_camera"


class ImageSizeError(CameraInfoError):
    """The camera_info belongs to images of another size."""

    reason = "size_mismatch"


def camera_of_image(
    camera_info, width: int, height: int, rectified: bool = False, fov_degrees: float | None = None
) -> Camera:
    """The camera that took an image, from camera_info or an assumed field of view.

    Args:
        camera_info: sensor_msgs/CameraInfo, or None.
        width: of the image, pixels.
        height: of the image, pixels.
        rectified: the image comes from a rectified topic (image_rect): use the projection matrix P and no distortion.
        fov_degrees: field of view over the image's longer side to assume for a camera without calibration; None or 0
            for never.

    Raises:
        UncalibratedCameraError: there is no calibration, and no field of view to assume.
        ImageSizeError: the calibration is of images of another size.
        CameraInfoError: the calibration can't be used.
    """
    try:
        if camera_info is None:
            raise UncalibratedCameraError("There is no camera_info.")
        camera = camera_from_info(camera_info, rectified)
    except UncalibratedCameraError:
        if not fov_degrees:
            raise
        return Camera.from_fov(fov_degrees, width, height)
    described_width, described_height = image_size_from_info(camera_info)
    if (described_width or width, described_height or height) != (width, height):
        raise ImageSizeError(
            f"The image has {width}x{height} pixels, but camera_info describes {described_width}x{described_height}; "
            "let the camera driver publish the camera_info of the images that it publishes."
        )
    return camera


def camera_from_info(camera_info, rectified: bool = False) -> Camera:
    """The camera that a sensor_msgs/CameraInfo describes.

    Binning and region of interest are taken into account. (REP 104 states them relative to the calibrated full
    image; the centre of the top left pixel is (0, 0).)

    Args:
        camera_info: sensor_msgs/CameraInfo.
        rectified: use the projection matrix P and no distortion.

    Raises:
        UncalibratedCameraError: the matrix is all zeros.
        CameraInfoError: the matrix is not one of a pinhole camera, or the lens is not supported.
    """
    name = "P" if rectified else "K"
    matrix = np.reshape(camera_info.p, (3, 4))[:, :3] if rectified else np.reshape(camera_info.k, (3, 3))
    if not matrix.any():
        raise UncalibratedCameraError(
            f"camera_info's {name} is all zeros: the camera is not calibrated. Calibrate it, or set "
            "default_fov_degrees to go on with a guessed field of view."
        )
    try:
        camera = Camera(matrix)
    except UserError as error:
        raise CameraInfoError(f"camera_info's {name} is not the matrix of a camera: {error}") from error
    if not rectified:
        # in ROS, no name says that there is no distortion
        model = camera_info.distortion_model or "none"
        try:
            camera = replace(camera, distortion_coeffs=camera_info.d, distortion_model=model)
        except UserError as error:
            raise CameraInfoError(
                f"camera_info's lens can't be used: {error} If it is right, rectify the images, for example with "
                "image_proc, and set rectified: true."
            ) from error
    # a binned pixel gathers those of the full image
    binning = np.array([max(camera_info.binning_x, 1), max(camera_info.binning_y, 1)])
    return camera.shifted([camera_info.roi.x_offset, camera_info.roi.y_offset]).scaled(1 / binning)


def image_size_from_info(camera_info) -> tuple[int, int]:
    """Width and height in pixels that images of a sensor_msgs/CameraInfo have, after region of interest and binning.

    A zero stands for a size that the message leaves open.
    """
    width, height = camera_info.roi.width or camera_info.width, camera_info.roi.height or camera_info.height
    return width // max(camera_info.binning_x, 1), height // max(camera_info.binning_y, 1)
