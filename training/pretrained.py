"""Pretrained weights for backbones, taken at run time from wheels of the package index, with their licences."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from training.synthesis.assets import CACHE

_MEDIAPIPE = "mediapipe==0.10.21"  # Apache-2.0; needs NumPy 1, so it is only unpacked, never installed
_LANDMARK_FILE = "mediapipe/modules/pose_landmark/pose_landmark_full.tflite"
_LAST_TAP = b"re_lu_51/Relu6;model_1/model/add_16/add"
_LANDMARK_SHA256 = "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"


def load_blazepose_weights(backbone: keras.Model) -> None:
    """Set BlazePose's weights into a model of ``metrabs_core.network.blazepose.build_blazepose``, in place.

    The first call on a machine fetches the mediapipe wheel (Apache-2.0, 36 MB) and needs TensorFlow to read the
    network in it; the converted weights stay in ``~/.cache/metrabs``, which can be carried to a machine without it.

    Raises:
        RuntimeError: the wheel can't be fetched, or holds another network than expected.
    """
    cached = CACHE / "blazepose_encoder.npz"
    if not cached.exists():
        arrays = _read_convolutions(fetch_blazepose_tflite().read_bytes())
        temporary = cached.with_suffix(".tmp.npz")
        np.savez(temporary, *arrays)
        temporary.rename(cached)
    with np.load(cached) as archive:
        arrays = [archive[f"arr_{i}"] for i in range(len(archive.files))]
    for variable, array in zip(backbone.weights, arrays, strict=True):
        variable.assign(array)


def fetch_blazepose_tflite() -> Path:
    """Path of ``pose_landmark_full.tflite``, fetched once from the mediapipe wheel into ``~/.cache/metrabs``."""
    target = CACHE / Path(_LANDMARK_FILE).name
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        # any wheel of that version holds the same network; this one exists whatever Python runs here
        command += ["--python-version=3.11", "--implementation=cp", "--platform=manylinux_2_28_x86_64"]
        done = subprocess.run([*command, "--dest", folder, _MEDIAPIPE], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"The wheel {_MEDIAPIPE}, which carries the BlazePose weights, could not be fetched;"
                f" is there a network? pip said: {done.stderr.strip().splitlines()[-1:]}"
            )
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(_LANDMARK_FILE)
    if hashlib.sha256(data).hexdigest() != _LANDMARK_SHA256:
        raise RuntimeError(f"{_LANDMARK_FILE} of {_MEDIAPIPE} is not the network that this program knows.")
    CACHE.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    temporary.write_bytes(data)
    temporary.rename(target)
    return target


def _read_convolutions(tflite: bytes) -> list[np.ndarray]:
    """Kernels and biases on the way to the encoder's last map, in the order of the Keras model's weights."""
    from tensorflow.lite.python import schema_py_generated as schema

    network = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(tflite, 0))
    graph = network.subgraphs[0]
    dequantized, producer = {}, {}
    for op in graph.operators:
        code = network.operatorCodes[op.opcodeIndex]
        kind = max(code.builtinCode, code.deprecatedBuiltinCode)
        if kind == schema.BuiltinOperator.DEQUANTIZE:
            dequantized[op.outputs[0]] = op.inputs[0]
        else:
            producer[op.outputs[0]] = kind, op

    def weights_of(tensor: int) -> np.ndarray:
        described = graph.tensors[dequantized[tensor]]
        return np.frombuffer(network.buffers[described.buffer].data, np.float16).reshape(described.shape)

    # Walk back from the last tap; activations and weights both are inputs, weights have no producer
    (last,) = [t for t, (_, op) in producer.items() if graph.tensors[t].name.endswith(_LAST_TAP)]
    needed, todo = set(), [last]
    while todo:
        tensor = todo.pop()
        if tensor in producer and tensor not in needed:
            needed.add(tensor)
            todo += list(producer[tensor][1].inputs)
    arrays = []
    for tensor, (kind, op) in producer.items():  # in the order of execution
        if tensor in needed and kind in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
            arrays += [weights_of(op.inputs[1]).transpose(1, 2, 3, 0), weights_of(op.inputs[2])]
    return [a.astype(np.float32) for a in arrays]
