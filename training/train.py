"""Training a crop model, from a configuration to a folder with the trained model."""

import time
from pathlib import Path

import keras
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel
from training import distribution
from training.augmentation import Appearance, find_appearance
from training.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.crop_batches import CropBatches, CropSettings, plain_batches
from training.initial_model import initial_model
from training.losses import hips_like_mpii
from training.mirrored_pairs import MirroredPairs
from training.people import mean_bone_lengths, read_people
from training.progress import TrainingLog
from training.run_folder import RunFolder
from training.stages import Run, stages_of, steps_done, train_stages
from training.trained_model import write_trained_model


def train(
    config: TrainingConfig, run_dir: str | Path, verbose: int = 1, gui: bool = False, minutes: float | None = None
) -> CropModel:
    """Train and leave the model in ``run_dir/model``; resumes where an interrupted run of the same folder stopped.

    Args:
        config: what to train on what.
        run_dir: folder for ``checkpoint.npz``, ``history.jsonl``, TensorBoard's logs and the result.
        verbose: 0 silent, 1 progress bars, 2 a line per checkpoint.
        gui: show crops with true and predicted skeletons at each checkpoint.
        minutes: time after which to stop, at a checkpoint; the model so far is left in ``run_dir/model``.

    Returns:
        the trained model.

    Raises:
        UserError: a data set, folder or picture is missing or damaged, nobody is left to train on, the configuration
            is not possible, or the loss became NaN.
    """
    config.check()
    deadline = _deadline(minutes)
    process = distribution.join()
    verbose = verbose if process.is_main else 0
    keras.utils.set_random_seed(config.seed)

    people = read_people(config)
    appearance = _find_appearance(config, verbose)
    folder = RunFolder(run_dir)
    begun = folder.begun_with(config)
    checkpoint = Checkpoint(folder.checkpoint)
    keras.config.set_dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32")
    bone_lengths = mean_bone_lengths(people.examples, people.skeleton, config.universal_skeleton)
    origin = begun.get("started_from") if checkpoint.exists() else None
    model, origin = initial_model(config, people.skeleton.name, bone_lengths, origin)
    if process.is_main:
        folder.write_settings(config, origin)

    crops = CropSettings(people.skeleton, model.crop_side, appearance, config.universal_skeleton)
    sizes = config.batch_size, config.batch_size_2d
    batches = CropBatches(people.examples, people.examples2d, crops, *sizes, config.seed, process, config.augment)
    pairs = MirroredPairs(batches) if config.pair_steps else None
    held_out = [example for examples in people.held_out.values() for example in examples]
    validation = _validation_arrays(held_out, crops, config, process, verbose)
    stages = stages_of(config, len(people.examples))
    log = TrainingLog(folder.path, steps_done(stages, checkpoint), gui) if process.is_main else None
    run = Run(
        config=config,
        model=model,
        batches=batches,
        pairs=pairs,
        examples=people.examples,
        validation=validation,
        validation_batch_size=config.batch_size // process.count,
        checkpoint=checkpoint,
        log=log,
        as_labelled_2d=hips_like_mpii(people.skeleton) if people.hips_differ else None,
        deadline=deadline,
        verbose=verbose,
    )
    train_stages(run, stages)
    if not process.is_main:
        return model
    log.close()
    return write_trained_model(model, folder.model, config, origin, people.held_out, log.rows)


def _deadline(minutes: float | None) -> float:
    """Steady time at which a run that begins now is to stop, s."""
    if minutes is None:
        return np.inf
    if not minutes > 0:
        raise UserError(f"--minutes is {minutes}; it must be above 0.")
    return time.monotonic() + 60 * minutes


def _find_appearance(config: TrainingConfig, verbose: int) -> Appearance:
    appearance = find_appearance(config.occlude_aug_prob, config.background_aug_prob, config.data_root)
    if verbose and config.augment and config.occlude_aug_prob and not appearance.cutouts:
        print("People are covered with drawn shapes: there are no cut-outs in $DATA_ROOT/pascal_voc/cutouts.")
    return appearance


def _validation_arrays(
    held_out: list, settings: CropSettings, config: TrainingConfig, process: distribution.Process, verbose: int
) -> tuple | None:
    """Plain crops to validate on, as ``fit`` takes them, or None. They are made once and stay in memory."""
    if not held_out:
        return None
    whole = config.batch_size if len(held_out) >= config.batch_size else process.count
    chosen = held_out[: len(held_out) // whole * whole]
    progress = "validation crops" if verbose and process.is_main else ""
    batches = list(plain_batches(chosen[process.index :: process.count], settings, 16, config.workers, progress))
    if not batches:
        return None
    crops, intrinsics = (np.concatenate(column) for column in zip(*(inputs for inputs, _ in batches)))
    labels = {name: np.concatenate([labels[name] for _, labels in batches]) for name in batches[0][1]}
    return (crops, intrinsics), labels
