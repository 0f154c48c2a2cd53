"""The data sets' protocols: predictions against the truth, as the papers compare them."""

from pathlib import Path

from metrabs_core.errors import UserError
from training import datasets
from training.evaluation.options import Options
from training.evaluation.scores import Scores


def score(
    dataset: str, pred_path: str, n_seeds: int, data_root: str | None, options: Options
) -> tuple[list[Path], list[Scores]]:
    """Compare predictions with the truth.

    Args:
        dataset: its name.
        pred_path: what ``metrabs-train predict`` or ``video`` wrote; of the first of several runs.
        n_seeds: number of runs; "seed1" in the path becomes "seed2" and so on.
        data_root: folder that holds the data sets; None for the environment variable DATA_ROOT.
        options: variations of the protocol.

    Returns:
        the predictions and the numbers of each run.

    Raises:
        UserError: there is no protocol for the data set, it lacks an option, or files are missing or damaged.
    """
    named = datasets.named(dataset)
    if named is None or not named.protocol:
        known = [name for name in datasets.REGISTRY if datasets.named(name).protocol]
        raise UserError(f"There is no protocol for {dataset}; there is one for {', '.join(known)}.")
    protocol = named.load_protocol()
    for name in ("procrustes", "universal_skeleton", "smoothing"):
        if getattr(options, name) and name not in protocol.OPTIONS:
            raise UserError(f"The protocol of {dataset} has no {name.replace('_', ' ')}.")
    paths = _seed_paths(pred_path, n_seeds)
    truth = protocol.read_truth(datasets.data_root_folder(data_root), options)
    return paths, [protocol.score(path, truth, options) for path in paths]


def _seed_paths(path: str, n_seeds: int) -> list[Path]:
    """The prediction files of all seeds, of which the first is given."""
    if n_seeds < 1:
        raise UserError(f"--seeds is {n_seeds}; there must be at least one.")
    if n_seeds > 1 and "seed1" not in path:
        raise UserError(f"--seeds={n_seeds} needs a --pred-path with 'seed1' in it, to find seed2 and so on.")
    paths = [Path(path.replace("seed1", f"seed{i + 1}") if i else path) for i in range(n_seeds)]
    missing = [str(p) for p in paths if not p.exists()]
    if missing:
        raise UserError(f"There are no predictions {', '.join(missing)}.")
    return paths
