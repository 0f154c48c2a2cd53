"""Degraded crops: the picture moves as the labels say, and everything that is promised happens."""

import cv2
import numpy as np
import pytest

from training.degradation import degrade

SIDE = 96


@pytest.fixture(scope="module")
def crop():
    """Soft spots of all colours, in the middle of the range."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(SIDE, SIDE, 3)), (0, 0), 3)
    return np.uint8(np.clip(120 + 35 * noise / noise.std(), 0, 255))


def _degrade(crop, seed):
    intrinsics = np.float32([[150, 0, 40], [0, 150, 50], [0, 0, 1]])
    joints2d = np.float32([[10, 20], [70, 60]])
    return degrade(crop, intrinsics, joints2d, np.random.default_rng(seed)), intrinsics, joints2d


def test_the_picture_its_camera_and_the_joints_move_alike(crop):
    criteria = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6
    shifts, measured = [], []
    for seed in range(60):
        (worse, camera, joints), intrinsics, joints2d = _degrade(crop, seed)
        assert worse.shape == crop.shape and worse.dtype == np.uint8
        assert camera.dtype == np.float32 and joints.dtype == np.float32
        shift = camera[:2, 2] - intrinsics[:2, 2]
        np.testing.assert_array_equal(camera[:, :2], intrinsics[:, :2])
        np.testing.assert_allclose(joints - joints2d, np.tile(shift, (2, 1)), atol=1e-5)
        pictures = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (crop, worse))
        _, warp = cv2.findTransformECC(*pictures, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION, criteria)
        shifts.append(shift)
        measured.append(warp[:, 2])
    shifts, measured = np.array(shifts), np.array(measured)
    np.testing.assert_allclose(measured, shifts, atol=0.3)
    assert np.abs(measured - shifts).mean() < 0.06
    assert 0.1 < (shifts == 0).all(1).mean() < 0.35 and 1.3 < np.abs(shifts).max() <= 1.5


def test_pixels_change_in_many_ways_and_by_as_much_as_a_camera_does(crop):
    errors, sharpness, colour = [], [], []
    for seed in range(200):
        (worse, camera, _), intrinsics, _ = _degrade(crop, seed)
        if (camera == intrinsics).all():
            difference = worse.astype(float) - crop
            errors.append(difference.std())
            colour.append((difference - difference.mean(-1, keepdims=True)).std())
            sharpness.append(cv2.Laplacian(worse, cv2.CV_64F).std())
    assert len(errors) > 20
    assert min(errors) < 1.5 and 7 < max(errors) < 25
    # grey noise changes no colours
    assert (np.array(colour) < 0.3 * np.array(errors)).any() and (np.array(colour) > 0.6 * np.array(errors)).any()
    sharp = cv2.Laplacian(crop, cv2.CV_64F).std()
    assert min(sharpness) < 0.95 * sharp and max(sharpness) > 3 * sharp


def test_red_stays_red():
    red = np.zeros([SIDE, SIDE, 3], np.uint8)
    red[..., 0] = 200
    for seed in range(20):
        (worse, _, _), _, _ = _degrade(red, seed)
        np.testing.assert_allclose(worse.mean((0, 1)), [200, 0, 0], atol=14)


def test_the_seed_says_what_happens(crop):
    pictures = [_degrade(crop, seed)[0][0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert (pictures[0] != pictures[2]).any()
