"""Models that are ready to run: the functions of a step, kept in the cache folder.

Building a model from its weights and tracing it takes longer than the rest of a start, and what that needs in memory
stays behind. Where the functions lie ready, both are spared. They are made at installation, or by the first start.
"""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

import metrabs_core
from metrabs_core import models
from metrabs_core.combined import CombinedModel
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_folder, cache_folder, write_json
from metrabs_core.packaging.arguments import checked_method
from metrabs_core.packaging.loading import is_saved_model, load

# What a step of ``metrabs_core.pipeline`` calls.
_METHODS = ("detect_boxes", "detect_poses_in_boxes")
_DESCRIPTION = ("joint_names", "joint_edges", "per_skeleton_joint_names", "per_skeleton_edges", "card")
_FUNCTIONS, _VARIABLES = "functions.pb", "variables.npz"
_REFUSED = 3  # exit code of the script, whose last words then say why
_SCRIPT = f"""
import sys
from metrabs_core.errors import UserError
from metrabs_core.packaging import prepare
try:
    prepare(sys.argv[1], int(sys.argv[2]) or None)
except UserError as error:
    print(error, end="", file=sys.stderr)
    sys.exit({_REFUSED})
"""
_N_KEPT = 4  # the one that was not loaded for longest makes room for another


class PreparedModel:
    """A model with a person detector whose ``detect_boxes`` and ``detect_poses_in_boxes`` are ready to run.

    It has the other attributes and methods of ``Model``, too: the first use of one loads the whole model.

    Args:
        folder: that ``prepare`` has written.
        load_whole: loads the whole model.

    Raises:
        OSError, ValueError, KeyError: something in the folder is missing or damaged.
    """

    has_detector = True

    def __init__(self, folder: Path, load_whole: Callable):
        self._load_whole, self._whole = load_whole, None
        content = json.loads((folder / "content.json").read_text())
        for name in _DESCRIPTION:
            setattr(self, name, content[name])
        self.joint_edges = np.array(self.joint_edges)
        self.per_skeleton_edges = {name: np.array(edges) for name, edges in self.per_skeleton_edges.items()}
        for name in _METHODS:
            find_trace = _read_functions(folder / name, content[name])
            setattr(self, name, checked_method(getattr(CombinedModel, name), find_trace))

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        if self._whole is None:
            self._whole = self._load_whole()
        return getattr(self._whole, name)


def load_prepared(path=None, detector_input_side=None):
    """As ``load``, for who needs ``detect_boxes`` and ``detect_poses_in_boxes`` above all.

    A model that is made of weights comes out of the cache folder, where it is put at the first time.

    Returns:
        PreparedModel; a whole Model where there is an exported one, or the cache folder can't be used.

    Raises:
        UserError: as ``load``.
    """

    def load_whole():
        return load(path, None, detector_input_side)

    directory = models.locate(path)
    if is_saved_model(directory):
        return load_whole()
    folder = _folder(directory, detector_input_side)
    for _ in range(2):  # what is damaged is made anew, once
        if not (folder.is_dir() or _prepare_in_another_process(directory, detector_input_side)):
            break
        try:
            model = PreparedModel(folder, load_whole)
            os.utime(folder)  # tells when it was used
            return model
        except (OSError, ValueError, KeyError):
            shutil.rmtree(folder, ignore_errors=True)
    return load_whole()


def prepare(path=None, detector_input_side=None) -> None:
    """Put a model that is made of weights into the cache folder, unless it is there.

    Raises:
        UserError: there is no such model.
        OSError: the cache folder can't be written to.
    """
    folder = _folder(models.locate(path), detector_input_side)
    if folder.is_dir():
        return
    model = load(path, None, detector_input_side)
    content = {name: getattr(model, name) for name in _DESCRIPTION}
    content["joint_edges"] = model.joint_edges.tolist()
    content["per_skeleton_edges"] = {name: edges.tolist() for name, edges in model.per_skeleton_edges.items()}
    try:
        with atomic_folder(folder) as temporary:
            for name in _METHODS:
                (temporary / name).mkdir()
                content[name] = _write_functions(getattr(model, name), temporary / name)
            write_json(temporary / "content.json", content)
    except OSError:
        if not folder.is_dir():  # or another process was faster
            raise
    folders = sorted(folder.parent.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
    for old in folders[:-_N_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _prepare_in_another_process(directory: Path, detector_input_side: int | None) -> bool:
    """Whether that worked. This process would keep the memory that it takes.

    Raises:
        UserError: as ``load``.
    """
    logging.getLogger(__name__).warning("The model %s is being prepared, once: later starts are faster.", directory)
    search_path = os.pathsep.join(filter(None, [str(Path(metrabs_core.__file__).parents[1]), *sys.path]))
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(directory.absolute()), str(detector_input_side or 0)],
        env={**os.environ, "PYTHONPATH": search_path},
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode == _REFUSED:
        raise UserError(result.stderr.splitlines()[-1])
    return result.returncode == 0


def _folder(directory: Path, detector_input_side: int | None) -> Path:
    """Where a model belongs; it depends on all that the graphs depend on."""
    package = Path(metrabs_core.__file__).parent
    files = [*directory.glob("*"), *package.rglob("*.py"), *package.glob("detection/*.npz")]
    key = hashlib.sha256(f"{tf.version.VERSION} {detector_input_side}".encode())
    for file in sorted(file for file in files if file.is_file()):
        key.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return cache_folder() / "prepared" / key.hexdigest()[:24]


def _write_functions(method, folder: Path) -> dict:
    """Write the functions of a model's method, and the variables that they use, into a folder.

    Returns:
        What ``_read_functions`` has to know about them. They get names that no others of a process have.
    """
    concrete, _ = method.find_trace()
    functions = [*concrete.graph.as_graph_def().library.function, concrete.function_def]
    digest = hashlib.sha256(b"".join(function.SerializeToString(deterministic=True) for function in functions))
    names = {function.signature.name: f"prepared_{digest.hexdigest()}_{i}" for i, function in enumerate(functions)}
    for function in functions:
        function.signature.name = names[function.signature.name]
        for node in function.node_def:
            node.op = names.get(node.op, node.op)
            for attribute in node.attr.values():
                for called in [attribute.func] if attribute.HasField("func") else attribute.list.func:
                    called.name = names.get(called.name, called.name)
    graph = tf.compat.v1.GraphDef()
    graph.library.function.extend(functions)
    (folder / _FUNCTIONS).write_bytes(graph.SerializeToString())
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    np.savez(folder / _VARIABLES, *(variables[id(handle)].numpy() for handle in concrete.captured_inputs))
    return {
        "function": functions[-1].signature.name,
        "arguments": list(concrete.function_type.parameters),
        "results": sorted(concrete.structured_outputs),
        "hashes": {name: _hash(folder / name) for name in (_FUNCTIONS, _VARIABLES)},
    }


def _read_functions(folder: Path, about: dict) -> Callable:
    """Make the functions of a method known to TensorFlow. Returns what ``checked_method`` needs.

    A graph around them, which ``tf.function`` would make, would keep the weights a few times more.

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """
    from tensorflow.python.eager import context

    if any(_hash(folder / name) != expected for name, expected in about["hashes"].items()):
        raise ValueError(f"{folder} is damaged")
    context.ensure_initialized()
    for function in tf.compat.v1.GraphDef.FromString((folder / _FUNCTIONS).read_bytes()).library.function:
        context.context().add_function_def(function)
    with np.load(folder / _VARIABLES) as arrays:
        variables = [tf.Variable(arrays[f"arr_{i}"], trainable=False) for i in range(len(arrays.files))]
    function, results = about["function"].encode(), about["results"]

    def call(**arguments):
        tensors = [arguments[name] for name in about["arguments"]] + [variable.handle for variable in variables]
        return dict(zip(results, context.context().call_function(function, tensors, len(results))))

    return lambda: (call, {*about["arguments"]})


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
