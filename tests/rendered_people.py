"""Pictures of rendered people whose places are known, as ground truth for the packaged model.

Mesa's software renderer and TensorFlow bring two versions of LLVM that do not get along in one process, so the tests
run this file as a program: ``rendered_people.py OUT.npz`` writes all pictures with their depth and their true joints.
"""

import sys

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from training.synthesis.person import Person
from training.synthesis.renderer import Lights, metric_depth
from training.synthesis.views import View
from training.synthesis.worker import Worker

WIDTH, HEIGHT = 768, 576
CAMERA_HEIGHT = 1.0  # metres
FOCAL_LENGTH = 540.0  # pixels
YAWS = (-16, -8, 0, 8, 16)  # of the base that turns, degrees
BACKGROUND = 150  # grey: before a busy picture the person detector overlooks rendered people


def standing_people(n: int, seed: int = 11) -> tuple[Worker, list[Person]]:
    """Adults of different statures, outfits and stances, on their feet."""
    worker = Worker()
    generators = [np.random.default_rng([seed, i]) for i in range(n)]
    labels = worker.body.phenotype_labels
    phenotypes = np.full([n, len(labels)], 0.5, np.float32)
    phenotypes[:, labels.index("gender")] = np.arange(n) % 2
    phenotypes[:, labels.index("age")] = 0.67
    statures = 1.72 + 0.08 * np.linspace(-1, 1, n)
    people = worker._people(worker.body.set_stature(phenotypes, statures), generators, [{"stand": 1.0}] * n)
    return worker, people


def take_picture(worker: Worker, people: list[Person], camera: View) -> tuple[np.ndarray, np.ndarray]:
    """RGB picture uint8 [576, 768, 3] by a camera, and its depth.

    Depth is uint16 [576, 768], millimetres along the optical axis, 0 where nobody is.
    """
    lights = Lights(
        np.array([[0.3, 0.6, 1.0], [-0.6, 0.5, 0.5], [0, 1, 0.2]]), np.full((3, 3), 0.35), np.full(3, 0.4),
        np.full(3, 0.3), 0.5,
    )  # fmt: skip
    drawn = [(p.vertices, p.normals, p.look) for p in people]
    solids = [solid for person in people for solid in person.solids]
    colour, depth, *_ = worker.renderer.render(
        camera.intrinsic_matrix, camera.extrinsic_matrix, WIDTH, HEIGHT, lights, drawn, solids, [], 1.0, False
    )
    seen = cv2.resize((colour[..., 3] > 0).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None]
    people_only = cv2.resize(colour[..., :3], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    depth = cv2.resize(np.where(colour[..., 3] > 0, 1000 * metric_depth(depth), 0), (WIDTH, HEIGHT), interpolation=0)
    return np.clip(people_only + BACKGROUND * (1 - seen), 0, 255).astype(np.uint8), np.rint(depth).astype(np.uint16)


def camera_of(focal_length: float, turned: np.ndarray = np.eye(3)) -> View:  # noqa: B008 (it is not changed)
    """A camera that looks along the world's -y axis, turned by a rotation [3, 3] of the world about where it is."""
    intrinsics = np.array([[focal_length, 0, (WIDTH - 1) / 2], [0, focal_length, (HEIGHT - 1) / 2], [0, 0, 1.0]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = [[-1, 0, 0], [0, 0, -1], [0, -1, 0]] @ np.transpose(turned)
    extrinsics[:3, 3] = -CAMERA_HEIGHT * extrinsics[:3, 2]
    return View(intrinsics, extrinsic_matrix=extrinsics, width=WIDTH, height=HEIGHT)


def in_front(person: Person, distance: float, aside: float = 0.0, yaw: float = 180.0) -> Person:
    """The person at a distance before the camera, metres; a yaw of 180 degrees faces the camera."""
    return person.placed(yaw, np.array([aside, -distance]))


def true_joints(person: Person, camera: View) -> np.ndarray:
    """Native joints float [34, 3] in millimetres in the frame of a camera."""
    extrinsics = camera.extrinsic_matrix
    return 1000 * (person.joints @ extrinsics[:3, :3].T + extrinsics[:3, 3])


def main(path: str) -> None:
    """Pictures of people at several distances, turned differently, from a base that turns, and of two together.

    Of each ``image_``, ``depth_``, ``joints_`` in the camera's frame, and ``extrinsics_``, world to camera, metres.
    """
    arrays = {}
    worker, people = standing_people(6)
    scenes = {
        f"{distance}m_{i}": [in_front(person, distance, yaw=150 + 12 * i)]
        for distance in (2, 4, 6)
        for i, person in enumerate(people)
    }
    scenes |= {f"turned_{yaw}": [in_front(people[0], 3, yaw=yaw)] for yaw in (0, 90, 270)}
    # A robot's base that turns, with a camera that looks down and is rolled.
    tilted = Rotation.from_euler("xy", [12, 10], degrees=True)
    turns = {f"base_{yaw}": (Rotation.from_euler("z", yaw, degrees=True) * tilted).as_matrix() for yaw in YAWS}
    scenes |= {name: [in_front(people[1], 3.5, aside=0.2, yaw=165)] for name in turns}
    scenes["pair"] = [in_front(people[1], 3.5, aside=0.8), in_front(people[2], 5, aside=-1.0, yaw=150)]
    for name, placed in scenes.items():
        camera = camera_of(FOCAL_LENGTH, turns.get(name, np.eye(3)))
        arrays[f"image_{name}"], arrays[f"depth_{name}"] = take_picture(worker, placed, camera)
        arrays[f"joints_{name}"] = np.array([true_joints(person, camera) for person in placed])
        arrays[f"extrinsics_{name}"] = camera.extrinsic_matrix
    np.savez(path, intrinsic_matrix=camera_of(FOCAL_LENGTH).intrinsic_matrix, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
