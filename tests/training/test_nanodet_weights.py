"""NanoDet and its weights against the original graph, run operation by operation."""

import base64

import numpy as np
import pytest
import skimage.data
import skimage.transform
import tensorflow as tf

from metrabs_core.detection import nanodet
from metrabs_core.errors import UserError
from training.nanodet_weights import write_nanodet_weights
from training.tfjs_graph import read_graph

pytestmark = pytest.mark.download
BGR_MEAN, BGR_DEVIATION = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]


@pytest.fixture(scope="module")
def graph():
    try:
        return read_graph("nanodet")
    except UserError as error:
        pytest.skip(str(error))


def _run(graph, pictures):
    """The outputs of the graph for pictures [1, 3, 416, 416], by the names of their nodes."""
    values = {**graph.weights, "input_1": pictures}

    def value(name):
        name, _, index = name.partition(":")
        if name not in values:
            node = graph.nodes[name]
            values[name] = OPERATIONS[node["op"]](*map(value, node["input"]), **_attributes(node))
        return (
            values[name][int(index)] if index else values[name][0] if isinstance(values[name], list) else values[name]
        )

    return {name: value(name).numpy() for name, node in graph.nodes.items() if node["op"] == "Identity"}


def _attributes(node):
    known = {}
    for name, attribute in node.get("attr", {}).items():
        if name in ("strides", "ksize"):
            known[name] = [int(i) for i in attribute["list"]["i"]]
        elif name == "padding":
            known[name] = base64.b64decode(attribute["s"]).decode()
    return known


OPERATIONS = {
    "Add": tf.add,
    "AddV2": tf.add,
    "ConcatV2": lambda *values: tf.concat(values[:-1], values[-1]),
    "Conv2D": lambda x, kernel, strides, padding: tf.nn.conv2d(x, kernel, strides, padding),
    "Identity": tf.identity,
    "LeakyRelu": lambda x: tf.where(x > 0, x, 0.1 * x),
    "MaxPool": lambda x, ksize, strides, padding: tf.nn.max_pool2d(x, ksize, strides, padding),
    "Pad": tf.pad,
    "PadV2": lambda x, paddings, constant: tf.pad(x, paddings, constant_values=constant),
    "Reshape": tf.reshape,
    "ResizeBilinear": tf.image.resize,  # with half-pixel centres, as the graph says
    "Sigmoid": tf.sigmoid,
    "SparseToDense": lambda indices, shape, values, default: np.full(shape, default),  # there are no values
    "SplitV": lambda x, sizes, axis: list(tf.split(x, sizes, axis)),
    "Transpose": tf.transpose,
}


def test_the_network_is_the_original(graph):
    picture = skimage.transform.resize(skimage.data.astronaut(), (416, 416), preserve_range=True)
    bgr = (picture[..., ::-1] - BGR_MEAN) / BGR_DEVIATION
    original = _run(graph, np.float32(bgr).transpose(2, 0, 1)[None])
    ours = nanodet.load_network()(np.float32((picture - BGR_MEAN[::-1]) / BGR_DEVIATION[::-1])[None])
    for i, answer in enumerate(ours):
        answer = answer.numpy().reshape(-1, 1 + 4 * 11)
        scores, distances = original["Identity" + f"_{i}" * (i > 0)], original[f"Identity_{3 + i}"]
        np.testing.assert_allclose(1 / (1 + np.exp(-answer[:, 0])), scores[0, :, 0], atol=1e-4)
        np.testing.assert_allclose(answer[:, 1:], distances[0], atol=1e-3)
    assert max(original[name].max() for name in ("Identity", "Identity_1", "Identity_2")) > 0.5


def test_the_weights_can_be_made_again(graph, tmp_path):
    write_nanodet_weights(tmp_path / "weights.npz")
    with np.load(tmp_path / "weights.npz") as made, np.load(nanodet.WEIGHTS) as stored:
        assert made.files == stored.files
        for name in made.files:
            np.testing.assert_array_equal(made[name], stored[name])
            assert stored[name].dtype == np.float16
