"""Timing in turns: whatever slows the machine down for a while slows all contestants down alike."""

import time

import numpy as np
from tqdm import tqdm


def medians(contestants: dict, n_rounds: int, title: str = "") -> dict:
    """Median milliseconds of each function over rounds in which each is called once.

    Args:
        contestants: name to function without arguments.
        n_rounds: how often; one round before them is not counted.
        title: of the progress bar.
    """
    times = {name: [] for name in contestants}
    for i in tqdm(range(n_rounds + 1), desc=title, unit="round", leave=False, disable=None):
        for name, function in contestants.items():
            start = time.perf_counter()
            function()
            if i:
                times[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(values)) for name, values in times.items()}
