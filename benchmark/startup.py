"""How long a fresh process takes until it has skeletons."""

import json
import os
import subprocess
import sys

import numpy as np
from tqdm import tqdm

from benchmark.report import Table
from metrabs_core import prepared

_STEPS = {
    "import": "importing what a step needs",
    "load": "loading the model",
    "warm_up": "warming it up for 640 x 480",
    "first": "first frame",
    "tenth": "tenth frame",
    "unwarmed_first": "first frame of a model that is not warmed up",
}
_SCRIPT = """if True:
    import sys, time
    times, start = {}, time.perf_counter()
    def lap(name):
        global start
        times[name] = time.perf_counter() - start
        start = time.perf_counter()

    from metrabs_core.process import keep_freed_memory
    keep_freed_memory()
    from metrabs_core.pipeline import PersonPipeline, PipelineSettings
    from metrabs_core.cameras import Camera
    from metrabs_core import prepared
    lap("import")
    settings = PipelineSettings(detector_threshold=0.0, max_detections=2, suppress_implausible_poses=False)
    pipeline = PersonPipeline.load(settings=settings)
    lap("load")
    is_warm = sys.argv[1] == "warm"
    if is_warm:
        pipeline.warm_up(480, 640)
        lap("warm_up")
    import json, numpy
    image = numpy.random.default_rng(0).integers(0, 256, [480, 640, 3], numpy.uint8)
    camera = Camera.from_fov(50.0, 640, 480)
    start = time.perf_counter()
    for i in range(10 if is_warm else 1):
        assert len(pipeline.step(image, camera, 0.1 * i)) == 2
        lap({0: "first" if is_warm else "unwarmed_first", 9: "tenth"}.get(i, "other"))
    print(json.dumps(times))
"""


def measure(people, quick: bool) -> dict:
    """Median seconds of each step over fresh processes, which do what the node does at its start."""
    prepared.prepare()
    times = {name: [] for name in _STEPS}
    for _ in tqdm(range(1 if quick else 3), desc="fresh processes", leave=False, disable=None):
        for mode in ("warm", "cold"):
            command = [sys.executable, "-c", _SCRIPT, mode]
            output = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ})
            for name, seconds in json.loads(output.stdout.splitlines()[-1]).items():
                if name in times:
                    times[name].append(seconds)
    return {name: round(float(np.median(values)), 3) for name, values in times.items()}


def tables(numbers: dict) -> list[Table]:
    """Seconds of each step."""
    rows = [[words, f"{numbers[name]:.2f}"] for name, words in _STEPS.items()]
    rows.insert(3, ["in all until ready", f"{sum(numbers[name] for name in ('import', 'load', 'warm_up')):.2f}"])
    return [Table("Start of a process, seconds", ["step", "s"], rows)]
