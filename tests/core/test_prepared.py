"""Prepared models do what the whole ones do, without TensorFlow; whatever happens to the cache folder."""

import inspect
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import metrabs_core
from metrabs_core import packaging, plausibility, prepared
from metrabs_core.combined import CombinedModel
from metrabs_core.network.crop_model import CropModel, save_weights_dir
from metrabs_core.prepared import cache
from metrabs_core.prepared.estimator import Cropping, PreparedEstimator
from metrabs_core.prepared.plausibility import are_plausible, pose_of_augmentations
from metrabs_core.skeletons import NATIVE

K = np.float32([[280, 0, 160], [0, 280, 120], [0, 0, 1]])
IMAGE = np.random.default_rng(0).integers(0, 255, [240, 320, 3]).astype(np.uint8)
BOXES = np.float32([[30, 20, 60, 180, 0.9], [150, 10, 100, 120, 0.5]])


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    model = CropModel(backbone="movenet-lightning", crop_side=128, bone_lengths=[250.0] * len(NATIVE.edges))
    folder = tmp_path_factory.mktemp("models") / "weights"
    save_weights_dir(model, folder, {"name": "from weights"}, dtype="float32")
    return folder


@pytest.fixture(scope="module")
def place(weights, tmp_path_factory) -> Path:
    """A cache folder that holds the model."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        prepared.prepare(weights)
    return folder


@pytest.fixture(autouse=True)
def environment(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))


@pytest.fixture
def is_prepared_anew(monkeypatch) -> list:
    """Grows whenever a model is prepared by another process."""
    calls, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: calls.append(args) or run(*args, **options))
    return calls


@pytest.fixture(scope="module")
def both(weights, place):
    """The prepared model and the whole one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place))
        return metrabs_core.load_prepared(weights), metrabs_core.load(weights)


def folders(place) -> list[Path]:
    return list((place / "metrabs" / "prepared").iterdir())


def assert_same_steps(model, whole):
    options = {"detector_threshold": 0.001, "max_detections": 3}
    boxes = whole.detect_boxes(IMAGE, **options)["boxes"].numpy()
    assert len(boxes) == 3
    np.testing.assert_allclose(model.detect_boxes(IMAGE, **options)["boxes"], boxes, rtol=1e-4, atol=1e-2)
    assert_same_poses(model, whole, BOXES, num_aug=2, skeleton="coco_17", intrinsic_matrix=K)


def assert_same_poses(model, whole, boxes, image=IMAGE, **options):
    options = {"suppress_implausible_poses": False, **options}
    poses = whole.detect_poses_in_boxes(image, boxes, **options)
    found = model.detect_poses_in_boxes(image, boxes.tolist(), **options)
    assert found.keys() == poses.keys()
    for name, values in found.items():
        assert values.dtype == np.float32 and values.shape == poses[name].shape
        np.testing.assert_allclose(values, poses[name], rtol=2e-3, atol=1.0, err_msg=name)


def test_a_prepared_model_is_the_whole_one(weights, both, is_prepared_anew):
    model, whole = both
    assert isinstance(model, prepared.PreparedModel) and not is_prepared_anew
    assert_same_steps(model, whole)
    assert (model.card, model.joint_names) == (whole.card, whole.joint_names)
    assert model.per_skeleton_joint_names == whole.per_skeleton_joint_names
    for name, edges in whole.per_skeleton_edges.items():
        np.testing.assert_array_equal(model.per_skeleton_edges[name], edges)
    # what is not prepared comes from the whole model
    result = model.estimate_poses(IMAGE, BOXES, K, num_aug=1)
    np.testing.assert_allclose(result["poses3d"], whole.estimate_poses(IMAGE, BOXES, K, num_aug=1)["poses3d"], atol=0.5)
    assert not hasattr(model, "no_such_method")


@pytest.mark.parametrize("name", ["detect_boxes", "detect_poses_in_boxes"])
def test_its_methods_take_what_the_whole_models_take(name):
    whole = inspect.signature(getattr(CombinedModel, name).python_function).parameters.values()
    own = inspect.signature(getattr(prepared.PreparedModel, name)).parameters.values()
    assert [(p.name, p.default) for p in own] == [(p.name, p.default) for p in whole]


@pytest.mark.parametrize(
    "options",
    [
        {"num_aug": 1},
        {"num_aug": 5, "average_aug": False},
        {"num_aug": 4, "skeleton": "smpl_24", "intrinsic_matrix": K},
        {"num_aug": 1, "antialias_factor": 3, "default_fov_degrees": 90.0},
        {"num_aug": 2, "distortion_coeffs": [0.1, -0.05, 0.001, 0.002, 0.01], "intrinsic_matrix": K},
        {"num_aug": 1, "distortion_coeffs": [0.05, -0.01, 0, 0], "distortion_model": "fisheye", "intrinsic_matrix": K},
        {"num_aug": 1, "world_up_vector": [1.0, 0.0, 0.0]},
        {
            "num_aug": 1,
            "extrinsic_matrix": [[0, -1, 0, 100], [1, 0, 0, 200], [0, 0, 1, 300], [0, 0, 0, 1]],
            "world_up_vector": [1.0, 0.0, 0.0],
        },
    ],
    ids=lambda options: " ".join(options),
)
def test_options_mean_the_same(both, options):
    beside = np.float32([[-40, 30, 90, 260, 0.7], [300, 100, 15, 30, 0.3]])
    assert_same_poses(*both, np.concatenate([BOXES, beside]), **options)


def test_people_are_cropped_out_of_large_images_alike(both):
    # smooth, as a picture that is large is; averaged and read in strides
    rough = np.random.default_rng(1).integers(0, 255, [12, 16, 3]).astype(np.uint8)
    large = np.kron(rough, np.ones([150, 150, 1], np.uint8))
    boxes = np.float32([[200, 100, 900, 1500, 0.9], [1400, 20, 400, 420, 0.5]])
    assert_same_poses(*both, boxes, large, num_aug=2)


def test_both_halves_in_one(both):
    options = {"detector_threshold": 0.001, "max_detections": 3, "num_aug": 1, "suppress_implausible_poses": False}
    found, expected = (model.detect_poses(IMAGE, K, **options) for model in both)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(found["poses3d"], expected["poses3d"], rtol=0.02, atol=20)
    with pytest.raises(TypeError, match="no_such_option"):
        both[0].detect_poses(IMAGE, no_such_option=1)


def test_several_threads_at_once_get_what_each_gets_alone(both):
    model, _ = both
    images = [np.roll(IMAGE, 10 * i, axis=1) for i in range(4)]

    def poses(image):
        return model.detect_poses_in_boxes(image, BOXES, K, num_aug=1, suppress_implausible_poses=False)["poses3d"]

    alone = [poses(image) for image in images]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            for together, expected in zip(threads.map(poses, images), alone):
                np.testing.assert_allclose(together, expected, rtol=1e-3, atol=0.5)


def test_nobody_and_wrong_arguments(both):
    model, _ = both
    assert model.detect_poses_in_boxes(IMAGE, np.zeros([0, 5]), skeleton="coco_17")["poses3d"].shape == (0, 17, 3)
    assert len(model.detect_boxes(IMAGE, max_detections=0)["boxes"]) == 0
    assert len(model.detect_boxes(IMAGE, detector_threshold=1.0)["boxes"]) == 0
    for arguments, message in (
        ([IMAGE, BOXES[0]], "boxes: must have shape"),
        ([IMAGE, BOXES[:, :4]], "boxes: must have shape"),
        ([IMAGE, BOXES * np.inf], "boxes: must be finite"),
        ([IMAGE.astype(np.float32), BOXES], "image: must be of type uint8"),
        ([IMAGE[0], BOXES], "image: must be of type uint8"),
        ([IMAGE, BOXES, np.eye(4)], "intrinsic matrix must be 3 x 3"),
    ):
        with pytest.raises(ValueError, match=message):
            model.detect_poses_in_boxes(*arguments)
    for option, message in (
        ({"num_aug": 0}, "num_aug: must be at least 1"),
        ({"antialias_factor": 0}, "antialias_factor: must be at least 1"),
        ({"skeleton": "octopus"}, "skeleton: must be empty or one of .*coco_17.*'octopus'"),
        ({"distortion_model": "telescope"}, "lens model 'telescope' is not known"),
    ):
        with pytest.raises(ValueError, match=message):
            model.detect_poses_in_boxes(IMAGE, BOXES, **option)


def test_mirrored_images_are_looked_at_as_by_the_whole_model(both):
    options = {"detector_threshold": 0.001, "max_detections": 4, "detector_flip_aug": True}
    boxes = [np.asarray(model.detect_boxes(IMAGE, **options)["boxes"]) for model in both]
    np.testing.assert_allclose(*boxes, rtol=1e-4, atol=1e-2)
    assert not np.allclose(boxes[0], both[0].detect_boxes(IMAGE, **options | {"detector_flip_aug": False})["boxes"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 6))
def test_poses_are_judged_as_by_the_graph(seed, n_aug, n_people):
    rng = np.random.default_rng(seed)
    # a few people, seen several times at other distances, some of them torn apart
    person = rng.normal(0, 300, [2, 1, NATIVE.n_joints, 3]) + [0, 0, 3000]
    poses = person[rng.integers(0, 2, n_people)] * rng.choice([1.0, 1.1, 1.5], [n_people, 1, 1, 1])
    poses = poses + rng.normal(0, 1, [n_people, n_aug, NATIVE.n_joints, 3]) * rng.choice(
        [1, 60, 900], [n_people, 1, 1, 1]
    )
    poses = poses.astype(np.float32)
    pixels = (300 * poses[..., :2] / np.maximum(poses[..., 2:], 1)).mean(axis=1)
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    size = (high - low) * rng.choice([0.5, 1.0, 3.0], [n_people, 1])
    boxes = np.column_stack([low, size, rng.permutation(n_people) / 10 + 0.1]).astype(np.float32)
    lengths = np.full(len(NATIVE.edges), 400.0, np.float32) if rng.random() < 0.5 else None
    expected = plausibility.augmentations_agree(poses) & plausibility.covers_box(pixels, boxes)
    pose = pose_of_augmentations(poses)
    np.testing.assert_allclose(pose, plausibility.pose_of_augmentations(poses), atol=0.01)
    if lengths is not None:
        expected &= plausibility.has_human_bones(pose, NATIVE.edges, lengths)
    scores = np.where(expected, boxes[:, 4], -1).astype(np.float32)
    expected = plausibility.is_best_of_similar(pose, scores)
    np.testing.assert_array_equal(are_plausible(poses, pose, pixels, boxes, NATIVE.edges, lengths), expected)


def test_what_is_implausible_is_left_out():
    pose = np.random.default_rng(0).normal(0, 300, [NATIVE.n_joints, 3]) + [0, 0, 3000]
    answer = {"poses3d": np.float32([pose]), "uncertainty": np.ones([1, NATIVE.n_joints], np.float32)}
    estimate = PreparedEstimator(lambda **_: answer, Cropping(NATIVE.name, 64, 1.0, 10.0, None))
    options = {"num_aug": 2, "antialias_factor": 1, "average_aug": True, "skeleton": ""}
    camera = metrabs_core.cameras.Camera(K)
    for is_judged, n in ((True, 0), (False, 2)):
        found = estimate(IMAGE, BOXES, camera, **options, is_judged=is_judged)
        assert {name: values.shape[0] for name, values in found.items()} == dict.fromkeys(found, n)


def test_what_is_damaged_is_prepared_again(weights, place, both, is_prepared_anew):
    (folder,) = folders(place)
    network = folder / "detector.tflite"
    network.write_bytes(network.read_bytes()[:-100])
    assert_same_steps(metrabs_core.load_prepared(weights), both[1])
    assert len(is_prepared_anew) == 1 and folders(place) == [folder]


def test_other_weights_are_another_model(weights, place, tmp_path):
    other = tmp_path / "weights"
    model = CropModel(backbone="movenet-lightning", crop_side=128, bone_lengths=[250.0] * len(NATIVE.edges))
    save_weights_dir(model, other, {"name": "another"}, dtype="float32")
    assert cache._folder(other) != cache._folder(weights) == folders(place)[0]


def test_the_cache_does_not_grow(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = cache._folder(weights).parent
    for i in range(6):
        (place / f"{i}").mkdir(parents=True)
        os.utime(place / f"{i}", (i, i))
    prepared.prepare(weights)
    assert {path.name for path in place.iterdir()} == {"3", "4", "5", cache._folder(weights).name}


def test_without_a_place_to_keep_it_the_whole_model_is_loaded(weights, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(metrabs_core.load_prepared(weights), packaging.Model)


def test_on_a_gpu_the_whole_model_is_loaded(weights, monkeypatch):
    monkeypatch.setattr(cache, "find_gpus", lambda: ["a GPU"])
    assert isinstance(metrabs_core.load_prepared(weights), packaging.Model)


def test_a_wrong_argument_is_told_as_for_the_whole_model(weights, tmp_path):
    for path, side, message in (
        ("nowhere", None, "There is no model at nowhere"),
        (tmp_path, None, "is not a model"),
        (weights, 500, "multiple of 32"),
    ):
        with pytest.raises(ValueError, match=message):
            metrabs_core.load_prepared(path, side)


def test_the_detector_sees_as_much_as_it_is_told(weights, both):
    larger = metrabs_core.load_prepared(weights, 640), metrabs_core.load(weights, None, 640)
    options = {"detector_threshold": 0.001, "max_detections": 3}
    boxes = [np.asarray(model.detect_boxes(IMAGE, **options)["boxes"]) for model in larger]
    np.testing.assert_allclose(*boxes, rtol=1e-4, atol=1e-2)
    assert not np.allclose(boxes[0], both[0].detect_boxes(IMAGE, **options)["boxes"], atol=1)
