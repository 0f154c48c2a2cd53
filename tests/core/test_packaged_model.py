"""The packaged models on rendered people whose true places are known."""

import cv2
import numpy as np
import pytest
import skimage.data

import metrabs_core
from metrabs_core import models
from metrabs_core.prepared.model import PreparedModel
from metrabs_core.skeletons import NATIVE

PELVIS = NATIVE.index("pelv")


@pytest.fixture(scope="module", params=models.names())
def model(request):
    return metrabs_core.load(request.param)


@pytest.fixture
def pictures(rendered_people):
    return rendered_people


def _box(joints, intrinsics):
    """Box around the projected joints, within the picture."""
    points = joints @ intrinsics.T
    x, y = (points[:, :2] / points[:, 2:]).T
    margin = 0.06 * (y.max() - y.min())
    left, right = np.clip([x.min() - margin, x.max() + margin], 0, 768)
    top, bottom = np.clip([y.min() - margin, y.max() + margin], 0, 576)
    return np.array([[left, top, right - left, bottom - top]], np.float32)


def _estimate(model, pictures, name, zoom=1.0):
    """Estimated and true joints [34, 3] mm of the only person; the model is told a focal length wrong by a factor."""
    joints, intrinsics = pictures[f"joints_{name}"][0], pictures["intrinsic_matrix"]
    box = _box(joints, intrinsics)
    intrinsics = intrinsics * [[zoom, 1, 1], [1, zoom, 1], [1, 1, 1]]
    result = model.estimate_poses(pictures[f"image_{name}"], box, intrinsic_matrix=intrinsics, num_aug=5)
    return np.asarray(result["poses3d"])[0], joints


@pytest.mark.parametrize("distance", [2, 4, 6])
def test_people_come_out_at_their_distance(model, pictures, distance):
    ratios, errors = [], []
    for i in range(6):
        pose, joints = _estimate(model, pictures, f"{distance}m_{i}")
        ratios.append(pose[PELVIS, 2] / joints[PELVIS, 2])
        errors.append(np.linalg.norm((pose - pose[PELVIS]) - (joints - joints[PELVIS]), axis=-1).mean())
    print(f"{distance} m: ratios {np.round(ratios, 2)}, mm {np.round(errors)}")
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)
    assert np.mean(errors) < 150


def test_a_wrong_focal_length_moves_people_in_proportion(model, pictures):
    for i in range(3):
        right, _ = _estimate(model, pictures, f"4m_{i}")
        wrong, _ = _estimate(model, pictures, f"4m_{i}", zoom=1.5)
        assert wrong[PELVIS, 2] / right[PELVIS, 2] == pytest.approx(1.5, rel=0.1)


def test_two_people_are_found_where_they_stand(model, pictures):
    result = model.detect_poses(pictures["image_pair"], intrinsic_matrix=pictures["intrinsic_matrix"])
    found = np.asarray(result["poses3d"])
    assert len(found) == 2
    for joints in pictures["joints_pair"]:
        nearest = found[np.argmin(np.linalg.norm(found[:, PELVIS] - joints[PELVIS], axis=-1))]
        assert np.linalg.norm(nearest[PELVIS] - joints[PELVIS]) < 0.15 * joints[PELVIS, 2]


def test_people_are_the_same_in_a_rolled_camera_that_knows_where_up_is(model, pictures):
    image, matrix = pictures["image_4m_1"], pictures["intrinsic_matrix"]
    box = _box(pictures["joints_4m_1"][0], matrix)
    left, top, width, height = box[0]
    # a quarter turn clockwise: (x, y) becomes (last row - y, x)
    last = len(image) - 1
    rolled = np.ascontiguousarray(np.rot90(image, -1))
    rolled_box = [[last - top - height, left, height, width]]
    rolled_matrix = [[matrix[1, 1], 0, last - matrix[1, 2]], [0, matrix[0, 0], matrix[0, 2]], [0, 0, 1]]
    roll = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = model.estimate_poses(image, box, matrix)["poses3d"]
    in_world = model.estimate_poses(rolled, rolled_box, rolled_matrix, extrinsic_matrix=roll)["poses3d"]
    np.testing.assert_allclose(in_world, expected, atol=2)
    in_camera = model.estimate_poses(rolled, rolled_box, rolled_matrix, world_up_vector=[1, 0, 0])["poses3d"]
    np.testing.assert_allclose(in_camera @ roll[:3, :3], expected, atol=2)
    untold = model.estimate_poses(rolled, rolled_box, rolled_matrix)["poses3d"]
    assert np.linalg.norm(untold @ roll[:3, :3] - expected, axis=-1).mean() > 50


def test_world_poses_turn_with_the_camera(model, pictures):
    image, matrix = pictures["image_4m_2"], pictures["intrinsic_matrix"]
    boxes = _box(pictures["joints_4m_2"][0], matrix)
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = cv2.Rodrigues(np.array([0.2, -0.5, 0.1]))[0], [100, -200, 300]
    up = extrinsics[:3, :3].T @ [0, -1, 0]  # as before in the camera's frame, so that the crops are the same
    expected = np.asarray(model.estimate_poses(image, boxes, matrix)["poses3d"])
    world = model.estimate_poses(image, boxes, matrix, extrinsic_matrix=extrinsics, world_up_vector=up)["poses3d"]
    np.testing.assert_allclose(world @ extrinsics[:3, :3].T + extrinsics[:3, 3], expected, atol=2)


def test_a_lens_is_undone(model, pictures):
    matrix, joints = pictures["intrinsic_matrix"], pictures["joints_pair"][0]
    image, coeffs = pictures["image_pair"], np.array([-0.25, 0.08, 0.002, -0.001, 0.01])
    height, width = image.shape[:2]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2).astype(np.float64)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 50, 1e-9)
    source = cv2.undistortPoints(pixels, matrix, coeffs, None, None, matrix, criteria=criteria)
    source = source.reshape(height, width, 2).astype(np.float32)
    distorted = cv2.remap(image, source[..., 0], source[..., 1], cv2.INTER_CUBIC)
    seen = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), matrix, coeffs)[0][:, 0]
    box = _box(np.c_[(seen - matrix[:2, 2]) / np.diag(matrix)[:2], np.ones(len(seen))], matrix)

    def mean_direction(*arguments):
        (pose,) = np.asarray(model.estimate_poses(*arguments)["poses3d"])
        return (pose / np.linalg.norm(pose, axis=-1, keepdims=True)).mean(axis=0)

    expected = mean_direction(image, _box(joints, matrix), matrix)
    undone = mean_direction(distorted, box, matrix, coeffs)
    ignored = mean_direction(distorted, box, matrix)
    assert np.linalg.norm(undone - expected) < 0.003
    assert np.linalg.norm(ignored - expected) > 2 * np.linalg.norm(undone - expected)


@pytest.mark.parametrize("degrees", [-55, 0, 40])
def test_a_person_before_a_fisheye_lens_is_where_she_is(model, pictures, degrees):
    """A rendered picture as a fisheye lens of 170 degrees would show it that is turned away from the person."""
    matrix, joints, image = pictures["intrinsic_matrix"], pictures["joints_4m_0"][0], pictures["image_4m_0"]
    width, height, coeffs = 1200, 900, np.array([0.02, -0.01, 0.003, -0.0005])
    fisheye = np.array([[width / np.deg2rad(170), 0, 599.5], [0, width / np.deg2rad(170), 449.5], [0, 0, 1]])
    turn = cv2.Rodrigues(np.array([0, np.deg2rad(degrees), 0]))[0]
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 1, 2).astype(np.float64)
    plane = cv2.fisheye.undistortPoints(pixels, fisheye, coeffs)[:, 0]
    rays = np.c_[plane, np.ones(len(plane))] @ turn
    source = rays @ matrix.T
    source = np.where(rays[:, 2:] > 0.01, source[:, :2] / source[:, 2:], -1e4).reshape(height, width, 2)
    distorted = cv2.remap(image, source.astype(np.float32), None, cv2.INTER_CUBIC)
    turned = joints @ turn.T
    seen = cv2.fisheye.projectPoints(turned[:, None], np.zeros(3), np.zeros(3), fisheye, coeffs)[0][:, 0]
    margin = 0.06 * np.ptp(seen[:, 1])
    box = np.r_[seen.min(0) - margin, np.ptp(seen, axis=0) + 2 * margin][None].astype(np.float32)
    (pose,) = np.asarray(model.estimate_poses(distorted, box, fisheye, coeffs, distortion_model="fisheye")["poses3d"])
    assert pose[PELVIS, 2] / turned[PELVIS, 2] == pytest.approx(1, abs=0.2)
    assert np.linalg.norm((pose - pose[PELVIS]) - (turned - turned[PELVIS]), axis=-1).mean() < 150
    # as good as from the rendered picture itself
    expected, _ = _estimate(model, pictures, "4m_0")
    np.testing.assert_allclose(pose @ turn, expected, atol=0.03 * 4000)
    directions = [p / np.linalg.norm(p, axis=-1, keepdims=True) for p in (pose @ turn, joints)]
    assert np.linalg.norm(directions[0].mean(0) - directions[1].mean(0)) < 0.015


def test_a_real_portrait_gets_a_plausible_skeleton(model):
    result = model.detect_poses(skimage.data.astronaut(), skeleton="coco_17", default_fov_degrees=40)
    (points,) = np.asarray(result["poses2d"])
    names = model.per_skeleton_joint_names["coco_17"]
    face = points[[names.index(n) for n in ("nose", "leye", "reye")]].mean(0)
    np.testing.assert_allclose(face, [222, 115], atol=45)
    left, right = points[names.index("lsho")], points[names.index("rsho")]
    assert left[0] - right[0] > 120  # she faces the camera
    heights = [points[[names.index(f"l{j}"), names.index(f"r{j}")], 1].mean() for j in ("eye", "sho", "hip")]
    assert heights == sorted(heights)


def test_the_prepared_model_sees_the_same(request, model, pictures):
    prepared = metrabs_core.load_prepared(request.node.callspec.params["model"])
    assert isinstance(prepared, PreparedModel)  # and not the whole one, as where it can't be converted
    for i in range(3):
        image, intrinsics = pictures[f"image_2m_{i}"], np.float32(pictures["intrinsic_matrix"])
        box = np.c_[_box(pictures[f"joints_2m_{i}"][0], intrinsics), np.float32(1)]
        options = {"suppress_implausible_poses": False, "num_aug": 1}
        ours, theirs = (m.detect_poses_in_boxes(image, box, intrinsics, **options) for m in (prepared, model))
        np.testing.assert_allclose(ours["poses3d"], theirs["poses3d"], atol=2)
