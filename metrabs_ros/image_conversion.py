"""ROS images to arrays.

The functions look only at the fields of a message, so they take messages of rclpy and of rosbags alike.
"""

import cv2
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.pictures import is_truncated


class ImageError(UserError):
    """An image message that can't be decoded; the message is one sentence for the log."""


# Encoding -> (dtype, channels, OpenCV conversion to RGB or None). Bayer names give the first row, then the second.
_ENCODINGS = {
    "rgb8": (np.uint8, 3, None),
    "bgr8": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "rgba8": (np.uint8, 4, cv2.COLOR_RGBA2RGB),
    "bgra8": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "mono8": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    # OpenCV's names for arrays, which say nothing of colours; who uses them means OpenCV's order.
    "8uc1": (np.uint8, 1, cv2.COLOR_GRAY2RGB),
    "8uc3": (np.uint8, 3, cv2.COLOR_BGR2RGB),
    "8uc4": (np.uint8, 4, cv2.COLOR_BGRA2RGB),
    "rgb16": (np.uint16, 3, None),
    "bgr16": (np.uint16, 3, cv2.COLOR_BGR2RGB),
    "mono16": (np.uint16, 1, cv2.COLOR_GRAY2RGB),
    "yuv422": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (np.uint8, 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (np.uint8, 2, cv2.COLOR_YUV2RGB_YUY2),
    "nv12": (np.uint8, 1, cv2.COLOR_YUV2RGB_NV12),
    "nv21": (np.uint8, 1, cv2.COLOR_YUV2RGB_NV21),
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
# Their chroma, of half the height, follows the luma in rows of the same length.
_SEMI_PLANAR = ("nv12", "nv21")
# Encoding -> (dtype, millimetres per unit).
_DEPTH_ENCODINGS = {"16uc1": (np.uint16, 1), "mono16": (np.uint16, 1), "32fc1": (np.float32, 1000)}

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89P"


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


def to_depth(msg, width: int, height: int) -> np.ndarray:
    """Decode a depth image as REP 118 has it: 16UC1 in millimetres (also called mono16), or 32FC1 in metres.

    Args:
        msg: sensor_msgs/Image.
        width: of the image that the depth image belongs to, pixel by pixel.
        height: the same.

    Returns:
        float32 [height, width], mm; 0 or not finite where the depth is not known.

    Raises:
        ImageError: encoding not supported, another size, or the data does not hold an image of the stated size.
    """
    encoding = msg.encoding.lower()
    if encoding not in _DEPTH_ENCODINGS:
        raise ImageError(f"The depth image's encoding {msg.encoding!r} is not supported; publish 16UC1 or 32FC1.")
    if (msg.width, msg.height) != (width, height):
        raise ImageError(
            f"The depth image has {msg.width}x{msg.height} pixels, but the image {width}x{height}; register the depth "
            "to the image (aligned_depth_to_color of a camera's driver, or depth_image_proc)."
        )
    dtype, scale = _DEPTH_ENCODINGS[encoding]
    return _pixels(msg, dtype, 1, height).astype(np.float32) * np.float32(scale)


def _convert_raw(msg) -> np.ndarray:
    encoding = msg.encoding.lower()
    if encoding not in _ENCODINGS:
        raise ImageError(
            f"The image encoding {msg.encoding!r} is not supported; publish one of {', '.join(_ENCODINGS)}."
        )
    dtype, n_channels, conversion = _ENCODINGS[encoding]
    height, width = msg.height, msg.width
    if encoding in _SUBSAMPLED and width % 2:
        raise ImageError(f"The {encoding} image is {width} pixels wide; that encoding needs an even width.")
    if encoding in _SEMI_PLANAR and (width % 2 or height % 2):
        raise ImageError(f"The {encoding} image has {width}x{height} pixels; that encoding needs even numbers.")
    if "bayer" in encoding and (width < 2 or height < 2):
        raise ImageError(f"The {encoding} image of {width}x{height} pixels is smaller than its colour pattern.")

    n_rows = height * 3 // 2 if encoding in _SEMI_PLANAR else height
    pixels = _pixels(msg, dtype, n_channels, n_rows)
    if pixels.dtype.itemsize == 2:
        pixels = (pixels >> 8).astype(np.uint8)
    return np.ascontiguousarray(pixels if conversion is None else cv2.cvtColor(pixels, conversion))


def _pixels(msg, dtype, n_channels: int, n_rows: int) -> np.ndarray:
    """The numbers in a raw image [n_rows, width, n_channels], or [n_rows, width] of one channel; a view of its data."""
    height, width, step, dtype = msg.height, msg.width, msg.step, np.dtype(dtype)
    if not (height and width):
        raise ImageError(f"The image is empty ({width}x{height} pixels).")
    row_bytes = width * n_channels * dtype.itemsize
    if step < row_bytes:
        raise ImageError(
            f"The image's step is {step} bytes, but a row of {width} {msg.encoding} pixels takes {row_bytes}."
        )
    buffer = np.frombuffer(msg.data, np.uint8)
    needed = step * (n_rows - 1) + row_bytes
    if buffer.size < needed:
        raise ImageError(
            f"The image data is truncated: {buffer.size} bytes, but {width}x{height} pixels of {msg.encoding} "
            f"with {step} bytes a row take {needed}."
        )
    shape, strides = (n_rows, width, n_channels), (step, n_channels * dtype.itemsize, dtype.itemsize)
    if n_channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, dtype.newbyteorder(">" if msg.is_bigendian else "<"), buffer, strides=strides)


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
