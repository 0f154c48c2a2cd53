"""The measures against SciPy and cases worked out by hand."""

import numpy as np
import pytest
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from training import metrics

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_similarity_alignment_equals_scipy(seed):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(5, 17, 3)) * 300
    points = (
        target @ Rotation.random(random_state=seed % 1000).as_matrix() * 2 + rng.normal(size=(5, 17, 3)) * 50 + 4000
    )

    aligned = metrics.align_similarity(points, target)

    for a, p, t in zip(aligned, points, target):
        # SciPy gives both standardized: centred, and the target of unit norm
        standard_target, standard_aligned, disparity = scipy.spatial.procrustes(t, p)
        norm = np.linalg.norm(t - t.mean(0))
        np.testing.assert_allclose(a, standard_aligned * norm + t.mean(0), atol=1e-6)
        assert ((a - t) ** 2).sum() / norm**2 == pytest.approx(disparity)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_alignment_never_mirrors_even_where_that_would_fit_better(seed):
    rng = np.random.default_rng(seed)
    points, target = rng.normal(size=(2, 5, 6, 3)) * 300  # unlike poses: the best orthogonal matrix often mirrors

    aligned = metrics.align_similarity(points, target)

    for a, p, t in zip(aligned, points, target):
        rotation, _ = Rotation.align_vectors(t - t.mean(0), p - p.mean(0))
        turned = rotation.apply(p - p.mean(0))
        scale = (turned * (t - t.mean(0))).sum() / (turned**2).sum()  # of the least squares distance
        np.testing.assert_allclose(a, scale * turned + t.mean(0), atol=1e-6)


def test_similarity_alignment_does_not_mirror():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(17, 3))
    moved = 2.5 * target @ Rotation.random(random_state=2).as_matrix().T + [1, 2, 3]
    np.testing.assert_allclose(metrics.align_similarity(moved, target), target, atol=1e-9)
    assert np.abs(metrics.align_similarity(moved * [-1, 1, 1], target) - target).max() > 0.1


def test_invalid_joints_do_not_take_part_in_the_alignment():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(2, 3, 17, 3))
    points = target @ Rotation.random(random_state=1).as_matrix() + 5
    valid = rng.uniform(size=(2, 3, 17)) < 0.7
    points[~valid] += 100
    np.testing.assert_allclose(metrics.align_similarity(points, target, valid)[valid], target[valid], atol=1e-9)


def test_alignment_of_a_pose_without_extent_is_finite():
    target = np.arange(9.0).reshape(1, 3, 3)
    aligned = metrics.align_similarity(np.full([1, 3, 3], 7.0), target)
    np.testing.assert_allclose(aligned, np.tile(target.mean(1), [1, 3, 1]))


def test_distances_relative_to_a_root():
    points, target = np.zeros([1, 2, 3]), np.zeros([1, 2, 3])
    points[0, 0], points[0, 1] = [3, 4, 0], [3, 4, 12]
    np.testing.assert_allclose(metrics.joint_distances(points, target), [[5, 13]])
    np.testing.assert_allclose(metrics.joint_distances(points, target, root=0), [[0, 12]])


def test_pck_and_auc_by_hand():
    distances = np.array([[0, 149.9], [150, 1000]])
    assert metrics.pck(distances) == 50  # 150 mm is not below 150 mm
    # 0 mm: below all thresholds but 0 itself, 30 of 31; 149.9 mm: below 150 alone, 1 of 31; the others below none
    assert metrics.auc(distances) == pytest.approx(100 * 31 / 31 / 4)


def test_auc_is_the_mean_pck_over_31_thresholds():
    distances = np.random.default_rng(0).uniform(0, 200, [50, 14])
    expected = np.mean([(distances < threshold).mean() for threshold in range(0, 151, 5)])
    assert metrics.auc(distances) == pytest.approx(100 * expected)


def test_greedy_matching_by_hand():
    true = np.full([2, 2, 3, 2], np.nan)
    pred = np.full([2, 3, 3, 2], np.nan)
    # first frame: the first person takes prediction 1 (3 joints near) though the second fits it as well, and the
    # second must be content with prediction 0 (1 joint near)
    true[0, 0] = [[100, 100], [200, 200], [300, 300]]
    true[0, 1] = [[110, 100], [210, 200], [310, 300]]
    pred[0, 0] = [[110, 100], [900, 900], [310, 341]]
    pred[0, 1] = [[105, 100], [205, 200], [305, 339]]
    # second frame: only the second person is there; nothing is near
    true[1, 1] = 500
    pred[1, 0] = 540.5
    np.testing.assert_array_equal(metrics.match_people(true, pred), [[1, 0], [-1, -1]])


def test_matching_looks_at_x_and_y_each():
    true, pred = np.full([1, 1, 1, 2], 100.0), np.full([1, 1, 1, 2], 139.0)  # 55 px apart, 39 px on each axis
    assert metrics.match_people(true, pred)[0, 0] == 0
    pred[..., 1] = 140
    assert metrics.match_people(true, pred)[0, 0] == -1


def test_matching_counts_no_joint_at_the_origin():
    true = np.full([1, 1, 2, 2], 10.0)
    assert metrics.match_people(true, np.zeros([1, 1, 2, 2]))[0, 0] == -1


def test_matching_without_predictions():
    np.testing.assert_array_equal(metrics.match_people(np.zeros([2, 1, 3, 2]), np.zeros([2, 0, 3, 2])), [[-1], [-1]])


def test_matching_equals_one_frame_at_a_time():
    rng = np.random.default_rng(0)
    true, pred = rng.uniform(1, 120, [40, 3, 13, 2]), rng.uniform(1, 120, [40, 4, 13, 2])
    true[rng.uniform(size=(40, 3)) < 0.3] = np.nan
    pred[rng.uniform(size=(40, 4)) < 0.3] = np.nan
    expected = np.full([40, 3], -1)
    for f in range(40):
        free = [i for i in range(4) if np.isfinite(pred[f, i]).all()]
        for p in range(3):
            near = {i: sum(np.all(abs(a - b) < 40) for a, b in zip(true[f, p], pred[f, i])) for i in free}
            if near and max(near.values()) > 0:
                expected[f, p] = max(near, key=near.get)
                free.remove(expected[f, p])
    np.testing.assert_array_equal(metrics.match_people(true, pred), expected)


def test_rescaled_bones_keep_directions_and_take_true_lengths():
    rng = np.random.default_rng(0)
    points, target = rng.normal(size=(2, 10, 4, 3)) * 300
    bones = [(1, 0), (2, 1), (3, 1)]

    rescaled = metrics.rescale_bones(points, target, bones)

    np.testing.assert_array_equal(rescaled[:, 0], points[:, 0])
    for joint, parent in bones:
        bone, before = rescaled[:, joint] - rescaled[:, parent], points[:, joint] - points[:, parent]
        length = np.linalg.norm(target[:, joint] - target[:, parent], axis=-1)
        np.testing.assert_allclose(np.linalg.norm(bone, axis=-1), length)
        np.testing.assert_allclose(bone / length[:, None], before / np.linalg.norm(before, axis=-1, keepdims=True))


def test_rescaling_a_bone_without_length_is_finite():
    assert np.isfinite(metrics.rescale_bones(np.zeros([1, 2, 3]), np.ones([1, 2, 3]), [(1, 0)])).all()
