"""Whom a pipeline leaves out, and that those cost nothing."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core.cameras import Camera
from metrabs_core.limits import Limits, RateLimit
from metrabs_core.pipeline import PersonPipeline, PipelineSettings
from metrabs_core.skeletons import NATIVE

CAMERA = Camera.pinhole(300, (320, 180))
IMAGE = np.zeros([360, 640, 3], np.uint8)
# Left, top, width, height, score: middles at (100, 100), (300, 150) and (500, 200).
BOXES = np.float32([[60, 20, 80, 160, 0.5], [280, 120, 40, 60, 0.9], [450, 100, 100, 200, 0.7]])
BOTH = {"region_of_interest": 1, "min_box_height": 1}


class ThreePeople:
    """A model that finds the boxes above, and makes a person three metres away of each."""

    has_detector, gpus, joint_names = True, (), list(NATIVE.joint_names)
    per_skeleton_joint_names, per_skeleton_edges = {NATIVE.name: joint_names}, {NATIVE.name: NATIVE.edges}

    def __init__(self):
        self.n_crops = 0

    def detect_boxes(self, image, detector_threshold, max_detections, **_):
        boxes = BOXES[np.argsort(-BOXES[:, 4])]
        boxes = boxes[boxes[:, 4] >= detector_threshold]
        return {"boxes": tf.constant(boxes if max_detections < 0 else boxes[:max_detections])}

    def detect_poses_in_boxes(self, image, boxes, **_):
        self.n_crops += len(boxes)
        poses = np.tile(np.float32([0, 0, 3000]), [len(boxes), NATIVE.n_joints, 1])
        prediction = {"boxes": boxes, "poses3d": poses, "poses2d": poses[..., :2], "uncertainties": poses[..., 2]}
        return {name: tf.constant(array) for name, array in prediction.items()}

    def detect_poses(self, image, detector_threshold, max_detections, **_):
        boxes = self.detect_boxes(image, detector_threshold, max_detections)["boxes"]
        return self.detect_poses_in_boxes(image, boxes)

    def detect_poses_batched(self, images, **options):
        found = [self.detect_poses(image, options["detector_threshold"], options["max_detections"]) for image in images]
        return {name: tf.ragged.stack([people[name] for people in found]) for name in found[0]}


class EarlierModel(ThreePeople):
    """The same, exported before there were limits."""

    detect_boxes = property()

    def detect_poses(self, image, detector_threshold, max_detections, **_):
        boxes = ThreePeople.detect_boxes(self, image, detector_threshold, max_detections)["boxes"]
        return self.detect_poses_in_boxes(image, boxes)


def find(settings, model=None):
    """The pipeline, boxes of its people in an image from left to right, and how many crops the network saw."""
    model = model or ThreePeople()
    pipeline = PersonPipeline(model, PipelineSettings(**settings))
    people = pipeline.step(IMAGE, CAMERA, 0.0)
    return pipeline, people.boxes[np.argsort(people.boxes[:, 0])], model.n_crops


@pytest.mark.parametrize(
    "limits, inside, counts",
    [
        ({}, [0, 1, 2], {}),
        ({"region_of_interest": (0, 0, 200, 0)}, [0], {"region_of_interest": 2}),
        ({"region_of_interest": (200, 120, 0, 60)}, [1], {"region_of_interest": 2}),
        ({"region_of_interest": (250, 0, 0, 0)}, [1, 2], {"region_of_interest": 1}),
        ({"min_box_height": 100.0}, [0, 2], {"min_box_height": 1}),
        (
            {"min_box_height": 170.0, "region_of_interest": (0, 0, 400, 360)},
            [],
            {"region_of_interest": 1, "min_box_height": 2},
        ),
        ({"min_box_height": 100.0, "max_detections": 1}, [2], {"min_box_height": 1}),
        ({"min_box_height": 100.0, "max_detections": 0}, [], {"min_box_height": 1}),
    ],
)
def test_boxes_outside_of_limits_never_reach_the_network(limits, inside, counts):
    pipeline, boxes, n_crops = find(limits)
    np.testing.assert_allclose(boxes, BOXES[inside, :4])
    assert n_crops == len(inside)
    assert +pipeline.left_out == counts


def test_a_model_that_was_exported_before_leaves_them_out_afterwards():
    limits = {"region_of_interest": (200, 0, 0, 0), "min_box_height": 100.0}
    pipeline, boxes, n_crops = find(limits, EarlierModel())
    np.testing.assert_allclose(boxes, BOXES[2:, :4])
    assert n_crops == 3 and +pipeline.left_out == dict.fromkeys(limits, 1)


@pytest.mark.parametrize("limit", [{"min_distance": 3200.0}, {"max_distance": 2000.0}])
def test_people_outside_of_the_distances_are_left_out(limit):
    pipeline, boxes, _ = find(limit)
    assert len(boxes) == 0 and pipeline.left_out[next(iter(limit))] == 3
    assert len(find({"min_distance": 2000.0, "max_distance": 3200.0})[1]) == 3


def test_batches_have_the_same_limits():
    pipeline, boxes, _ = find({"min_box_height": 100.0})
    for people in pipeline.detect_batch(np.stack([IMAGE, IMAGE]), CAMERA):
        np.testing.assert_allclose(people.boxes[np.argsort(people.boxes[:, 0])], boxes)
    assert pipeline.left_out["min_box_height"] == 3


def test_weak_candidates_are_left_out_without_being_counted():
    pipeline, boxes, _ = find({"detector_threshold": 0.6, "region_of_interest": (200, 0, 0, 0)})
    np.testing.assert_allclose(boxes, BOXES[1:, :4])
    assert pipeline.left_out["region_of_interest"] == 0


def test_distances_are_those_of_the_middle_of_the_joints():
    pose = np.array([[[0, 0, 3000], [0, 0, 5000]], [[3000, 0, 4000], [3000, 0, 4000]]], float)
    near, far = Limits(max_distance=4500), Limits(min_distance=4500)
    assert near.poses_outside(pose)["max_distance"].tolist() == [False, True]
    assert far.poses_outside(pose)["min_distance"].tolist() == [True, False]


@settings(max_examples=40, deadline=None)
@given(
    camera_rate=st.floats(1, 120),
    max_rate=st.floats(0.5, 120),
    jitter=st.floats(0, 0.3),
    seed=st.integers(0, 2**32 - 1),
)
def test_images_are_left_out_down_to_the_rate(camera_rate, max_rate, jitter, seed):
    limit, shifts = RateLimit(), np.random.default_rng(seed).uniform(0, jitter, 300)
    arrivals = 1000 + (np.arange(300) + shifts) / camera_rate
    kept = np.array([arrival for arrival in arrivals if limit.admits(arrival, max_rate)])
    rate = (len(kept) - 1) / (arrivals[-1] - arrivals[0])
    assert rate <= max_rate * (1 + 1e-9)
    # Never less than is wanted and comes, but for what jitter makes early.
    assert rate >= 0.98 * (1 - jitter) * min(max_rate, camera_rate) - 3 / (arrivals[-1] - arrivals[0])


def test_no_rate_is_no_limit():
    limit = RateLimit()
    assert all(limit.admits(5.0, 0.0) for _ in range(10))


def test_a_new_rate_holds_at_once():
    limit = RateLimit()
    assert limit.admits(100.0, 0.001) and not limit.admits(100.5, 0.001)
    assert limit.admits(100.6, 10.0)
