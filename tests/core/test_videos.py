"""Videos written and read again."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from metrabs_core.videos import VideoError, VideoReader, VideoWriter, is_video


def brightness_video(path, n=30, size=(48, 64), seconds=lambda i: i / 10, **options):
    with VideoWriter(path, **options) as video:
        for i in range(n):
            video.write(np.full([*size, 3], 8 * i, np.uint8), seconds(i))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("size", [(48, 64), (47, 65), (64, 30)])
def test_written_frames_come_back_with_their_times(tmp_path, suffix, size):
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.3, 30))
    times -= times[0]
    reader = VideoReader(brightness_video(tmp_path / f"v{suffix}", size=size, seconds=lambda i: times[i]))
    frames = list(reader.frames())
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.seconds for frame in frames], times, atol=1.1e-3)
    height, width = (side + side % 2 for side in size)
    assert all(frame.image.shape == (height, width, 3) for frame in frames)
    np.testing.assert_allclose([np.median(frame.image) for frame in frames], 8 * np.arange(30), atol=3)


def test_starting_later_gives_the_same_frames(tmp_path):
    reader = VideoReader(brightness_video(tmp_path / "v.mp4"))
    everything, rest = list(reader.frames()), list(reader.frames(11))
    assert [(f.index, f.seconds) for f in rest] == [(f.index, f.seconds) for f in everything[11:]]
    np.testing.assert_array_equal(rest[0].image, everything[11].image)


def test_large_frames_are_scaled_down(tmp_path):
    frame = next(VideoReader(brightness_video(tmp_path / "v.mp4", n=2, size=(90, 160), max_side=80)).frames())
    assert frame.image.shape == (46, 80, 3)


def test_frames_of_another_size_are_fitted_into_that_of_the_first(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", quality=1) as video:
        video.write(np.zeros([60, 80, 3], np.uint8), 0)
        video.write(np.full([100, 50, 3], 200, np.uint8), 1)
    frame = list(VideoReader(tmp_path / "v.mp4").frames())[1].image
    assert frame.shape == (60, 80, 3)
    # 30 wide in the middle, black beside it
    assert frame[:, 27:53].min() > 180 and frame[:, :22].max() < 20 and frame[:, 58:].max() < 20


def test_a_damaged_frame_does_not_end_the_video(tmp_path):
    path = tmp_path / "v.avi"
    noise = np.random.default_rng(0).integers(0, 255, [20, 8, 64, 3], np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb24"
        for i in range(20):
            image = np.concatenate([noise[i], np.full([40, 64, 3], 10 * i, np.uint8)])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    place = -1
    for _ in range(8):
        place = data.index(b"\x89PNG", place + 1)
    data[place : place + 60] = bytes(60)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="1 damaged frames of .*v.avi were left out"):
        frames = list(VideoReader(path).frames())
    # Without its beginning, frame 7 looks like a part of the next one, which goes with it.
    assert [int(np.median(frame.image[8:])) for frame in frames] == [10 * i for i in range(20) if i not in (7, 8)]


def test_what_is_no_video(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"garbage" * 100)
    with pytest.raises(VideoError, match=r"v.mp4 can't be read"):
        VideoReader(tmp_path / "v.mp4")


def corner_picture(height=48, width=64) -> np.ndarray:
    """uint8 [height, width, 3]: red top left, green top right, blue bottom left, black bottom right."""
    image = np.zeros([height, width, 3], np.uint8)
    image[: height // 2, : width // 2, 0] = image[: height // 2, width // 2 :, 1] = 250
    image[height // 2 :, : width // 2, 2] = 250
    return image


def encode(path, codec="libx264", n=10, rate=10, image=None, prepare=lambda stream: None):
    """A video of one and the same picture; `prepare` may change its stream."""
    image = corner_picture() if image is None else image
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "yuv420p"
        prepare(stream)
        for _ in range(n):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def corner_names(image) -> str:
    """The colours in the corners in reading order, as letters."""
    height, width = image.shape[:2]
    pixels = [image[y, x].astype(int) for y in (height // 8, -height // 8) for x in (width // 8, -width // 8)]
    return "".join("rgbk"[int(pixel.argmax()) if pixel.max() > 120 else 3] for pixel in pixels)


@pytest.mark.parametrize(
    "suffix, codec",
    [(".mts", "mpeg2video"), (".ts", "libx264"), (".3gp", "libx264"), (".flv", "libx264"), (".asf", "mpeg4"),
     (".vob", "mpeg2video"), (".webm", "libvpx"), (".m2ts", "libx264"), (".mxf", "mpeg2video"), (".h264", "libx264")],
)  # fmt: skip
def test_videos_are_told_by_content(tmp_path, suffix, codec):
    encode(tmp_path / f"v{suffix}", codec, rate=25)
    path = (tmp_path / f"v{suffix}").rename(tmp_path / "VIDEO 0001")
    assert is_video(path)
    frames = list(VideoReader(path).frames())
    assert len(frames) == 10 and {corner_names(frame.image) for frame in frames} == {"rgbk"}


@pytest.mark.parametrize(
    "content", [b"some text\n" * 99, b"#EXTM3U\n#EXTINF:1,\nv.ts\n", b"ffconcat version 1.0\nfile v.ts\n"]
)
def test_text_and_playlists_are_no_videos(tmp_path, content):
    encode(tmp_path / "v.ts")
    (tmp_path / "file.txt").write_bytes(content)
    assert not is_video(tmp_path / "file.txt")
    with pytest.raises(VideoError, match="file.txt can't be read"):
        VideoReader(tmp_path / "file.txt")


def test_a_photograph_in_the_container_of_mp4_is_no_video(tmp_path):
    path = tmp_path / "IMG_0001"
    Image.fromarray(corner_picture()).save(path, "AVIF")
    assert not is_video(path)
    with pytest.raises(VideoError, match="IMG_0001 holds no moving pictures"):
        VideoReader(path)


@pytest.mark.parametrize(
    "name", ["12:30:05.mp4", "http:x.mp4", "a#b?c%20d.mp4", "straße mit Leerzeichen.mp4", "-i.mp4"]
)
def test_odd_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    brightness_video(name, n=3)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert len(list(VideoReader(name).frames())) == 3


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264"), (".mkv", "mpeg4"), (".ts", "mpeg2video")])
@pytest.mark.parametrize("ratio, width", [(Fraction(2), 128), (Fraction(3, 4), 48), (Fraction(4, 3), 85)])
def test_pixels_become_square(tmp_path, suffix, codec, ratio, width):
    if suffix == ".ts":  # MPEG-2 knows the whole picture's ratio only, 4:3 and 16:9 among them
        ratio, width = Fraction(16, 9) / Fraction(64, 48), round(48 * 16 / 9)

    def prepare(stream):
        stream.codec_context.sample_aspect_ratio = ratio

    frame = next(VideoReader(encode(tmp_path / f"v{suffix}", codec, rate=25, prepare=prepare)).frames())
    assert frame.image.shape == (48, width, 3) and corner_names(frame.image) == "rgbk"


# Where the display matrix takes x and y of the picture as it is stored.
@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
                                    (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0)])  # fmt: skip
def test_turned_and_mirrored_as_the_camera_noted(tmp_path, matrix):
    a, b, c, d = matrix
    path = encode(tmp_path / "v.mp4")
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    data[start : start + 20] = struct.pack(">5i", a << 16, b << 16, 0, c << 16, d << 16)
    path.write_bytes(data)
    image = next(VideoReader(path).frames()).image
    assert image.shape == ((48, 64, 3) if a else (64, 48, 3))
    shown = {}
    for letter, (x, y) in zip("rgbk", [(-1, -1), (1, -1), (-1, 1), (1, 1)]):
        shown[a * x + c * y, b * x + d * y] = letter
    assert corner_names(image) == "".join(shown[place] for place in [(-1, -1), (1, -1), (-1, 1), (1, 1)])


def boxes(data: bytes) -> dict[bytes, bytes]:
    """The boxes of an MP4 file or of one of its boxes, by kind."""
    found, place = {}, 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        found[data[place + 4 : place + 8]] = data[place : place + size]
        place += size
    return found


def test_cover_picture_is_not_the_video(tmp_path):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        video, cover = container.add_stream("libx264", rate=10), container.add_stream("png", rate=1)
        cover.disposition = av.stream.Disposition.attached_pic
        video.height, video.width, cover.height, cover.width = 48, 64, 100, 100
        video.pix_fmt, cover.pix_fmt = "yuv420p", "rgb24"
        white = np.full([100, 100, 3], 255, np.uint8)
        container.mux(cover.encode(av.VideoFrame.from_ndarray(white, format="rgb24")))
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(corner_picture(), format="rgb24")))
        container.mux(video.encode())
    # Some programs write the metadata, and so the cover, before the tracks.
    data = path.read_bytes()
    moov = boxes(data)[b"moov"]
    inside = boxes(moov[8:])
    moved = moov[:8] + b"".join(inside[kind] for kind in sorted(inside, key=lambda kind: kind != b"udta"))
    assert len(moved) == len(moov)
    path.write_bytes(data.replace(moov, moved))
    with av.open(str(path)) as container:
        assert container.streams.video[0].width == 100
    reader = VideoReader(path)
    assert reader.n_frames == 10
    assert [corner_names(frame.image) for frame in reader.frames()] == ["rgbk"] * 10


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_only(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros([1, 44100], np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(VideoError, match="holds sound, but no pictures"):
        VideoReader(path)


@pytest.mark.parametrize("size", [(16, 20000), (20000, 16), (1, 70000)])
def test_larger_frames_than_the_codec_knows_are_scaled_down(tmp_path, size):
    with VideoWriter(tmp_path / "v.mp4") as video:
        video.write(np.full([*size, 3], 90, np.uint8), 0)
    frame = next(VideoReader(tmp_path / "v.mp4").frames())
    assert max(frame.image.shape) == 16384 and abs(int(frame.image.max()) - 90) < 20


def test_a_place_that_can_not_be_written_is_one_sentence(tmp_path):
    (tmp_path / "v.mp4").mkdir()
    for path in (tmp_path / "v.mp4", tmp_path / "nowhere/v.mp4"):
        with pytest.raises(VideoError, match="v.mp4 can't be written"), VideoWriter(path):
            pass
