"""Videos and pictures that are read as bags."""

import cv2
import numpy as np
import pytest
from recordings import write_video

from metrabs_core.errors import UserError
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import stamp_ns


@pytest.mark.parametrize("name, complaint", [("v.mp4", "can't be read"), ("p.jpg", "is damaged")])
def test_damaged_video_and_picture_are_refused(tmp_path, name, complaint):
    (tmp_path / name).write_bytes(b"garbage" * 100)
    with pytest.raises(UserError, match=complaint), open_recording(tmp_path / name) as recording:
        list(recording.messages())


def test_video_becomes_images_with_the_stated_camera(tmp_path):
    path = write_video(tmp_path / "v.mp4", n=12, rate=5, size=(64, 48))
    with open_recording(path, fov_degrees=90) as recording:
        assert recording.topics["/image/compressed"].count == 12
        messages = list(recording.messages())
        images = [recording.deserialize(m) for m in messages if m.topic == "/image/compressed"]
        infos = [recording.deserialize(m) for m in messages if m.topic == "/camera_info"]
    assert [stamp_ns(image.header) for image in images] == [i * 200_000_000 for i in range(12)]
    assert [stamp_ns(info.header) for info in infos] == [stamp_ns(image.header) for image in images]
    for i, image in enumerate(images):
        pixels = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_allclose(pixels, 20 * i, atol=4)
    # At 90 degrees the edges of the image, half a pixel beyond the outermost centres, are seen under 45 degrees.
    matrix = np.reshape(infos[0].k, [3, 3])
    for x, slope in [(-0.5, -1), (63.5, 1)]:
        np.testing.assert_allclose(np.linalg.inv(matrix) @ [x, 23.5, 1], [slope, 0, 1], atol=1e-9)
    assert (infos[0].width, infos[0].height, list(infos[0].d)) == (64, 48, [0] * 5)


def test_truncated_video_gives_its_frames_or_one_sentence(tmp_path):
    for name in ("v.mkv", "v.mp4"):
        path = write_video(tmp_path / name, n=40, codec="mpeg4")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with open_recording(tmp_path / "v.mkv") as recording:
        assert 0 < len(list(recording.messages(["/image/compressed"]))) < 40
    # An MP4 file has its table of contents at the end.
    with pytest.raises(UserError, match="v.mp4 can't be read"), open_recording(tmp_path / "v.mp4"):
        pass


def images_of(path) -> list[tuple[int, np.ndarray]]:
    """Stamp in seconds and pixels (grey) of all images of a video or of pictures."""
    with open_recording(path) as recording:
        images = [recording.deserialize(message) for message in recording.messages(["/image/compressed"])]
    return [(image.header.stamp.sec, cv2.imdecode(np.frombuffer(image.data, np.uint8), 0)) for image in images]


def test_folder_of_numbered_pictures(tmp_path):
    for name, value in [("10.png", 250), ("1.jpg", 50), ("9.png", 200), ("2.png", 100)]:
        cv2.imwrite(str(tmp_path / name), np.full([20, 30, 3], value, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "._1.jpg").write_bytes(b"what macOS notes about 1.jpg")
    stamps, images = zip(*images_of(tmp_path))
    np.testing.assert_allclose([image.mean() for image in images], [50, 100, 200, 250], atol=2)
    assert stamps == (0, 1, 2, 3)


def test_damaged_and_oversized_pictures_are_named_and_left_out(tmp_path):
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), np.full([20, 30, 3], 50 * i, np.uint8))
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.jpg").read_bytes()[:-40])
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros([2, 70000, 3], np.uint8))
    with pytest.warns(UserWarning) as warned:
        stamps, images = zip(*images_of(tmp_path))
    assert stamps == (0, 2, 3)
    np.testing.assert_allclose([image.mean() for image in images], [0, 100, 150], atol=2)
    said = " ".join(str(warning.message) for warning in warned)
    assert "1.jpg is truncated" in said and "wide.png has 70000x2 pixels, and a JPEG image has 65500" in said
    with pytest.raises(UserError, match="wide.png has 70000x2 pixels"):
        images_of(tmp_path / "wide.png")


def test_videos_and_pictures_without_their_suffix(tmp_path):
    write_video(tmp_path / "v.mp4", n=3).rename(tmp_path / "CLIP0001")
    cv2.imwrite(str(tmp_path / "p.png"), np.full([20, 30, 3], 90, np.uint8))
    (tmp_path / "p.png").rename(tmp_path / "2024-05-01T12:30:05")
    assert len(images_of(tmp_path / "CLIP0001")) == 3
    ((_, image),) = images_of(tmp_path / "2024-05-01T12:30:05")
    np.testing.assert_allclose(image, 90, atol=2)
