"""The way of one frame, with a detector whose score the picture tells and a crop model whose poses are known."""

import inspect
from dataclasses import FrozenInstanceError, replace

import cv2
import dot_people
import numpy as np
import pytest
import tensorflow as tf
from scipy.spatial.transform import Rotation

from metrabs_core.cameras import Camera
from metrabs_core.combined import CombinedModel, MultipersonModel
from metrabs_core.errors import UserError
from metrabs_core.model_card import ModelCard
from metrabs_core.packaging import Model
from metrabs_core.pipeline import UNTRACKED, People, PersonPipeline, PipelineSettings, View, step_together
from metrabs_core.skeletons import NATIVE, SKELETONS

SIZE = (360, 480)
K = np.float32([[300, 0, 235], [0, 300, 180], [0, 0, 1]])
CAMERA = Camera(K)
DOTS = dot_people.person([250.0, 150.0, 3000.0])
POSE = dot_people.pose(DOTS)
BOX = dot_people.boxes([DOTS], K, np.zeros(5), margin=12)[0]
PICTURE = dot_people.draw([DOTS], K, np.zeros(5), SIZE)


class ScoredBox(tf.Module):
    """Finds one box in every image; its score is the brightness of the image's first pixel."""

    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        scores = tf.cast(images[:, 0, 0, 0], tf.float32) / 255
        boxes = tf.concat([tf.tile(BOX[None], [tf.shape(images)[0], 1]), scores[:, None]], axis=1)[:, None]
        return tf.ragged.boolean_mask(boxes, scores[:, None] >= threshold)


@pytest.fixture(scope="module")
def model():
    crop_model = dot_people.DotCropModel(np.linalg.norm(DOTS, axis=-1))
    return Model(CombinedModel(crop_model, ScoredBox()), ModelCard())


def picture(score):
    image = PICTURE.copy()
    image[0, 0] = round(255 * score)
    return image


def test_a_step_finds_people_where_they_are_and_gives_them_ids(model):
    people = PersonPipeline(model).step(picture(0.8), CAMERA, 10.0)
    assert people.ids.tolist() == [1] and len(people) == 1 and people.skeleton == NATIVE
    np.testing.assert_allclose(people.boxes, [BOX])
    np.testing.assert_allclose(people.scores, [0.8])
    np.testing.assert_allclose(people.poses3d[0], POSE, atol=6)
    projected = POSE @ K.T
    np.testing.assert_allclose(people.poses2d[0], projected[:, :2] / projected[:, 2:], atol=1)
    assert people.uncertainties == pytest.approx(np.full([1, 34], dot_people.SIGMA)) and people.in_view.all()


def test_a_step_after_the_warm_up_traces_nothing():
    crop_model = dot_people.DotCropModel(np.linalg.norm(DOTS, axis=-1))
    pipeline = PersonPipeline(Model(CombinedModel(crop_model, ScoredBox()), ModelCard()))
    pipeline.warm_up(*SIZE)
    n_traces = crop_model.n_traces
    assert n_traces > 0
    assert len(pipeline.step(picture(0.8), CAMERA, 0.0)) == len(pipeline.find(picture(0.8), CAMERA)) == 1
    assert crop_model.n_traces == n_traces


def run(pipeline, scores, interval=0.1, start=0.0):
    """Ids of the person in pictures of successive scores."""
    steps = (pipeline.step(picture(score), CAMERA, start + i * interval) for i, score in enumerate(scores))
    return [people.ids.tolist() for people in steps]


def test_known_people_are_followed_below_the_threshold_and_others_are_not(model):
    pipeline = PersonPipeline(model, PipelineSettings(detector_threshold=0.4))
    assert run(pipeline, [0.3, 0.8, 0.3, 0.3, 0.1, 0.3]) == [[], [1], [1], [1], [], [1]]


def test_stamps_that_jump_back_forget_everybody_and_the_next_images_are_followed_as_usual(model):
    pipeline = PersonPipeline(model)
    assert run(pipeline, [0.8, 0.8], start=50.0) == [[1], [1]]
    assert run(pipeline, [0.8, 0.8], start=20.0) == [[2], [2]]


def test_both_halves_make_the_step_and_batches_make_no_difference(model):
    images = [picture(score) for score in (0.8, 0.3, 0.29, 0.1)]
    whole, halves, batched = (PersonPipeline(model, PipelineSettings(detector_threshold=0.4)) for _ in range(3))
    candidates = batched.detect_batch(np.stack(images), CAMERA)
    assert [len(people) for people in candidates] == [1, 1, 1, 0]
    for i, (image, of_batch) in enumerate(zip(images, candidates)):
        found = halves.detect(image, CAMERA)
        assert (found.ids == UNTRACKED).all()
        expected = whole.step(image, CAMERA, 0.1 * i)
        for people in (halves.follow(found, 0.1 * i), batched.follow(of_batch, 0.1 * i)):
            for name, array in expected.arrays().items():
                np.testing.assert_allclose(getattr(people, name), array, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_several_cameras_see_together_what_each_sees_alone(model, has_gpu, monkeypatch):
    # decides whether they go through the network in one batch
    monkeypatch.setattr(model, "gpus", ["a GPU"] if has_gpu else [])
    rng = np.random.default_rng(0)
    matrix = K.copy()
    matrix[0, 2] -= 40
    higher = np.pad(picture(0.7), [(0, 20), (0, 0), (0, 0)])
    cameras = [
        Camera(K),
        Camera(matrix, [0.05, -0.01, 0.002, 0.001, 0.02, 0.01, 0.0, 0.0]),
        Camera(K, [0.05, -0.01, 0, 0], "fisheye"),
        Camera(K),
    ]
    base = np.eye(4)
    base[:3] = np.column_stack([Rotation.from_euler("xyz", [80, 10, 20], degrees=True).as_matrix(), [100, 2e6, 300]])
    for of_world in (None, base):
        if of_world is not None:  # each camera tilted and rolled in one world, far from its origin
            turns = [Rotation.random(random_state=i).as_matrix() if i else np.eye(3) for i in range(4)]
            cameras = [
                replace(c, extrinsic_matrix=of_world, world_up=(0, 0, 1)).turned(t) for c, t in zip(cameras, turns)
            ]
        depth = rng.uniform(2000, 2500, SIZE).astype(np.float32)
        images, depths = [picture(0.8), picture(0.5), picture(0.6), higher], [depth, None, None, None]
        for interval in (1, 2):
            both = [[PersonPipeline(model, PipelineSettings(detector_interval=interval)) for _ in images] for _ in "ab"]
            for stamp in (1.0, 1.1, 1.2):
                views = [View(p, i, c, stamp, d) for p, i, c, d in zip(both[0], images, cameras, depths)]
                for view, together, pipeline in zip(views, step_together(views), both[1], strict=True):
                    alone = pipeline.step(*view[1:])
                    assert alone.ids.tolist() == [1] and alone.are_measured[0] == (view.depth is not None)
                    for name, array in alone.arrays().items():
                        np.testing.assert_allclose(getattr(together, name), array, rtol=1e-3, atol=0.5)


def test_single_images_are_found_without_changing_who_is_known(model):
    pipeline = PersonPipeline(model, PipelineSettings(detector_threshold=0.4))
    assert len(pipeline.find(picture(0.3), CAMERA)) == 0
    assert pipeline.find(picture(0.8), CAMERA).ids.tolist() == [UNTRACKED]
    people = pipeline.estimate(picture(0.0), CAMERA, [BOX])
    assert people.ids.tolist() == [UNTRACKED] and people.scores.tolist() == [1]
    np.testing.assert_allclose(people.poses3d[0], POSE, atol=6)
    assert run(pipeline, [0.3, 0.8]) == [[], [1]]


def test_a_fisheye_camera_is_told_to_the_model(model):
    matrix = K - np.float32([[0, 0, 400], [0, 0, 0], [0, 0, 0]])  # so that the person is far aside
    camera = Camera(matrix, [0.05, -0.01, 0, 0], "equidistant")
    direction = camera.rays(BOX[:2] + BOX[2:] / 2)
    assert Camera(matrix).rays(BOX[:2] + BOX[2:] / 2) @ direction < 0.95
    pipeline = PersonPipeline(model)
    for people in (
        pipeline.find(picture(0.8), camera),
        pipeline.estimate(picture(0.8), camera, [BOX]),
        *pipeline.detect_batch(np.stack([picture(0.8)] * 2), camera),
    ):
        middle = people.poses3d[0].mean(0)
        assert middle / np.linalg.norm(middle) @ direction > 0.995


def test_settings_change_between_steps_and_a_wrong_one_leaves_them(model):
    pipeline = PersonPipeline(model)
    assert pipeline.step(picture(0.4), CAMERA, 0.0).poses3d.shape == (1, 34, 3)
    pipeline.settings = PipelineSettings(skeleton="smpl_24", detector_threshold=0.5)
    assert len(pipeline.step(picture(0.4), CAMERA, 0.1)) == 0
    people = pipeline.step(picture(0.8), CAMERA, 0.2)
    assert people.skeleton == SKELETONS["smpl_24"] and people.poses3d.shape == (1, 24, 3)
    assert people.ids.tolist() == [1]
    with pytest.raises(UserError, match=r"no skeleton 'toy'; it has coco_17, .*smpl_24, and '' for all joints"):
        pipeline.settings = PipelineSettings(skeleton="toy")
    assert pipeline.settings.skeleton == "smpl_24" and pipeline.skeleton == SKELETONS["smpl_24"]


def test_a_model_without_detector_is_refused():
    model = Model(MultipersonModel(dot_people.DotCropModel(np.ones(4))), ModelCard())
    with pytest.raises(UserError, match="no person detector"):
        PersonPipeline(model)


def test_settings_are_arguments_of_the_model_and_have_its_names():
    for method, options in (
        (CombinedModel.detect_poses, PipelineSettings().detection_options()),
        (CombinedModel.estimate_poses, PipelineSettings().estimation_options()),
    ):
        assert set(options) <= set(inspect.signature(method.python_function).parameters)


def untracked(poses3d, poses2d, size=(640, 480)):
    prediction = {"boxes": np.zeros([1, 5]), "poses3d": poses3d, "poses2d": poses2d, "uncertainties": np.ones([1, 34])}
    return People.untracked(prediction, NATIVE, np.zeros([size[1], size[0], 3], np.uint8))


def test_joints_out_of_the_image_and_behind_the_camera():
    poses2d = np.full([1, NATIVE.n_joints, 2], 100.0)
    poses2d[0, :6] = [[-0.5, 100], [-0.49, 100], [639.49, 100], [639.5, 100], [100, 479.6], [-1e9, np.inf]]
    poses3d = np.full([1, NATIVE.n_joints, 3], 1000.0)
    poses3d[0, 6] = [0, 0, -1000]
    people = untracked(poses3d, poses2d)
    assert people.in_view[0, :8].tolist() == [False, True, True, False, False, False, False, True]
    assert np.isnan(people.poses2d[0, 6]).all() and np.isfinite(people.poses2d[0, 7]).all()


def test_people_do_not_change():
    poses3d = np.ones([1, NATIVE.n_joints, 3])
    people = untracked(poses3d, poses3d[..., :2])
    with pytest.raises(FrozenInstanceError):
        people.ids = np.array([4])
    with pytest.raises(ValueError, match="read-only"):
        people.poses3d[0] = 7
    poses3d[0] = 7  # the arrays that they were made of stay as they were
    assert len(people.select([False])) == 0 and people.select([True]).ids.tolist() == people.ids.tolist()


def walking(camera_path, world_path, smoothing):
    """People of steps through one camera that moves, whose person is at a place of the world in each."""
    pipeline = PersonPipeline(Standing(), PipelineSettings(smoothing=smoothing))
    for i, (extrinsics, place) in enumerate(zip(camera_path, world_path)):
        camera = Camera(K, extrinsic_matrix=extrinsics)
        pipeline.model.place = camera.to_camera(place)
        people = pipeline.step(PICTURE, camera, 0.1 * i)
    return camera, people


class Standing:
    """A model that sees one person, all of whose joints are in one place of the camera frame."""

    has_detector, gpus, joint_names = True, (), list(NATIVE.joint_names)
    per_skeleton_joint_names, per_skeleton_edges = {NATIVE.name: joint_names}, {NATIVE.name: NATIVE.edges}

    def detect_poses(self, image, **_):
        poses = np.tile(np.float32(self.place), [1, NATIVE.n_joints, 1])
        return {
            "boxes": np.float32([[0, 0, 1, 1, 1]]), "poses3d": poses, "poses2d": poses[..., :2],
            "uncertainties": poses[..., 2],
        }  # fmt: skip


@pytest.mark.parametrize("smoothing", ["off", "light"])
def test_a_camera_that_moves_does_not_move_the_people(smoothing):
    n = 30
    turning = [np.eye(4) for _ in range(n)]
    for i, extrinsics in enumerate(turning):
        extrinsics[:3, :3] = cv2.Rodrigues(np.array([0, 0.05 * i, 0.01 * i]))[0]
        extrinsics[:3, 3] = [20.0 * i, 5.0, -50.0 * i]
    camera, people = walking(turning, np.tile([300.0, 100.0, 6000.0], [n, 1]), smoothing)
    np.testing.assert_allclose(people.velocities, [[0, 0, 0]], atol=0.5)
    np.testing.assert_allclose(camera.to_world(people.poses3d[0, 5]), [300, 100, 6000], atol=0.1)
    # Somebody who walks walks as fast as against the ground, in the axes of the camera.
    path = np.array([0.0, 0, 6000]) + np.arange(n)[:, None] * [100.0, 0, 0]
    camera, people = walking(turning, path, smoothing)
    velocity = camera.extrinsic_matrix[:3, :3] @ [1000.0, 0, 0]
    np.testing.assert_allclose(people.velocities, [velocity], atol=1)
