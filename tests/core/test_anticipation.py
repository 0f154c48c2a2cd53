"""People between two looks of the detector, in scenes whose people and boxes are known."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from metrabs_core.anticipation import Anticipation
from metrabs_core.cameras import Camera
from metrabs_core.pipeline import PersonPipeline, PipelineSettings
from metrabs_core.skeletons import NATIVE
from metrabs_core.tracking import intersection_over_union

SIZE = WIDTH, HEIGHT = 640, 480
CAMERA = Camera.from_fov(60, WIDTH, HEIGHT)
# Joints of a person, as parts of the box: none at its border, and more room above than below.
JOINTS = np.random.default_rng(0).uniform([0.1, 0.15], [0.9, 0.95], [NATIVE.n_joints, 2])


class Scene:
    """A model that knows where people are: boxes [n, 4] by frame, which go out of the picture at its border.

    Its crops find the person whose box they overlap, and nobody elsewhere.
    """

    has_detector, gpus, joint_names = True, (), list(NATIVE.joint_names)
    per_skeleton_joint_names, per_skeleton_edges = {NATIVE.name: joint_names}, {NATIVE.name: NATIVE.edges}

    def __init__(self, boxes_of_frames):
        self.boxes_of_frames, self.frame, self.looks, self.n_crops = boxes_of_frames, 0, [], 0

    def detect_boxes(self, image, **_):
        self.looks.append(self.frame)
        boxes = np.reshape([seen(box) for box in self.boxes_of_frames[self.frame]], [-1, 4])
        boxes = boxes[boxes[:, 2] > 10]
        return {"boxes": tf.constant(np.column_stack([boxes, np.full(len(boxes), 0.8)]), tf.float32)}

    def detect_poses_in_boxes(self, image, boxes, **_):
        self.n_crops += len(boxes)
        true = np.reshape(self.boxes_of_frames[self.frame], [-1, 4])
        found = []
        for i, box in enumerate(boxes):
            overlap = intersection_over_union(box[:4], np.array([seen(t) for t in true]).reshape(-1, 4))
            if len(overlap) and overlap.max() > 0.3:
                found.append((i, overlap.argmax()))
        rows, people = np.reshape(found, [-1, 2]).astype(int).T
        points = true[people, None, :2] + JOINTS * true[people, None, 2:]
        depth = np.full([*points.shape[:2], 1], 3000.0)
        poses = CAMERA.rays(points.reshape(-1, 2)).reshape(*points.shape[:2], 3)
        poses = poses / poses[..., 2:] * depth
        prediction = {"boxes": boxes[rows], "poses3d": poses, "poses2d": points, "uncertainties": depth[..., 0]}
        return {name: np.float32(array) for name, array in prediction.items()}


def seen(box):
    """The part of a box within the picture."""
    low, high = np.maximum(box[:2], 0), np.minimum(np.add(box[:2], box[2:]), SIZE)
    return np.concatenate([low, np.maximum(high - low, 0)])


def play(boxes_of_frames, interval, images=None, stamps=None, **settings):
    """The scene, and the people of each of its frames."""
    scene = Scene(boxes_of_frames)
    pipeline = PersonPipeline(scene, PipelineSettings(detector_interval=interval, **settings))
    result = []
    for i in range(len(boxes_of_frames)):
        scene.frame = i
        image = np.full([HEIGHT, WIDTH, 3], 100, np.uint8) if images is None else images[i]
        result.append(pipeline.step(image, CAMERA, 0.1 * i if stamps is None else stamps[i]))
    return scene, result


def walk(start, velocity, n, size=(80, 200)):
    """Boxes of somebody in n frames; velocity in pixels a frame."""
    return [[*(np.array(start) + i * np.array(velocity)), *size] for i in range(n)]


@pytest.mark.parametrize("interval", [2, 3, 5])
def test_people_are_followed_and_the_detector_looks_at_every_nth_image(interval):
    n = 20
    frames = list(zip(walk([50, 100], [8, 1], n), walk([500, 150], [-7, 0], n), walk([250, 200], [0, 0], n)))
    scene, followed = play(frames, interval)
    assert scene.looks == list(range(0, n, interval))
    assert scene.n_crops == 3 * n
    for people, true in zip(followed, frames):
        assert sorted(people.ids) == [1, 2, 3]
        for person, box in enumerate(np.array(true)):
            i = people.ids.tolist().index(person + 1)
            np.testing.assert_allclose(people.boxes[i], box, atol=1)
            np.testing.assert_allclose(people.poses2d[i], box[:2] + JOINTS * box[2:], atol=0.01)
            assert people.scores[i] == pytest.approx(0.8)
    assert play(frames, 1)[0].looks == list(range(n))


def test_who_is_new_is_seen_at_the_next_look_and_an_empty_scene_costs_nothing():
    frames = [[]] * 4 + [[[100, 100, 80, 200]]] * 6
    scene, followed = play(frames, 3)
    assert [len(people) for people in followed] == [0] * 6 + [1] * 4
    assert scene.looks == [0, 3, 6, 9] and scene.n_crops == 4


def test_the_detector_looks_at_the_next_image_where_somebody_is_lost():
    frames = [[[100, 100, 80, 200], [300, 100, 80, 200]]] * 3 + [[[100, 100, 80, 200]]] * 5
    scene, followed = play(frames, 6)
    assert scene.looks == [0, 4]
    assert [people.ids.tolist() for people in followed] == [[1, 2]] * 3 + [[1]] * 5


def test_somebody_leaves_the_picture():
    n = 14
    frames = [[box] for box in walk([540, 100], [12, 0], n)]
    _, followed = play(frames, 4)
    for people, (box,) in zip(followed, frames):
        expected = seen(box)
        if expected[2] > 30:
            assert people.ids.tolist() == [1]
            np.testing.assert_allclose(people.boxes[0], expected, atol=12)
        assert (people.boxes[:, :2] + people.boxes[:, 2:] <= np.array(SIZE) + 1e-3).all()
    assert len(followed[-1]) == 0


def test_the_detector_looks_at_once_where_the_picture_changes():
    frames = [[[100, 100, 80, 200]]] * 3 + [[[400, 100, 80, 200]]] * 4
    dark, bright = (np.full([HEIGHT, WIDTH, 3], grey, np.uint8) for grey in (60, 160))
    scene, followed = play(frames, 6, images=[dark] * 3 + [bright] * 4)
    assert scene.looks == [0, 3]
    assert followed[3].boxes[0, 0] == 400


@pytest.mark.parametrize("stamps", [[0, 0.1, 2.0, 2.1], [5, 5.1, 3.0, 3.1]])
def test_the_detector_looks_where_time_jumps(stamps):
    scene, _ = play([[[100, 100, 80, 200]]] * 4, 4, stamps=stamps)
    assert scene.looks == [0, 2]


def test_who_is_forgotten_meanwhile_is_somebody_new_as_without_an_interval():
    frames, stamps = [[[100, 100, 80, 200]]] * 5, [0, 0.05, 0.1, 0.5, 0.55]
    scene, followed = play(frames, 10, stamps=stamps, track_max_age=0.1)
    assert scene.looks == [0, 3]
    assert [people.ids.tolist() for people in followed] == [[1]] * 3 + [[2]] * 2
    assert [people.ids.tolist() for people in play(frames, 1, stamps=stamps, track_max_age=0.1)[1]] == [[1]] * 3 + [
        [2]
    ] * 2


def test_somebody_who_turns_fast_keeps_the_box_around_the_joints():
    """Growing arms: the box follows the joints, with the margins that the detector gave it."""
    frames = [[[200 - 6 * i, 100, 80 + 12 * i, 200]] for i in range(5)]
    _, followed = play(frames, 5)
    for people, (box,) in zip(followed, frames):
        np.testing.assert_allclose(people.boxes[0], box, atol=0.1)


def test_joints_behind_the_camera_have_no_extent():
    people = play([[[100, 100, 80, 200]]], 2)[1][0]
    image, poses2d = np.zeros([HEIGHT, WIDTH, 3], np.uint8), np.stack([people.poses2d[0], people.poses2d[0] * np.nan])
    poses2d[0, 3:] = np.nan
    anticipation = Anticipation()
    two = people.select([0, 0])
    anticipation.learn(replace(two, ids=np.array([1, 2]), poses2d=poses2d), image, 0.0, was_looked_at=True)
    fitted = anticipation.fit(two.boxes, np.array([0, 1]), poses2d, image)
    np.testing.assert_allclose(fitted, people.boxes[[0, 0]], atol=1e-3)


def test_weak_detections_reach_the_network_only_where_they_can_be_somebody():
    scene, _ = play([[[100, 100, 80, 200]]] * 2, 1)
    boxes = np.float32(
        [[100, 100, 80, 200, 0.8], [105, 100, 80, 200, 0.3], [160, 90, 80, 200, 0.3], [500, 9, 9, 9, 0.3]]
    )
    scene.detect_boxes = lambda *_, **__: {"boxes": tf.constant(boxes)}
    scene.n_crops = 0
    pipeline = PersonPipeline(scene, PipelineSettings(detector_threshold=0.4))
    pipeline.step(np.zeros([HEIGHT, WIDTH, 3], np.uint8), CAMERA, 0.0)
    assert scene.n_crops == 1  # nobody is known
    pipeline.step(np.zeros([HEIGHT, WIDTH, 3], np.uint8), CAMERA, 0.1)
    assert scene.n_crops == 3  # neither a second box of a person nor one that is far from everybody
