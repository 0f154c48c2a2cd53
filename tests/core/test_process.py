"""Memory that is freed is kept: the pages of a large block are not asked for again."""

import subprocess
import sys

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
