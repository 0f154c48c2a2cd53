"""Scores as a table for people, JSON, LaTeX rows and plots."""

import math
from pathlib import Path

import numpy as np

from metrabs_core.files import atomic_file, write_json
from training.evaluation.scores import Scores, over_runs

_N_COLUMNS = 8  # wider tables are turned
_CURVE_MM = np.arange(0, 301, 5)


def print_tables(runs: list[Scores]) -> None:
    """Print what people want to read: numbers, or mean ± standard deviation of several runs."""
    for title in runs[0].tables:
        rows = _cells([run.tables[title] for run in runs], "{:.1f}", " ± ")
        if len(next(iter(rows.values()))) > _N_COLUMNS:
            rows = {column: {name: row[column] for name, row in rows.items()} for column in next(iter(rows.values()))}
        columns = list(next(iter(rows.values())))
        first = max(len(name) for name in rows)
        widths = [max(len(c), *(len(row[c]) for row in rows.values())) for c in columns]
        print(f"\n{title}")
        print(" " * first, *(f"{c:>{w}}" for c, w in zip(columns, widths)), sep="  ")
        for name, row in rows.items():
            print(f"{name:<{first}}", *(f"{row[c]:>{w}}" for c, w in zip(columns, widths)), sep="  ")
    n_poses = sorted({run.n_poses for run in runs})
    print(f"\n{' to '.join(map(str, n_poses[:: max(1, len(n_poses) - 1)]))} poses compared")
    for note in dict.fromkeys(note for run in runs for note in run.notes):
        print(f"Note: {note}")


def write(runs: list[Scores], path: Path, facts: dict) -> list[Path]:
    """Write JSON, LaTeX rows and plots beside each other.

    Args:
        runs: scores of one run or several.
        path: the JSON file; the others are named like it: ``.tex``, ``_joints.png``, ``_pck.png``.
        facts: what the JSON file says besides: data set, prediction files, options.

    Returns:
        the files.
    """
    document = {**facts, "n_poses": [r.n_poses for r in runs], "notes": [n for r in runs for n in r.notes]}
    document["metrics"] = over_runs(np.mean, [r.metrics for r in runs])
    if len(runs) > 1:
        document["standard_deviation"] = over_runs(np.std, [r.metrics for r in runs])
    document["joint_errors_mm"] = {
        title: dict(zip(d.joint_names, _joint_means(runs, title))) for title, d in runs[0].distances.items()
    }
    write_json(path, without_nan(document), indent=2)
    latex = path.with_suffix(".tex")
    with atomic_file(latex) as temporary:
        temporary.write_text(_latex(runs))
    figures = {"joints": _draw_joints, "pck": _draw_pck}
    return [path, latex, *(_draw(path.with_name(f"{path.stem}_{n}.png"), draw, runs) for n, draw in figures.items())]


def _cells(runs, number, plus_minus):
    """Text of each cell of equal tables of several runs."""
    mean = over_runs(np.mean, runs)
    spread = over_runs(np.std, runs)

    def text(row, column):
        if not math.isfinite(mean[row][column]):
            return "-"
        extra = plus_minus + number.format(spread[row][column]) if len(runs) > 1 else ""
        return number.format(mean[row][column]) + extra

    return {row: {column: text(row, column) for column in columns} for row, columns in mean.items()}


def _latex(runs):
    lines = []
    for title, row in _cells([run.latex for run in runs], "{:.1f}", r" {\footnotesize$\pm$} ").items():
        lines += [f"% {title}", "% " + " & ".join(row), " & ".join(row.values()) + r" \\"]
    return "\n".join(lines) + "\n"


def without_nan(value):
    """JSON knows no NaN: null."""
    if isinstance(value, dict):
        return {name: without_nan(v) for name, v in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _pooled(runs, title):
    """Distances [N, J] of all runs."""
    return np.concatenate([run.distances[title].values for run in runs])


def _joint_means(runs, title):
    """Mean error of each joint, mm; NaN if nobody was compared."""
    distances = _pooled(runs, title)
    return (distances.mean(0) if len(distances) else np.full(distances.shape[1], np.nan)).tolist()


def _draw(path, draw, runs):
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported late: slow, and training needs no plots
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    draw(axes, runs)
    axes.spines[["top", "right"]].set_visible(False)
    if len(runs[0].distances) > 1:
        axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path


def _draw_joints(axes, runs):
    titles = list(runs[0].distances)
    names = list(dict.fromkeys(name for d in runs[0].distances.values() for name in d.joint_names))
    width = 0.8 / len(titles)
    for i, title in enumerate(titles):
        error = dict(zip(runs[0].distances[title].joint_names, _joint_means(runs, title)))
        places = [names.index(name) + (i - (len(titles) - 1) / 2) * width for name in error]
        axes.bar(places, error.values(), width, label=title)
    axes.set_xticks(range(len(names)), names, rotation=45 if len(names) > 10 else 0)
    axes.set_ylabel("mean error in mm")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _draw_pck(axes, runs):
    for title, description in runs[0].distances.items():
        counted = slice(None) if description.counted is None else description.counted
        distances = np.sort(_pooled(runs, title)[:, counted], axis=None)
        share = 100 * np.searchsorted(distances, _CURVE_MM) / max(distances.size, 1)
        axes.plot(_CURVE_MM, share, label=title)
    axes.axvline(description.threshold, color="gray", linewidth=0.8, linestyle="dotted")
    axes.set(xlim=(0, _CURVE_MM[-1]), ylim=(0, 100), xlabel="threshold in mm", ylabel="correct joints in %")
    axes.grid(alpha=0.3)
