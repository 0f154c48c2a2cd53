"""The ways from the heatmap heads to a pose in millimetres, one object each (T-BIOM paper, section III)."""

from collections.abc import Callable
from dataclasses import dataclass

from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.network import reconstruction


@dataclass(frozen=True)
class ScaleRecovery:
    """One way of scale recovery.

    Attributes:
        name: as users know it.
        has_2d_head: there is a 2D head besides the 3D head. Otherwise the 3D head's x and y are the joints' pixels.
        is_metric: the 3D head's x, y and depth all are millimetres. Otherwise (2.5D) only its depth is.
        is_absolute: crop and intrinsics are enough for a pose in the camera frame.
        recover: function of the crop model, 2D points float32 [N, J, 2] in pixels of the crop, coordinates of the 3D
            head [N, J, 3] in millimetres, and intrinsics [N, 3, 3], that returns poses [N, J, 3] in millimetres.
        recover_with_truth: the same with another argument, the true poses float32 [N, J, 3] in millimetres, for a
            method that has to be told part of the truth; None for the others.
        needs_bone_lengths: it needs the mean bone lengths of the training set.
    """

    name: str
    has_2d_head: bool
    is_metric: bool
    is_absolute: bool
    recover: Callable
    recover_with_truth: Callable | None = None
    needs_bone_lengths: bool = False


def find_scale_recovery(name: str) -> ScaleRecovery:
    """The scale recovery of a name.

    Raises:
        UserError: there is none.
    """
    if name not in SCALE_RECOVERIES:
        raise UserError(f"There is no scale recovery {name!r}; choose one of {', '.join(SCALE_RECOVERIES)}.")
    return SCALE_RECOVERIES[name]


def _keep(model, points2d, coords3d, intrinsics):
    return coords3d


def _reconstruct_absolute(model, points2d, coords3d, intrinsics):
    config = model.config
    return reconstruction.reconstruct_absolute(
        points2d, coords3d, intrinsics, config.crop_side, config.train_stride, config.weak_perspective
    )


def _match_mean_bones(model, points2d, coords3d, intrinsics):
    if model.config.bone_lengths is None:  # they are not known before training
        return coords3d
    return _match_bones(
        model, points2d, coords3d, intrinsics, ops.convert_to_tensor(model.config.bone_lengths, "float32")
    )


def _match_true_bones(model, points2d, coords3d, intrinsics, true):
    a, b = (ops.take(true, [edge[k] for edge in model.skeleton.edges], axis=1) for k in (0, 1))
    return _match_bones(model, points2d, coords3d, intrinsics, ops.norm(a - b, axis=-1))


def _match_bones(model, points2d, coords3d, intrinsics, lengths):
    normalized = reconstruction.normalize(points2d, intrinsics)
    depths = coords3d[..., 2] - coords3d[:, :1, 2]
    root = reconstruction.root_depth_from_bones(normalized, depths, model.skeleton.edges, lengths)
    return reconstruction.back_project(normalized, (depths + root[:, None])[..., None])


def _put_at_true_root(model, points2d, coords3d, intrinsics, true):
    root = model.skeleton.index("pelv")
    depths = coords3d[..., 2] - coords3d[:, root : root + 1, 2] + true[:, root : root + 1, 2]
    return reconstruction.back_project(reconstruction.normalize(points2d, intrinsics), depths[..., None])


SCALE_RECOVERIES = {
    recovery.name: recovery
    for recovery in (
        ScaleRecovery("metrabs", True, is_metric=True, is_absolute=True, recover=_reconstruct_absolute),
        ScaleRecovery("metro", False, is_metric=True, is_absolute=False, recover=_keep),
        ScaleRecovery("bone-lengths", False, False, True, _match_mean_bones, needs_bone_lengths=True),
        ScaleRecovery("bone-lengths-true", False, False, False, _keep, recover_with_truth=_match_true_bones),
        ScaleRecovery("true-root-depth", False, False, False, _keep, recover_with_truth=_put_at_true_root),
    )
}
