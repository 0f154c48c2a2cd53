"""Timing in turns: whatever slows the machine down for a while slows all contestants down alike."""

import time
from functools import partial

import numpy as np
from tqdm import tqdm


def in_turns(contestants: dict, n_rounds: int, title: str = "") -> dict:
    """What each function returns in rounds in which each is called once.

    Args:
        contestants: name to function without arguments.
        n_rounds: how often; one round before them is not counted.
        title: of the progress bar.

    Returns:
        dict of name to list of ``n_rounds`` results.
    """
    results = {name: [] for name in contestants}
    for i in tqdm(range(n_rounds + 1), desc=title, unit="round", leave=False, disable=None):
        for name, function in contestants.items():
            result = function()
            if i:
                results[name].append(result)
    return results


def medians(contestants: dict, n_rounds: int, title: str = "") -> dict:
    """Median milliseconds of each function over such rounds; see ``in_turns``."""
    timed = {name: partial(_seconds, function) for name, function in contestants.items()}
    return {name: 1000 * float(np.median(times)) for name, times in in_turns(timed, n_rounds, title).items()}


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
