"""Cameras against OpenCV, deltacamera and closed forms."""

import cv2
import deltacamera
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core import geometry

K = np.array([[700, 0, 310], [0, 720, 250], [0, 0, 1]], np.float32)
UP = np.array([0, -1, 0], np.float32)
UNDISTORTED = np.zeros(12, np.float32)
STRONG_LENS = [-0.3, 0.1, 0.001, -0.002, -0.02, 0.05, 0.01, 0.002, 0.003, -0.001, 0.002, 0.001]

lenses = st.tuples(
    *[st.floats(-limit, limit) for limit in (0.25, 0.08, 0.003, 0.003, 0.03, 0.05, 0.02, 0.01, *[0.003] * 4)]
).map(np.float32)
directions = st.tuples(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8)).map(lambda xy: np.float32([*xy, 1]))
seeds = st.integers(0, 2**32 - 1)
quickly = settings(max_examples=25, deadline=None)


def _points(seed, reach=0.6, n=40):
    return np.random.default_rng(seed).uniform(-reach, reach, (n, 2)).astype(np.float32)


def _lens(coeffs):
    return geometry.lens_model(np.float32(coeffs)[None])[0]


def _opencv_project(points, matrix, coeffs):
    zeros = np.zeros(3)
    return cv2.projectPoints(np.float64(points), zeros, zeros, np.float64(matrix), np.float64(coeffs))[0][:, 0]


@quickly
@given(lenses, seeds)
def test_distortion_is_opencvs(coeffs, seed):
    points = _points(seed)
    expected = _opencv_project(np.c_[points, np.ones(len(points))], np.eye(3), coeffs)
    np.testing.assert_allclose(geometry.distort_points(points, _lens(coeffs)), expected, atol=1e-5)


@quickly
@given(lenses, seeds)
def test_undistortion_is_the_inverse(coeffs, seed):
    points = _points(seed)
    restored = geometry.undistort_points(geometry.distort_points(points, _lens(coeffs)), _lens(coeffs))
    np.testing.assert_allclose(restored, points, atol=2e-5)


def test_undistortion_is_opencvs():
    points = _points(0, reach=0.5)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    expected = cv2.undistortPoints(
        np.float64(points)[:, None], np.eye(3), np.float64(STRONG_LENS), None, None, None, criteria=criteria
    )
    np.testing.assert_allclose(
        geometry.undistort_points(points, _lens(STRONG_LENS)), np.reshape(expected, [-1, 2]), atol=1e-5
    )


@pytest.mark.parametrize("k1", [-0.1, -0.25, -0.5])
def test_valid_radius_is_where_the_lens_folds_over(k1):
    coeffs = np.float32([k1, *[0] * 11])
    fold = 1 / np.sqrt(-3 * k1)  # where the derivative of r + k1 r^3 is zero
    assert 0.96 * fold < geometry.valid_radius(coeffs[None]).numpy() <= fold
    # a point beyond it stays at the border of the picture
    beyond = geometry.distort_points(np.float32([[5, 0]]), _lens(coeffs)).numpy()[0, 0]
    assert beyond == pytest.approx(fold + k1 * fold**3, rel=0.01)


def test_coefficients_are_completed():
    np.testing.assert_array_equal(_lens([1, 2, 3, 4, 5])[:12], [1, 2, 3, 4, 5, *[0] * 7])


@quickly
@given(lenses)
def test_within_the_valid_radius_a_larger_angle_is_further_out(coeffs):
    radius = _lens(coeffs)[12].numpy()
    k1, k2, _, _, k3, k4, k5, k6 = coeffs[:8].astype(np.float64)
    r = np.linspace(0, radius, 1000)
    distorted = r * (1 + k1 * r**2 + k2 * r**4 + k3 * r**6) / (1 + k4 * r**2 + k5 * r**4 + k6 * r**6)
    assert (np.diff(distorted) > 0).all()


@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_field_of_view_spans_the_longer_side(size):
    matrix = geometry.intrinsics_from_field_of_view(60.0, tf.constant(size)).numpy().astype(np.float64)
    assert matrix[0, 0] == matrix[1, 1]
    borders = np.array([[-0.5, -0.5, 1], [size[1] - 0.5, size[0] - 0.5, 1]]) @ np.linalg.inv(matrix).T
    longer = int(size[0] > size[1])
    np.testing.assert_allclose(np.rad2deg(np.arctan(borders[:, longer])), [-30, 30], atol=1e-3)
    np.testing.assert_allclose(borders[0, :2], -borders[1, :2], atol=1e-5)


@quickly
@given(directions, directions)
def test_look_at_rotation_is_deltacameras(direction, tilt):
    up = np.float32([tilt[0], -1, tilt[1]])
    rotation = geometry.look_at_rotation(direction, up).numpy()
    camera = deltacamera.Camera(intrinsic_matrix=K, world_up=up)
    camera.turn_towards(target_cam_point=direction)
    np.testing.assert_allclose(rotation, camera.R, atol=1e-5)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)


def test_looking_straight_up_still_gives_a_rotation():
    rotation = geometry.look_at_rotation(
        np.float32([[0, 0, 2], [0, 0, 1]]), np.float32([[0, 0, 1], [0, 0, -3]])
    ).numpy()
    np.testing.assert_allclose(rotation, np.tile(np.eye(3), [2, 1, 1]), atol=1e-6)


@quickly
@given(lenses, st.tuples(st.floats(20, 400), st.floats(20, 300), st.floats(30, 300), st.floats(30, 300)))
def test_crop_camera_shows_the_box_across_the_crop(coeffs, box):
    side = 200
    rotation, focal = geometry.crop_cameras(np.float32([box]), K[None], _lens(coeffs)[None], UP[None], side)
    left, top, width, height = box
    middles = np.array([[width / 2, 0], [0, height / 2], [width / 2, height], [width, height / 2]]) + [left, top]
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    normalized = cv2.undistortPoints(
        middles[:, None], np.float64(K), np.float64(coeffs), None, None, None, criteria=criteria
    ).reshape(-1, 2)
    seen = np.c_[normalized, np.ones(4)] @ rotation.numpy()[0].astype(np.float64).T
    seen = seen[:, :2] / seen[:, 2:] * focal.numpy()
    vertical, horizontal = np.linalg.norm(seen[0] - seen[2]), np.linalg.norm(seen[1] - seen[3])
    assert max(vertical, horizontal) == pytest.approx(side, rel=1e-3)


@quickly
@given(lenses, seeds)
def test_projection_is_opencvs(coeffs, seed):
    rng = np.random.default_rng(seed)
    points = np.c_[rng.uniform(-1000, 1000, (20, 2)), rng.uniform(2000, 5000, 20)].astype(np.float32)
    np.testing.assert_allclose(
        geometry.project(tf.constant(points), K, _lens(coeffs)), _opencv_project(points, K, coeffs), atol=0.02
    )


def test_points_behind_the_camera_are_seen_far_outside_and_finite():
    pixels = geometry.project(tf.constant([[100.0, 0, -500]]), K, _lens(UNDISTORTED)).numpy()
    assert np.isfinite(pixels).all()
    assert pixels[0, 0] > 5000


def test_roll_turns_the_picture_clockwise():
    turned = geometry.roll_rotation(tf.constant(np.pi / 2, tf.float32)).numpy() @ [1, 0, 5]
    np.testing.assert_allclose(turned, [0, 1, 5], atol=1e-6)  # from the right to the bottom: y is down
