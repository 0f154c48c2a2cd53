"""Crops against deltacamera's reprojection and against pictures whose every value is known in closed form."""

import cv2
import deltacamera
import numpy as np
import pytest
import tensorflow as tf

from metrabs_core import cropping, geometry

SIDE = 128
UP = np.float32([[0, -1, 0]])
LENS = np.float32([-0.25, 0.08, 0.001, -0.002, -0.01, 0.02, 0.01, 0.002, 0.003, -0.001, 0.002, 0.001])
PINHOLE = np.zeros(12, np.float32)
FISHEYE = np.float32([0.03, -0.01, 0.004, -0.001])  # four: that is how these tests tell


def _crops(images, boxes, matrix, coeffs, up=UP, image_index=None, gamma=1.0, antialias_factor=1, roll=0.0):
    n = len(boxes)
    matrices, is_fisheye = np.tile(np.float32(matrix), [n, 1, 1]), np.full(n, len(coeffs) == 4)
    cameras = geometry.Cameras.calibrated(matrices, np.tile(np.float32(coeffs), [n, 1]), is_fisheye)
    rotation, focal = cameras.facing_boxes(np.float32(boxes), np.tile(np.float32(up), [n, 1]), SIDE)
    rotation = geometry.roll_rotation(tf.constant(roll, tf.float32)) @ rotation
    index = np.zeros(n, np.int32) if image_index is None else np.int32(image_index)
    factor = tf.constant(antialias_factor)
    windows = cropping.read_windows(images, index, cameras, rotation[:, None], focal[:, None], SIDE, factor)
    gammas = np.full(n, gamma, np.float32)
    crops = cropping.draw_crops(windows, np.arange(n), rotation, focal, gammas, SIDE, factor)
    return crops.numpy(), rotation.numpy(), focal.numpy()


def _image_points(rotation, focal, matrix, coeffs):
    """Where each crop pixel looks in the image: NumPy and OpenCV in float64, [SIDE, SIDE, 2]."""
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    middle = (SIDE - 1) / 2
    rays = np.stack([(x - middle) / focal, (y - middle) / focal, np.ones_like(x)], -1) @ np.float64(rotation)
    project = cv2.fisheye.projectPoints if len(coeffs) == 4 else cv2.projectPoints
    zeros = np.zeros(3)
    points = project(rays.reshape(-1, 1, 3), zeros, zeros, np.float64(matrix), np.float64(coeffs))[0]
    return points.reshape(SIDE, SIDE, 2)


def _waves(points, period):
    """A smooth picture, defined everywhere: float64 [..., 3] in 0..255."""
    x, y = points[..., 0] * (2 * np.pi / period), points[..., 1] * (2 * np.pi / period)
    return 127.5 + 100 * np.stack([np.sin(x), np.cos(y), np.sin((x + y) / 2)], -1)


def _wave_image(height, width, period):
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    return np.round(_waves(grid, period)).astype(np.uint8)


def _matrix(height, width, focal_per_width=1.1):
    return np.float32(
        [[focal_per_width * width, 0, 0.47 * width], [0, focal_per_width * width, 0.52 * height], [0, 0, 1]]
    )


@pytest.mark.parametrize("coeffs", [PINHOLE, LENS, FISHEYE], ids=["pinhole", "lens", "fisheye"])
@pytest.mark.parametrize("box_size", [60, 130, 260, 700, 2000])
def test_values_are_those_of_the_place_that_the_camera_looks_at(coeffs, box_size):
    height, width = max(400, box_size), max(500, int(1.2 * box_size))
    # slow against the crop pixel, so that averaging over it changes little, and fast against any misplacement
    period = max(40, box_size / 4)
    matrix = _matrix(height, width)
    box = [0.4 * (width - 0.5 * box_size), 0.1 * height, 0.5 * box_size, 0.8 * box_size]
    crops, rotation, focal = _crops(_wave_image(height, width, period)[None], [box], matrix, coeffs, roll=0.3)
    points = _image_points(rotation[0], focal[0], matrix, coeffs)
    expected = _waves(points, period)
    scale = np.abs(points[64, 65] - points[64, 64]).max()
    inside = ((points > 3 * scale) & (points < [width - 3 * scale, height - 3 * scale])).all(-1)
    assert inside.mean() > 0.5
    error = (crops[0] * 255 - expected)[inside]
    # a gray value is at least 0.06 pixels of the crop here: this also holds the crop in place
    assert np.abs(error).mean() < 3.0
    assert np.abs(error.mean()) < 0.5


@pytest.mark.parametrize("coeffs", [PINHOLE, LENS], ids=["pinhole", "lens"])
@pytest.mark.parametrize("box", [[200, 100, 200, 330], [0, 0, 640, 480], [500, 300, 60, 80]])
def test_crops_are_deltacameras(coeffs, box):
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    matrix = _matrix(480, 640)
    crops, rotation, focal = _crops(image[None], [box], matrix, coeffs, antialias_factor=2)
    lens = deltacamera.BrownConradyEx(coeffs) if coeffs.any() else None
    camera = deltacamera.Camera(intrinsic_matrix=matrix, distortion_model=lens)
    middle = (SIDE - 1) / 2
    virtual = deltacamera.Camera(
        intrinsic_matrix=np.float32([[focal[0], 0, middle], [0, focal[0], middle], [0, 0, 1]]),
        rot_world_to_cam=rotation[0],
        image_shape=(SIDE, SIDE),
    )
    expected = deltacamera.reproject_image(image, camera, virtual, antialias_factor=4)
    error = np.abs(crops[0] * 255 - expected)
    # borders of the picture may differ by a pixel's share
    assert np.median(error) < 1.5
    assert np.percentile(error, 98) < 12


@pytest.mark.parametrize("left", [-20, 60, 250, 440, 520])
def test_a_fisheye_lens_of_170_degrees_is_undone_up_to_its_border(left):
    width, height, period = 640, 480, 30
    matrix = np.float32([[width / np.deg2rad(170), 0, 319.5], [0, width / np.deg2rad(170), 239.5], [0, 0, 1]])
    coeffs = np.float32([0.02, -0.01, 0.003, -0.0005])
    box = [left, 150, 100, 160]
    crops, rotation, focal = _crops(_wave_image(height, width, period)[None], [box], matrix, coeffs, roll=0.3)
    points = _image_points(rotation[0], focal[0], matrix, coeffs)
    inside = ((points > 3) & (points < [width - 4, height - 4])).all(-1)
    assert inside.mean() > 0.3
    error = (crops[0] * 255 - _waves(points, period))[inside]
    assert np.abs(error).mean() < 3.0
    assert np.abs(error.mean()) < 0.5


def test_a_pattern_finer_than_the_crop_becomes_gray():
    fine = np.indices((1000, 1000)).sum(0) % 2 * 255
    image = np.repeat(fine[..., None], 3, -1).astype(np.uint8)
    crops, _, _ = _crops(image[None], [[100, 100, 800, 800]], _matrix(1000, 1000), PINHOLE)
    assert crops.std() < 0.05
    assert crops.mean() == pytest.approx(0.5, abs=0.01)


def test_antialias_factor_brings_crops_closer_to_the_ideal():
    noise = np.random.default_rng(1).integers(0, 255, (600, 600, 3)).astype(np.uint8)
    matrix, box = _matrix(600, 600), [80, 100, 330, 330]
    fine = _crops(noise[None], [box], matrix, PINHOLE, antialias_factor=8, roll=0.4)[0]
    errors = [
        np.abs(_crops(noise[None], [box], matrix, PINHOLE, antialias_factor=n, roll=0.4)[0] - fine).mean()
        for n in (1, 2, 4)
    ]
    assert errors[0] > 1.5 * errors[1] > 1.5 * errors[2]


@pytest.mark.parametrize("coeffs", [PINHOLE, LENS], ids=["pinhole", "lens"])
def test_what_the_image_does_not_show_is_black(coeffs):
    white = np.full((1, 300, 400, 3), 255, np.uint8)
    matrix = _matrix(300, 400)
    boxes = [[-100, 50, 200, 200], [300, 200, 200, 200], [2000, 100, 100, 100]]
    crops, rotation, focal = _crops(white, boxes, matrix, coeffs)
    for i in range(2):
        points = _image_points(rotation[i], focal[i], matrix, coeffs)
        outside = ((points < [-2, -2]) | (points > [401, 301])).any(-1)
        inside = ((points > [1, 1]) & (points < [398, 298])).all(-1)
        assert outside.any() and inside.any()
        assert crops[i][outside].max() == 0
        assert crops[i][inside].min() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(crops[2]).all()
    if not coeffs.any():
        assert crops[2].max() == 0


def test_rays_behind_a_wide_camera_are_black():
    white = np.full((1, 300, 400, 3), 255, np.uint8)
    wide = np.float32([[60, 0, 199.5], [0, 60, 149.5], [0, 0, 1]])  # 147 degrees across
    crops, rotation, focal = _crops(white, [[-100, -100, 390, 500]], wide, PINHOLE)
    x, y = np.meshgrid(np.arange(SIDE) - 63.5, np.arange(SIDE) - 63.5)
    depth = (np.stack([x / focal, y / focal, np.ones_like(x)], -1) @ rotation[0])[..., 2]
    assert (depth < 0).any()
    assert crops[0][depth < 0].max() == 0
    assert crops[0].max() > 0.99


def test_people_of_several_images_are_cropped_in_one_call_as_one_by_one():
    images = np.stack([_wave_image(300, 400, 50), _wave_image(300, 400, 90)])
    boxes, index = [[50, 50, 60, 200], [100, 20, 250, 250], [10, 10, 50, 50]], [1, 0, 1]
    together = _crops(images, boxes, _matrix(300, 400), PINHOLE, image_index=index)[0]
    for crop, box, i in zip(together, boxes, index):
        alone = _crops(images[i : i + 1], [box], _matrix(300, 400), PINHOLE)[0][0]
        np.testing.assert_allclose(crop, alone, atol=1e-6)


def test_gamma_is_an_exponent_on_values_from_zero_to_one():
    image = _wave_image(300, 400, 50)[None]
    plain = _crops(image, [[50, 50, 200, 200]], _matrix(300, 400), PINHOLE)[0]
    np.testing.assert_allclose(
        _crops(image, [[50, 50, 200, 200]], _matrix(300, 400), PINHOLE, gamma=0.6)[0], plain**0.6, atol=1e-5
    )


def test_no_boxes_give_no_crops():
    crops = _crops(np.zeros((1, 30, 40, 3), np.uint8), np.zeros((0, 4)), _matrix(30, 40), PINHOLE)[0]
    assert crops.shape == (0, SIDE, SIDE, 3)
