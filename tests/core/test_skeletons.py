"""Skeletons and their conversion."""

import numpy as np
import pytest

from metrabs_core.skeletons import NATIVE, SKELETONS, Skeleton, conversion_matrix

every_skeleton = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)


@every_skeleton
def test_every_joint_has_a_bone_and_a_name_of_its_own(skeleton):
    assert {joint for edge in skeleton.edges for joint in edge} == set(range(skeleton.n_joints))
    assert len(set(skeleton.joint_names)) == skeleton.n_joints == int(skeleton.name.split("_")[-1])


@every_skeleton
def test_mirroring_swaps_left_and_right_by_name(skeleton):
    mirror = np.array(skeleton.mirror)
    np.testing.assert_array_equal(mirror[mirror], np.arange(skeleton.n_joints))
    assert skeleton.joint_names[skeleton.mirror[skeleton.index("lwri")]] == "rwri"
    bones = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(mirror[list(edge)]) for edge in skeleton.edges} == bones


@every_skeleton
def test_conversion_keeps_poses_where_they_are_and_commutes_with_mirroring(skeleton):
    matrix = conversion_matrix(skeleton)
    assert matrix.shape == (skeleton.n_joints, NATIVE.n_joints)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix[list(skeleton.mirror)][:, list(NATIVE.mirror)], matrix, atol=1e-6)
    for row, name in enumerate(skeleton.joint_names):
        assert matrix[row].max() > 0, name


def test_shared_joints_are_taken_as_they_are():
    matrix = conversion_matrix(SKELETONS["smpl_24"])
    for row, name in enumerate(SKELETONS["smpl_24"].joint_names):
        np.testing.assert_array_equal(matrix[row], np.arange(NATIVE.n_joints) == NATIVE.index(name))
    np.testing.assert_array_equal(conversion_matrix(NATIVE), np.eye(NATIVE.n_joints))


def test_a_joint_that_cannot_be_had_is_named():
    with pytest.raises(ValueError, match="'tail'"):
        conversion_matrix(Skeleton("cat", ("pelv", "tail"), ((0, 1),)))
