"""How long a fresh process takes until it has skeletons."""

import json
import os
import subprocess
import sys

import numpy as np
from tqdm import tqdm

from benchmark.report import Table

_STEPS = {
    "import": "import of TensorFlow and Keras",
    "load": "`metrabs_core.load()`, built from weights",
    "warm_up": "`warm_up` for 640 x 480",
    "first": "first frame",
    "tenth": "tenth frame",
    "unwarmed_first": "first frame without `warm_up`",
}
_SCRIPT = """if True:
    import json, sys, time
    times, start = {}, time.perf_counter()
    def lap(name):
        global start
        times[name] = time.perf_counter() - start
        start = time.perf_counter()
    import keras, numpy as np, tensorflow
    import metrabs_core
    lap("import")
    model = metrabs_core.load()
    lap("load")
    image = np.random.default_rng(0).integers(0, 256, [480, 640, 3], np.uint8)
    def detect(name):
        model.detect_poses(image, num_aug=1, detector_threshold=0.0, max_detections=2)["poses3d"].numpy()
        lap(name)
    if sys.argv[1] == "warm":
        model.warm_up([480, 640])
        lap("warm_up")
        for i in range(10):
            detect({0: "first", 9: "tenth"}.get(i, "other"))
    else:
        detect("unwarmed_first")
    print(json.dumps(times))
"""


def measure(people, quick: bool) -> dict:
    """Median seconds of each step over fresh processes."""
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
