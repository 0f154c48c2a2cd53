"""Distances by depth images: of rendered people, whose places are known, with what depth cameras do to depth."""

import numpy as np
import pytest

from metrabs_core.cameras import Camera
from metrabs_core.depth import distance_factors
from metrabs_core.skeletons import NATIVE, SKELETONS, Skeleton, conversion_matrix

NAMES = ["2m_0", "2m_3", "4m_1", "4m_4", "6m_2", "turned_0", "turned_90", "turned_270"]
PELVIS = NATIVE.index("pelv")


def measure(people, name, depth, rgb_error=1.0, skeleton: Skeleton = NATIVE):
    """Distances by depth [n] over the true ones, where the RGB distance is wrong by a factor."""
    camera = Camera(people["intrinsic_matrix"])
    joints = conversion_matrix(skeleton) @ people[f"joints_{name}"]
    pixels = camera.project(joints)
    in_view = ((pixels > -0.5) & (pixels < [767.5, 575.5])).all(axis=-1)
    return rgb_error * distance_factors(rgb_error * joints, pixels, in_view, skeleton, depth, camera)


def body(people, name) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the only person's depth, px."""
    y, x = np.nonzero(people[f"depth_{name}"])
    return x.min(), y.min(), x.max(), y.max()


@pytest.mark.parametrize("skeleton", ["native_34", "coco_17", "h36m_17"])
@pytest.mark.parametrize("name", NAMES)
def test_a_distance_that_is_ten_percent_off_comes_within_three(rendered_people, name, skeleton):
    depth = rendered_people[f"depth_{name}"].astype(np.float32)
    for rgb_error in (0.9, 1.1):
        assert measure(rendered_people, name, depth, rgb_error, SKELETONS[skeleton]) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_noise_holes_occluders_and_the_background_do_no_harm(rendered_people, name):
    rng = np.random.default_rng(0)
    depth = rendered_people[f"depth_{name}"].astype(np.float32)
    left, top, right, bottom = body(rendered_people, name)
    depth[depth == 0] = 1.2 * depth.max()  # a wall right behind
    depth += rng.normal(size=depth.shape).astype(np.float32) * 30
    depth[rng.random(depth.shape) < 0.6] = 0  # single pixels fail
    depth[:: 7 if name[0] == "2" else 4] = np.nan
    waist = top + 45 * (bottom - top) // 100
    depth[waist:, left:right] = 0.7 * depth[depth > 0].min()  # behind a table from the waist down
    assert measure(rendered_people, name, depth, 1.1) == pytest.approx(1, abs=0.04)


def test_people_do_not_get_each_others_distances(rendered_people):
    depth = rendered_people["depth_pair"].astype(np.float32)
    np.testing.assert_allclose(measure(rendered_people, "pair", depth, 0.9), [1, 1], atol=0.03)


@pytest.mark.parametrize(
    "change",
    [
        lambda depth: np.zeros_like(depth),
        lambda depth: np.full_like(depth, np.nan),
        lambda depth: np.full_like(depth, 1500),  # a wall between camera and person
        lambda depth: np.full_like(depth, 9000),  # the background only
        lambda depth: depth * (np.arange(depth.shape[0])[:, None] < 180),  # the head only
    ],
    ids=["zeros", "nan", "wall", "background", "head"],
)
def test_a_distance_that_is_not_measured_is_not_known(rendered_people, change):
    depth = change(rendered_people["depth_4m_1"].astype(np.float32))
    assert np.isnan(measure(rendered_people, "4m_1", depth)).all()


def test_joints_that_disagree_measure_nothing(rendered_people):
    depth = rendered_people["depth_4m_1"].astype(np.float32)
    columns = np.arange(depth.shape[1]) // 8 % 3  # a fence, and what is far behind
    depth = np.choose(columns, [depth * 0.7, depth, depth * 1.35])
    assert np.isnan(measure(rendered_people, "4m_1", depth)).all()


def test_joints_outside_of_the_image_do_not_count(rendered_people):
    camera = Camera(rendered_people["intrinsic_matrix"])
    joints = rendered_people["joints_4m_1"]
    pixels = camera.project(joints)
    depth = rendered_people["depth_4m_1"].astype(np.float32)
    nowhere = np.zeros(joints.shape[:2], bool)
    assert np.isnan(distance_factors(joints, pixels, nowhere, NATIVE, depth, camera)).all()
    behind = joints * [1, 1, -1]
    assert np.isnan(distance_factors(behind, np.full_like(pixels, np.nan), ~nowhere & False, NATIVE, depth, camera))
    assert distance_factors(joints[:0], pixels[:0], nowhere[:0], NATIVE, depth, camera).shape == (0,)
