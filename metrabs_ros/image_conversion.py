"""ROS images and camera calibrations to arrays.

The functions look only at the fields of a message, so they take messages of rclpy and of rosbags alike.
"""

import cv2
import numpy as np

from metrabs_core.pictures import is_truncated


class ImageError(ValueError):
    """An image message that can't be decoded; the message is one sentence for the log."""


class CameraInfoError(ValueError):
    """A camera calibration that can't be used; the message is one sentence for the log."""


class UncalibratedCameraError(CameraInfoError):
    """A camera_info whose intrinsic matrix was never filled in."""


# Encoding -> (dtype, channels, OpenCV conversion to RGB or None). Bayer names give the first row, then the second.
_ENCODINGS = {
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "rgb16": (np.uint16, 3, None),
    "bgr16": (np.uint16, 3, cv2.COLOR_BGR2RGB),
    "mono16": (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "yuv422": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "bayer_rggb8": (np.uint8, 1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr8": (np.uint8, 1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": (np.uint8, 1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg8": (np.uint8, 1, cv2.COLOR_BayerGRBG2RGB),
    "bayer_rggb16": (np.uint16, 1, cv2.COLOR_BayerRGGB2RGB),
    "bayer_bggr16": (np.uint16, 1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg16": (np.uint16, 1, cv2.COLOR_BayerGBRG2RGB),
    "bayer_grbg16": (np.uint16, 1, cv2.COLOR_BayerGRBG2RGB),
}
_SUBSAMPLED = ("yuv422", "uyvy", "yuv422_yuy2", "yuyv")

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89P"

# Number of distortion coefficients (OpenCV order) that each supported model may have.
_DISTORTION_MODELS = {"plumb_bob": 5, "rational_polynomial": 14, "": 0}


def to_rgb(msg) -> np.ndarray:
    """Decode an image message.

    Args:
        msg: sensor_msgs/Image or sensor_msgs/CompressedImage (JPEG or PNG).

    Returns:
        uint8 [H, W, 3], RGB, contiguous. For rgb8 without row padding it shares the memory of the message; 16-bit
        images keep their upper 8 bits.

    Raises:
        ImageError: encoding not supported, or the data does not hold an image of the stated size.
    """
    return _decompress(msg) if hasattr(msg, "format") else _convert_raw(msg)


def _convert_raw(msg) -> np.ndarray:
    encoding = msg.encoding.lower()
    if encoding not in _ENCODINGS:
        raise ImageError(
            f"The image encoding {msg.encoding!r} is not supported; publish one of {', '.join(_ENCODINGS)}."
        )
    dtype, n_channels, conversion = _ENCODINGS[encoding]
    height, width, step = msg.height, msg.width, msg.step
    if not (height and width):
        raise ImageError(f"The image is empty ({width}x{height} pixels).")
    if encoding in _SUBSAMPLED and width % 2:
        raise ImageError(f"The {encoding} image is {width} pixels wide; that encoding needs an even width.")
    if "bayer" in encoding and (width < 2 or height < 2):
        raise ImageError(f"The {encoding} image of {width}x{height} pixels is smaller than its colour pattern.")

    dtype = np.dtype(dtype)
    row_bytes = width * n_channels * dtype.itemsize
    if step < row_bytes:
        raise ImageError(f"The image's step is {step} bytes, but a row of {width} {encoding} pixels takes {row_bytes}.")
    buffer = np.frombuffer(msg.data, np.uint8)
    needed = step * (height - 1) + row_bytes
    if buffer.size < needed:
        raise ImageError(
            f"The image data is truncated: {buffer.size} bytes, but {width}x{height} pixels of {encoding} "
            f"with {step} bytes a row take {needed}."
        )

    shape, strides = (height, width, n_channels), (step, n_channels * dtype.itemsize, dtype.itemsize)
    if n_channels == 1:
        shape, strides = shape[:2], strides[:2]
    pixels = np.ndarray(shape, dtype.newbyteorder(">" if msg.is_bigendian else "<"), buffer, strides=strides)
    if dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.ascontiguousarray(pixels if conversion is None else cv2.cvtColor(pixels, conversion))


def _decompress(msg) -> np.ndarray:
    buffer = np.frombuffer(msg.data, np.uint8)
    if buffer.size == 0:
        raise ImageError("The compressed image has no data.")
    if buffer[:2].tobytes() not in (_JPEG_START, _PNG_START):
        raise ImageError(f"The compressed image (format {msg.format!r}) is neither a JPEG nor a PNG file.")
    if is_truncated(buffer.tobytes()):
        raise ImageError(f"The compressed image (format {msg.format!r}) is truncated after {buffer.size} bytes.")
    try:
        # The calibration belongs to the pixels as they are stored, so an EXIF rotation must not be applied.
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError(f"The compressed image (format {msg.format!r}, {buffer.size} bytes) is corrupt.")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def camera_from_info(msg, rectified: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics and lens distortion of the images that a sensor_msgs/CameraInfo belongs to.

    Binning and region of interest are taken into account. (REP 104 states them relative to the calibrated full
    image; the centre of the top left pixel is (0, 0).)

    Args:
        msg: sensor_msgs/CameraInfo.
        rectified: the images come from a rectified topic (image_rect): use the projection matrix P and no distortion.

    Returns:
        Intrinsic matrix float32 [3, 3] (pixels) and distortion coefficients float32 [5], [8] or [12] (OpenCV order).

    Raises:
        UncalibratedCameraError: the intrinsic matrix is all zeros.
        CameraInfoError: the intrinsic matrix is not one of a pinhole camera, or the distortion model is not supported.
    """
    matrix = np.array(msg.p, np.float64).reshape(3, 4)[:, :3] if rectified else np.array(msg.k, np.float64)
    matrix = matrix.reshape(3, 3)
    name = "P" if rectified else "K"
    if not matrix.any():
        raise UncalibratedCameraError(
            f"camera_info's {name} is all zeros: the camera is not calibrated. Calibrate it, or set "
            "default_fov_degrees to go on with a guessed field of view."
        )
    valid = np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0 and np.allclose(matrix[2], [0, 0, 1])
    if not valid:
        raise CameraInfoError(f"camera_info's {name} is not the matrix of a pinhole camera: {matrix.tolist()}.")

    binning = np.array([max(msg.binning_x, 1), max(msg.binning_y, 1)])
    offset = np.array([msg.roi.x_offset, msg.roi.y_offset])
    # A binned pixel's centre lies in the middle of the pixels that it gathers.
    matrix[:2, 2] = (matrix[:2, 2] - offset + 0.5) / binning - 0.5
    matrix[:2, :2] /= binning[:, np.newaxis]
    return matrix.astype(np.float32), np.zeros(5, np.float32) if rectified else _distortion(msg)


def _distortion(msg) -> np.ndarray:
    model = msg.distortion_model
    coeffs = np.array(msg.d, np.float32)
    if model not in _DISTORTION_MODELS or len(coeffs) > _DISTORTION_MODELS[model]:
        raise CameraInfoError(
            f"camera_info's distortion model {model!r} with {len(coeffs)} coefficients is not supported (plumb_bob and "
            "rational_polynomial are); rectify the images first, for example with image_proc, and set rectified: true."
        )
    if not np.isfinite(coeffs).all():
        raise CameraInfoError(f"camera_info's distortion coefficients are not finite: {coeffs.tolist()}.")
    if coeffs[12:].any():
        raise CameraInfoError(
            "camera_info describes a tilted sensor (13 or 14 distortion coefficients), which is not supported; rectify "
            "the images first, for example with image_proc, and set rectified: true."
        )
    size = next(size for size in (5, 8, 12) if size >= min(len(coeffs), 12))
    return np.pad(coeffs[:12], (0, size - len(coeffs[:12])))


def image_size_from_info(msg) -> tuple[int, int]:
    """Width and height in pixels that images of a sensor_msgs/CameraInfo have, after region of interest and binning.

    A zero stands for a size that the message leaves open.
    """
    width, height = msg.roi.width or msg.width, msg.roi.height or msg.height
    return width // max(msg.binning_x, 1), height // max(msg.binning_y, 1)
