"""Training in several processes: each makes its part of every batch, and all of them step together."""

import os
from typing import NamedTuple

import keras

from metrabs_core.errors import UserError


class Process(NamedTuple):
    """One of the processes that train together: this one.

    Attributes:
        index: its number; process 0 writes the files.
        count: number of processes.
    """

    index: int
    count: int

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files."""
        return self.index == 0


def join() -> Process:
    """Spread batches over all of JAX's devices, and over all processes that the environment names.

    Raises:
        UserError: there are several processes, and Keras' backend isn't JAX.
    """
    processes = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES")
    if keras.backend.backend() != "jax":
        if processes:
            raise UserError("Several processes train together on Keras' JAX backend only: set KERAS_BACKEND=jax.")
        return Process(0, 1)
    import jax

    if processes:
        keras.distribution.initialize()
    if len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return Process(jax.process_index(), jax.process_count())
