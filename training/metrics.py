"""Measures of pose error: alignment, PCK, AUC, matching of people, bone rescaling. Batched functions of arrays."""

import numpy as np


def align_similarity(points: np.ndarray, target: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
    """Rotate, scale and move each pose for the least squares distance to its target (Procrustes; Umeyama 1991).

    Args:
        points: float [..., J, 3], any unit.
        target: float [..., J, 3].
        valid: bool [..., J], joints that take part in the fit (all of the joints are moved); None for all.

    Returns:
        float [..., J, 3]. Poses are never mirrored. A pose of which fewer than two places are known is only moved.
    """
    weights = np.ones(points.shape[:-1]) if valid is None else valid.astype(float)
    weights = weights[..., None] / np.maximum(weights.sum(-1), 1)[..., None, None]
    points, target = np.asarray(points, float), np.asarray(target, float)
    mean, target_mean = ((weights * x).sum(-2, keepdims=True) for x in (points, target))
    centred = points - mean
    u, singular, vt = np.linalg.svd(np.swapaxes(weights * centred, -1, -2) @ (target - target_mean))
    # the direction of least variance is turned where the best orthogonal matrix would be a reflection
    signs = np.ones_like(singular)
    signs[..., 2] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    aligned = centred @ (u * signs[..., None, :] @ vt)
    variance = (weights * centred**2).sum((-2, -1))
    scale = np.divide((singular * signs).sum(-1), variance, out=np.ones_like(variance), where=variance > 0)
    return scale[..., None, None] * aligned + target_mean


def joint_distances(points: np.ndarray, target: np.ndarray, root: int | None = None) -> np.ndarray:
    """Distance of every joint to its true position.

    Args:
        points: float [..., J, 3].
        target: float [..., J, 3].
        root: joint that both are moved onto the origin by; None to compare absolute positions.

    Returns:
        float [..., J]; the mean of it is the MPJPE.
    """
    difference = points - target
    if root is not None:
        difference = difference - difference[..., root : root + 1, :]
    return np.linalg.norm(difference, axis=-1)


def pck(distances: np.ndarray, threshold: float = 150) -> float:
    """Percentage of correct keypoints: of the distances (any shape, mm) below a threshold (mm)."""
    return 100 * float(np.mean(distances < threshold))


def auc(distances: np.ndarray) -> float:
    """Area under the PCK curve as MPI-INF-3DHP defines it: mean PCK over the thresholds 0, 5, ..., 150 mm, percent."""
    return 100 * float(np.mean(auc_per_joint(distances)))


def auc_per_joint(distances: np.ndarray) -> np.ndarray:
    """Share of the 31 thresholds 0, 5, ..., 150 mm that each distance (any shape, mm) is below."""
    return np.maximum(0, 1 - np.floor(distances / 150 * 30 + 1) / 31)


def match_people(true2d: np.ndarray, pred2d: np.ndarray, threshold: float = 40) -> np.ndarray:
    """Give annotated people predictions, greedily, as the MuPoTS-3D protocol does.

    In their order, annotated people choose among the predictions of the same picture that are still free the one with
    the most joints whose x and y are both within the threshold; a person whom none shares a joint with goes without.

    Args:
        true2d: float [frames, people, J, 2], pixels; NaN for people whom a frame lacks.
        pred2d: float [frames, predictions, J, 2], pixels; NaN for predictions that a frame lacks.
        threshold: pixels.

    Returns:
        int [frames, people]: index of the prediction, or -1.
    """
    n_frames, n_people = true2d.shape[:2]
    matches = np.full([n_frames, n_people], -1)
    if pred2d.shape[1] == 0:
        return matches
    frames = np.arange(n_frames)
    exists = (pred2d != 0).any(-1)
    taken = np.zeros(pred2d.shape[:2], bool)
    for person in range(n_people):
        near = np.abs(pred2d - true2d[:, person, None]).max(-1) < threshold
        votes = np.where(taken, 0, (near & exists).sum(-1))
        best = votes.argmax(-1)
        found = votes[frames, best] > 0
        matches[found, person] = best[found]
        taken[frames[found], best[found]] = True
    return matches


def rescale_bones(points: np.ndarray, target: np.ndarray, bones: list[tuple[int, int]]) -> np.ndarray:
    """Give a pose's bones the lengths of another pose's; their directions stay.

    Args:
        points: float [N, J, 3].
        target: float [N, J, 3], whose bone lengths are taken.
        bones: (joint, parent), ordered such that a parent is moved before its children; the joint that is nobody's
            child stays where it is.

    Returns:
        float [N, J, 3]. A bone without length has no direction and stays without length.
    """
    result = points.copy()
    for joint, parent in bones:
        bone = points[:, joint] - points[:, parent]
        length = np.linalg.norm(bone, axis=-1, keepdims=True)
        wanted = np.linalg.norm(target[:, joint] - target[:, parent], axis=-1, keepdims=True)
        result[:, joint] = result[:, parent] + bone * np.divide(wanted, length, where=length > 0, out=length * 0)
    return result
