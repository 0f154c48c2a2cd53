"""The NumPy camera against OpenCV and closed forms, and its TensorFlow twin against it."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core import geometry
from metrabs_core.cameras import LENS_MODELS, RADII, Camera, look_at_rotation, roll_rotation
from metrabs_core.errors import UserError

K = np.array([[700, 3, 310], [0, 720, 250], [0, 0, 1.0]])
FISHEYE_K = np.array([[260, 0, 322.0], [0, 255, 236.5], [0, 0, 1]])
ZERO = np.zeros(3)

lenses = st.tuples(
    *[st.floats(-limit, limit) for limit in (0.25, 0.08, 0.003, 0.003, 0.03, 0.05, 0.02, 0.01, *[0.003] * 4)]
)
# one-to-one up to 85 degrees, all of them
fisheye_lenses = st.tuples(*[st.floats(-limit, limit) for limit in (0.05, 0.01, 0.002, 0.0005)])
cameras = st.one_of(
    lenses.map(lambda coeffs: Camera(K, coeffs)),
    fisheye_lenses.map(lambda coeffs: Camera(FISHEYE_K, coeffs, "fisheye")),
)
seeds = st.integers(0, 2**32 - 1)
quickly = settings(max_examples=30, deadline=None)


def directions(seed, max_degrees, n=50):
    """Unit vectors up to an angle from the optical axis, some on it and some at the angle."""
    rng = np.random.default_rng(seed)
    angle = np.deg2rad(np.r_[0, max_degrees, rng.uniform(0, max_degrees, n - 2)])
    around = rng.uniform(0, 2 * np.pi, n)
    return np.stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)], -1)


def calibration(*cameras):
    """The same cameras as TensorFlow's are made of."""
    coeffs = [np.pad(camera.distortion_coeffs, (0, 12 - len(camera.distortion_coeffs))) for camera in cameras]
    return (
        np.float32([camera.intrinsic_matrix for camera in cameras]),
        np.float32(coeffs),
        np.array([camera.is_fisheye for camera in cameras]),
        np.float32([camera.extrinsic_matrix for camera in cameras]),
    )


def twin(*cameras):
    """The same cameras in TensorFlow."""
    return geometry.Cameras.calibrated(*calibration(*cameras))


# As graphs, which are what models are made of, and many times as fast.
@tf.function
def seen_by_twin(intrinsics, coeffs, is_fisheye, extrinsics, points):
    cameras = geometry.Cameras.calibrated(intrinsics, coeffs, is_fisheye, extrinsics)
    pixels, seen = cameras.project_and_see(points)
    return pixels, seen, cameras.rays(pixels), cameras.lens


@tf.function
def facing_by_twin(intrinsics, coeffs, is_fisheye, extrinsics, boxes, up):
    return geometry.Cameras.calibrated(intrinsics, coeffs, is_fisheye, extrinsics).facing_boxes(boxes, up, 200)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# Against OpenCV


@quickly
@given(lenses, seeds)
def test_pinhole_projection_is_opencvs(coeffs, seed):
    points = directions(seed, 35) * 3000
    straight = K * [[1, 0, 1], [1, 1, 1], [1, 1, 1]]  # OpenCV knows no skew
    expected = cv2.projectPoints(points, ZERO, ZERO, straight, np.array(coeffs))[0][:, 0]
    np.testing.assert_allclose(Camera(straight, coeffs).project(points), expected, atol=1e-8)


@quickly
@given(fisheye_lenses, seeds)
def test_fisheye_projection_is_opencvs(coeffs, seed):
    points = directions(seed, 85) * 3000
    expected = cv2.fisheye.projectPoints(points[:, None], ZERO, ZERO, FISHEYE_K, np.array(coeffs))[0][:, 0]
    np.testing.assert_allclose(Camera(FISHEYE_K, coeffs, "equidistant").project(points), expected, atol=1e-8)


@quickly
@given(fisheye_lenses, seeds)
def test_fisheye_rays_are_opencvs(coeffs, seed):
    camera = Camera(FISHEYE_K, coeffs, "kannala_brandt4")
    pixels = camera.project(directions(seed, 80))
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    plane = cv2.fisheye.undistortPoints(pixels[:, None], FISHEYE_K, np.array(coeffs), criteria=criteria)[:, 0]
    # OpenCV takes nothing for visible that is further than pi/2 from the middle
    known = np.linalg.norm((pixels - FISHEYE_K[:2, 2]) / [260, 255], axis=-1) < np.pi / 2
    np.testing.assert_allclose(camera.rays(pixels)[known], unit(np.c_[plane, np.ones(len(plane))])[known], atol=1e-7)


def test_no_coefficients_are_the_ideal_lenses():
    angles = np.deg2rad([0, 10, 45, 80])
    points = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1)
    np.testing.assert_allclose(Camera(np.eye(3)).project(points)[:, 0], np.tan(angles))
    np.testing.assert_allclose(Camera(np.eye(3), (), "fisheye").project(points)[:, 0], angles)


# Inverses, and where a lens ends


@quickly
@given(cameras, seeds)
def test_rays_are_the_inverse_of_projection(camera, seed):
    rays = directions(seed, 85 if camera.is_fisheye else 30)
    np.testing.assert_allclose(camera.rays(camera.project(rays * 2500)), rays, atol=1e-9)
    assert camera.sees(rays).all()


def test_a_fisheye_lens_sees_behind_itself():
    camera = Camera(FISHEYE_K, [0.01, 0, 0, 0], "fisheye")
    rays = directions(0, 110)
    assert (rays[:, 2] < 0).any() and camera.sees(rays).all()
    np.testing.assert_allclose(camera.rays(camera.project(rays)), rays, atol=1e-9)


@pytest.mark.parametrize("k1", [-0.1, -0.25, -0.5])
def test_a_lens_ends_where_it_folds_over(k1):
    fold = 1 / np.sqrt(-3 * k1)  # where the derivative of r + k1 r^3 is zero
    for model in ("", "fisheye"):
        camera = Camera(np.eye(3), [k1, 0, 0, 0], model)
        assert 0.98 * fold < camera.valid_radius <= fold
        beyond = [np.sin(2.2), 0, np.cos(2.2)] if model else [5, 0, 1]
        assert not camera.sees(beyond)
        # its place is at the border of the picture, not folded back inside
        assert camera.project(beyond)[0] == pytest.approx(fold + k1 * fold**3, rel=0.002)


@quickly
@given(cameras)
def test_within_the_valid_radius_a_larger_angle_is_further_out(camera):
    radius = np.linspace(0, camera.valid_radius, 1000)
    angle = radius if camera.is_fisheye else np.arctan(radius)
    radial = replace(camera, distortion_coeffs=_radial_only(camera))
    x = radial.project(np.stack([np.sin(angle), 0 * angle, np.cos(angle)], -1))[:, 0]
    assert (np.diff(x) > 0).all()


def _radial_only(camera):
    coeffs = camera.distortion_coeffs.copy()
    if not camera.is_fisheye:
        coeffs[[2, 3, *range(8, len(coeffs))]] = 0
    return coeffs


def test_what_is_behind_a_pinhole_is_far_outside_and_finite():
    camera = Camera(K)
    pixels = camera.project([[100.0, 0, -500], [0, 0, -1], [0, 0, 0], [3, 0, 0]])
    assert np.isfinite(pixels).all()
    assert pixels[0, 0] > 5000 and pixels[3, 0] > 5000
    assert not camera.sees([[100.0, 0, -500], [0, 0, -1]]).any()


# The TensorFlow twin


@quickly
@given(cameras, cameras, seeds)
def test_the_twin_sees_the_same(first, second, seed):
    points = np.float32(directions(seed, 89) * np.random.default_rng(seed).uniform(1, 4000, (50, 1)))
    both = [tf.constant(array) for array in calibration(first, second)]
    pixels, seen, rays, lens = seen_by_twin(*both, tf.constant(np.stack([points, points])))
    for i, camera in enumerate((first, second)):
        # where a lens ends is known to a step of the radii on which it is searched
        step = RADII[1] / RADII[0]
        assert float(lens[i, 13]) == pytest.approx(camera.valid_radius, rel=1.001 * (step - 1))
        inside = np.linalg.norm(camera._ideal(points)[0], axis=-1) < camera.valid_radius / step
        # what is far outside of every picture has no precise place
        inside &= np.abs(camera.project(points)).max(-1) < 5000
        scale = np.abs(camera.project(points) - camera.intrinsic_matrix[:2, 2]).max(-1, keepdims=True)[inside]
        assert np.all(np.abs(pixels[i].numpy() - camera.project(points))[inside] < 2e-5 * scale + 2e-3)
        np.testing.assert_array_equal(seen[i].numpy()[inside], camera.sees(points)[inside])
        # where the lens squeezes the picture a pixel's rounding is a large angle
        back = camera.project(unit(rays[i].numpy().astype(np.float64)))
        near = inside & (camera.is_fisheye | (unit(points)[:, 2] > 0.8))
        scale = np.abs(back - camera.intrinsic_matrix[:2, 2]).max(-1, keepdims=True)[near]
        assert np.all(np.abs(back - pixels[i].numpy())[near] < 1e-4 * scale + 5e-3)


@quickly
@given(cameras, st.tuples(*[st.floats(40, 260)] * 4), st.tuples(*[st.floats(-0.3, 0.3)] * 2))
def test_the_twin_faces_boxes_alike(camera, box, tilt):
    up = np.float32([tilt[0], -1, tilt[1]])
    arrays = *calibration(camera), np.float32([box]), up[None]
    rotation, focal = facing_by_twin(*map(tf.constant, arrays))
    view = camera.facing_box(box, 200, up)
    np.testing.assert_allclose(rotation[0], view.rotation_from(camera), atol=1e-4)
    np.testing.assert_allclose(focal[0], view.intrinsic_matrix[0, 0], rtol=1e-3)


def test_the_twin_has_the_same_rotations_world_and_fields_of_view():
    rng = np.random.default_rng(0)
    direction, up = rng.normal(size=(2, 3))
    np.testing.assert_allclose(
        geometry.look_at_rotation(np.float32(direction), np.float32(up)), look_at_rotation(direction, up), atol=1e-6
    )
    np.testing.assert_allclose(geometry.roll_rotation(tf.constant(0.7)), roll_rotation(0.7), atol=1e-6)
    camera = Camera(K).turned_towards(direction, up)
    camera = replace(camera, extrinsic_matrix=camera.extrinsic_matrix + np.outer([10, 20, 30, 0], [0, 0, 0, 1]))
    points = rng.normal(size=(5, 3)) * 100
    np.testing.assert_allclose(
        twin(camera).to_world(tf.constant(points[None], tf.float32))[0], camera.to_world(points), atol=1e-3
    )
    for size in ((640, 480), (480, 640)):
        matrix = geometry.intrinsics_from_field_of_view(70.0, tf.constant(size[::-1]))
        np.testing.assert_allclose(matrix, Camera.from_fov(70, *size).intrinsic_matrix, rtol=1e-6)


# Other cameras at the same place


@quickly
@given(cameras, seeds)
def test_changes_of_the_picture_move_pixels_accordingly(camera, seed):
    points = directions(seed, 30)
    pixels = camera.project(points)
    np.testing.assert_allclose(camera.shifted([30, -7]).project(points), pixels - [30, -7], atol=1e-9)
    # pixel centres are integers, and the picture's corner stays at -0.5
    np.testing.assert_allclose(camera.scaled((2, 0.5)).project(points) + 0.5, (pixels + 0.5) * [2, 0.5], atol=1e-9)
    middle = camera.intrinsic_matrix[:2, 2]
    np.testing.assert_allclose(camera.zoomed(3).project(points) - middle, 3 * (pixels - middle), atol=1e-7)


@quickly
@given(cameras, seeds)
def test_a_turned_camera_looks_where_it_was_turned(camera, seed):
    rotation = look_at_rotation([0.3, 0.5, 1], [0.1, -1, 0])
    extrinsics = np.vstack([np.c_[rotation, [100, -200, 3000]], [0, 0, 0, 1]])
    camera = replace(camera, extrinsic_matrix=extrinsics)
    direction = directions(seed, 40)[-1]
    target = camera.to_world(direction * 2000)
    turned = camera.turned_towards(direction)
    np.testing.assert_allclose(turned.to_camera(target), [0, 0, 2000], atol=1e-6)
    np.testing.assert_allclose(turned.position, camera.position, atol=1e-6)
    np.testing.assert_allclose(camera.to_world(camera.to_camera(target)), target, atol=1e-6)
    # up is up: no sideways component
    np.testing.assert_allclose((turned.rotation_from(camera) @ [0, -1, 0])[0], 0, atol=1e-12)


@quickly
@given(cameras, st.tuples(st.floats(20, 400), st.floats(20, 300), st.floats(30, 300), st.floats(30, 300)))
def test_a_box_fills_the_view_that_faces_it(camera, box):
    view = camera.facing_box(box, 200)
    left, top, width, height = box
    middles = np.array([[width / 2, 0], [0, height / 2], [width / 2, height], [width, height / 2]]) + [left, top]
    seen = view.project(camera.rays(middles) @ view.rotation_from(camera).T)
    extents = np.linalg.norm(seen[0] - seen[2]), np.linalg.norm(seen[1] - seen[3])
    assert max(extents) == pytest.approx(200, rel=1e-6)
    center = camera.rays(np.array([left + width / 2, top + height / 2]))
    np.testing.assert_allclose(view.project(view.rotation_from(camera) @ center), [99.5, 99.5], atol=1e-6)


def test_a_box_that_nothing_can_see_is_refused():
    with pytest.raises(UserError, match=r"The box \[10.0, nan.*nowhere"):
        Camera(K).facing_box([10.0, np.nan, 5.0, 5.0], 100)


@pytest.mark.parametrize(
    "camera",
    [
        Camera(K),
        Camera(K, [-0.25, 0.08, 0.001, -0.002, -0.01, 0.02, 0.01, 0.002]),
        Camera(FISHEYE_K, [0.03, -0.01, 0.004, -0.001], "fisheye"),
    ],
    ids=["pinhole", "lens", "fisheye"],
)
def test_a_reprojected_picture_shows_what_the_view_sees(camera):
    x, y = np.meshgrid(np.arange(640), np.arange(480))
    picture = np.stack([x, y, np.full_like(x, 1000)], -1).astype(np.float32)  # every pixel tells its place
    view = Camera.pinhole(150, (99.5, 79.5)).turned_towards([0.5, 0.2, 1])
    seen = camera.reprojected(picture, view, (200, 160))
    pixels = np.stack(np.meshgrid(np.arange(200), np.arange(160)), -1)
    expected = camera.project(view.rays(pixels) @ camera.rotation_from(view).T)
    inside = ((expected > 1) & (expected < [638, 478])).all(-1)
    assert inside.mean() > 0.3
    # a pixel of the view is three or four of the picture
    np.testing.assert_allclose(seen[inside][:, :2], expected[inside], atol=0.1)
    outside = ((expected < -2) | (expected > [641, 481])).any(-1)
    assert (seen[outside] == 0).all()


def test_what_a_folding_lens_does_not_see_is_black():
    camera = Camera(K * [[0.2, 0, 1], [0, 0.2, 1], [1, 1, 1]], [-0.3, 0, 0, 0])  # folds over at 46 degrees
    white = np.full([500, 640], 255, np.uint8)
    view = Camera.pinhole(60, (99.5, 99.5))
    seen = camera.reprojected(white, view, (200, 200))
    angle = np.arccos(view.rays(np.stack(np.meshgrid(np.arange(200), np.arange(200)), -1))[..., 2])
    assert (seen[angle > np.deg2rad(50)] == 0).all() and (seen[angle < np.deg2rad(42)] == 255).all()


# What is a camera


def test_a_camera_cannot_be_changed():
    matrix, coeffs = K.copy(), np.array([0.1, 0, 0, 0, 0])
    camera = Camera(matrix, coeffs)
    with pytest.raises(ValueError, match="read-only"):
        camera.intrinsic_matrix[0, 0] = 1
    matrix[0, 0] = coeffs[0] = 5
    assert camera.intrinsic_matrix[0, 0] == 700 and camera.distortion_coeffs[0] == 0.1
    again = pickle.loads(pickle.dumps(camera))
    np.testing.assert_array_equal(again.project([0.1, 0.2, 1]), camera.project([0.1, 0.2, 1]))


@pytest.mark.parametrize(
    ("given_coeffs", "model", "expected"),
    [
        ((), "", np.zeros(5)),
        ([0.1, 0.2], "", [0.1, 0.2, 0, 0, 0]),
        ([[0.1], [0.2], [0], [0], [0.3]], "plumb_bob", [0.1, 0.2, 0, 0, 0.3]),
        ([0.1, 0.2, 0, 0, 0.3, 0, 0, 0], "plumb_bob", [0.1, 0.2, 0, 0, 0.3]),
        ([0.1, 0, 0, 0, 0, 0, 0, 0.02], "rational_polynomial", [0.1, 0, 0, 0, 0, 0, 0, 0.02]),
        ([*[0.01] * 9, 0, 0, 0, 0, 0], "", [*[0.01] * 9, 0, 0, 0]),
        (np.zeros(14), "none", np.zeros(5)),
        ([], "fisheye", np.zeros(4)),
        ([0.1, 0.2, 0, 0, 0], "Equidistant", [0.1, 0.2, 0, 0]),
    ],
)
def test_coefficients_are_brought_to_the_shortest_form(given_coeffs, model, expected):
    camera = Camera(K, given_coeffs, model)
    np.testing.assert_array_equal(camera.distortion_coeffs, expected)
    assert camera.distortion_model == ("fisheye" if len(expected) == 4 else "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((K.T,), "last row of the intrinsic matrix must be 0 0 1; is it transposed"),
        ((K, (), "", np.eye(4) + np.eye(4)[:, ::-1]), "last row of the extrinsic matrix must be 0 0 0 1"),
        ((K[:2],), r"must be 3 x 3 numbers; its shape is \[2, 3\]"),
        ((K * np.nan,), "not finite"),
        (("matrix",), "must be 3 x 3 numbers"),
        ((K * [[-1], [1], [1]],), "focal lengths of an intrinsic matrix must be positive"),
        ((K, [1e20, 0, 0, 0, 0]), "of no lens"),
        ((K, [np.nan, 0, 0, 0, 0]), "of no lens"),
        ((K, [-1e8, 0, 0, 0, 0]), "fold the picture over"),
        ((K, ["a"]), "must be numbers"),
        ((K, [0.1] * 6, "plumb_bob"), "plumb_bob has 5 distortion coefficients, but here more are not zero"),
        ((K, [0.1] * 5, "fisheye"), "fisheye has 4 distortion coefficients"),
        ((K, [0.1], "none"), "none has 0 distortion coefficients"),
        ((K, [*[0.0] * 12, 0.1, 0]), "tilted sensor"),
        ((K, (), "omnidirectional"), "'omnidirectional' is not known; known are .*equidistant"),
    ],
)
def test_what_is_no_camera_is_refused_in_one_sentence(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        Camera(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fov", [0, -10, 180, np.nan])
def test_impossible_fields_of_view_are_refused(fov):
    with pytest.raises(UserError, match="between 0 and 180"):
        Camera.from_fov(fov, 640, 480)


@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_field_of_view_spans_the_longer_side(size):
    camera = Camera.from_fov(60, *size)
    borders = camera.rays([[-0.5, -0.5], [size[0] - 0.5, size[1] - 0.5]])
    longer = int(size[1] > size[0])
    np.testing.assert_allclose(np.rad2deg(np.arctan2(borders[:, longer], borders[:, 2])), [-30, 30])


def test_every_name_of_a_lens_model_is_known():
    assert {Camera(K, (), name).distortion_model for name in LENS_MODELS} == {"", "fisheye"}
