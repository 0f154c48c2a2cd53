"""Which poses can be a person's, and who is there twice."""

import numpy as np
import pytest
import tensorflow as tf

from metrabs_core import plausibility


def test_human_bones():
    edges, lengths = [(0, 1), (1, 2)], np.float32([400, 120])
    poses = np.zeros([4, 3, 3], np.float32)
    poses[:, 1, 0], poses[:, 2, 0] = [400, 1300, 39, 400], [520, 1420, 159, 800]
    # as usual; thrice the length; a tenth of it; 3.3 times the length but only 280 mm too long
    np.testing.assert_array_equal(plausibility.has_human_bones(poses, edges, lengths), [True, False, False, True])


def test_the_pose_of_augmentations_is_in_the_median_direction_at_the_mean_distance():
    joint = np.array([300.0, -200.0, 2500.0])
    away = np.array([-400.0, 600.0, 2500.0])  # a crop that took another arm for this one's
    seen = np.float32([[0.9 * joint, joint, joint, 1.2 * joint, away]])[:, :, np.newaxis]  # [1, A, 1, 3]
    found = plausibility.pose_of_augmentations(seen)[0, 0]
    distance = np.linalg.norm(seen, axis=-1).mean()
    np.testing.assert_allclose(found, joint / np.linalg.norm(joint) * distance, rtol=1e-5)

    pair = np.float32([[joint, away]])[:, :, np.newaxis]  # there is no median of two but their middle
    unit = joint / np.linalg.norm(joint) + away / np.linalg.norm(away)
    expected = unit / np.linalg.norm(unit) * np.linalg.norm(pair, axis=-1).mean()
    np.testing.assert_allclose(plausibility.pose_of_augmentations(pair)[0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(plausibility.pose_of_augmentations(seen[:, 4:])[0, 0], away, rtol=1e-6)
    # behind a camera that sees more than a half-space, and without anybody
    np.testing.assert_allclose(plausibility.pose_of_augmentations(-seen)[0, 0], -found, rtol=1e-5)
    assert plausibility.pose_of_augmentations(np.zeros([0, 5, 34, 3], np.float32)).shape == (0, 34, 3)


def test_augmentations_agree_where_a_quarter_of_the_joints_do():
    poses = np.zeros([2, 2, 8, 3], np.float32)
    poses[0, 0, 2:5, 1], poses[0, 0, 5:, 1] = 1000, -1000  # two of eight joints agree
    poses[1, 0, 1:4, 1], poses[1, 0, 4:, 1] = 1000, -750
    poses[:, 1, :, 2] += 2000  # the distance does not matter
    np.testing.assert_array_equal(plausibility.augmentations_agree(poses), [True, False])


def test_poses_cover_at_least_half_of_their_box():
    pixels = np.float32([[[0, 0], [100, 200]]] * 3)
    boxes = np.float32([[-10, -10, 120, 220], [0, 0, 200, 400], [500, 0, 100, 200]])
    np.testing.assert_array_equal(plausibility.covers_box(pixels, boxes), [True, False, False])


def test_of_similar_poses_the_best_stays():
    rng = np.random.default_rng(0)
    base = rng.normal(scale=300, size=[34, 3]) + [0, 0, 50_000]
    near = base + [173, 0, 0]  # similarity 0.42
    far = base + [0, 208, 0]  # similarity 0.31
    crossing = base + [1000, 1000, 0]
    crossing[:8] = base[:8]  # a quarter of the joints in the same place
    poses = np.float32([near, base, far, crossing])
    scores = np.float32([0.5, 0.9, 0.6, 0.8])
    np.testing.assert_array_equal(plausibility.is_best_of_similar(poses, scores), [False, True, True, False])
    np.testing.assert_array_equal(plausibility.is_best_of_similar(poses[:0], scores[:0]), [])
    # who takes no part suppresses nobody
    scores = np.float32([0.5, -1, 0.6, 0.8])
    np.testing.assert_array_equal(plausibility.is_best_of_similar(poses, scores), [False, False, True, True])


@pytest.mark.parametrize(("factor", "stays"), [(1.05, False), (1.25, False), (0.8, False), (1.35, True), (0.7, True)])
def test_a_second_pose_of_a_person_may_be_at_another_distance(factor, stays):
    person = np.random.default_rng(0).normal(scale=300, size=[34, 3]) + [1500, 0, 4000]
    beside = person + [700, 0, 0]
    poses = np.float32([person, beside, person * factor])  # the last one looks like the first
    np.testing.assert_array_equal(
        plausibility.is_best_of_similar(poses, np.float32([0.9, 0.8, 0.7])), [True, True, stays]
    )
    # farther behind than two detections of one person could be
    behind = person + [0, 0, 2500]
    poses = np.float32([person, behind])
    np.testing.assert_array_equal(plausibility.is_best_of_similar(poses, np.float32([0.9, 0.8])), [True, True])


def test_people_of_different_images_are_never_the_same():
    person = np.random.default_rng(0).normal(scale=300, size=[34, 3]) + [0, 0, 4000]
    poses = np.float32([person] * 4)
    scores, image_index = np.float32([0.9, 0.8, 0.7, 0.95]), np.array([0, 0, 2, 2], np.int32)
    best = plausibility.best_of_similar_in_images(tf.constant(poses), tf.constant(scores), image_index, 4)
    np.testing.assert_array_equal(best, [True, False, False, True])
