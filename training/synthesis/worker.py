"""One process's share of the work: from a seed and scene numbers to pictures and labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.skeletons import NATIVE
from training.synthesis import accessories, clothing, physics, poses
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.bodies import BATCH, PART_INDEX, PART_NAMES, Bodies, BodyModel
from training.synthesis.furniture import Rooms
from training.synthesis.humanoid_clips import Clips
from training.synthesis.joints import JointRegressor
from training.synthesis.motions import read_motions
from training.synthesis.person import Person
from training.synthesis.phenotypes import sample_phenotype
from training.synthesis.pose import Pose
from training.synthesis.renderer import Renderer
from training.synthesis.retargeting import follow
from training.synthesis.scene import make_scene
from training.synthesis.solids import Solid

_TRUNK = NATIVE.index("neck"), NATIVE.index("pelv")
_MAX_PENETRATION = 0.03  # metres that limbs may sink into each other before another pose is tried
_ATTEMPTS = 5
_KINDS = {"any": 0.54, "close": 0.38, "street": 0.08}  # shares of the kinds of scenes
_EVERYDAY = 0.8  # share of everyday scenes where there are clips of everyday life
_PEOPLE = {  # shares of scenes with one, two, three, four and five people
    "any": (0.28, 0.3, 0.21, 0.13, 0.08),
    "close": (0.42, 0.36, 0.22, 0, 0),
    "street": (0, 0.25, 0.25, 0.25, 0.25),
    "everyday": (0.4, 0.3, 0.16, 0.09, 0.05),
}
# What people do, where that depends on the kind of scene; shares.
_POSES = {
    "close": {"stand": 0.5, "sit": 0.28, "walk": 0.1, "clip": 0.06, "": 0.06},
    "street": {"stand": 0.4, "walk": 0.6},
    # Clips seldom show people on chairs, or with crossed arms and hands in their pockets.
    "everyday": {"motion": 0.74, "sit": 0.13, "idle": 0.13},
}


@dataclass(frozen=True)
class Sources:
    """What scenes are made of, besides bodies.

    Attributes:
        backgrounds: folder of photographs, or None to do without.
        part: which of them, see `Backgrounds`.
        motions: folder of motion capture clips, or None.
        rooms: folder of furniture and textures, or None.
    """

    backgrounds: Path | None = None
    part: str = "all"
    motions: Path | None = None
    rooms: Path | None = None


class Worker:
    """Body model, renderer and pictures of one process."""

    def __init__(self, sources: Sources = Sources()):
        self.body = BodyModel()
        self.joints = JointRegressor(self.body)
        self.rooms = Rooms(sources.rooms)
        self.backgrounds = Backgrounds(sources.backgrounds, sources.part, self.rooms.textures)
        self.clips = Clips(sources.motions)
        self.motions = read_motions(sources.motions)
        surface = clothing.surface_coordinates(self.body)
        self.renderer = Renderer(self.body.faces, surface[: self.body.n_shown], clothing.landmarks(self.body))
        self._down = np.where(surface[:, 3] > 0, 9.0, surface[:, 4])
        heads = self.body.template_heads
        index = self.body.bone_index
        self._head_length = float(np.linalg.norm(heads[index["head"]] - heads[index["neck01"]]))
        names = self.body.bone_names
        dominant = [names[i] for i in self.body.dominant_bone]
        self._sitting_surface = np.array([n.startswith(("upperleg01", "pelvis", "root")) for n in dominant])

    def scenes(self, seed: int, start: int, count: int) -> Iterator[tuple]:
        """Render scenes.

        Args:
            seed: of the dataset.
            start: number of the first scene.
            count: how many.

        Yields:
            The picture, its JPEG quality, the camera dict and the people dicts, see `scene.make_scene`.
        """
        generators = [np.random.default_rng([seed, start + i]) for i in range(count)]
        owners, phenotypes, statures, kinds = [], [], [], []
        shares = _KINDS
        if self.motions.clips:
            shares = {kind: (1 - _EVERYDAY) * share for kind, share in _KINDS.items()} | {"everyday": _EVERYDAY}
        for i, rng in enumerate(generators):
            kinds.append(str(rng.choice(list(shares), p=list(shares.values()))))
            for _ in range(1 + rng.choice(5, p=_PEOPLE[kinds[i]])):
                phenotype, stature = sample_phenotype(rng, self.body.phenotype_labels)
                owners.append(i)
                phenotypes.append(phenotype)
                statures.append(stature)
        owners, phenotypes = np.array(owners), np.stack(phenotypes)
        phenotypes = self.body.set_stature(phenotypes, np.array(statures))
        waiting: dict[int, list[Person]] = {}
        done = 0
        for first in range(0, len(owners), BATCH):
            chunk = slice(first, first + BATCH)
            wanted = [_POSES.get(kinds[i], {"": 1.0}) for i in owners[chunk]]
            people = self._people(phenotypes[chunk], [generators[i] for i in owners[chunk]], wanted)
            for owner, person in zip(owners[chunk], people):
                waiting.setdefault(int(owner), []).append(person)
            complete = int(owners[chunk.stop]) if chunk.stop < len(owners) else count
            for i in range(done, complete):
                yield make_scene(generators[i], kinds[i], waiting.pop(i), self.renderer, self.backgrounds, self.rooms)
            done = complete

    def _people(self, phenotypes: np.ndarray, generators: list, wanted: list[dict[str, float]]) -> list[Person]:
        """Posed and dressed people, [B] each; `wanted` holds the shares of the families of poses, "" for any."""
        bodies = self.body.build(phenotypes)
        n = len(phenotypes)
        chosen: list[Pose | None] = [None] * n
        best = np.full(n, np.inf)
        bone_rotations = np.zeros([n, len(self.body.bone_names), 3, 3], np.float32)
        positions = np.zeros([n, len(self.body.bone_names), 3], np.float32)
        kinds = [str(rng.choice(list(shares), p=list(shares.values()))) for rng, shares in zip(generators, wanted)]
        if not self.clips.clips:
            kinds = ["" if kind == "clip" else kind for kind in kinds]
        part_rotations = np.tile(np.eye(3, dtype=np.float32), (n, len(PART_NAMES), 1, 1))
        alignments = self.body.alignments(bodies.heads)
        for _ in range(_ATTEMPTS):
            open_ = np.nonzero(best > _MAX_PENETRATION)[0]
            if not len(open_):
                break
            tried = [self._sample_pose(generators[i], bodies.heads[i], kinds[i]) for i in open_]
            rest = bodies.heads[open_], alignments[open_]
            parts = np.stack([pose.rotations() for pose in tried])
            _, heads = self.body.bone_poses(*rest, parts)
            for k, pose in enumerate(tried):
                if pose.kind in physics.BALANCED:
                    parts[k] = physics.balance(parts[k], heads[k], self.body.bone_index)
            rotations, heads = self.body.bone_poses(*rest, parts)
            depth = physics.penetration(heads, self.body.bone_index)
            for k, i in enumerate(open_):
                kinds[i] = tried[k].kind
                depth[k] += physics.floating(kinds[i], heads[k], self.body.bone_index)
                if depth[k] < best[i]:
                    best[i], chosen[i] = depth[k], tried[k]
                    bone_rotations[i], positions[i], part_rotations[i] = rotations[k], heads[k], parts[k]
        vertices, normals = self.body.skin(Bodies(bodies.vertices, bodies.heads), bone_rotations, positions)
        labels = self.body.phenotype_labels
        people = []
        for i in range(n):
            joints = self.joints(positions[i], vertices[i])
            ground = np.array([joints[0, 0], joints[0, 1], vertices[i, :, 2].min() - 0.012], np.float32)
            seat = None
            if chosen[i].seat:
                seat = float(vertices[i, self._sitting_surface, 2].min() - ground[2])
                seat = seat if seat > 0.06 else None
            gender, age = (phenotypes[i, labels.index(axis)] for axis in ("gender", "age"))
            outfit = clothing.sample_outfit(generators[i], gender, age)
            trunk = np.linalg.norm(joints[_TRUNK[0]] - joints[_TRUNK[1]]) / 0.5  # children's clothes are thinner
            for layer in ("shirt_cm", "pants_cm", "shoe_cm", "hair_cm"):
                outfit.look[layer] *= min(1.0, float(trunk))
            solids = self._accessories(
                generators[i], outfit, bodies.heads[i], positions[i], part_rotations[i], vertices[i]
            )
            for solid in solids:
                solid.positions = solid.positions - ground
            people.append(
                Person(vertices[i] - ground, normals[i], joints - ground, chosen[i].kind, seat, outfit.look, solids)
            )
        return people

    def _sample_pose(self, rng: np.random.Generator, heads: np.ndarray, kind: str) -> Pose:
        """A random pose of a family ("" for any) for a body with these rest bone heads, float32 [n_bones, 3]."""
        if kind != "motion":
            return poses.sample_pose(rng, heads, self.body.bone_index, self.clips, kind)
        pose = Pose(heads, self.body.bone_index)
        pose.kind = kind
        follow(pose, *self.motions.sample(rng), rng)
        return pose

    def _accessories(self, rng, outfit, rest, positions, parts, vertices) -> list[Solid]:
        """Hair, hat, skirt, bag and things in the hands of one person, in the frame of `positions` and `vertices`."""
        index = self.body.bone_index

        def at(bone):
            return positions[index[bone]].astype(float)

        def turned(part):
            return parts[PART_INDEX[part]].astype(float)

        size = float(np.linalg.norm(rest[index["head"]] - rest[index["neck01"]])) / self._head_length
        solids = accessories.hair_and_hat(rng, at("head"), turned("head"), size, outfit.look["hair"], outfit.long_hair)
        if outfit.skirt_hem is not None:
            left = turned("root")[:, 0]
            cloth = accessories.skirt(
                rng, vertices[::4], self._down[::4], left, outfit.skirt_hem, outfit.skirt_colours, outfit.skirt_flare
            )
            solids += [cloth] if cloth is not None else []
        trunk = float(np.linalg.norm(at("neck01") - at("root")))
        if rng.random() < 0.07:
            solids += accessories.backpack(rng, at("spine01"), turned("spine01"), trunk)
        if rng.random() < 0.06:
            solids += accessories.held_by_both(rng, at("finger3-1.L"), at("finger3-1.R"))
        else:
            for s in "LR":
                if rng.random() < 0.12:
                    solids += accessories.held(rng, at(f"wrist.{s}"), at(f"finger3-1.{s}"), turned(f"wrist.{s}"))
        return solids
