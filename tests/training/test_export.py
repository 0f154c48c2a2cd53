"""From a folder of weights to models that load anywhere: the commands as a user runs them, and what they leave."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from metrabs_core import packaging
from metrabs_core.network.crop_model import CropModel, save_weights_dir
from metrabs_core.skeletons import SKELETONS
from training import cli

SIDE = 128
H36M = SKELETONS["h36m_17"]
K = np.float32([[280, 0, 160], [0, 280, 120], [0, 0, 1]])
BOXES = np.float32([[30, 20, 60, 180], [150, 10, 100, 120]])
IMAGE = np.random.default_rng(0).integers(0, 255, [240, 320, 3]).astype(np.uint8)

# Run by a second Python, away from the repository, that refuses to find anything of ours.
SECOND_PROCESS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("metrabs_core", "metrabs_ros", "training", "keras"):
            raise ModuleNotFoundError(name)

import tensorflow as tf
for name in [name for name in sys.modules if name.split(".")[0] == "keras"]:
    del sys.modules[name]
sys.meta_path.insert(0, Refuse())
import numpy as np

folder = sys.argv[1]
data = np.load(folder + "/in.npz")
image, K, boxes = data["image"], data["K"], data["boxes"]
result = {}
for kind in ("crop_model", "multiperson", "combined"):
    model = tf.saved_model.load(folder + "/" + kind)
    result[kind + "_names"] = model.joint_names.numpy().astype(str)
    result[kind + "_edges"] = model.joint_edges.numpy()
    result[kind + "_skeletons"] = sorted(model.per_skeleton_joint_names)
    assert sorted(model.per_skeleton_edges) == sorted(model.per_skeleton_joint_names)
    result[kind + "_crops"] = model.crop_model(data["crops"], K[None]).numpy()
    result[kind + "_multi"] = model.crop_model.predict_multi(data["crops"].astype(np.float16), K[None]).numpy()
    if kind != "crop_model":
        result[kind + "_poses"] = model.estimate_poses(image, boxes, K, num_aug=2)["poses3d"].numpy()
    if kind == "multiperson":
        result["first_release"] = model.predict_single_image(image, K, boxes, n_aug=2).numpy()
    if kind == "combined":
        prediction = model.detect_poses(image, K, detector_threshold=0.0, max_detections=3)
        assert prediction["poses3d"].shape[1:] == [17, 3]
assert not {"metrabs_core", "training"} & {name.split(".")[0] for name in sys.modules}
np.savez(folder + "/out.npz", **result)
"""


@pytest.fixture(scope="module")
def keras_model():
    """A crop model of Human3.6M's joints with random weights."""
    model = CropModel(
        backbone="movenet-lightning", skeleton="h36m_17", crop_side=SIDE, bone_lengths=[250.0] * len(H36M.edges)
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(rng.normal(size=weight.shape) * 0.05)
    return model


@pytest.fixture(scope="module")
def folder(keras_model, tmp_path_factory):
    """The chain of commands, from the folder of a training run to a model with a detector."""
    folder = tmp_path_factory.mktemp("chain")
    save_weights_dir(keras_model, folder / "run" / "model", {"name": "test", "licence": "Apache-2.0"}, dtype="float32")
    cli.main(["export", f"--checkpoint-dir={folder}/run", f"--export-file={folder}/crop_model"])
    for kind, source in (("multiperson", "crop_model"), ("combined", "multiperson")):
        cli.main([f"build-{kind}", f"--input-model-path={folder}/{source}", f"--output-model-path={folder}/{kind}"])
    return folder


def test_the_chain_loads_in_a_process_without_this_package(keras_model, folder, tmp_path):
    crops = np.random.default_rng(1).uniform(size=[1, SIDE, SIDE, 3]).astype(np.float32)
    np.savez(folder / "in.npz", image=IMAGE, K=K, boxes=BOXES, crops=crops)
    process = subprocess.run(
        [sys.executable, "-I", "-c", SECOND_PROCESS, folder], cwd=tmp_path, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-2000:]
    result = np.load(folder / "out.npz")
    poses = keras_model([crops, K[None]])["poses3d"]
    from_multiperson = packaging.load(folder / "multiperson").estimate_poses(IMAGE, BOXES, K, num_aug=2)["poses3d"]
    np.testing.assert_allclose(result["first_release"], from_multiperson, rtol=1e-3, atol=0.5)
    for kind in ("crop_model", "multiperson", "combined"):
        assert result[f"{kind}_names"].tolist() == list(H36M.joint_names)
        assert result[f"{kind}_edges"].tolist() == [list(edge) for edge in H36M.edges]
        assert result[f"{kind}_skeletons"].tolist() == ["h36m_17"]
        np.testing.assert_allclose(result[f"{kind}_crops"], poses, rtol=1e-3, atol=0.5)
        np.testing.assert_allclose(result[f"{kind}_multi"], poses, rtol=1e-2, atol=5)  # float16 crops
        if kind != "crop_model":
            np.testing.assert_allclose(result[f"{kind}_poses"], from_multiperson, rtol=1e-3, atol=0.5)


def test_cards_tell_where_models_come_from(folder):
    cards = {
        kind: json.loads((folder / kind / "model_card.json").read_text())
        for kind in ("crop_model", "multiperson", "combined")
    }
    for kind, card in cards.items():
        assert card["kind"] == kind
        assert (card["name"], card["licence"], card["weights_dtype"]) == ("test", "Apache-2.0", "float32")
        assert (card["skeleton"], card["crop_side"], card["crop_model"]["stride"]) == ("h36m_17", SIDE, 32)
    assert cards["combined"]["detector"] == "nanodet"


def test_bone_lengths_survive_the_chain(folder):
    crop_model, _ = packaging.load_crop_model(folder / "combined")
    np.testing.assert_array_equal(crop_model.bone_lengths, [250.0] * len(H36M.edges))


def test_stride_and_weights_dtype_are_the_users_choice(keras_model, folder):
    run = [f"--checkpoint-dir={folder}/run/model", f"--export-file={folder}/fine", "--stride-test=16"]
    cli.main(["export", *run, "--weights-dtype=float16"])
    card = json.loads((folder / "fine" / "model_card.json").read_text())
    assert (card["crop_model"]["stride"], card["weights_dtype"]) == (16, "float16")
    crops = np.random.default_rng(1).uniform(size=[1, SIDE, SIDE, 3]).astype(np.float32)
    fine = CropModel(keras_model.config, stride=16)
    for fine_weight, weight in zip(fine.weights, keras_model.weights):
        fine_weight.assign(np.float32(weight.numpy().astype(np.float16)))
    poses = tf.saved_model.load(str(folder / "fine"))(crops, K[None])
    np.testing.assert_allclose(poses, fine([crops, K[None]])["poses3d"], rtol=1e-3, atol=0.5)
    sizes = [(folder / name / "saved_model.pb").stat().st_size for name in ("fine", "crop_model")]
    assert sizes[0] < 0.65 * sizes[1]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["export", "--checkpoint-dir={}/nowhere", "--export-file={}/x"], "export: There is no model .*nowhere"),
        (["export", "--checkpoint-dir={}/run", "--export-file={}/combined"], "combined exists already"),
        (["export", "--checkpoint-dir={}/combined", "--export-file={}/x", "--stride-test=16"], "is exported already"),
        (
            ["build-multiperson", "--input-model-path={}/relative", "--output-model-path={}/x"],
            "'metro'.* need a crop model with metrabs or bone-lengths",
        ),
        (
            ["build-multiperson", "--input-model-path={}/other", "--output-model-path={}/x"],
            "no crop model that metrabs-train exported",
        ),
        (
            ["build-combined", "--input-model-path={}/run", "--detector-path=octopus", "--output-model-path={}/x"],
            "There is no detector 'octopus'",
        ),
    ],
)
def test_what_cannot_be_built_is_said_in_one_sentence(folder, command, message):
    if not (folder / "other").exists():
        tf.saved_model.save(tf.Module(), str(folder / "other"))
        save_weights_dir(
            CropModel(backbone="movenet-lightning", skeleton="h36m_17", crop_side=64, scale_recovery="metro"),
            folder / "relative",
            {},
        )
    with pytest.raises(SystemExit, match=rf"^metrabs-train {command[0]}: .*{message.removeprefix('export: ')}[^\n]*$"):
        cli.main([part.format(folder) for part in command])
    assert not (folder / "x").exists()
