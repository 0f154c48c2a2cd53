"""Scale recovery against closed forms and float64 NumPy written from the formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from metrabs_core.network import scale_recovery
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
        scale_recovery.reconstruct_absolute, pixels, relative, intrinsics, crop_side=SIDE, stride=STRIDE,
        weak_perspective=False,
    )  # fmt: skip
    np.testing.assert_allclose(out, poses, atol=distance * 2e-3)


def test_full_perspective_equals_weighted_least_squares_in_float64():
    poses, intrinsics, pixels = _scene(3)
    rng = np.random.default_rng(5)
    pixels = pixels + rng.normal(size=pixels.shape) * 2
    relative = poses - poses[:, :1] + rng.normal(size=poses.shape) * 20
    normalized = _run(scale_recovery.normalize, pixels, intrinsics).astype(np.float64)
    valid = rng.uniform(size=poses.shape[:2]) < 0.7
    expected = []
    for u, d, ok in zip(normalized, relative, valid):
        scale = np.sqrt((u**2).mean())
        rows, right = [], []
        for (ux, uy), (dx, dy, dz), w in zip(u, d, np.where(ok, 1, 1e-4)):
            root = np.sqrt(w)
            rows += [[root, 0, -root * ux / scale], [0, root, -root * uy / scale]]
            right += [root * (ux * dz - dx), root * (uy * dz - dy)]
        x, y, z = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
        expected.append([x, y, z / scale])
    out = ops.convert_to_numpy(
        scale_recovery.locate_reference_full(
            normalized.astype(np.float32), relative.astype(np.float32), ops.convert_to_tensor(valid)
        )
    )
    np.testing.assert_allclose(out, expected, rtol=2e-3, atol=2)


def test_weak_perspective_equals_the_formula_in_float64():
    poses, intrinsics, pixels = _scene(1, distance=6000)
    relative = poses - poses[:, :1]
    normalized = _run(scale_recovery.normalize, pixels, intrinsics).astype(np.float64)
    valid = np.random.default_rng(0).uniform(size=poses.shape[:2]) < 0.6
    expected = []
    for u, d, ok in zip(normalized, relative, valid):
        spread3d = np.sqrt(((d[ok, :2] - d[ok, :2].mean(0)) ** 2).sum(1).mean())
        spread2d = np.sqrt(((u[ok] - u[ok].mean(0)) ** 2).sum(1).mean())
        depth = spread3d / spread2d
        expected.append([*(u[ok].mean(0) * depth - d[ok, :2].mean(0)), depth - d[ok, 2].mean()])
    out = ops.convert_to_numpy(
        scale_recovery.locate_reference_weak(
            normalized.astype(np.float32), relative.astype(np.float32), ops.convert_to_tensor(valid)
        )
    )
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=0.5)


def test_in_view_joints_stay_on_their_rays_and_truncated_ones_follow_the_3d_head():
    poses, intrinsics, pixels = _scene(2, distance=2500, spread=500)
    inside = ((pixels >= STRIDE) & (pixels < SIDE - STRIDE)).all(-1)
    assert 0 < inside.sum() < inside.size
    garbage = np.where(inside[..., None], pixels, 3.0)  # the 2D head can't see what is outside
    relative = poses - poses[:, :1]
    out = _run(
        scale_recovery.reconstruct_absolute, garbage, relative, intrinsics, crop_side=SIDE, stride=STRIDE,
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
            scale_recovery.reconstruct_absolute, pixels, poses - poses[:, :1], k, crop_side=SIDE, stride=STRIDE,
            weak_perspective=weak_perspective,
        )[:, 0, 2]
        for k in (intrinsics, shorter)
    )  # fmt: skip
    np.testing.assert_allclose(near / far, 0.5, atol=0.06)


@pytest.mark.parametrize("distance", [2200.0, 5000.0, 15000.0])
def test_bone_lengths_give_the_root_depth(distance):
    rng = np.random.default_rng(8)
    poses = rng.normal(size=(3, NATIVE.n_joints, 3)) * 200 + [100, -50, distance]
    normalized = poses[..., :2] / poses[..., 2:]
    lengths = np.stack([np.linalg.norm(poses[:, a] - poses[:, b], axis=-1) for a, b in NATIVE.edges], 1)
    depths = poses[..., 2] - poses[:, :1, 2]
    out = ops.convert_to_numpy(
        scale_recovery.root_depth_from_bones(
            normalized.astype(np.float32), depths.astype(np.float32), NATIVE.edges, lengths.astype(np.float32)
        )
    )
    np.testing.assert_allclose(out, poses[:, 0, 2], rtol=2e-3)


def test_normalize_inverts_the_intrinsics_with_skew():
    intrinsics = np.array([[[500, 12, 130], [0, 480, 120], [0, 0, 1]]], np.float64)
    pixels = np.random.default_rng(0).uniform(0, 256, [1, 9, 2])
    expected = np.concatenate([pixels, np.ones([1, 9, 1])], -1) @ np.linalg.inv(intrinsics[0]).T
    np.testing.assert_allclose(_run(scale_recovery.normalize, pixels, intrinsics), expected[..., :2], atol=1e-6)
