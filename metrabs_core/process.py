"""Starting a process that runs a model, its memory, and what it runs on."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Of glibc's mallopt
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8
_LARGEST = 2**31 - 1
# Files of GPUs' drivers: NVIDIA's, also on Jetson boards and in WSL, and AMD's.
_GPU_DEVICES = ("nvidia[0-9]*", "nvhost-gpu", "nvgpu", "dxg", "kfd")
_SHARING = threading.local()


def keep_freed_memory() -> None:
    """Keep memory that is freed for what comes next, instead of giving it back to the operating system.

    glibc gives large blocks back as soon as they are freed. A network frees its maps in every call, and for the next
    call the system has to find and clear the same pages again, which can take as long as the computing.

    This concerns the whole process, so it is for programs, at their start, and not for a library. It does nothing where
    the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _LARGEST), (_ARENA_MAX, 2)):
            mallopt(parameter, value)


def give_back_freed_memory() -> None:
    """Give memory that is free by now back to the operating system: that of loading a model, which is not needed again.

    It does nothing where the C library is not glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def import_tensorflow_alone() -> None:
    """Import TensorFlow without JAX and Matplotlib.

    TensorFlow Lite and Keras import these two where they are installed, for what no model needs: 130 MB and two
    seconds. They can be imported afterwards as ever.
    """
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    hidden = {"jax", "matplotlib"} - set(sys.modules)
    sys.modules.update(dict.fromkeys(hidden))
    try:
        import tensorflow  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]


def find_gpus() -> list[str]:
    """Names of the GPUs that TensorFlow can use. It is imported only where the system has a GPU."""
    if not any(device for pattern in _GPU_DEVICES for device in Path("/dev").glob(pattern)):
        return []
    import_tensorflow_alone()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]


def n_cores() -> int:
    """How many of the processor's cores a computation of this thread may use."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, available // getattr(_SHARING, "n_threads", 1))


@contextmanager
def sharing_cores(n_threads: int) -> Iterator[None]:
    """For this thread, while so many threads compute at the same time: ``n_cores`` is a part of the cores."""
    _SHARING.n_threads = n_threads
    try:
        yield
    finally:
        del _SHARING.n_threads
