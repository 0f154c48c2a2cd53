"""The packaged model on rendered people whose true places are known."""

import numpy as np
import pytest
import skimage.data

import metrabs_core
from metrabs_core.skeletons import NATIVE

PELVIS = NATIVE.index("pelv")


@pytest.fixture(scope="module")
def model():
    return metrabs_core.load()


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
