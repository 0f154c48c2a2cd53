"""The result of a training run: the finished model with its card, and its errors on the validation data."""

from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from training.config import TrainingConfig
from training.dataset_format import read_description
from training.evaluation.crop_model import calibrate_uncertainty, evaluate


def write_trained_model(
    model: CropModel, folder: Path, config: TrainingConfig, origin: str, held_out: dict, history: list[dict]
) -> CropModel:
    """Write the model and its card, with its errors on the validation data, then and now, if there are any.

    Args:
        model: as trained.
        folder: to write.
        config: what was trained on what.
        origin: where the weights come from that training began with.
        held_out: lists of people to measure uncertainty and errors on, by the name of their data set; may be empty.
        history: rows of the training log.

    Returns:
        the model, as read from the folder.
    """
    curve = [[row["samples"], round(row["val_mpjpe"], 1)] for row in history if "val_mpjpe" in row]
    card = {
        "name": "metrabs",
        "training": {**asdict(config), "datasets": [_describe(d) for d in config.datasets]},
        "started_from": origin,
        "samples_seen": history[-1]["samples"] if history else 0,
        "curve": {"columns": ["samples seen", "root-relative MPJPE on the validation data, mm"], "rows": curve},
    }
    if config.stride_test:
        model = model.changed(stride=config.stride_test)
    save_weights_dir(model, folder, card)
    keras.distribution.set_distribution(None)
    keras.config.set_dtype_policy("float32")
    model = load_weights_dir(folder)
    # where the scale needs the truth, it needs every true joint
    needed = np.arange(model.skeleton.n_joints) if model.recovery.recover_with_truth else [model.skeleton.root]
    held_out = {name: [e for e in people if e.valid[needed].all()] for name, people in held_out.items()}
    held_out = {name: people for name, people in held_out.items() if people}
    if held_out:
        everybody = [example for people in held_out.values() for example in people]
        model = model.changed(uncertainty_scale=calibrate_uncertainty(model, everybody))
        card["validation"] = {name: _errors(model, people) for name, people in held_out.items()}
        save_weights_dir(model, folder, card)
    return model


def _errors(model: CropModel, people: list) -> dict[str, float]:
    return {name: round(value, 2) for name, value in evaluate(model, people).items() if np.isfinite(value)}


def _describe(dataset: str) -> dict:
    """What a data set says of its origin, for the model card."""
    is_folder = (Path(dataset) / "dataset.json").is_file()
    return {"name": Path(dataset).name, **(read_description(dataset).other if is_folder else {})}
