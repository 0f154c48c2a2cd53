"""A network in a file, run by LiteRT."""

import os
from pathlib import Path
from threading import Lock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

# Small networks gain little from more.
_MAX_THREADS = 4


class Network:
    """A network that runs on the processor's cores, one call at a time.

    Args:
        path: of a .tflite file with one signature.

    Raises:
        ValueError, RuntimeError: the file is damaged.
    """

    def __init__(self, path: Path):
        n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._run = Interpreter(str(path), num_threads=min(n_cores, _MAX_THREADS)).get_signature_runner()
        self._lock = Lock()

    def __call__(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """The network's outputs for its inputs, by their names. A call with other shapes than the last takes longer."""
        with self._lock:
            return self._run(**arrays)
