"""What a process that runs a model imports and keeps in memory."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from metrabs_core.batches import detected_boxes
from metrabs_core.process import n_cores, sharing_cores

_SCRIPT = """
import resource, sys
import numpy as np
from metrabs_core.process import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**24)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


def _faults(argument: str) -> float:
    """Page faults per block of 128 MB that is made and freed."""
    command = [sys.executable, "-c", _SCRIPT, argument]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


def test_the_pages_of_a_freed_block_are_used_again():
    assert _faults("keep") < 0.01 * _faults("as it is")


def test_tensorflow_comes_without_jax_and_matplotlib_which_can_be_imported_afterwards():
    script = """
import sys
from metrabs_core.process import import_tensorflow_alone

import_tensorflow_alone()
print(*sorted({"tensorflow", "jax", "matplotlib"} & set(sys.modules)))
import jax, matplotlib.pyplot
print(jax.numpy.ones(3).sum())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.split() == ["tensorflow", "3.0"]


def test_threads_that_compute_at_the_same_time_share_the_cores():
    everything = len(os.sched_getaffinity(0))
    assert n_cores() == everything
    with sharing_cores(2):
        assert n_cores() == max(1, everything // 2)
        with ThreadPoolExecutor(1) as others:
            assert others.submit(n_cores).result() == everything
    with sharing_cores(10_000):
        assert n_cores() == 1
    assert n_cores() == everything


def test_images_at_the_same_time_share_the_cores():
    shares = []

    class Model:
        gpus = ()

        def detect_boxes(self, image):
            shares.append(n_cores())
            return {"boxes": np.zeros([0, 5], np.float32)}

    image = np.zeros([4, 4, 3], np.uint8)
    for n_images in (1, 10_000):
        detected_boxes(Model(), [image] * n_images, {})
    assert shares == [len(os.sched_getaffinity(0))] + [1] * 10_000


def test_memory_that_is_free_is_given_back():
    script = """
from metrabs_core.process import give_back_freed_memory, keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

keep_freed_memory()
blocks = [bytearray(2**26) for _ in range(4)]
last = bytearray(2**20)  # so that nothing is given back from the end of the heap
before = resident()
del blocks
kept = resident()
give_back_freed_memory()
print(before - kept, before - resident())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    kept, given_back = (int(n) for n in result.stdout.split())
    assert kept < 2**24 and given_back > 3 * 2**26


def test_a_process_needs_no_tensorflow_and_little_memory():
    """Of a process that does what the node does, after its first images."""
    script = """
import json, sys
from metrabs_core.process import keep_freed_memory

keep_freed_memory()
import numpy as np
from metrabs_core.cameras import Camera
from metrabs_core.pipeline import PersonPipeline, PipelineSettings

settings = PipelineSettings(detector_threshold=0.0, max_detections=2, suppress_implausible_poses=False)
pipeline = PersonPipeline.load("fast", settings, (480, 640))
camera, rng = Camera.from_fov(60, 640, 480), np.random.default_rng(0)
people = [pipeline.step(rng.integers(0, 255, [480, 640, 3], np.uint8), camera, 0.1 * i) for i in range(5)]
resident = int(open("/proc/self/statm").read().split()[1]) * 4096
large = {"tensorflow", "keras", "jax", "matplotlib"}
print(json.dumps([pipeline.device, len(people[-1]), resident / 1e6, sorted(large & set(sys.modules))]))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    device, n_people, megabytes, unneeded = json.loads(result.stdout)
    assert (device, n_people, unneeded) == ("CPU", 2, [])
    assert megabytes < 350  # measured with 250
