"""A network in a file, run by LiteRT."""

from collections import defaultdict
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from metrabs_core.process import n_cores

# Small networks gain little from more.
_MAX_THREADS = 4


class Network:
    """A network that runs on as many cores as the thread that calls it may use, see ``metrabs_core.process.n_cores``.

    Calls at the same time, of several threads, go to interpreters of their own, each of which keeps the weights.

    Args:
        path: of a .tflite file with one signature.

    Raises:
        ValueError, RuntimeError: the file is damaged.
    """

    def __init__(self, path: Path):
        self._path = str(path)
        self._idle = defaultdict(list)  # interpreters that wait, by their number of threads
        self._idle[_n_threads()].append(self._make())

    def _make(self):
        return Interpreter(self._path, num_threads=_n_threads()).get_signature_runner()

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """The network's outputs for its inputs, by their names. A call with other shapes than the last takes longer."""
        idle = self._idle[_n_threads()]
        try:
            run = idle.pop()
        except IndexError:
            run = self._make()
        try:
            return run(**arrays)
        finally:
            idle.append(run)


def _n_threads() -> int:
    return min(n_cores(), _MAX_THREADS)
