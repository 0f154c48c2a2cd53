"""Memory that is freed is kept: the pages of a large block are not asked for again."""

import subprocess
import sys

_SCRIPT = """
import resource, sys
import numpy as np
from metrabs_core.allocation import keep_freed_memory

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
