"""From camera_info to the camera of an image."""

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from metrabs_core.errors import UserError
from metrabs_ros.camera_info import (
    CameraInfoError,
    ImageSizeError,
    UncalibratedCameraError,
    camera_from_info,
    camera_of_image,
    image_size_from_info,
)

K = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
P = [450.0, 0.0, 300.0, -50.0, 0.0, 460.0, 250.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def camera_info(**fields) -> CameraInfo:
    return CameraInfo(**{"width": 640, "height": 480, "k": K, "p": P, "distortion_model": "plumb_bob", **fields})


@pytest.mark.parametrize(
    ("model", "coeffs", "expected"),
    [
        ("plumb_bob", [], [0] * 5),
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02], [0.1, -0.2, 0.01, 0.02, 0]),
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.3], [0.1, -0.2, 0.01, 0.02, 0.3]),
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.3, 0, 0, 0], [0.1, -0.2, 0.01, 0.02, 0.3]),
        ("plumb_bob", [0.1, -0.2, 0.01, 0.02, 0.3, *[0] * 9], [0.1, -0.2, 0.01, 0.02, 0.3]),
        (
            "rational_polynomial",
            [0.1, -0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6],
            [0.1, -0.2, 0.01, 0.02, 0.3, 0.4, 0.5, 0.6],
        ),
        ("rational_polynomial", [0.1] * 12 + [0.0, 0.0], [0.1] * 12),
        ("", [], [0] * 5),
        ("", [0.0] * 5, [0] * 5),
        ("none", [0.0] * 8, [0] * 5),
    ],
)
def test_opencvs_lens_model(model, coeffs, expected):
    camera = camera_from_info(camera_info(distortion_model=model, d=[float(value) for value in coeffs]))
    np.testing.assert_array_equal(camera.intrinsic_matrix, np.reshape(K, (3, 3)))
    np.testing.assert_allclose(camera.distortion_coeffs, expected)
    assert camera.distortion_model == ""


@pytest.mark.parametrize("model", ["equidistant", "fisheye", "kannala_brandt4"])
def test_fisheye_lenses_by_every_name(model):
    camera = camera_from_info(camera_info(distortion_model=model, d=[0.1, 0.02, -0.003, 0.0004]))
    np.testing.assert_allclose(camera.distortion_coeffs, [0.1, 0.02, -0.003, 0.0004])
    assert camera.distortion_model == "fisheye"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"distortion_model": "thin_prism_fisheye", "d": [0.1] * 8}, "lens model 'thin_prism_fisheye'.*rectify"),
        ({"distortion_model": "plumb_bob", "d": [0.1] * 8}, "plumb_bob has 5.*more are not zero"),
        ({"distortion_model": "equidistant", "d": [0.1] * 5}, "equidistant has 4"),
        ({"distortion_model": "", "d": [0.1]}, "lens model none has 0"),
        ({"distortion_model": "rational_polynomial", "d": [0.1] * 14}, "tilted.*rectified: true"),
        ({"d": [float("nan")] * 5}, "of no lens"),
        ({"d": [1e20, 0.0, 0.0, 0.0, 0.0]}, "of no lens"),
        ({"d": [-1e9, 0.0, 0.0, 0.0, 0.0]}, "fold"),
        ({"k": [float("nan")] * 9}, "K is not the matrix of a camera: .*not finite"),
        ({"k": [-1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0]}, "K is not the matrix of a camera: .*positive"),
        ({"k": np.reshape(K, (3, 3)).T.ravel().tolist()}, "K is not the matrix of a camera: .*last row.*transposed"),
    ],
)
def test_unusable_calibrations_are_refused(fields, words):
    with pytest.raises(CameraInfoError, match=words) as error:
        camera_from_info(camera_info(**fields))
    assert error.value.reason == "camera_info" and isinstance(error.value, UserError)
    assert "\n" not in str(error.value)


def test_a_matrix_of_zeros_is_an_uncalibrated_camera():
    with pytest.raises(UncalibratedCameraError, match="default_fov_degrees"):
        camera_from_info(camera_info(k=[0.0] * 9))


def test_rectified_images_have_the_projection_matrix_and_no_distortion():
    info = camera_info(distortion_model="omni", d=[0.1, 0.2, 0.3, 0.4])
    camera = camera_from_info(info, rectified=True)
    np.testing.assert_array_equal(camera.intrinsic_matrix, np.reshape(P, (3, 4))[:, :3])
    assert camera.is_pinhole


def test_binning_and_region_of_interest_show_the_same_rays():
    info = camera_info(binning_x=2, binning_y=4, d=[-0.2, 0.05, 0.001, 0.0, 0.0])
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 80, 200, 120
    assert image_size_from_info(info) == (100, 30)
    full = camera_from_info(camera_info(d=[-0.2, 0.05, 0.001, 0.0, 0.0]))
    # the corners of the image and of the region that it shows are the same points
    rays = full.rays([[99.5, 79.5], [299.5, 199.5]])
    np.testing.assert_allclose(camera_from_info(info).project(rays), [[-0.5, -0.5], [99.5, 29.5]], atol=1e-9)


def test_image_size_without_region_of_interest():
    assert image_size_from_info(camera_info()) == (640, 480)


def test_the_camera_of_an_image_is_that_of_its_camera_info_or_an_assumption():
    np.testing.assert_array_equal(camera_of_image(camera_info(), 640, 480).intrinsic_matrix, np.reshape(K, (3, 3)))
    rectified = camera_of_image(camera_info(), 640, 480, rectified=True)
    np.testing.assert_array_equal(rectified.intrinsic_matrix, np.reshape(P, (3, 4))[:, :3])
    for unknown in (None, camera_info(k=[0.0] * 9)):
        assumed = camera_of_image(unknown, 640, 480, fov_degrees=90.0)
        np.testing.assert_allclose(assumed.intrinsic_matrix, [[320, 0, 319.5], [0, 320, 239.5], [0, 0, 1]])
        with pytest.raises(UncalibratedCameraError) as error:
            camera_of_image(unknown, 640, 480, fov_degrees=0.0)
        assert error.value.reason == "uncalibrated_camera"


def test_a_camera_info_of_another_size_is_refused():
    with pytest.raises(ImageSizeError, match="has 320x240 pixels, but camera_info describes 640x480") as error:
        camera_of_image(camera_info(), 320, 240)
    assert error.value.reason == "size_mismatch"
    # what the message leaves open fits everything
    assert camera_of_image(camera_info(width=0, height=0), 320, 240).is_pinhole
