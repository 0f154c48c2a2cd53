"""One process's share of the work: from a seed and scene numbers to pictures and labels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from training.synthesis import clothing, poses
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.bodies import BATCH, PART_NAMES, Bodies, BodyModel, sample_phenotype
from training.synthesis.joints import JointRegressor
from training.synthesis.renderer import Renderer
from training.synthesis.scene import Person, make_scene

_MAX_PENETRATION = 0.03  # metres that limbs may sink into each other before another pose is tried
_ATTEMPTS = 5
_PEOPLE = ((1, 2, 3, 4, 5), (0.42, 0.28, 0.16, 0.09, 0.05))


class Worker:
    """Body model, renderer and pictures of one process.

    Args:
        backgrounds: folder of photographs or None.
        part: which of them, see `Backgrounds`.
        motions: folder of motion-capture clips or None.
        device: torch device of the body model.
    """

    def __init__(self, backgrounds: Path | None, part: str, motions: Path | None, device: str):
        torch.set_num_threads(1)
        self.body = BodyModel(device)
        self.joints = JointRegressor(self.body)
        self.backgrounds = Backgrounds(backgrounds, part)
        self.clips = poses.Clips(motions)
        self.renderer = Renderer(self.body.faces, clothing.surface_coordinates(self.body))
        names = self.body.bone_names
        dominant = [names[i] for i in self.body.dominant_bone]
        self._sitting_surface = np.array([n.startswith(("upperleg", "pelvis", "root", "spine05")) for n in dominant])

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
        owners, phenotypes, statures = [], [], []
        for i, rng in enumerate(generators):
            for _ in range(rng.choice(_PEOPLE[0], p=_PEOPLE[1])):
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
            people = self._people(phenotypes[chunk], [generators[i] for i in owners[chunk]])
            for owner, person in zip(owners[chunk], people):
                waiting.setdefault(int(owner), []).append(person)
            complete = int(owners[chunk.stop]) if chunk.stop < len(owners) else count
            for i in range(done, complete):
                yield make_scene(generators[i], waiting.pop(i), self.renderer, self.backgrounds)
            done = complete

    def _people(self, phenotypes: np.ndarray, generators: list[np.random.Generator]) -> list[Person]:
        """Posed and dressed people, [B] each."""
        bodies = self.body.build(phenotypes)
        n = len(phenotypes)
        chosen: list[poses.Pose | None] = [None] * n
        best = np.full(n, np.inf)
        bone_rotations = np.zeros([n, len(self.body.bone_names), 3, 3], np.float32)
        positions = np.zeros([n, len(self.body.bone_names), 3], np.float32)
        kinds = [""] * n
        for _ in range(_ATTEMPTS):
            open_ = np.nonzero(best > _MAX_PENETRATION)[0]
            if not len(open_):
                break
            tried = [
                poses.sample_pose(generators[i], bodies.heads[i], self.body.bone_index, self.clips, kinds[i])
                for i in open_
            ]
            parts = np.zeros([n, len(PART_NAMES), 3, 3], np.float32)
            parts[:] = np.eye(3)
            parts[open_] = [pose.rotations() for pose in tried]
            rotations, heads = self.body.bone_poses(bodies.heads, parts)
            for i, pose in zip(open_, tried):
                kinds[i] = pose.kind
                depth = poses.penetration(heads[i], self.body.bone_index)
                if depth < best[i]:
                    best[i], chosen[i] = depth, pose
                    bone_rotations[i], positions[i] = rotations[i], heads[i]
        vertices, normals = self.body.skin(Bodies(bodies.vertices, bodies.heads), bone_rotations, positions)
        labels = self.body.phenotype_labels
        people = []
        for i in range(n):
            joints = self.joints(positions[i], vertices[i])
            ground = np.array([joints[0, 0], joints[0, 1], vertices[i, :, 2].min() - 0.012], np.float32)
            outfit = clothing.sample_outfit(
                generators[i], phenotypes[i, labels.index("gender")], phenotypes[i, labels.index("age")]
            )
            seat = None
            if chosen[i].seat:
                seat = float(vertices[i, self._sitting_surface, 2].min() - ground[2])
                seat = seat if seat > 0.15 else None
            people.append(Person(vertices[i] - ground, normals[i], joints - ground, chosen[i].kind, seat, outfit))
        return people
