"""A model trained on Keras' PyTorch backend by a Python that has no TensorFlow is the same model in TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from metrabs_core.network.crop_model import load_weights_dir
from metrabs_core.skeletons import NATIVE
from training.dataset_format import write_description, write_json

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]

# sitecustomize.py of the second process: the import system as it is where TensorFlow is not installed
_WITHOUT_TENSORFLOW = """
import sys
from importlib.machinery import PathFinder

class WithoutTensorFlow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in ("tensorflow", "tf_keras") else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTensorFlow
"""

_TRAIN_AND_PREDICT = """
import importlib.util, sys
import numpy as np

assert importlib.util.find_spec("tensorflow") is None
logdir, inputs, predictions = sys.argv[1:4]
from training.cli import main

main(["train", f"--logdir={logdir}", *sys.argv[4:]])

import keras
from metrabs_core.network.crop_model import load_weights_dir

assert keras.backend.backend() == "torch"
arrays = np.load(inputs)
out = load_weights_dir(f"{logdir}/model")([arrays["crops"], arrays["intrinsics"]])
np.savez(predictions, **{name: keras.ops.convert_to_numpy(value) for name, value in out.items()})
"""


@pytest.fixture
def dataset(tmp_path):
    """Four 'people' of noise, in the project's format."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "dataset"
    (folder / "shard").mkdir(parents=True)
    intrinsics = np.array([[200, 0, 48], [0, 200, 48], [0, 0, 1.0]])
    pictures = []
    for i in range(4):
        joints = rng.normal(size=(NATIVE.n_joints, 3)) * [200, 350, 150] + [0, 0, 3500]
        pixels = joints @ intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        cv2.imwrite(str(folder / "shard" / f"{i}.png"), rng.integers(0, 256, (96, 96, 3), np.uint8))
        box = [*pixels.min(0), *np.ptp(pixels, axis=0)]
        person = {"box": box, "joints3d": joints.tolist(), "joints2d": pixels.tolist()}
        pictures.append({"image": f"{i}.png", "camera": {"intrinsic_matrix": intrinsics.tolist()}, "people": [person]})
    write_json(folder / "shard" / "annotations.json", pictures)
    write_description(folder, list(NATIVE.joint_names), list(NATIVE.edges))
    return folder


def test_trained_in_pytorch_without_tensorflow_it_predicts_the_same_in_tensorflow(dataset, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(_WITHOUT_TENSORFLOW)
    rng = np.random.default_rng(1)
    crops = rng.uniform(size=(2, 64, 64, 3)).astype(np.float32)
    intrinsics = np.float32([[[150, 0, 32], [0, 150, 32], [0, 0, 1]]] * 2)
    np.savez(tmp_path / "inputs.npz", crops=crops, intrinsics=intrinsics)
    logdir = tmp_path / "run"
    flags = [f"--dataset={dataset}", "--backbone=resnet18", "--backbone-weights=random"]
    flags += ["--learning-rate=3e-3", "--scale-recovery=metrabs"]
    flags += [
        "--crop-side=64",
        "--stride-train=16",
        "--batch-size=2",
        "--steps=2",
        "--pair-steps=1",
        "--workers=0",
        "--verbose=0",
    ]
    command = [sys.executable, "-c", _TRAIN_AND_PREDICT, logdir, tmp_path / "inputs.npz", tmp_path / "out.npz", *flags]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]

    model = load_weights_dir(logdir / "model")
    ours = model([crops, intrinsics])
    with np.load(tmp_path / "out.npz") as theirs:
        for name in ("poses3d", "points2d", "coords3d", "uncertainty"):
            np.testing.assert_allclose(np.array(ours[name]), theirs[name], rtol=1e-3, atol=1e-3)
