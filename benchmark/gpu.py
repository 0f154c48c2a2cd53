"""What a GPU makes of the packaged models, and what of a frame it leaves to the processor."""

from collections import Counter
from itertools import count

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from benchmark import gpu_kernels, models
from benchmark.people import camera_matrix
from benchmark.report import Table
from benchmark.rounds import medians
from metrabs_core.cameras import Camera
from metrabs_core.detection import load_detector
from metrabs_core.errors import UserError
from metrabs_core.models import names
from metrabs_core.pipeline import PersonPipeline, PipelineSettings

_BATCHES = (1, 2, 4, 8, 16)
_PEOPLE = (2, 8)
_INTERVALS = (1, 3)
_IMAGES = 3  # a turn; a multiple of all intervals
# Of what is large; numbers of other types are about sizes and indices, which belong to the processor.
_LARGE = ("float16", "bfloat16", "float32", "uint8")
_SENDS = ("_Send", "_HostSend")
# What only passes on what others have made, or is never large
_PASSING = (*_SENDS, "_Recv", "_HostRecv", "_Arg", "_Retval", "Const", "Identity", "Switch", "Merge", "Enter", "Exit")
_PASSING += ("NextIteration", "_EagerConst", "ReadVariableOp", "Assert", "NoOp", "LoopCond")
_PASSING += ("LogicalAnd", "LogicalOr", "LogicalNot")  # of a few people's flags
_SHOWN = 20


def measure(people, quick: bool) -> dict:
    """As ``measure_on``, on the first GPU.

    Raises:
        UserError: there is none.
    """
    if not tf.config.list_physical_devices("GPU"):
        raise UserError(
            "There is no GPU that TensorFlow can use here. It takes an NVIDIA GPU and the package tensorflow[and-cuda] "
            "in the place of tensorflow-cpu."
        )
    return measure_on("GPU", people, quick)


def measure_on(kind: str, people, quick: bool) -> dict:
    """Times of networks and frames.

    Args:
        kind: of device, "GPU" or "CPU"; TensorFlow uses the first GPU by itself where there is one.
        people: see ``benchmark.people.PeoplePictures``.
        quick: whether few repetitions do.

    Returns:
        dict of ``device``, its name; ``networks``, by name the median ms by batch size; ``frames``, list of dicts of
        ``model``, ``people`` and ``rates``, frames per second by detector interval; ``on_processor``, how many of which
        operations of a step are placed on the processor; ``copies``, how many tensors go to and from other devices.
    """
    device = tf.config.list_physical_devices(kind)[0]
    image, boxes = people.frame(max(_BATCHES))
    detector = load_detector()
    crop_models = {name: models.packaged_crop_model(name=name) for name in names()}
    wholes = {name: models.whole(boxes, detector, *crop_model) for name, crop_model in crop_models.items()}
    n_rounds = 2 if quick else 20
    # before anything else of these models runs
    placed = placement(lambda: _steps(wholes["fast"], image, _PEOPLE[0], 1)())
    networks = {"detector": _detector_runs(detector, image)}
    networks |= {f"crop network of `{name}`": _crop_runs(model) for name, (model, _) in crop_models.items()}
    frames = []
    for n_people in _PEOPLE:
        for name, whole in wholes.items():
            turns = {interval: _steps(whole, image, n_people, interval) for interval in _INTERVALS}
            times = medians(turns, n_rounds, f"{name}, {n_people} people")
            rates = {str(interval): round(1000 * _IMAGES / time, 1) for interval, time in times.items()}
            frames.append({"model": name, "people": n_people, "rates": rates})
    return {
        "device": tf.config.experimental.get_device_details(device).get("device_name", "the processor"),
        "networks": {
            name: {str(size): round(time, 3) for size, time in medians(runs, n_rounds, name).items()}
            for name, runs in networks.items()
        },
        "frames": frames,
        **placed,
    }


def _detector_runs(detector, image) -> dict:
    def run(n):
        images, *others = (tf.constant(value) for value in (np.stack([image] * n), 0.2, 0.7, -1, False))
        return lambda: detector(images, *others).values.numpy()

    return {n: run(n) for n in _BATCHES}


def _crop_runs(crop_model) -> dict:
    side = crop_model.crop_side

    def run(n):
        crops, intrinsics = (
            tf.random.uniform([n, side, side, 3]),
            tf.constant(np.stack([camera_matrix(side, side)] * n)),
        )
        return lambda: crop_model.estimate(crops, intrinsics)["poses3d"].numpy()

    return {n: run(n) for n in _BATCHES}


def _steps(model, image, n_people: int, interval: int):
    """A function that takes the image as the camera's next ones."""
    settings = PipelineSettings(detector_interval=interval, max_detections=n_people, suppress_implausible_poses=False)
    pipeline, camera, stamps = PersonPipeline(model, settings), Camera(camera_matrix(*image.shape[1::-1])), count()
    return lambda: [pipeline.step(image, camera, 0.04 * next(stamps)) for _ in range(_IMAGES)]


def placement(function) -> dict:
    """Where TensorFlow places what a function runs for the first time.

    Returns:
        dict of ``on_processor``, how many of which operations with large inputs or results are there, by operation and
        types; and ``copies``, how many tensors leave each device, by its kind.
    """
    context.context().enable_run_metadata()
    try:
        function()
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_run_metadata()
    on_processor, copies = Counter(), Counter()
    for node in (node for graph in metadata.partition_graphs for node in graph.node):
        kind, operation = node.device.rpartition("device:")[2].partition(":")[0], gpu_kernels.described(node)
        types = [part.partition("=")[2] for part in operation.split()[1:]]
        if node.op in _SENDS and node.attr["send_device"].s != node.attr["recv_device"].s:
            copies[kind] += 1
        elif kind == "CPU" and node.op not in _PASSING and (not types or {*types} & {*_LARGE}):
            on_processor[operation] += 1
    return {"on_processor": dict(on_processor.most_common()), "copies": dict(copies)}


def tables(numbers: dict) -> list[Table]:
    """Times of networks, frames per second, and what is on the processor."""
    device = numbers["device"]
    networks = [[name, *(f"{time:.1f}" for time in times.values())] for name, times in numbers["networks"].items()]
    frames = [
        [f"`{row['model']}`", str(row["people"]), *(f"{rate:.1f}" for rate in row["rates"].values())]
        for row in numbers["frames"]
    ]
    placed = [[f"`{operation}`", str(n)] for operation, n in numbers["on_processor"].items()]
    if len(placed) > _SHOWN:
        placed[_SHOWN:] = [["others", str(sum([*numbers["on_processor"].values()][_SHOWN:]))]]
    copies = ", ".join(f"{n} from the {kind}" for kind, n in numbers["copies"].items()) or "none"
    return [
        Table(f"Networks on {device}, milliseconds", ["images or people", *map(str, _BATCHES)], networks, "Medians."),
        Table(
            f"Frames per second on {device}",
            ["model", "people", *(f"detector in every {n}. image" for n in _INTERVALS)],
            frames,
            "A step of the pipeline, 768x576 pixels, one crop for each person.",
        ),
        Table(
            "Placed on the processor",
            ["operation", "how many"],
            placed,
            f"Of both halves of a step, what takes or gives numbers of {', '.join(_LARGE)}. Copies between devices in "
            f"the graph: {copies}.",
        ),
    ]
