"""Annotations of rendered people, in the project's dataset format."""

import numpy as np
import rlemasklib

from metrabs_core.skeletons import NATIVE
from training.synthesis.person import Person
from training.synthesis.photography import nearest_sample
from training.synthesis.renderer import metric_depth
from training.synthesis.views import View

# How much flesh and cloth may lie before a joint that counts as visible, in lengths of the trunk.
_FLESH = np.array([
    0.1 if name in ("nose", "leye", "reye", "lear", "rear") else 0.16 if name[1:] in ("wri", "han", "toe", "hee", "elb",
    "ank") else 0.22 if name[1:] in ("kne", "sho") else 0.32 for name in NATIVE.joint_names
])  # fmt: skip


def label_camera(view: View) -> dict:
    """Annotation of the camera; the world's unit becomes the millimetre."""
    extrinsics = view.extrinsic_matrix.copy()
    extrinsics[:3, 3] *= 1000
    return {
        "intrinsic_matrix": view.intrinsic_matrix.tolist(),
        "distortion_coeffs": [] if view.is_pinhole else view.distortion_coeffs.tolist(),
        "extrinsic_matrix": extrinsics.tolist(),
    }


def label_person(
    person: Person, number: int, view: View, intrinsics: np.ndarray, ids: np.ndarray, depth: np.ndarray,
    ids_at_pixels: np.ndarray,
) -> dict | None:  # fmt: skip
    """Annotation of one person.

    Args:
        person: where they stand in the scene.
        number: the person's in the rendered pictures.
        view: the camera.
        intrinsics: float64 [3, 3], of the pinhole picture that was rendered for it.
        ids: uint8, the rendered numbers, at `SUPERSAMPLING` samples a pixel of the pinhole picture.
        depth: float32 like `ids`, the depth buffer.
        ids_at_pixels: uint8 [height, width], numbers at the pixels of the camera's picture.

    Returns:
        The annotation; None if too little is seen or something lies beside or behind the camera.
    """
    mask = ids_at_pixels == number
    if np.count_nonzero(mask) < 250:
        return None
    joints, vertices = view.to_camera(person.joints), view.to_camera(person.vertices[::5])
    if joints[:, 2].min() < 0.2 or vertices[:, 2].min() < 0.1:
        return None
    joints2d = view.project(joints)
    inside = np.all((joints2d >= -0.5) & (joints2d <= np.array([view.width, view.height]) - 0.5), 1)
    visible = inside & _at_the_surface(person, number, joints, intrinsics, ids, depth)
    if visible.sum() < 4 or inside.sum() < 8:
        return None
    rle = rlemasklib.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = rle["counts"]
    return {
        "box": np.round(_box(view, intrinsics, joints, vertices, mask), 2).tolist(),
        "joints3d": np.round(joints * 1000, 2).tolist(),
        "joints2d": np.round(joints2d, 3).tolist(),
        "visible": visible.astype(int).tolist(),
        "mask": {"size": list(mask.shape), "counts": counts.decode() if isinstance(counts, bytes) else counts},
    }


def _at_the_surface(person, number, joints, intrinsics, ids, depth) -> np.ndarray:
    """Whether the depth buffer has this person's skin or cloth right before a joint, bool [34]."""
    undistorted = joints[:, :2] / joints[:, 2:] * intrinsics[[0, 1], [0, 1]] + intrinsics[[0, 1], [2, 2]]
    pixels = nearest_sample(np.clip(undistorted, -1e6, 1e6))
    pixels = np.clip(pixels, 0, np.array(ids.shape[::-1]) - 1)
    surface = metric_depth(depth[pixels[:, 1], pixels[:, 0]])
    trunk = np.linalg.norm(person.joints[NATIVE.index("neck")] - person.joints[NATIVE.index("pelv")])
    return (ids[pixels[:, 1], pixels[:, 0]] == number) & (joints[:, 2] - surface < _FLESH * trunk)


def _box(view: View, intrinsics, joints, vertices, mask) -> list[float]:
    """Left, top, width and height of what holds body and clothes, within the picture."""
    outline = view.project(vertices)
    size = np.array([view.width, view.height])
    # With distortion, nothing far outside counts: the lens model means nothing there.
    near = np.abs(vertices[:, :2] / vertices[:, 2:]) < 1.6 * size / intrinsics[0, 0]
    outline = outline[near.all(1)]
    margin = 0.012 * intrinsics[0, 0] / joints[:, 2].mean()
    low = np.clip(outline.min(0) - margin, -0.5, size - 0.5)
    high = np.clip(outline.max(0) + margin, -0.5, size - 0.5)
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    low = np.minimum(low, [columns[0] - 0.5, rows[0] - 0.5])
    high = np.maximum(high, [columns[-1] + 0.5, rows[-1] + 0.5])
    return [*low, *(high - low)]
