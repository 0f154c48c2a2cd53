"""Videos written and read again."""

import av
import numpy as np
import pytest

from metrabs_core.video_files import VideoError, VideoReader, VideoWriter


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
