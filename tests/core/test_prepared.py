"""Models out of the cache folder do what the whole ones do, in less memory; whatever happens to the folder."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import metrabs_core
from metrabs_core import packaging
from metrabs_core.network.crop_model import CropModel, save_weights_dir
from metrabs_core.packaging import prepared
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
def cache(weights, tmp_path_factory) -> Path:
    """A cache folder that holds the model."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        packaging.prepare(weights)
    return folder


@pytest.fixture(autouse=True)
def environment(cache, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture
def is_prepared_anew(monkeypatch) -> list:
    """Grows whenever a model is prepared by another process."""
    calls, run = [], subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: calls.append(args) or run(*args, **options))
    return calls


def folders(cache) -> list[Path]:
    return list((cache / "metrabs" / "prepared").iterdir())


def assert_same_steps(model, whole):
    options = {"detector_threshold": 0.001, "max_detections": 3}
    boxes = whole.detect_boxes(IMAGE, **options)["boxes"].numpy()
    assert len(boxes) == 3
    np.testing.assert_allclose(model.detect_boxes(IMAGE, **options)["boxes"], boxes, rtol=1e-4, atol=1e-2)
    options = {"suppress_implausible_poses": False, "num_aug": 2, "skeleton": "coco_17", "intrinsic_matrix": K}
    poses = whole.detect_poses_in_boxes(IMAGE, BOXES, **options)
    assert poses["poses3d"].shape == (2, 17, 3)
    for name, values in model.detect_poses_in_boxes(IMAGE, BOXES.tolist(), **options).items():
        np.testing.assert_allclose(values, poses[name], rtol=1e-3, atol=0.5)


def test_a_prepared_model_is_the_whole_one(weights, is_prepared_anew):
    model, whole = metrabs_core.load_prepared(weights), metrabs_core.load(weights)
    assert isinstance(model, packaging.PreparedModel) and not is_prepared_anew
    assert_same_steps(model, whole)
    assert (model.card, model.joint_names) == (whole.card, whole.joint_names)
    assert model.per_skeleton_joint_names == whole.per_skeleton_joint_names
    for name, edges in whole.per_skeleton_edges.items():
        np.testing.assert_array_equal(model.per_skeleton_edges[name], edges)
    # what is not prepared comes from the whole model, whose functions may have the same names in this process
    result = model.estimate_poses(IMAGE, BOXES, K, num_aug=1)
    np.testing.assert_allclose(result["poses3d"], whole.estimate_poses(IMAGE, BOXES, K, num_aug=1)["poses3d"], atol=0.5)
    assert_same_steps(model, whole)
    with pytest.raises(ValueError, match="boxes: must have shape"):
        model.detect_poses_in_boxes(IMAGE, BOXES[0])
    assert not hasattr(model, "no_such_method")


def test_what_is_damaged_is_prepared_again(weights, cache, is_prepared_anew):
    (folder,) = folders(cache)
    functions = folder / "detect_boxes" / "functions.pb"
    functions.write_bytes(functions.read_bytes()[:-100])
    assert_same_steps(metrabs_core.load_prepared(weights), metrabs_core.load(weights))
    assert len(is_prepared_anew) == 1 and folders(cache) == [folder]


def test_other_weights_are_another_model(weights, cache, tmp_path):
    other = tmp_path / "weights"
    model = CropModel(backbone="movenet-lightning", crop_side=128, bone_lengths=[250.0] * len(NATIVE.edges))
    save_weights_dir(model, other, {"name": "another"}, dtype="float32")
    sides = {prepared._folder(other, side) for side in (None, 320)}
    assert len(sides | {prepared._folder(weights, None)}) == 3
    assert prepared._folder(weights, None) == folders(cache)[0]


def test_the_cache_does_not_grow(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    place = prepared._folder(weights, None).parent
    for i in range(6):
        (place / f"{i}").mkdir(parents=True)
        os.utime(place / f"{i}", (i, i))
    packaging.prepare(weights)
    assert {path.name for path in place.iterdir()} == {"3", "4", "5", prepared._folder(weights, None).name}


def test_without_a_place_to_keep_it_the_whole_model_is_loaded(weights, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    model = metrabs_core.load_prepared(weights)
    assert isinstance(model, packaging.Model)


def test_a_wrong_argument_is_told_as_for_the_whole_model(weights, is_prepared_anew):
    for path, side, message in (("nowhere", None, "There is no model at nowhere"), (weights, 500, "multiple of 32")):
        with pytest.raises(ValueError, match=message):
            metrabs_core.load_prepared(path, side)
    assert len(is_prepared_anew) == 1
