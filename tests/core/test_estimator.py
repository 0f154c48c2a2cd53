"""Boxes to absolute poses, with people of coloured dots whose true place is known."""

import dot_people
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core import estimator
from metrabs_core.combined import MultipersonModel
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix

SIZE = (360, 480)
K = np.float32([[300, 0, 235], [0, 300, 180], [0, 0, 1]])
PINHOLE = np.zeros(5, np.float32)
LENS = np.float32([-0.25, 0.08, 0.002, -0.001, -0.01, 0.02, 0.01, 0.002])
CENTER = np.array([250.0, 150.0, 3000.0])
PERSON = dot_people.person(CENTER)
DISTANCES = np.linalg.norm(PERSON, axis=-1)
TOLERANCE_MM = 6.0

angles = st.floats(-0.5, 0.5)
slowly = settings(max_examples=8, deadline=None)


def _rotation(about_x, about_y, about_z):
    cx, cy, cz, sx, sy, sz = *np.cos([about_x, about_y, about_z]), *np.sin([about_x, about_y, about_z])
    x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return z @ y @ x


def _same_distances(azimuth):
    """The person at another place, with the same distances of the dots from the camera."""
    return PERSON @ _rotation(0, azimuth, 0).T


@pytest.fixture(scope="module")
def model():
    return MultipersonModel(dot_people.DotCropModel(DISTANCES))


def _estimate(model, people=(PERSON,), matrix=K, coeffs=PINHOLE, **options):
    image = dot_people.draw(people, matrix, coeffs, SIZE)
    boxes = dot_people.boxes(people, matrix, coeffs)
    result = model.estimate_poses(image, boxes, matrix, coeffs, **options)
    return {name: value.numpy() for name, value in result.items()}


@pytest.mark.parametrize("coeffs", [PINHOLE, LENS], ids=["pinhole", "lens"])
@pytest.mark.parametrize("num_aug", [1, 2, 5])
def test_people_are_where_they_are(model, coeffs, num_aug):
    aside = _same_distances(0.35)
    result = _estimate(model, [aside], coeffs=coeffs, num_aug=num_aug)
    np.testing.assert_allclose(result["poses3d"][0], dot_people.pose(aside), atol=TOLERANCE_MM)
    box = dot_people.boxes([aside], K, coeffs, margin=0)[0]
    pixels = result["poses2d"][0]
    np.testing.assert_allclose(pixels.min(axis=0), box[:2], atol=1)
    np.testing.assert_allclose(pixels.max(axis=0), box[:2] + box[2:], atol=1)


def test_the_same_lens_ignored_misplaces_people(model):
    aside = _same_distances(0.35)
    image = dot_people.draw([aside], K, LENS, SIZE)
    poses = model.estimate_poses(image, dot_people.boxes([aside], K, LENS), K, PINHOLE)["poses3d"].numpy()
    assert np.linalg.norm(poses[0] - dot_people.pose(aside), axis=-1).mean() > 10 * TOLERANCE_MM


@pytest.mark.parametrize(
    ("degrees", "name"),
    [(-74, "fisheye"), (-40, "equidistant"), (0, "fisheye"), (60, "kannala_brandt4"), (74, "fisheye")],
)
def test_people_before_a_fisheye_lens_are_where_they_are(model, degrees, name):
    height, width = 720, 960  # 170 degrees across
    matrix = np.float32([[width / np.deg2rad(170), 0, 479.5], [0, width / np.deg2rad(170), 359.5], [0, 0, 1]])
    coeffs = np.float32([0.02, -0.01, 0.003, -0.0005])
    person = PERSON @ _rotation(0, np.deg2rad(degrees) - np.arctan2(250, 3000), 0).T
    image = dot_people.draw([person], matrix, coeffs, (height, width), "fisheye")
    box = dot_people.boxes([person], matrix, coeffs, 12, "fisheye")
    result = model.estimate_poses(image, box, matrix, coeffs, distortion_model=name)
    np.testing.assert_allclose(result["poses3d"][0], dot_people.pose(person), atol=2 * TOLERANCE_MM)
    np.testing.assert_allclose(
        result["poses2d"][0],
        dot_people.pose(dot_people.project(person, matrix, coeffs, "fisheye")),
        atol=1,
    )
    ignored = model.estimate_poses(image, box, matrix, coeffs)["poses3d"][0]
    if abs(degrees) >= 40:
        assert np.linalg.norm(ignored - dot_people.pose(person), axis=-1).mean() > 10 * TOLERANCE_MM


def test_cameras_of_both_kinds_in_one_batch(model):
    matrix = np.float32([[200, 0, 239.5], [0, 200, 179.5], [0, 0, 1]])
    coeffs = np.float32([[0.03, -0.01, 0, 0], [-0.1, 0.02, 0.001, 0]])
    names = ["fisheye", ""]
    images = np.stack([dot_people.draw([PERSON], matrix, c, SIZE, name) for c, name in zip(coeffs, names)])
    boxes = np.stack([dot_people.boxes([PERSON], matrix, c, 12, name) for c, name in zip(coeffs, names)])
    result = model.estimate_poses_batched(
        images, tf.RaggedTensor.from_tensor(boxes), matrix[None], coeffs, distortion_model=names
    )
    for poses in result["poses3d"]:
        np.testing.assert_allclose(poses[0], dot_people.pose(PERSON), atol=2 * TOLERANCE_MM)


@slowly
@given(angles, angles, angles, st.tuples(*[st.floats(-2000, 2000)] * 3))
def test_world_poses_turn_and_move_with_the_extrinsics(model, about_x, about_y, about_z, translation):
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = _rotation(about_x, about_y, about_z), translation
    result = _estimate(model, extrinsic_matrix=np.float32(extrinsics), num_aug=1)
    world = (dot_people.pose(PERSON) - translation) @ extrinsics[:3, :3]
    np.testing.assert_allclose(result["poses3d"][0], world, atol=TOLERANCE_MM)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_rolling_the_camera_changes_nothing_when_up_is_told(model, quarter_turns):
    roll = _rotation(0, 0, quarter_turns * np.pi / 2)
    side = 400
    matrix = np.float32([[420, 0, (side - 1) / 2], [0, 420, (side - 1) / 2], [0, 0, 1]])
    image = dot_people.draw([PERSON], matrix, PINHOLE, (side, side))
    # counter-clockwise from top to left
    rolled_image = np.rot90(image, -quarter_turns).copy()
    rolled_box = dot_people.boxes([PERSON @ roll.T], matrix, PINHOLE)
    extrinsics = np.eye(4, dtype=np.float32)
    extrinsics[:3, :3] = roll
    poses = model.estimate_poses(rolled_image, rolled_box, matrix, extrinsic_matrix=extrinsics, num_aug=1)["poses3d"]
    np.testing.assert_allclose(poses[0], dot_people.pose(PERSON), atol=TOLERANCE_MM)


def test_crops_are_upright_when_up_is_told():
    class Upright(dot_people.DotCropModel):
        """Keeps which way the head is in the crop, as the spread of a second of its outputs: up is 1, down is 2."""

        @tf.function(autograph=False)
        def estimate(self, crops, intrinsics):
            prediction = super().estimate(crops, intrinsics)
            head, pelvis = prediction["poses3d"][:, NATIVE.index("head")], prediction["poses3d"][:, 0]
            is_up = head[:, 1] < pelvis[:, 1] - 500
            return {**prediction, "uncertainty": tf.where(is_up[:, None], 1.0, tf.fill([tf.shape(is_up)[0], 34], 2.0))}

    model = MultipersonModel(Upright(DISTANCES))
    upside_down = np.float32([[-1, 0, 0], [0, -1, 0], [0, 0, 1]])
    people = [PERSON @ upside_down]
    assert (_estimate(model, people, num_aug=1)["uncertainties"] == 2).all()
    assert (_estimate(model, people, num_aug=1, world_up_vector=np.float32([0, 1, 0]))["uncertainties"] == 1).all()


def test_augmentations_follow_the_paper():
    five = {name: value.numpy() for name, value in estimator.test_time_augmentation(tf.constant(5), 25.0).items()}
    np.testing.assert_allclose(five["scale"], [0.8, 0.9, 1.0, 1.05, 1.1], atol=1e-6)
    np.testing.assert_allclose(five["gamma"], np.linspace(0.6, 1.0, 5), atol=1e-6)
    np.testing.assert_array_equal(five["is_mirrored"], [False, True, False, True, False])
    side = np.where(five["is_mirrored"], -1, 1)
    np.testing.assert_allclose(np.linalg.det(five["rotation"]), side, atol=1e-5)
    roll = np.rad2deg(np.arctan2(five["rotation"][:, 1, 0], five["rotation"][:, 1, 1]))
    np.testing.assert_allclose(roll, [25, 12.5, 0, -12.5, -25], atol=1e-3)  # of the picture, against the camera's
    one = {name: value.numpy() for name, value in estimator.test_time_augmentation(tf.constant(1), 25.0).items()}
    np.testing.assert_allclose(one["rotation"][0], np.eye(3), atol=1e-7)
    assert (one["scale"], one["gamma"], one["is_mirrored"]) == (1, 1, False)


def test_two_crops_are_the_plain_one_and_its_mirror_image():
    two = {name: value.numpy() for name, value in estimator.test_time_augmentation(tf.constant(2), 25.0).items()}
    np.testing.assert_allclose(two["rotation"], [np.diag([-1, 1, 1]), np.eye(3)], atol=1e-7)
    for name, expected in {"scale": [1, 1], "gamma": [1, 1], "is_mirrored": [True, False]}.items():
        np.testing.assert_array_equal(two[name], expected)


def test_a_model_may_ask_for_a_margin_and_for_milder_rolls():
    class Telling(dot_people.DotCropModel):
        """Takes everybody for upright in the crop, and tells the crop's focal length as the uncertainty."""

        def estimate(self, crops, intrinsics):
            heights = tf.linspace(0.0, -1000.0, 34)
            pose = tf.stack([0 * heights, heights, 0 * heights + 3000], axis=-1)
            poses = tf.tile(pose[tf.newaxis], [tf.shape(crops)[0], 1, 1])
            return {"poses3d": poses, "uncertainty": tf.tile(intrinsics[:, :1, 0], [1, 34])}

    asking = Telling(DISTANCES)
    asking.crop_margin, asking.max_roll_degrees = 1.25, 8.0
    plain, asking = MultipersonModel(Telling(DISTANCES)), MultipersonModel(asking)
    focal = [_estimate(model, num_aug=1)["uncertainties"] for model in (plain, asking)]
    np.testing.assert_allclose(focal[0], 1.25 * focal[1], rtol=1e-5)
    assert _rolls(asking) == pytest.approx([8, 4, 0, -4, -8], abs=0.1)
    assert _rolls(plain) == pytest.approx([25, 12.5, 0, -12.5, -25], abs=0.1)


def _rolls(model):
    """Degrees by which the five crops of test-time augmentation are rolled against the third."""
    poses = _estimate(model, num_aug=5, average_aug=False)["poses3d"][0]
    up = poses[:, NATIVE.index("htop")] - poses[:, NATIVE.index("pelv")]  # which mirroring does not swap
    cosine = up @ up[2] / np.linalg.norm(up, axis=1) / np.linalg.norm(up[2])
    return np.sign(np.cross(up, up[2]) @ poses[2].mean(axis=0)) * np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("num_aug", [2, 3, 4, 6])
def test_every_augmented_crop_gives_the_same_person(model, num_aug):
    result = _estimate(model, num_aug=num_aug, average_aug=False)
    assert result["poses3d"].shape == (1, num_aug, 34, 3)
    assert result["poses2d"].shape == (1, num_aug, 34, 2)
    truth = np.broadcast_to(dot_people.pose(PERSON), [num_aug, 34, 3])
    np.testing.assert_allclose(result["poses3d"][0], truth, atol=2 * TOLERANCE_MM)
    np.testing.assert_allclose(result["uncertainties"], dot_people.SIGMA, atol=1e-4)


def test_uncertainty_joins_heatmap_and_augmentation_spread(model):
    each, mean = (_estimate(model, num_aug=5, average_aug=flag) for flag in (False, True))
    np.testing.assert_allclose(mean["poses3d"], each["poses3d"].mean(axis=1), atol=TOLERANCE_MM)
    centred = each["poses3d"] - each["poses3d"].mean(axis=2, keepdims=True)
    deviation = np.linalg.norm(centred - centred.mean(axis=1, keepdims=True), axis=-1)
    expected = np.sqrt(dot_people.SIGMA**2 + (deviation**2).mean(axis=1))
    np.testing.assert_allclose(mean["uncertainties"], expected, rtol=1e-3)
    assert (mean["uncertainties"] > dot_people.SIGMA).all()


def test_the_batch_size_does_not_matter_and_order_is_kept(model):
    people = [_same_distances(azimuth) for azimuth in (-0.5, 0.45, 0.0)]
    whole = _estimate(model, people, num_aug=4)["poses3d"]
    np.testing.assert_allclose(whole, dot_people.pose(np.array(people)), atol=TOLERANCE_MM)
    for batch_size in (0, 1, 5, 12):
        parts = _estimate(model, people, num_aug=4, internal_batch_size=batch_size)["poses3d"]
        np.testing.assert_allclose(parts, whole, atol=0.01)


def test_antialias_factor_keeps_poses(model):
    poses = _estimate(model, antialias_factor=3, num_aug=1)["poses3d"]
    np.testing.assert_allclose(poses[0], dot_people.pose(PERSON), atol=TOLERANCE_MM)


@pytest.mark.parametrize("skeleton", [name for name in SKELETONS if name != NATIVE.name])
def test_skeletons_are_converted(model, skeleton):
    matrix = conversion_matrix(SKELETONS[skeleton])
    result = _estimate(model, skeleton=skeleton, num_aug=1)
    np.testing.assert_allclose(result["poses3d"][0], matrix @ dot_people.pose(PERSON), atol=TOLERANCE_MM)
    np.testing.assert_allclose(result["uncertainties"], dot_people.SIGMA, rtol=1e-4)
    assert result["poses2d"].shape == (1, SKELETONS[skeleton].n_joints, 2)
