"""Batched rotations and crop cameras against deltacamera and OpenCV; test_cameras.py has the rest."""

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
STRONG_LENS = [-0.3, 0.1, 0.001, -0.002, -0.02, 0.05, 0.01, 0.002, 0.003, -0.001, 0.002, 0.001]

lenses = st.tuples(
    *[st.floats(-limit, limit) for limit in (0.25, 0.08, 0.003, 0.003, 0.03, 0.05, 0.02, 0.01, *[0.003] * 4)]
).map(np.float32)
directions = st.tuples(st.floats(-0.8, 0.8), st.floats(-0.8, 0.8)).map(lambda xy: np.float32([*xy, 1]))
quickly = settings(max_examples=25, deadline=None)


def _cameras(coeffs, matrix=K):
    return geometry.Cameras.calibrated(matrix[None], np.float32(coeffs)[None], np.array([False]))


def test_rays_are_opencvs():
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2)).astype(np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 200, 1e-12)
    expected = cv2.undistortPoints(
        np.float64(points)[:, None], np.eye(3), np.float64(STRONG_LENS), None, None, None, criteria=criteria
    )
    rays = _cameras(STRONG_LENS, np.eye(3, dtype=np.float32)).rays(tf.constant(points[None]))[0].numpy()
    np.testing.assert_allclose(rays[:, :2] / rays[:, 2:], np.reshape(expected, [-1, 2]), atol=1e-5)


@pytest.mark.parametrize(
    ("coeffs", "is_fisheye"),
    [([1e20, 0, 0, 0], False), ([-1e8], False), ([np.nan], True), ([0, 0, 0, 0, 0.1], True), ([-1e8], True)],
)
def test_impossible_lenses_are_told(coeffs, is_fisheye):
    cameras = geometry.Cameras.calibrated(K[None], np.float32([coeffs]), np.array([is_fisheye]))
    assert not cameras.is_possible[0]
    assert _cameras(STRONG_LENS).is_possible[0]


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
    rotation, focal = _cameras(coeffs).facing_boxes(np.float32([box]), UP[None], side)
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


def test_roll_turns_the_picture_clockwise():
    turned = geometry.roll_rotation(tf.constant(np.pi / 2, tf.float32)).numpy() @ [1, 0, 5]
    np.testing.assert_allclose(turned, [0, 1, 5], atol=1e-6)  # from the right to the bottom: y is down
