"""Picture files, against Pillow, tifffile's raw pixels turned by hand, and files that are cut off."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from metrabs_core import pictures
from metrabs_core.pictures import (
    PictureError,
    decode_picture,
    each_readable,
    is_picture,
    pictures_below,
    pictures_in,
    read_picture,
)


def corners() -> np.ndarray:
    """uint8 [120, 160, 3], RGB: smooth noise with a red, a green and a blue corner."""
    noise = np.random.default_rng(0).integers(0, 255, [12, 16, 3], np.uint8)
    image = cv2.resize(noise, (160, 120))
    image[:40, :50], image[:40, -50:], image[-40:, :50] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return image


def encoded(image, file_format, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def with_thumbnail(jpeg: bytes) -> bytes:
    """The JPEG with a whole small JPEG inside of an application segment."""
    thumbnail = encoded(corners()[::8, ::8].copy(), "JPEG")
    segment = b"JFXX\0\x10" + thumbnail
    return jpeg[:2] + b"\xff\xe0" + struct.pack(">H", 2 + len(segment)) + segment + jpeg[2:]


FILES = {
    "baseline.jpg": encoded(corners(), "JPEG"),
    "progressive.jpg": encoded(corners(), "JPEG", progressive=True),
    "restarts.jpg": cv2.imencode(".jpg", corners()[..., ::-1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
    "thumbnail.jpg": with_thumbnail(encoded(corners(), "JPEG")),
    "grey.jpg": encoded(corners()[..., 1], "JPEG"),
    "picture.png": encoded(corners(), "PNG"),
    "picture.bmp": encoded(corners(), "BMP"),
    "picture.webp": encoded(corners(), "WEBP"),
    "picture.tif": encoded(corners(), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("name", FILES)
def test_whole_pictures_are_read_and_cut_off_ones_refused(tmp_path, name):
    path, data = tmp_path / name, FILES[name]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    for padding in (b"", bytes(70_000), b"a camera's own data"):
        path.write_bytes(data + padding)
        np.testing.assert_allclose(read_picture(path), expected, atol=6)
    for kept in (1, 3, 20, len(data) // 10, len(data) // 2, len(data) * 9 // 10, len(data) - 20):
        for padding in (b"", bytes(5000)) if name.endswith(("jpg", "png")) else (b"",):
            path.write_bytes(data[:kept] + padding)
            with pytest.raises(PictureError, match=f"The picture {path} is (truncated|damaged)"):
                read_picture(path)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".jpg", ".png"))])
def test_truncation_is_seen_without_decoding(name, kept):
    """OpenCV 4 fills what is missing of a JPEG with grey."""
    data = FILES[name]
    assert pictures.is_truncated(data[: int(len(data) * kept)]) and not pictures.is_truncated(data)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(tmp_path, file_format, orientation):
    data = encoded(corners(), file_format, exif=exif(orientation))
    (tmp_path / "picture").write_bytes(data)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    image = read_picture(tmp_path / "picture")
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.astype(int), expected, atol=6)


# What turns an image as it is stored into what is shown, by TIFF's tag 274.
SHOWN = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: image[::-1, ::-1].swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
@pytest.mark.parametrize("grey", [False, True])
def test_tiff_orientation(tmp_path, compression, orientation, grey):
    stored = np.repeat(corners()[..., :1], 3, axis=2) if grey else corners()
    data = encoded(stored[..., 0] if grey else stored, "TIFF", compression=compression, tiffinfo={274: orientation})
    (tmp_path / "picture.tif").write_bytes(data)
    expected = SHOWN[orientation](stored).astype(int)
    image = read_picture(tmp_path / "picture.tif")
    assert image.shape == expected.shape
    assert np.abs(image - expected).mean() < (12 if compression == "jpeg" else 0.5)


def png_that_claims(width, height) -> bytes:
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("width, height", [(2**15 + 1, 2**15), (2**20 + 1, 1), (1, 2**20 + 1)])
def test_too_large_a_picture_is_one_sentence(tmp_path, width, height):
    (tmp_path / "huge.png").write_bytes(png_that_claims(width, height))
    with pytest.raises(PictureError, match=r"huge.png is .*too large"):
        read_picture(tmp_path / "huge.png")


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(PictureError, match="nothing.png can't be read: No such file"):
        read_picture(tmp_path / "nothing.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(PictureError, match="empty.png is empty"):
        read_picture(tmp_path / "empty.png")
    (tmp_path / "page.jpg").write_text("<html>Not found</html>")
    with pytest.raises(PictureError, match="page.jpg is damaged, too large or not a picture"):
        read_picture(tmp_path / "page.jpg")


def test_flags_keep_what_a_mask_holds():
    rgba = np.dstack([corners(), np.arange(120 * 160, dtype=np.int64).reshape(120, 160).astype(np.uint8)])
    decoded = decode_picture(encoded(rgba, "PNG"), cv2.IMREAD_UNCHANGED, "The mask")
    np.testing.assert_array_equal(decoded[..., 3], rgba[..., 3])


def test_pictures_are_told_by_content_or_name(tmp_path):
    for name, data in FILES.items():
        (tmp_path / "file").write_bytes(data)
        assert is_picture(tmp_path / "file") == (name != "picture.tif"), name  # raw photographs begin as TIFF does
    (tmp_path / "file").write_bytes(b"GIF89a" + bytes(50))
    assert not is_picture(tmp_path / "file")
    (tmp_path / "file.TIFF").write_bytes(b"damaged")
    assert is_picture(tmp_path / "file.TIFF")
    assert not is_picture(tmp_path / "nothing")


def test_folder_in_natural_order_without_hidden_files(tmp_path):
    names = ["1.png", "2.png", "9b.JPG", "10.png", "10.tif", "010.png", "a1.png", "a1b2.png", "a1b10.png"]
    for name in [*names, "._1.png", ".2.png", "notes.txt", "Thumbs.db"]:
        (tmp_path / name).touch()
    (tmp_path / "3.png").mkdir()
    found = [path.name for path in pictures_in(tmp_path)]
    assert sorted(found) == sorted(names)
    places = {name: place for place, name in enumerate(found)}
    for earlier, later in [("1.png", "2.png"), ("2.png", "9b.JPG"), ("9b.JPG", "10.png"), ("a1b2.png", "a1b10.png")]:
        assert places[earlier] < places[later]


def test_pictures_in_all_folders_below(tmp_path):
    for name in ["b.png", "a/c.JPG", "a/d/e.webp", "a/._c.jpg", ".cache/f.png", "a/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in pictures_below(tmp_path)] == ["a/c.JPG", "a/d/e.webp", "b.png"]
    assert pictures_below(tmp_path / "nothing") == []


def test_folder_without_pictures(tmp_path):
    (tmp_path / "._1.png").touch()
    with pytest.raises(PictureError, match="holds no pictures"):
        pictures_in(tmp_path)
    with pytest.raises(PictureError, match="can't be read: No such file"):
        pictures_in(tmp_path / "nothing")


def test_damaged_pictures_are_named_and_left_out(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(FILES["baseline.jpg"])
    (tmp_path / "2.jpg").write_bytes(FILES["baseline.jpg"][:900])
    files = pictures_in(tmp_path)
    with pytest.warns(UserWarning, match="2.jpg is truncated after 900 bytes. It is left out."):
        assert [index for index, _ in each_readable(files)] == [0, 1, 3, 4]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [index for index, _ in each_readable(files, start=3)] == [3, 4]


def test_not_one_readable_picture_is_an_error(tmp_path):
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(b"damaged")
    files = pictures_in(tmp_path)
    with pytest.warns(UserWarning, match="left out"), pytest.raises(PictureError, match="0.jpg is damaged"):
        list(each_readable(files))
    with pytest.raises(PictureError, match="1.jpg is damaged"):
        list(each_readable(files[1:]))
    with pytest.warns(UserWarning, match="1.jpg is damaged"):  # the last of those that an interrupted run has left
        assert list(each_readable(files, start=1)) == []
