"""Fixtures of the tests of synthetic people: a worker with its renderer, and a person who stands still."""

import sys

import numpy as np
import pytest

from training.synthesis import clothing
from training.synthesis.bodies import PART_NAMES
from training.synthesis.person import Person
from training.synthesis.worker import Worker


@pytest.fixture(scope="session")
def renderer_alone():
    """Two versions of LLVM, Mesa's and TensorFlow's, end a process that has both; `make test` gives these tests one."""
    if "tensorflow" in sys.modules:
        pytest.skip("run test_synthetic_*.py by themselves: the renderer and TensorFlow do not share a process")


@pytest.fixture(scope="session")
def worker(renderer_alone):
    return Worker()


@pytest.fixture(scope="session")
def standing(worker):
    """An average person who stands still with hanging arms, facing -y."""
    body = worker.body
    bodies = body.build(np.full((1, len(body.phenotype_labels)), 0.65, np.float32))
    parts = np.tile(np.eye(3, dtype=np.float32), (1, len(PART_NAMES), 1, 1))
    rotations, positions = body.bone_poses(bodies.heads, worker.body.alignments(bodies.heads), parts)
    vertices, normals = body.skin(bodies, rotations, positions)
    joints = worker.joints(positions[0], vertices[0])
    ground = np.array([0, 0, vertices[0, :, 2].min()], np.float32)
    look = clothing.sample_outfit(np.random.default_rng(0), 1.0, 0.7).look | {"hairline": 9.0}
    return Person(vertices[0] - ground, normals[0], joints - ground, "stand", None, look, [])
