"""The One-Euro filter against closed forms, and against noise about a known truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from metrabs_core.smoothing import SMOOTHINGS, PoseFilter

LIGHT, STRONG = SMOOTHINGS["light"], SMOOTHINGS["strong"]
MAX_AGE = 1.5


def run(poses, interval, smoothing=LIGHT, start=100.0, pose_filter=None, origin=(0, 0, 0)):
    """Smoothed points and velocities [T, J, 3] of one person whose poses are [T, J, 3]."""
    pose_filter = pose_filter or PoseFilter()
    results = [
        pose_filter.update([1], pose[np.newaxis], start + i * interval, smoothing, MAX_AGE, origin)
        for i, pose in enumerate(poses)
    ]
    return tuple(np.concatenate(arrays) for arrays in zip(*results))


def measured(rng, n, n_joints=17):
    """Errors of a single camera [n, J, 3], mm: of the whole person, mostly along the line of sight, and of joints."""
    return rng.normal(size=[n, 1, 3]) * [20, 20, 80] + rng.normal(size=[n, n_joints, 3]) * 15


@pytest.mark.parametrize("rate", [10, 15, 30])
def test_light_smoothing_takes_the_jitter_of_a_standing_person_down_to_a_third(rate):
    noise = measured(np.random.default_rng(0), 60 * rate)
    smooth, velocity = run(noise + [0, 0, 4000], 1 / rate)
    settled = slice(5 * rate, None)
    assert smooth[settled].std(axis=0).mean() < noise[settled].std(axis=0).mean() / 3
    strong = run(noise + [0, 0, 4000], 1 / rate, STRONG)[0]
    assert strong[settled].std(axis=0).mean() < noise[settled].std(axis=0).mean() / 4
    # And does not think that the person walks.
    assert np.abs(velocity[settled].mean(axis=0)).max() < 30


@pytest.mark.parametrize("smoothing", [LIGHT, STRONG])
@pytest.mark.parametrize("speed", [0.0, 300.0, 1200.0, 4000.0])
@pytest.mark.parametrize("rate", [8, 30])
@pytest.mark.parametrize("origin", [(-200, 200, 3400), (8e8, 200, 6e8)], ids=["along", "across"])
def test_a_constant_speed_lags_as_the_closed_form_says(smoothing, speed, rate, origin):
    velocity = speed * np.array([0.6, 0.0, -0.8])
    path = np.arange(30 * rate)[:, None, None] / rate * velocity + [100, 200, 3000]
    smooth, velocities = run(path, 1 / rate, smoothing, origin=origin)
    # An exponential mean of time constant T is T behind; T of a cutoff frequency f is 1 / (2 pi f).
    lag = 1 / (2 * np.pi * (smoothing.min_cutoff + smoothing.beta * speed))
    np.testing.assert_allclose(path[-1] - smooth[-1], [velocity * lag], atol=1e-3 * max(speed, 1))
    assert smoothing.lag(speed) == pytest.approx(lag)
    np.testing.assert_allclose(velocities[-1], [velocity], atol=1e-3 * max(speed, 1))


@pytest.mark.parametrize("distance", [6, 15])
@pytest.mark.parametrize("rate", [10, 30])
def test_somebody_who_walks_is_hardly_late_however_far_away_and_uncertain(distance, rate):
    # Errors grow with the distance: at 3 m, they are those of the tests above.
    path = np.linspace(-3000, 3000, 6 * rate)[:, None, None] * [1, 0, 0] + [0, 0, 1000.0 * distance]
    noise = measured(np.random.default_rng(3), len(path)) * distance / 3
    smooth, _ = run(path + noise, 1 / rate)
    late = (path - smooth)[2 * rate :]
    limit = 0.12  # s, at 1 m/s
    assert late[..., 0].mean() < 1000 * limit and np.abs(late[..., 2].mean()) < 100 * distance / 3
    settled = slice(2 * rate, None)
    assert smooth[settled, :, 2].std(axis=0).mean() < noise[settled, :, 2].std(axis=0).mean() / 1.4


def test_velocities_are_known_after_half_a_second_and_right_from_then_on():
    path = np.arange(20)[:, None, None] * 0.1 * np.array([700.0, 0, -200])
    velocities = run(path, 0.1, None)[1]
    assert np.isnan(velocities[:5]).all()
    np.testing.assert_allclose(velocities[5:, 0], np.tile([700.0, 0, -200], [15, 1]), rtol=1e-6)


def test_off_leaves_the_points_alone():
    noise = measured(np.random.default_rng(1), 30)
    np.testing.assert_array_equal(run(noise, 0.1, None)[0], noise)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rate=st.floats(5, 60))
def test_the_result_does_not_depend_on_the_axes(seed, rate):
    rng = np.random.default_rng(seed)
    poses = measured(rng, 20, 3) + rng.normal(size=3) * 1000
    rotation, shift = Rotation.random(random_state=seed).as_matrix(), rng.normal(size=3) * 5000
    smooth, velocity = run(poses, 1 / rate)
    turned, turned_velocity = run(poses @ rotation.T + shift, 1 / rate, origin=shift)
    np.testing.assert_allclose(turned, smooth @ rotation.T + shift, atol=1e-6)
    np.testing.assert_allclose(turned_velocity, velocity @ rotation.T, atol=1e-6)


def test_people_do_not_mix_and_may_come_and_go():
    rng = np.random.default_rng(2)
    paths = {1: measured(rng, 40), 5: measured(rng, 40) + 3000, 9: measured(rng, 40) - 3000}
    alone = {i: [] for i in paths}
    filters, together = {i: PoseFilter() for i in paths}, PoseFilter()
    for frame in range(40):
        ids = [i for i in rng.permutation(list(paths)).tolist() if (frame + i) % 4]
        smooth, _ = together.update(ids, np.array([paths[i][frame] for i in ids]), 0.1 * frame, LIGHT, MAX_AGE)
        for i, points in zip(ids, smooth):
            alone[i].append(filters[i].update([i], paths[i][frame][None], 0.1 * frame, LIGHT, MAX_AGE)[0][0])
            np.testing.assert_allclose(points, alone[i][-1])
    nobody = together.update([], np.zeros([0, 17, 3]), 4.0, LIGHT, MAX_AGE)
    assert nobody[0].shape == (0, 17, 3)


@pytest.mark.parametrize("break_off", ["jump back", "new id", "other joints"])
def test_a_new_beginning_begins_where_the_person_is(break_off):
    pose_filter = PoseFilter()
    run(np.zeros([20, 17, 3]), 0.1, LIGHT, 100.0, pose_filter)
    stamp = 50.0 if break_off == "jump back" else 102.0
    n_joints, person = 19 if break_off == "other joints" else 17, 2 if break_off == "new id" else 1
    points = np.full([1, n_joints, 3], 500.0)
    smooth, velocity = pose_filter.update([person], points, stamp, LIGHT, MAX_AGE)
    assert (smooth == points).all() and np.isnan(velocity).all()


def test_nobody_is_remembered_for_longer_than_somebody_unseen_is():
    pose_filter = PoseFilter()
    for i in range(1000):
        pose_filter.update([i], np.zeros([1, 17, 3]), 0.1 * i, LIGHT, MAX_AGE)
    assert len(pose_filter._tracks) <= MAX_AGE / 0.1 + 2


def test_stamps_that_stand_still_freeze_nobody():
    pose_filter = PoseFilter()
    for i in range(5):
        points = np.full([1, 17, 3], 100.0 * i)
        smooth, velocity = pose_filter.update([1], points, 0.0, STRONG, MAX_AGE)
        assert (smooth == points).all() and np.isnan(velocity).all()


def test_large_stamps_lose_no_precision():
    path = np.arange(60)[:, None, None] / 30 * np.array([1000.0, 0, 0])
    early, late = (run(path, 1 / 30, LIGHT, start) for start in (0.0, 1.8e9))
    np.testing.assert_allclose(early[0], late[0], atol=0.01)
