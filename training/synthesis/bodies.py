"""Parametric human bodies in batches: who the people are, and the posed mesh of each.

The body is Anny (Apache-2.0, assets CC0): x to the person's left, y backwards, z up, metres.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import anny
import numpy as np
import scipy.sparse
import torch

from training.synthesis import rotations

BATCH = 64  # always the same batch shape, so that a body doesn't depend on who shares the batch


@dataclass
class Bodies:
    """Unposed bodies of B people.

    Attributes:
        vertices: float32 [B, V, 3] torch tensor, rest pose, metres.
        heads: float32 [B, n_bones, 3], joint centre (bone head) of every bone in the rest pose, metres.
    """

    vertices: torch.Tensor
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

    Args:
        device: torch device of the mesh computations.
    """

    def __init__(self, device: str = "cpu"):
        model = anny.Anny(phenotypes="all", skinning_method="lbs").to(device=device, dtype=torch.float32)
        self.device = device
        self.model = model
        self.keypoint_regressors = _keypoint_regressors(model)
        self.bone_names = list(model.bone_labels)
        self.bone_index = {name: i for i, name in enumerate(self.bone_names)}
        self.parents = np.array([int(p) for p in model.bone_parents])
        self.template_heads = model.template_bone_heads.cpu().numpy().astype(np.float32)
        weights = model.vertex_bone_weights.cpu().numpy()
        indices = model.vertex_bone_indices.cpu().numpy()
        dominant = indices[np.arange(len(weights)), weights.argmax(1)]
        template = model.template_vertices.cpu().numpy().astype(np.float32)
        faces = np.asarray(model.get_triangular_faces().cpu())
        inside = torch.load(Path(anny.__file__).parent / "data/template_mesh_internal_cavities.pth", weights_only=True)
        hidden = np.isin(model.base_mesh_vertex_indices.cpu().numpy(), np.asarray(inside["vertex_indices"]))
        faces = faces[~hidden[faces].all(1)]
        cells = [next(size for prefix, size in _CELLS if self.bone_names[b].startswith(prefix)) for b in dominant]
        shown, self.faces = _simplify(template, faces, np.array(cells), dominant)
        fewer, coarse = _simplify(template[shown], self.faces, 2.2 * np.array(cells)[shown], dominant[shown])
        self.coarse_faces = fewer[coarse].astype(np.int32)
        # The other vertices are dropped, but for those that keypoints or the stature need.
        regressed = np.nonzero(sum(abs(w) for w in self.keypoint_regressors.values()))[0]
        extremes = [np.argmax(template[:, 2]), np.argmin(template[:, 2])]
        kept = np.concatenate([shown, np.setdiff1d(np.union1d(regressed, extremes), shown)])
        self.keypoint_regressors = {name: w[kept] for name, w in self.keypoint_regressors.items()}
        self.n_shown = len(shown)
        self.template = template[kept]
        self.dominant_bone = dominant[kept]
        self.skin_weights = model.dense_vertex_bone_weights[kept].contiguous()
        self._template = model.template_vertices[kept]
        self._shapes = model.blendshapes[:, kept].reshape(len(model.blendshapes), -1).contiguous()
        self._part_of_bone = self._assign_parts()
        self._depth_order = self._order_by_depth()
        self._faces = torch.as_tensor(self.faces, dtype=torch.int64, device=device)
        rows, columns = self.faces.T.reshape(-1), np.tile(np.arange(len(self.faces)), 3)
        size = (len(kept), len(self.faces))
        incidence = scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), size)
        with warnings.catch_warnings():  # that the kind of tensor is in beta
            warnings.simplefilter("ignore", UserWarning)
            self._faces_of_vertex = torch.sparse_csr_tensor(
                incidence.indptr, incidence.indices, incidence.data, size, device=device, check_invariants=True
            )
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

    def _order_by_depth(self) -> list[int]:
        depth = np.zeros(len(self.parents), int)
        for i in range(len(self.parents)):
            bone = i
            while self.parents[bone] >= 0:
                bone = self.parents[bone]
                depth[i] += 1
        return list(np.argsort(depth, kind="stable"))

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
            values = torch.as_tensor(padded[start : start + BATCH], device=self.device)
            labels = self.model.phenotype_labels
            coefficients = self.model.get_phenotype_blendshape_coefficients(
                **{label: values[:, i] for i, label in enumerate(labels)}
            )
            vertices.append(self._template[None] + (coefficients @ self._shapes).reshape(BATCH, -1, 3))
            bone_shapes = self.model.bone_heads_blendshapes
            offsets = coefficients @ bone_shapes.reshape(len(bone_shapes), -1)
            heads.append(self.model.template_bone_heads[None] + offsets.reshape(BATCH, -1, 3))
        return Bodies(torch.cat(vertices)[:n], torch.cat(heads)[:n].cpu().numpy())

    def set_stature(self, phenotypes: np.ndarray, stature: np.ndarray) -> np.ndarray:
        """Choose the height axis such that people are as tall as wanted, as far as the axis reaches.

        Args:
            phenotypes: float [B, n_phenotypes].
            stature: float [B], metres from sole to crown.

        Returns:
            float32 [B, n_phenotypes] with another height axis.
        """
        labels = self.phenotype_labels
        top, bottom = self._stature_vertices
        z = self._shapes.reshape(len(self._shapes), -1, 3)[:, [top, bottom], 2].cpu()
        base = float(self._template[top, 2] - self._template[bottom, 2])
        values = torch.as_tensor(phenotypes, dtype=torch.float32).clone()
        low, high = torch.zeros(len(values)), torch.ones(len(values))
        wanted = torch.as_tensor(stature, dtype=torch.float32)
        for _ in range(10):
            middle = (low + high) / 2
            values[:, labels.index("height")] = middle
            coefficients = self.model.get_phenotype_blendshape_coefficients(
                **{label: values[:, i].to(self.device) for i, label in enumerate(labels)}
            ).cpu()
            too_tall = base + coefficients @ (z[:, 0] - z[:, 1]) > wanted
            low, high = torch.where(too_tall, low, middle), torch.where(too_tall, middle, high)
        return values.numpy()

    @property
    def phenotype_labels(self) -> list[str]:
        """Names of the phenotype axes."""
        return list(self.model.phenotype_labels)

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

    def bone_poses(self, heads: np.ndarray, part_rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forward kinematics.

        Args:
            heads: float32 [B, n_bones, 3], rest bone heads.
            part_rotations: float32 [B, n_parts, 3, 3], global rotation of each part relative to the reference pose.

        Returns:
            Global rotations relative to the rest pose [B, n_bones, 3, 3], and bone heads [B, n_bones, 3]; the root
            stays where it is.
        """
        bone_rotations = (part_rotations @ self.alignments(heads))[:, self._part_of_bone]
        positions = heads.copy()
        for bone in self._depth_order:
            parent = self.parents[bone]
            if parent >= 0:
                offset = heads[:, bone] - heads[:, parent]
                positions[:, bone] = positions[:, parent] + np.einsum("bij,bj->bi", bone_rotations[:, parent], offset)
        return bone_rotations, positions

    def skin(self, bodies: Bodies, bone_rotations: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posed meshes.

        Args:
            bodies: the unposed bodies.
            bone_rotations: float32 [B, n_bones, 3, 3].
            positions: float32 [B, n_bones, 3].

        Returns:
            Vertices and unit normals, both float32 [B, V, 3].
        """
        n = len(positions)
        translations = positions - np.einsum("bnij,bnj->bni", bone_rotations, bodies.heads)
        transforms = np.concatenate([bone_rotations, translations[..., None]], -1).astype(np.float32)
        vertices, normals = [], []
        for i in range(n):  # one body at a time: the blended transforms of one fit into the cache
            transform = torch.as_tensor(transforms[i], device=self.device).reshape(-1, 12)
            blended = (self.skin_weights @ transform).reshape(-1, 3, 4)
            x, y, z = (bodies.vertices[i][:, k, None] for k in range(3))
            posed = blended[..., 0] * x + blended[..., 1] * y + blended[..., 2] * z + blended[..., 3]
            a, b, c = (posed[self._faces[:, k]] for k in range(3))
            face_normals = torch.linalg.cross(b - a, c - a)
            normal = torch.nn.functional.normalize(self._faces_of_vertex @ face_normals, dim=-1)
            vertices.append(posed.cpu().numpy())
            normals.append(normal.cpu().numpy())
        return np.stack(vertices), np.stack(normals)


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


def _keypoint_regressors(model) -> dict[str, np.ndarray]:
    """Anny's COCO keypoints as weights of the model's vertices, small weights dropped; name -> float32 [V]."""
    regressors = torch.load(Path(anny.__file__).parent / "data/keypoints/coco.pth", weights_only=True)
    result = {}
    for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_heel", "right_heel"):
        weights = regressors[name][model.base_mesh_vertex_indices.cpu()].numpy().astype(np.float32)
        weights[weights < 0.02 * weights.max()] = 0
        result[name] = weights / weights.sum()
    return result


def sample_phenotype(rng: np.random.Generator, labels: list[str]) -> tuple[np.ndarray, float]:
    """A random person: adults most often, a fifth children, some elders.

    Args:
        rng: random generator of the scene.
        labels: phenotype axes in the wanted order.

    Returns:
        float32 [n_phenotypes] in 0..1, and the stature in metres that the height axis is to be set for.
    """
    years = rng.choice([rng.uniform(3, 10), rng.uniform(10, 17), rng.uniform(17, 55), rng.uniform(55, 85)],
                       p=[0.09, 0.08, 0.63, 0.2])  # fmt: skip
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
        "cupsize": rng.beta(2, 3),
        "firmness": rng.beta(2, 2),
    }
    races = rng.dirichlet([0.4, 0.4, 0.4])
    values.update(african=races[0], asian=races[1], caucasian=races[2])
    return np.array([values.get(label, 0.5) for label in labels], np.float32), float(adult * share)
