"""Errors of a crop model on cases with known answers."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.skeletons import NATIVE
from training.datasets import Example
from training.evaluation import crop_model as evaluation


def test_metrics_of_a_known_error(picture):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    root = NATIVE.index("pelv")
    length = np.arange(NATIVE.n_joints) * 3.0  # mm, one length for each joint, none for the pelvis
    error = np.zeros_like(true)
    error[..., 1] = length
    predicted = true[:, root : root + 1] * 1.1 + (true - true[:, root : root + 1]) + error  # 10 % too far
    sigma = np.tile(2 * length + 5, [4, 1])
    examples = [_example(picture, pose) for pose in true]

    metrics = evaluation.pose_errors(predicted, sigma, examples, root)

    assert metrics["people"] == 4
    assert metrics["mpjpe_mm"] == pytest.approx(length.mean())
    assert metrics["absolute_error_percent"] == pytest.approx(10)
    assert metrics["depth_bias_percent"] == pytest.approx(10)
    assert metrics["uncertainty_rank_correlation"] == pytest.approx(1, abs=1e-3)


def test_truncated_is_who_has_a_third_of_the_joints_outside_of_the_picture_whatever_the_box(picture):
    rng = np.random.default_rng(0)
    true = rng.normal(size=(5, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    third = -(-NATIVE.n_joints // 3)
    true[4, -third:, 2] = -100  # behind the camera, wherever they are seen
    examples = [_example(picture, pose) for pose in true]
    examples[0].joints2d[:third] = [-5, 50]
    examples[1].joints2d[: third - 1] = [-5, 50]
    examples[2].joints2d[:third] = [200, 50]  # in the picture of 300 x 200 pixels, outside of the box
    examples[3].joints2d[:third] = [50, 205]
    error = np.array([1, 2, 3, 4, 5])[:, None, None] * 10.0 * np.array([0, 1, 0])
    root = NATIVE.index("pelv")
    predicted = true + error
    predicted[:, root] = true[:, root]
    metrics = evaluation.pose_errors(predicted, rng.uniform(size=true.shape[:2]), examples, root)
    assert metrics["truncated_people"] == 3
    share = (NATIVE.n_joints - 1) / NATIVE.n_joints
    assert metrics["truncated_mpjpe_mm"] == pytest.approx(share * np.mean([10, 40, 50]))


def test_uncertainties_get_the_size_of_the_errors_joint_by_joint(picture):
    rng = np.random.default_rng(0)
    root, unknown = NATIVE.index("pelv"), NATIVE.index("rwri")
    true = rng.normal(size=(2000, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    spread = rng.uniform(20, 60, true.shape[:2])
    too_small_by = np.linspace(0.5, 4, NATIVE.n_joints)
    # errors whose expected square is that of the spread, times the factor
    error = rng.normal(size=true.shape) / np.sqrt(3) * (spread * too_small_by)[..., None]
    error[:, root] = 0
    examples = [_example(picture, pose) for pose in true]
    for example in examples:
        example.valid[unknown] = False
    scales = np.array(evaluation.fit_uncertainty_scale(true + error, spread, examples, root))
    known = np.delete(np.arange(NATIVE.n_joints), [root, unknown])
    np.testing.assert_allclose(scales[known], too_small_by[known], rtol=0.05)
    # who knows nothing about a joint takes it for one of the others
    assert scales[root] == scales[unknown]
    assert too_small_by[known].min() < scales[root] < too_small_by[known].max()


def test_the_factor_of_joints_that_nobody_knows_is_that_of_the_others(picture):
    rng = np.random.default_rng(1)
    true = rng.normal(size=(500, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    error = 30 * rng.normal(size=true.shape)
    error[:, 0] = 0
    examples = [_example(picture, pose) for pose in true]
    for example in examples:
        example.valid[7] = False
    scales = evaluation.fit_uncertainty_scale(true + error, np.full(true.shape[:2], 10.0), examples, 0)
    assert scales[7] == pytest.approx(3 * np.sqrt(3), rel=0.03)


def test_joints_without_annotation_do_not_count(picture):
    true = np.random.default_rng(0).normal(size=(3, NATIVE.n_joints, 3)) * 300 + [0, 0, 4000]
    predicted = true + [0, 0, 50.0]
    predicted[:, 5] += [30, 40, 0]
    sigma = np.linspace(1, 2, true[..., 0].size).reshape(true.shape[:2])
    examples = [_example(picture, pose) for pose in true]
    all_joints = evaluation.pose_errors(predicted, sigma, examples, 0)
    for example in examples:
        example.valid[5] = False
        example.joints3d[5] = 1e6
    without = evaluation.pose_errors(predicted, sigma, examples, 0)
    assert all_joints["mpjpe_mm"] == pytest.approx(50 / NATIVE.n_joints)
    assert without["mpjpe_mm"] == pytest.approx(0, abs=1e-6)
    assert without["pa_mpjpe_mm"] == pytest.approx(0, abs=1e-6)


def test_nobody_with_3d_labels_is_an_error(picture):
    example = replace(_example(picture, np.zeros([NATIVE.n_joints, 3])), joints3d=None)
    with pytest.raises(UserError, match="no example has a 3D label"):
        evaluation.evaluate(_Model(), [example])


class _Model:
    skeleton = NATIVE


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture of 300 x 200 pixels."""
    path = tmp_path_factory.mktemp("pictures") / "x.png"
    cv2.imwrite(str(path), np.zeros([200, 300, 3], np.uint8))
    return path


def _example(picture, joints3d):
    """Somebody all of whose joints are in one place of the picture, in a box on its left."""
    joints2d, valid = np.full([NATIVE.n_joints, 2], 50.0), np.ones(NATIVE.n_joints, bool)
    return Example(picture, np.array([0, 0, 100, 200], np.float32), joints2d, valid, Camera(np.eye(3)), joints3d.copy())
