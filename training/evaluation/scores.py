"""What every protocol gives, and its mean and spread over several runs."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Distances:
    """Joint errors to plot.

    Attributes:
        joint_names: names of the J joints.
        values: float [N, J], mm.
        counted: indices of the joints that PCK is computed on; None for all.
        threshold: of PCK, mm.
    """

    joint_names: tuple[str, ...]
    values: np.ndarray
    counted: list[int] | None = None
    threshold: float = 150


@dataclass(frozen=True)
class Scores:
    """The numbers of one run.

    Attributes:
        n_poses: how many poses were compared.
        metrics: all numbers, by name, in dicts of dicts.
        tables: what people want to read first: title -> row -> column -> number.
        latex: rows as the papers print them: title -> column -> number.
        distances: joint errors behind the plots, by title.
        notes: what one must know about these numbers, sentences.
    """

    n_poses: int
    metrics: dict
    tables: dict[str, dict[str, dict[str, float]]]
    latex: dict[str, dict[str, float]]
    distances: dict[str, Distances] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def over_runs(function, numbers: list):
    """Apply a function such as ``np.mean`` to each number of equally built dicts of dicts of numbers."""
    if isinstance(numbers[0], dict):
        return {name: over_runs(function, [n[name] for n in numbers]) for name in numbers[0]}
    return float(function(numbers))
