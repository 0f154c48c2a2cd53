"""Models on disk: what is kept, refused, left behind. A process without this package loads them in test_export.py."""

import json
import subprocess
import sys

import dot_people
import numpy as np
import pytest
import tensorflow as tf

import metrabs_core
from metrabs_core import models, packaging
from metrabs_core.combined import CombinedModel, MultipersonModel
from metrabs_core.errors import UserError
from metrabs_core.model_card import ModelCard
from metrabs_core.network.crop_model import CropModel, save_weights_dir
from metrabs_core.skeletons import NATIVE, SKELETONS

SIZE = (240, 320)
K = np.float32([[280, 0, 160], [0, 280, 120], [0, 0, 1]])
BOXES = np.float32([[30, 20, 60, 180], [150, 10, 100, 120]])
IMAGE = np.random.default_rng(0).integers(0, 255, [*SIZE, 3]).astype(np.uint8)


@pytest.fixture(scope="module")
def keras_model():
    model = CropModel(backbone="movenet-lightning", crop_side=128, bone_lengths=[250.0] * len(NATIVE.edges))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.normal(size=weight.shape) * 0.05)
    return model


@pytest.fixture(scope="module")
def combined(keras_model):
    detections = np.c_[BOXES, [0.9, 0.5]]
    return CombinedModel(packaging.FrozenCropModel(keras_model), dot_people.BoxDetector(detections))


@pytest.fixture(scope="module")
def exported(combined, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "combined"
    packaging.export(combined, path, ModelCard(about={"name": "test"}))
    return path


def test_constants_compute_what_the_keras_model_computes(keras_model):
    crops = np.random.default_rng(1).uniform(size=[3, 128, 128, 3]).astype(np.float32)
    intrinsics = np.repeat(np.float32([[[300, 0, 63.5], [0, 300, 63.5], [0, 0, 1]]]), 3, axis=0)
    expected = keras_model([crops, intrinsics])
    frozen = packaging.FrozenCropModel(keras_model)
    for name, values in frozen.estimate(crops, intrinsics).items():
        np.testing.assert_allclose(values, expected[name], rtol=2e-3, atol=0.5)


@pytest.fixture(scope="module")
def exported_model(exported):
    return metrabs_core.load(exported, warm_up_image_size=SIZE)


def test_loaded_models_have_the_same_methods_and_plain_attributes(combined, exported_model):
    model = exported_model
    here, there = combined.detect_poses(IMAGE, K), model.detect_poses(IMAGE, K.tolist())
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-3, atol=0.5)
    assert model.card == {"name": "test", "kind": "combined", "skeleton": NATIVE.name, "crop_side": 128}
    assert model.joint_names == list(NATIVE.joint_names)
    assert model.per_skeleton_joint_names["coco_17"] == list(SKELETONS["coco_17"].joint_names)
    assert model.per_skeleton_edges["coco_17"].tolist() == [list(edge) for edge in SKELETONS["coco_17"].edges]
    lists = model.estimate_poses_batched(np.stack([IMAGE, IMAGE]), [BOXES, []], num_aug=1)
    assert lists["poses3d"].row_lengths().numpy().tolist() == [2, 0]
    nested = tf.ragged.constant([BOXES.tolist(), []])  # ragged in every dimension
    ragged = model.estimate_poses_batched(np.stack([IMAGE, IMAGE]), nested, num_aug=1)
    np.testing.assert_allclose(ragged["poses3d"][0], lists["poses3d"][0], atol=1e-3)


def test_models_without_detector(keras_model, tmp_path):
    multiperson = MultipersonModel(packaging.FrozenCropModel(keras_model, weights_dtype="float16"))
    packaging.export(multiperson, tmp_path / "multiperson", ModelCard())
    model = metrabs_core.load(tmp_path / "multiperson", warm_up_image_size=(100, 120))
    assert not model.has_detector and not hasattr(model, "detect_poses")
    expected = multiperson.predict_single_image(IMAGE, K, BOXES, n_aug=1)
    np.testing.assert_allclose(model.predict_single_image(IMAGE, K, BOXES, n_aug=1), expected, rtol=1e-3, atol=0.5)


def test_float16_takes_half_the_space_and_cropping_is_kept(keras_model, tmp_path):
    asking = keras_model.changed(crop_margin=1.25, max_roll_degrees=8.0)
    sizes = {}
    for dtype in ("float16", "float32"):
        packaging.export(packaging.FrozenCropModel(asking, dtype), tmp_path / dtype, ModelCard())
        loaded, _ = packaging.load_crop_model(tmp_path / dtype)
        assert (loaded.crop_margin, loaded.max_roll_degrees) == (1.25, 8.0)
        sizes[dtype] = (tmp_path / dtype / "saved_model.pb").stat().st_size
    n_bytes = 4 * sum(np.prod(w.shape) for w in keras_model.weights)
    assert sizes["float32"] - sizes["float16"] == pytest.approx(n_bytes / 2, rel=0.05)
    with pytest.raises(ValueError, match="bfloat16.*must be one of float16, float32"):
        packaging.FrozenCropModel(keras_model, "bfloat16")


def test_an_export_appears_whole_or_not_at_all(combined, tmp_path):
    with pytest.raises(TypeError):
        packaging.export(combined.crop_model, tmp_path / "model", ModelCard(about={"unwritable": object()}))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="exists already"):
        packaging.export(combined.crop_model, tmp_path / "model", ModelCard())
    assert list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": IMAGE / 255.0}, "image: must be of type uint8; got float64"),
        ({"image": IMAGE[..., 0]}, r"image: must have shape \[any, any, 3\]; got \[240, 320\]"),
        ({"intrinsic_matrix": K[:2]}, r"intrinsic_matrix: must have shape \[3, 3\]; got \[2, 3\]"),
        ({"intrinsic_matrix": [[1, 2], [3]]}, r"intrinsic_matrix: must be an array of shape \[3, 3\]"),
        ({"num_aug": 1.5}, "num_aug: must be of type int32; got float64"),
        ({"average_aug": "yes"}, "average_aug: must be of type bool"),
        ({"skeleton": "octopus"}, "skeleton: must be empty or one of .*; it is octopus."),
        ({"num_aug": 0}, "num_aug .*must be at least 1; it is 0."),
        ({"distortion_coeffs": np.zeros(14)}, "distortion_coeffs: 5 to 12"),
    ],
)
def test_wrong_arguments_are_refused_by_name(exported_model, arguments, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        exported_model.detect_poses(**{"image": IMAGE, **arguments})


def test_a_model_that_was_exported_before_there_were_fisheye_lenses_still_works(tmp_path):
    class Earlier(tf.Module):
        """Has some of the arguments."""

        def __init__(self):
            super().__init__()
            self.crop_model = tf.Module()
            self.joint_names, self.joint_edges = tf.Variable(["a", "b"]), tf.Variable([[0, 1]])
            self.per_skeleton_joint_names, self.per_skeleton_edges = (
                {"two": self.joint_names},
                {"two": self.joint_edges},
            )

        @tf.function(input_signature=[*MultipersonModel.estimate_poses.input_signature[:2], tf.TensorSpec([])])
        def estimate_poses(self, image, boxes, default_fov_degrees):
            return default_fov_degrees + tf.reduce_sum(boxes)

    tf.saved_model.save(Earlier(), str(tmp_path / "model"))
    model = metrabs_core.load(tmp_path / "model")
    assert float(model.estimate_poses(IMAGE, [[1, 1, 1, 1]], default_fov_degrees=33)) == 37
    assert float(model.estimate_poses(IMAGE, [[1, 1, 1, 1]])) == 59
    with pytest.raises(UserError, match="^distortion_model: this model was exported by a version that"):
        model.estimate_poses(IMAGE, BOXES, distortion_model="fisheye")


def test_a_fisheye_lens_and_a_transposed_matrix_reach_an_exported_model(exported_model):
    plain, fisheye = (
        exported_model.estimate_poses(IMAGE, BOXES, K, [0.1, 0, 0, 0], distortion_model=model)["poses3d"].numpy()
        for model in ("", "fisheye")
    )
    assert np.abs(plain - fisheye).max() > 1
    with pytest.raises(ValueError, match="^intrinsic_matrix, extrinsic_matrix: last rows must be 0 0 1 and 0 0 0 1"):
        exported_model.estimate_poses(IMAGE, BOXES, np.float32(K).T)


def test_wrong_boxes_and_unknown_arguments_are_refused(exported_model):
    with pytest.raises(ValueError, match="^boxes: must be one array of shape"):
        exported_model.estimate_poses_batched(IMAGE[None], [[["left", "top", "width", "height"]]])
    with pytest.raises(ValueError, match="^boxes: left, top, width and height are needed"):
        exported_model.estimate_poses(IMAGE, BOXES[:, :3])
    with pytest.raises(TypeError, match="n_augmentations"):
        exported_model.detect_poses(IMAGE, n_augmentations=2)


def test_what_is_no_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match="There is no model .*nowhere: no such folder, and the packaged models are a"):
        metrabs_core.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is not a model: it has neither saved_model.pb nor model_card.json"):
        metrabs_core.load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"not a protocol buffer")
    with pytest.raises(ValueError, match="is not a model that TensorFlow can load"):
        metrabs_core.load(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="none of full images"):
        metrabs_core.load(tmp_path / "other")


def test_a_folder_of_weights_is_combined_with_the_default_detector(keras_model, tmp_path):
    save_weights_dir(keras_model, tmp_path / "weights", {"name": "from weights"}, dtype="float32")
    model = metrabs_core.load(tmp_path / "weights")
    assert model.card["name"] == "from weights"
    expected = keras_model.skeleton.joint_names
    assert model.joint_names == list(expected)
    result = model.estimate_poses(IMAGE, BOXES, K, num_aug=1)
    assert np.isfinite(result["poses3d"]).all()


def test_the_card_lies_beside_the_model(exported):
    assert json.loads((exported / "model_card.json").read_text())["name"] == "test"
    card = ModelCard.read(exported)
    assert (card.kind, card.skeleton, card.about) == ("combined", NATIVE.name, {"name": "test"})
    assert (card.crop_side, card.detector) == (128, None)


def test_damaged_cards_are_named(tmp_path):
    with pytest.raises(UserError, match="is no crop model: it has no model_card.json"):
        ModelCard.read(tmp_path)
    for content in ("{", "[1]", b"\xff\xfe\x00"):
        (tmp_path / "model_card.json").write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError, match="model_card.json is damaged"):
            ModelCard.read(tmp_path)


def test_packaged_models_have_names(tmp_path, monkeypatch):
    assert models.locate() == models.locate("") == models.locate("accurate")
    assert models.names() == ["accurate", "fast"]
    for name in models.names():
        assert ModelCard.read(models.locate(name)).crop_model["crop_side"] > 0
    assert models.locate(tmp_path) == tmp_path
    # a packaged model's name means that one wherever one is
    (tmp_path / "accurate").mkdir()
    monkeypatch.chdir(tmp_path)
    assert models.locate("accurate").parent != tmp_path
    with pytest.raises(UserError, match="There is no model at precise: no such folder, and the packaged models are a"):
        metrabs_core.load("precise")


def test_the_detectors_input_side_is_chosen_before_the_export(exported):
    with pytest.raises(UserError, match="is exported already: the detector's input side is chosen by build-combined"):
        metrabs_core.load(exported, detector_input_side=640)
    with pytest.raises(UserError, match="input side is 500 pixels; it must be a multiple of 32"):
        metrabs_core.load(detector_input_side=500)


def test_importing_the_package_does_not_import_tensorflow():
    check = "import sys, metrabs_core; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=packaging.__file__.rsplit("/", 2)[0]).returncode == 0
