from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image

from metrabs_ros.image_conversion import ImageError, to_rgb


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """RGB image of smooth colour gradients, so that chroma subsampling and demosaicing lose little."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, 255 - 2 * x - 2 * y], axis=-1).astype(np.uint8)


def raw(pixels: np.ndarray, encoding: str, width: int, padding: int = 0, bigendian=False) -> Image:
    """Message of an array [H, ...], each row followed by `padding` bytes of garbage."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.concatenate([rows, np.full([len(rows), padding], 0xA5, np.uint8)], axis=1)
    message = Image(height=len(pixels), width=width, encoding=encoding, step=rows.shape[1], is_bigendian=int(bigendian))
    message.data = rows.tobytes()
    return message


def mosaic(image: np.ndarray, pattern: str) -> np.ndarray:
    """What a sensor with a colour filter of 2x2 pixels (row by row, as "rggb") measures of an RGB image."""
    raw_image = np.empty(image.shape[:2], np.uint8)
    for i, colour in enumerate(pattern):
        raw_image[i // 2 :: 2, i % 2 :: 2] = image[i // 2 :: 2, i % 2 :: 2, "rgb".index(colour)]
    return raw_image


def yuv422(image: np.ndarray, order: str) -> np.ndarray:
    """BT.601 with limited range, each pair of pixels sharing the chroma of its left one. [H, W, 2]."""
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    luma = 16 + 0.257 * red + 0.504 * green + 0.098 * blue
    u = 128 - 0.148 * red - 0.291 * green + 0.439 * blue
    v = 128 + 0.439 * red - 0.368 * green - 0.071 * blue
    chroma = np.where(np.arange(image.shape[1]) % 2 == 0, u, np.roll(v, 1, axis=1))
    planes = [chroma, luma] if order == "uyvy" else [luma, chroma]
    return np.rint(np.stack(planes, axis=-1)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize(
    "encoding, channels",
    [
        ("rgb8", [0, 1, 2]),
        ("bgr8", [2, 1, 0]),
        ("rgba8", [0, 1, 2, 0]),
        ("bgra8", [2, 1, 0, 0]),
        ("8UC3", [2, 1, 0]),
        ("8UC4", [2, 1, 0, 0]),
    ],
)
def test_colour_encodings_are_exact(colours, encoding, channels, padding):
    np.testing.assert_array_equal(to_rgb(raw(colours[..., channels], encoding, 64, padding)), colours)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("bigendian", [False, True])
@pytest.mark.parametrize("encoding, channels", [("rgb16", [0, 1, 2]), ("bgr16", [2, 1, 0])])
def test_16_bit_images_keep_the_upper_byte(colours, encoding, channels, bigendian, padding):
    wide = (colours[..., channels].astype(np.uint16) << 8) + 99
    message = raw(wide.astype(">u2" if bigendian else "<u2"), encoding, 64, padding, bigendian)
    np.testing.assert_array_equal(to_rgb(message), colours)


@pytest.mark.parametrize("encoding, shift, dtype", [("mono8", 0, "u1"), ("8UC1", 0, "u1"), ("mono16", 8, "<u2")])
def test_grey_images_become_grey_rgb(colours, encoding, shift, dtype):
    grey = colours[..., 0]
    result = to_rgb(raw((grey.astype(np.uint16) << shift).astype(dtype), encoding, 64, padding=10))
    np.testing.assert_array_equal(result, np.repeat(grey[..., np.newaxis], 3, axis=-1))


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
@pytest.mark.parametrize("padding", [0, 6])
def test_yuv_images(colours, encoding, padding):
    order = "yuyv" if "yuy" in encoding else "uyvy"
    result = to_rgb(raw(yuv422(colours, order), encoding, 64, padding))
    assert np.abs(result.astype(int) - colours).max() <= 8


@pytest.mark.parametrize("encoding", ["nv12", "nv21"])
@pytest.mark.parametrize("padding", [0, 6])
def test_semi_planar_yuv_images(colours, encoding, padding):
    # What a camera makes of it: full luma, and chroma of 2x2 pixels together, u before v or the other way round.
    planar = cv2.cvtColor(colours, cv2.COLOR_RGB2YUV_I420)
    luma, (u, v) = planar[:48], planar[48:].reshape(2, 24, 32)
    chroma = np.stack([u, v] if encoding == "nv12" else [v, u], axis=-1).reshape(24, 64)
    message = raw(np.concatenate([luma, chroma]), encoding, 64, padding)
    message.height = 48
    assert np.abs(to_rgb(message).astype(int) - colours).max() <= 12
    for change, words in (
        ({"height": 47}, "even numbers"),
        ({"width": 63}, "even numbers"),
        ({"data": message.data[: 48 * 64]}, "truncated"),
    ):
        names = ("encoding", "height", "width", "step", "is_bigendian", "data")
        with pytest.raises(ImageError, match=words):
            to_rgb(SimpleNamespace(**{name: getattr(message, name) for name in names} | change))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize("padding", [0, 6])
def test_bayer_images(colours, pattern, padding):
    result = to_rgb(raw(mosaic(colours, pattern), f"bayer_{pattern}8", 64, padding))
    assert np.abs(result.astype(int) - colours)[2:-2, 2:-2].max() <= 8
    wide = mosaic(colours, pattern).astype(np.uint16) << 8
    result = to_rgb(raw(wide, f"bayer_{pattern}16", 64, padding))
    assert np.abs(result.astype(int) - colours)[2:-2, 2:-2].max() <= 8


def test_rgb8_shares_the_message_memory(colours):
    data = np.frombuffer(colours.tobytes(), np.uint8)
    message = SimpleNamespace(encoding="rgb8", height=48, width=64, step=192, is_bigendian=0, data=data)
    assert np.shares_memory(to_rgb(message), data)


@pytest.mark.parametrize("suffix, tolerance", [(".png", 0), (".jpg", 12)])
@pytest.mark.parametrize("form", ["{0}", "rgb8; {0} compressed bgr8", "bgr8; {0} compressed bgr8"])
def test_compressed_images(colours, suffix, tolerance, form):
    data = cv2.imencode(suffix, colours[..., ::-1])[1].tobytes()
    message = CompressedImage(format=form.format({".png": "png", ".jpg": "jpeg"}[suffix]), data=data)
    assert np.abs(to_rgb(message).astype(int) - colours).max() <= tolerance


def test_compressed_grey_images(colours):
    data = cv2.imencode(".png", colours[..., 0])[1].tobytes()
    result = to_rgb(CompressedImage(format="mono8; png compressed mono8", data=data))
    np.testing.assert_array_equal(result, np.repeat(colours[..., :1], 3, axis=-1))


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("padding", [bytes(1), bytes(100_000), b"\xff" * 5000, b"leftover of a longer image" * 900])
def test_padding_after_the_end_is_no_truncation(colours, suffix, padding):
    data = cv2.imencode(suffix, colours[..., ::-1])[1].tobytes()
    padded = to_rgb(CompressedImage(format="jpeg", data=data + padding))
    np.testing.assert_array_equal(padded, to_rgb(CompressedImage(format="jpeg", data=data)))


@pytest.mark.parametrize("kept", [0, 1, 2, 100, 0.5, 0.9, -2])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_compressed_images_are_refused(colours, suffix, kept):
    data = cv2.imencode(suffix, np.tile(colours, (4, 4, 1)))[1].tobytes()
    length = int(kept * len(data)) if isinstance(kept, float) else kept
    with pytest.raises(ImageError):
        to_rgb(CompressedImage(format="jpeg", data=data[:length]))


def test_corrupt_jpeg_is_refused(colours):
    data = bytearray(cv2.imencode(".jpg", colours)[1].tobytes())
    data[2:-2] = bytes(len(data) - 4)
    with pytest.raises(ImageError, match="corrupt"):
        to_rgb(CompressedImage(format="jpeg", data=bytes(data)))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"encoding": "32FC1"}, "not supported.*bgr8"),
        ({"encoding": ""}, "not supported"),
        ({"width": 0}, "empty"),
        ({"height": 0}, "empty"),
        ({"height": 49}, "truncated"),
        ({"step": 191}, "step is 191"),
        ({"step": 193}, "truncated"),
        ({"data": b""}, "truncated"),
        ({"encoding": "yuyv", "width": 63}, "even width"),
        ({"encoding": "bayer_rggb8", "height": 1}, "smaller"),
    ],
)
def test_bad_images_are_refused_with_a_sentence(colours, change, words):
    message = raw(colours, "rgb8", 64)
    for field, value in change.items():
        setattr(message, field, value)
    with pytest.raises(ImageError, match=words):
        to_rgb(message)


@settings(max_examples=200, deadline=None)
@given(
    encoding=st.sampled_from(["rgb8", "bgra8", "mono8", "mono16", "yuyv", "bayer_gbrg8", "nonsense"]),
    height=st.integers(0, 9),
    width=st.integers(0, 9),
    step=st.integers(0, 40),
    data=st.binary(max_size=400),
)
def test_any_message_gives_an_image_or_an_image_error(encoding, height, width, step, data):
    message = Image(encoding=encoding, height=height, width=width, step=step, data=data)
    try:
        image = to_rgb(message)
    except ImageError:
        return
    assert image.shape == (height, width, 3) and image.dtype == np.uint8
