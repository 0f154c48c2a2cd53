"""Scale recovery against closed forms and float64 NumPy written from the formulas."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from keras import ops

from metrabs_core.network import reconstruction
from metrabs_core.skeletons import NATIVE

SIDE, STRIDE = 256, 32


def _scene(seed, distance=3000.0, spread=250.0, n=4, n_joints=20):
    """Random people in front of random cameras: poses [N, J, 3] mm, intrinsics, exact pixels."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(n, n_joints, 3)) * spread + [0, 0, distance]
    intrinsics = np.zeros([n, 3, 3])
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = rng.uniform(200, 400, n)
    intrinsics[:, :2, 2] = SIDE / 2 + rng.uniform(-10, 10, [n, 2])
    intrinsics[:, 2, 2] = 1
    image = np.einsum("nij,nkj->nki", intrinsics, poses)
    return poses, intrinsics, image[..., :2] / image[..., 2:]


def _run(function, *arrays, **kwargs):
    return ops.convert_to_numpy(function(*(np.asarray(a, np.float32) for a in arrays), **kwargs))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), distance=st.floats(2000, 9000))
def test_full_perspective_recovers_exact_poses_and_their_distance(seed, distance):
    poses, intrinsics, pixels = _scene(seed, distance)
    relative = poses - poses[:, :1] + 77.0
    out = _run(
        reconstruction.reconstruct_absolute, pixels, relative, intrinsics, crop_side=SIDE, stride=STRIDE,
        weak_perspective=False,
    )  # fmt: skip
    np.testing.assert_allclose(out, poses, atol=distance * 2e-3)


def _reconstruct(pixels, relative, intrinsics, weak_perspective):
    """``reconstruct_absolute`` in float64, joint by joint."""
    out = []
    for points, pose, k in zip(pixels, relative, intrinsics):
        rays = np.array([np.linalg.solve(k, [x, y, 1]) for x, y in points])
        inside = np.array([STRIDE <= x < SIDE - STRIDE and STRIDE <= y < SIDE - STRIDE for x, y in points])
        if weak_perspective:
            depth = np.sqrt(pose[inside, :2].var(0).sum() / rays[inside, :2].var(0).sum())
            centre = np.array([*(rays[inside, :2].mean(0) * depth), depth])
            reference = centre - pose[inside].mean(0)
        else:
            rows, right = [], []
            for (x, y, _), (dx, dy, dz), is_inside in zip(rays, pose, inside):
                weight = 1 if is_inside else 1e-4
                rows += [[weight, 0, -weight * x], [0, weight, -weight * y]]
                right += [weight * (x * dz - dx), weight * (y * dz - dy)]
            reference = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
        absolute = pose + reference
        out.append([ray * p[2] if is_inside else p for ray, p, is_inside in zip(rays, absolute, inside)])
    return np.array(out)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    distance=st.floats(2000, 9000),
    spread=st.floats(150, 500),
    weak_perspective=st.booleans(),
)
def test_absolute_poses_equal_float64_with_noise_and_truncation(seed, distance, spread, weak_perspective):
    poses, intrinsics, pixels = _scene(seed, distance, spread)
    intrinsics[:, 0, 1] = 7.0  # skew
    rng = np.random.default_rng(seed + 1)
    pixels = pixels + rng.normal(size=pixels.shape) * 2
    relative = poses - poses[:, :1] + rng.normal(size=poses.shape) * 20
    inside = ((pixels >= STRIDE) & (pixels < SIDE - STRIDE)).all(-1)
    assume(inside.sum(1).min() >= 4)
    expected = _reconstruct(pixels, relative, intrinsics, weak_perspective)
    out = _run(
        reconstruction.reconstruct_absolute, pixels, relative, intrinsics, crop_side=SIDE, stride=STRIDE,
        weak_perspective=weak_perspective,
    )  # fmt: skip
    np.testing.assert_allclose(out, expected, atol=distance * 1e-3)


def test_in_view_joints_stay_on_their_rays_and_truncated_ones_follow_the_3d_head():
    poses, intrinsics, pixels = _scene(2, distance=2500, spread=500)
    inside = ((pixels >= STRIDE) & (pixels < SIDE - STRIDE)).all(-1)
    assert 0 < inside.sum() < inside.size
    garbage = np.where(inside[..., None], pixels, 3.0)  # the 2D head can't see what is outside
    relative = poses - poses[:, :1]
    out = _run(
        reconstruction.reconstruct_absolute, garbage, relative, intrinsics, crop_side=SIDE, stride=STRIDE,
        weak_perspective=False,
    )  # fmt: skip
    np.testing.assert_allclose(out, poses, atol=6)  # the others count with weight 1e-4
    projected = np.einsum("nij,nkj->nki", intrinsics, out)
    projected = projected[..., :2] / projected[..., 2:]
    np.testing.assert_allclose(projected[inside], pixels[inside], atol=0.01)


@pytest.mark.parametrize("weak_perspective", [True, False])
def test_half_the_focal_length_is_half_the_distance(weak_perspective):
    poses, intrinsics, pixels = _scene(4, distance=7000)
    shorter = intrinsics * np.array([[0.5, 1, 1], [1, 0.5, 1], [1, 1, 1]])
    far, near = (
        _run(
            reconstruction.reconstruct_absolute, pixels, poses - poses[:, :1], k, crop_side=SIDE, stride=STRIDE,
            weak_perspective=weak_perspective,
        )[:, 0, 2]
        for k in (intrinsics, shorter)
    )  # fmt: skip
    np.testing.assert_allclose(near / far, 0.5, atol=0.06)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), distance=st.floats(1500, 15000), noise=st.sampled_from([0.0, 30.0]))
def test_bone_lengths_give_the_root_depth_that_scipy_finds(seed, distance, noise):
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(3, NATIVE.n_joints, 3)) * 200 + [100, -50, distance]
    rays = poses / poses[..., 2:]
    lengths = np.stack([np.linalg.norm(poses[:, a] - poses[:, b], axis=-1) for a, b in NATIVE.edges], 1)
    lengths = np.abs(lengths + rng.normal(size=lengths.shape) * noise)
    depths = poses[..., 2] - poses[:, :1, 2]
    expected = []
    for ray, depth, target in zip(rays, depths, lengths):

        def residuals(z, ray=ray, depth=depth, target=target):
            joints = ray * (z + depth)[:, None]
            return [np.linalg.norm(joints[a] - joints[b]) - t for (a, b), t in zip(NATIVE.edges, target)]

        expected.append(scipy.optimize.least_squares(residuals, 2000.0, method="lm").x[0])
    out = _run(reconstruction.root_depth_from_bones, rays[..., :2], depths, edges=NATIVE.edges, bone_lengths=lengths)
    np.testing.assert_allclose(out, expected, rtol=2e-3)
    if not noise:
        np.testing.assert_allclose(out, poses[:, 0, 2], rtol=2e-3)


@pytest.mark.parametrize("weak_perspective", [True, False])
def test_gradients_are_finite_even_if_all_joints_are_at_one_point_or_out_of_view(weak_perspective):
    # as in the first steps of training, where the absolute loss has no weight yet: 0 * infinity would be no number
    import tensorflow as tf

    intrinsics = tf.constant([[[300.0, 0, 128], [0, 300, 128], [0, 0, 1]]] * 3)
    spread = np.random.default_rng(0).uniform(-60, 60, (9, 2))
    points2d = tf.constant(np.float32([np.full([9, 2], 128), np.full([9, 2], 2), spread - 500]))
    coords3d = tf.constant(np.float32([np.zeros([9, 3]), np.ones([9, 3]), np.ones([9, 3])]))
    with tf.GradientTape() as tape:
        tape.watch([points2d, coords3d])
        poses = reconstruction.reconstruct_absolute(points2d, coords3d, intrinsics, SIDE, STRIDE, weak_perspective)
        loss = tf.reduce_mean(tf.abs(poses))
    for gradient in tape.gradient(loss, [points2d, coords3d]):
        assert np.isfinite(gradient).all()


def test_normalize_inverts_the_intrinsics_with_skew():
    intrinsics = np.array([[[500, 12, 130], [0, 480, 120], [0, 0, 1]]], np.float64)
    pixels = np.random.default_rng(0).uniform(0, 256, [1, 9, 2])
    expected = np.concatenate([pixels, np.ones([1, 9, 1])], -1) @ np.linalg.inv(intrinsics[0]).T
    np.testing.assert_allclose(_run(reconstruction.normalize, pixels, intrinsics), expected[..., :2], atol=1e-6)
