"""Which operations of a frame a GPU can run, as TensorFlow's registry of kernels says.

TensorFlow's package for processors alone registers none for GPUs, so what its other package says is kept in a file.
``python -m benchmark.gpu_kernels`` writes it, in an environment with the package ``tensorflow``. It needs no GPU.
"""

import json
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework import kernels

from metrabs_core import models
from metrabs_core.files import write_json

# The two halves of a step; see ``metrabs_core.pipeline``.
HALVES = ("detect_boxes", "detect_poses_in_boxes")
KNOWN = Path(__file__).with_suffix(".json")
# "DEFAULT" is for all devices.
_DEVICES = ("GPU", "DEFAULT")


def operations(model) -> set[str]:
    """The operations of both halves of a step, with their types, such as ``Cast DstT=float32 SrcT=uint8``.

    Args:
        model: ``metrabs_core.combined.CombinedModel``.
    """
    found = set()
    for method in HALVES:
        graph = getattr(model, method).get_concrete_function().graph.as_graph_def()
        for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
            found |= {described(node) for node in nodes}
    return found


def described(node) -> str:
    """A node of a graph as an operation with its types."""
    types = [f"{name}={tf.as_dtype(value.type).name}" for name, value in sorted(node.attr.items()) if value.type]
    return " ".join([node.op, *types])


def has_gpu_kernel(operation: str) -> bool:
    """Whether a GPU can run it, by the installed TensorFlow."""
    name, *types = operation.split()
    types = dict(part.split("=") for part in types)
    for kernel in kernels.get_registered_kernels_for_op(name).kernel:
        allowed = {c.name: {tf.as_dtype(t).name for t in c.allowed_values.list.type} for c in kernel.constraint}
        if kernel.device_type in _DEVICES and all(types.get(k, "") in names for k, names in allowed.items() if names):
            return True
    return False


def without_gpu_kernel(found: set[str]) -> set[str]:
    """Those operations that no GPU can run, by the file.

    Raises:
        KeyError: the file does not know some.
    """
    known = json.loads(KNOWN.read_text())
    unknown = found - {*known["with"], *known["without"]}
    if unknown:
        raise KeyError(f"{KNOWN.name} does not know {', '.join(sorted(unknown))}: write it anew with {__name__}.")
    return found & {*known["without"]}


def _main() -> None:
    from metrabs_core.combined import CombinedModel
    from metrabs_core.detection import load_detector
    from metrabs_core.packaging import load_crop_model

    if not has_gpu_kernel("MatMul T=float32"):
        raise SystemExit("This TensorFlow has no kernels for GPUs: install the package tensorflow, not tensorflow-cpu.")
    detector, found = load_detector(), set()
    for name in models.names():
        found |= operations(CombinedModel(load_crop_model(name)[0], detector))
    sorted_out = {True: [], False: []}
    for operation in sorted(found):
        sorted_out[has_gpu_kernel(operation)].append(operation)
    write_json(KNOWN, {"tensorflow": tf.__version__, "with": sorted_out[True], "without": sorted_out[False]}, indent=1)


if __name__ == "__main__":
    _main()
