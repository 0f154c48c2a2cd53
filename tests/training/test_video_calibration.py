"""Cameras from calibration files as other programs write them."""

import cv2
import numpy as np
import pytest
import yaml

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from training.video.calibration import VideoCamera, read_calibration

MATRIX = np.array([[612.5, 0, 318.25], [0, 610.0, 242.0], [0, 0, 1]])
DISTORTION = np.array([0.1, -0.25, 1e-3, -2e-5, 0.07])


def assert_is_the_camera(camera, image_size=(640, 480)):
    assert camera.fov_degrees is None and camera.image_size == image_size
    np.testing.assert_allclose(camera.of_images(640, 480).intrinsic_matrix, MATRIX, rtol=1e-6)
    np.testing.assert_allclose(camera.lens["distortion_coeffs"], DISTORTION, rtol=1e-6)
    assert camera.lens["distortion_model"] == ""


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".json"])
def test_opencv_file_storage(tmp_path, suffix):
    path = tmp_path / f"camera{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("calibration_time", "Mon Nov 23 04:36:32 2026")
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", MATRIX)
    storage.write("distortion_coefficients", DISTORTION[:, np.newaxis])
    storage.release()
    assert_is_the_camera(read_calibration(path))


def test_ros_camera_calibration(tmp_path):
    document = {
        "image_width": 640,
        "image_height": 480,
        "camera_name": "narrow_stereo",
        "camera_matrix": {"rows": 3, "cols": 3, "data": MATRIX.ravel().tolist()},
        "distortion_model": "plumb_bob",
        "distortion_coefficients": {"rows": 1, "cols": 5, "data": DISTORTION.tolist()},
        "projection_matrix": {"rows": 3, "cols": 4, "data": [1.0] * 12},
    }
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(document))
    assert_is_the_camera(read_calibration(tmp_path / "camera.yaml"))


def test_echo_of_camera_info(tmp_path):
    document = {"header": {"frame_id": "camera"}, "height": 480, "width": 640, "distortion_model": "plumb_bob"}
    document |= {"d": DISTORTION.tolist(), "k": MATRIX.ravel().tolist(), "p": [1.0] * 12}
    (tmp_path / "info.yaml").write_text(yaml.safe_dump(document) + "---\n")
    assert_is_the_camera(read_calibration(tmp_path / "info.yaml"))


def test_names_of_the_model_arguments(tmp_path):
    document = {"intrinsic_matrix": MATRIX.tolist(), "distortion_coeffs": DISTORTION.tolist()}
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(document))
    assert_is_the_camera(read_calibration(tmp_path / "camera.yaml"), image_size=None)


def test_four_coefficients_and_none(tmp_path):
    path = tmp_path / "camera.yaml"
    path.write_text(f"K: {MATRIX.tolist()}\nD: [0.1, 0.2, 0.3, 0.4]\n")
    np.testing.assert_allclose(read_calibration(path).lens["distortion_coeffs"], [0.1, 0.2, 0.3, 0.4, 0])
    path.write_text(f"K: {MATRIX.tolist()}\n")
    np.testing.assert_array_equal(read_calibration(path).lens["distortion_coeffs"], np.zeros(5))


@pytest.mark.parametrize("name", ["distortion_model: equidistant", "distortion_model: fisheye", "fisheye_model: 1"])
def test_fisheye_lenses_are_told_by_name(tmp_path, name):
    path = tmp_path / "camera.yaml"
    path.write_text(f"K: {MATRIX.tolist()}\nD: [0.1, 0.02, -0.003, 0.0004]\n{name}\n")
    camera = read_calibration(path).of_images(640, 480)
    ray = [0.5, 0.25, 0.3]
    expected = cv2.fisheye.projectPoints(
        np.array([[ray]]), np.zeros(3), np.zeros(3), MATRIX, np.array([0.1, 0.02, -0.003, 0.0004])
    )[0][0, 0]
    np.testing.assert_allclose(camera.project(ray), expected)
    assert isinstance(camera, Camera)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("width: 3", "has no camera matrix"),
        ("- 1\n- 2", "has no camera matrix"),
        ("", "has no camera matrix"),
        ("{a: [", "neither YAML nor JSON"),
        ("K: [1, 0, 0]", "must be 3 x 3 numbers"),
        ("K: [0, 0, 0, 0, 0, 0, 0, 0, 1]", "focal lengths .* must be positive"),
        ("K: [a, 0, 0, 0, 1, 0, 0, 0, 1]", "holds no numbers"),
        ("K: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nd: [1, 2]", "2 distortion coefficients"),
        ("k: [1, 0, 0, 0, 1, 0, 0, 0, 1]\ndistortion_model: omnidirectional", "'omnidirectional' is not known"),
        ("K: [1, 0, 0, 0, 1, 0, 320, 240, 1]", "last row .* 0 0 1; is it transposed"),
        ('{"K": [[700, 0, 0], [0, 700, 0], [320, 240, 1]], "dist": [0, 0, 0, 0, 0]}', "is it transposed"),
        ("K: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nD: [1e20, 0, 0, 0, 0]", "of no lens"),
        ("K: [1, 0, 0, 0, 1, 0, 0, 0, 1]\nD: [1, 1, 1, 1, 1]\ndistortion_model: fisheye", "fisheye has 4"),
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path, text, complaint):
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_calibration(tmp_path / "camera.yaml")


def test_field_of_view_is_that_of_the_longer_side():
    for width, height in ((640, 480), (480, 640)):
        matrix = VideoCamera(90.0).of_images(width, height).intrinsic_matrix
        # the middle of the border, half a pixel outside of the outermost pixel's centre, is seen under 45 degrees
        border = np.array([-0.5, (height - 1) / 2, 1] if width > height else [(width - 1) / 2, -0.5, 1])
        assert np.abs(np.linalg.inv(matrix) @ border)[:2].max() == pytest.approx(1, abs=1e-6)
