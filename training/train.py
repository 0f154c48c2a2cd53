"""Train a crop model: ``metrabs-train train``."""

import argparse
import gc
import importlib
import json
import os
import pkgutil
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from metrabs_core.network.backbones import BACKBONES
from metrabs_core.network.crop_model import SCALE_RECOVERIES, CropModel, load_weights_dir, save_weights_dir
from metrabs_core.skeletons import SKELETONS, Skeleton
from training import datasets, pretrained, recipes
from training.augmentation import find_appearance
from training.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.crop_batches import CropBatches, CropSettings, plain_batches
from training.dataset_format import read_description, write_json
from training.evaluate import calibrate_uncertainty, evaluate
from training.examples import select_joints
from training.progress import ProgressBar, TrainingLog
from training.trainer import compile_trainer, freeze_before, state_of

PACKAGED_MODEL = Path(__file__).parents[1] / "metrabs_core" / "model"
_BACKBONE = "resnet50"
# Validation looks at this many people at most, evenly spread
_MAX_VALIDATION = 1024
# What may be changed when a run is resumed
_MAY_CHANGE = {"learning_rate", "head_learning_rate", "validation", "data_root", "checkpoint_steps", "workers"}


class _Stage(keras.callbacks.Callback):
    """Ends a stage at its last step or when time is up, saves its state, logs its numbers, and stops on NaN."""

    def __init__(self, stage, name, steps, done_before, batches, checkpoint, log, deadline):
        super().__init__()
        self.stage, self.name, self.steps, self.done_before = stage, name, steps, done_before
        self.batches, self.checkpoint, self.log, self.deadline = batches, checkpoint, log, deadline
        self.step = checkpoint.step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(self._describe_bad_batch())
        if self.step >= self.steps or time.monotonic() > self.deadline:
            self.model.stop_training = True

    def _describe_bad_batch(self):
        step = self.done_before + self.step - 1
        people = self.batches.examples_of(step) + (self.batches.examples_of(step - 1) if step else [])
        paths = list(dict.fromkeys(str(example.image_path) for example, _ in people))
        listed = self.checkpoint.path.with_name("not_a_number.txt")
        listed.write_text("\n".join(paths) + "\n")
        kept = f"; the checkpoint of step {self.checkpoint.step} is kept" if self.checkpoint.exists() else ""
        return (
            f"The loss is not a number at batch {self.step - 1}{kept}. Its pictures, and those of the batch before, are"
            f" listed in {listed}: {', '.join(paths[:4])}{', ...' if len(paths) > 4 else ''}. Look at their labels, or"
            " start again with a lower --learning-rate."
        )

    def on_test_begin(self, logs=None):
        self._check_batches()

    def _check_batches(self):
        if self.batches.error is not None:
            raise self.batches.error

    def on_epoch_end(self, epoch, logs=None):
        self._check_batches()
        if self.log:
            step = self.done_before + self.step
            samples = step * sum(size for _, size in self.batches.sources)
            rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
            numbers = {name: float(value) for name, value in logs.items()} | {"learning_rate": rate}
            self.log.write(self.name, step, samples, numbers, self.model.crop_model, self.batches.latest)
            self.checkpoint.save(self.stage, self.step, state_of(self.model))
        self.checkpoint.step = self.step


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    flag = parser.add_argument
    flag("--recipe", choices=names, help="experiment to start from; other flags override (default: the paper's values)")
    flag("--logdir", required=True, help="folder for checkpoints, logs and the trained model")
    flag("--dataset", dest="datasets", action="append", help="name or folder to train on; may be given several times")
    flag("--dataset2d", dest="datasets2d", action="append", help="the same with 2D labels, for weak supervision")
    flag("--train-on", choices=["train", "trainval"], help="part of the data sets to train on")
    flag("--validation", action="append", help="name or folder to validate on; may be given several times")
    flag("--data-root", help="folder that holds the named data sets (default: $DATA_ROOT)")
    flag("--init", help="folder of a crop model to start from, or: packaged")
    flag("--backbone", choices=list(BACKBONES), help=f"network below the heads (default: {_BACKBONE})")
    flag(
        "--backbone-weights",
        help="pretrained, random, a file or a crop model's folder (default: as pretrained as can be had)",
    )
    flag("--skeleton", choices=list(SKELETONS), help="joints to predict (default: those of the first data set)")
    flag("--scale-recovery", choices=SCALE_RECOVERIES)
    flag("--crop-side", type=int, help="side of the crops in pixels")
    flag("--stride-train", type=int, help="pixels between heatmap cells in training")
    flag("--stride-test", type=int, help="the same of the finished model (default: as in training)")
    flag("--universal-skeleton", action=argparse.BooleanOptionalAction, help="3D labels of normalized height")
    flag("--epochs", type=float, help="passes over the 3D examples, instead of --steps")
    flag("--steps", type=int, help="optimizer steps, after --head-steps")
    flag("--head-steps", type=int, help="optimizer steps with the backbone frozen, first")
    flag("--trainable-from", help="first layer of the backbone that --steps train (default: all)")
    flag(
        "--train-depthwise",
        action=argparse.BooleanOptionalAction,
        help="train the backbone's depthwise kernels, too; without, a step on a CPU takes two thirds of the time",
    )
    flag("--batch-size", type=int, help="crops with 3D labels per step")
    flag("--batch-size-2d", type=int, help="crops with 2D labels per step")
    flag("--learning-rate", type=float)
    flag("--augment", action=argparse.BooleanOptionalAction, help="change crops at random (default: yes)")
    flag("--background-aug-prob", type=float, help="how often the background is swapped, where masks are known")
    flag("--occlude-aug-prob", type=float, help="how often something is put before the person")
    flag("--checkpoint-steps", type=int, help="steps between checkpoints, each with a validation")
    flag("--minutes", type=float, help="stop after this time, at a checkpoint; the same command goes on")
    flag("--seed", type=int)
    flag("--workers", type=int, help="processes that make crops")
    flag("--mixed-precision", action=argparse.BooleanOptionalAction, help="bfloat16, for accelerators")
    flag("--gui", action="store_true", help="show crops with true and predicted skeletons at each checkpoint")
    flag("--verbose", type=int, default=1, choices=[0, 1, 2], help="0 silent, 1 progress bar, 2 a line per checkpoint")


def run(args) -> None:
    """Train what the flags say."""
    config = importlib.import_module(f"training.recipes.{args.recipe}").CONFIG if args.recipe else TrainingConfig()
    flags = {f.name: getattr(args, f.name, None) for f in fields(config)}
    if args.steps is not None and args.epochs is None:
        flags["epochs"] = 0
    config = replace(config, **{name: value for name, value in flags.items() if value is not None})
    model = {name: getattr(args, name) for name in ("backbone", "skeleton", "scale_recovery", "crop_side")}
    model |= {"stride": args.stride_train, "train_stride": args.stride_train}
    config.model = config.model | {name: value for name, value in model.items() if value is not None}
    try:
        train(config, args.logdir, verbose=args.verbose, gui=args.gui, minutes=args.minutes)
    except KeyboardInterrupt:
        sys.exit("metrabs-train train: interrupted; the same command goes on from the last checkpoint.")


def _describe(dataset: str) -> dict:
    """What a data set says of its origin, for the model card."""
    is_folder = (Path(dataset) / "dataset.json").is_file()
    return {"name": Path(dataset).name, **(read_description(dataset).other if is_folder else {})}


def mean_bone_lengths(examples: list, skeleton: Skeleton, universal: bool = False) -> list[float] | None:
    """Mean length in millimetres of each of the skeleton's edges over the examples that have 3D labels.

    Args:
        examples: people.
        skeleton: their joints, and bones.
        universal: take the skeletons of normalized height, where there are any.

    Returns:
        one length per edge; None if no example has the labels for some edge.
    """
    labelled = [e for e in examples if e.joints3d is not None]
    labelled = labelled[:: max(1, len(labelled) // 20000)]
    poses = [e.universal3d if universal and e.universal3d is not None else e.joints3d for e in labelled]
    if not poses:
        return None
    a, b = np.array(skeleton.edges).T
    valid = np.array([e.valid for e in labelled])
    valid = valid[:, a] & valid[:, b]
    lengths = np.linalg.norm(np.array(poses)[:, a] - np.array(poses)[:, b], axis=-1)
    if not valid.any(0).all():
        return None
    return [round(float(length), 1) for length in lengths.mean(0, where=valid)]


def _distribute() -> tuple[int, int]:
    """Spread batches over all of JAX's devices, of all processes: number of this process, and of processes."""
    processes = os.environ.get("KERAS_DISTRIBUTION_NUM_PROCESSES")
    if keras.backend.backend() != "jax":
        if processes:
            raise ValueError("Several processes train together on Keras' JAX backend only: set KERAS_BACKEND=jax.")
        return 0, 1
    import jax

    if processes:
        keras.distribution.initialize()
    if len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    return jax.process_index(), jax.process_count()


def _read_people(config: TrainingConfig, init: str | Path) -> tuple[Skeleton, list, list, list]:
    """The joints to predict, and the people to train on, to train on by 2D labels, and to validate on."""
    data_root, read = config.data_root or None, {}

    def people(names, split):
        found = []
        for name in names:
            if (name, split) not in read:
                read[name, split] = datasets.read(name, split, data_root)
            found += select_joints(read[name, split], skeleton)
        return found

    if "skeleton" in config.model:
        skeleton = SKELETONS[config.model["skeleton"]]
    elif init:
        skeleton = SKELETONS[_model_config(init)["skeleton"]]
    else:
        first = config.datasets[0], config.train_on
        read[first] = datasets.read(*first, data_root)
        skeleton = SKELETONS[_skeleton_of(read[first])]
    examples = people(config.datasets, config.train_on)
    if not any(e.joints3d is not None for e in examples):
        raise ValueError(f"Nobody in {', '.join(config.datasets)} has 3D labels; with 2D labels, use --dataset2d.")
    examples2d = [replace(e, joints3d=None, universal3d=None) for e in people(config.datasets2d, config.train_on)]
    held_out = people(config.validation, "val")
    return skeleton, examples, examples2d, held_out[:: max(1, -(-len(held_out) // _MAX_VALIDATION))]


def _skeleton_of(dataset: datasets.Dataset) -> str:
    """The skeleton with the joints of a data set."""
    joints = dataset.skeleton.joint_names
    for same in (tuple, frozenset):
        for name, skeleton in SKELETONS.items():
            if same(skeleton.joint_names) == same(joints):
                return name
    return "native_34"


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
        FileNotFoundError: a data set or folder is missing.
        ValueError: no example is left, or the configuration is not possible.
        OSError: a picture can't be read.
        FloatingPointError: the loss became NaN.
    """
    deadline = time.monotonic() + 60 * minutes if minutes else np.inf
    if not config.datasets:
        raise ValueError("There is nothing to train on: name a data set or a folder with --dataset.")
    if config.stride_test < 0 or config.epochs < 0 or min(config.batch_size, config.checkpoint_steps) < 1:
        raise ValueError("Batch size and checkpoint steps are at least 1, epochs and strides are not negative.")
    part = _distribute()
    is_main = part[0] == 0
    verbose = verbose if is_main else 0
    keras.utils.set_random_seed(config.seed)
    init = PACKAGED_MODEL if config.init == "packaged" else config.init
    skeleton, examples, examples2d, held_out = _read_people(config, init)
    appearance = find_appearance(config.occlude_aug_prob, config.background_aug_prob, config.data_root)
    if verbose and config.augment and config.occlude_aug_prob and not appearance.cutouts:
        print("People are covered with drawn shapes: there are no cut-outs in $DATA_ROOT/pascal_voc/cutouts.")

    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    begun = _settings_of(run_dir, config)
    checkpoint = Checkpoint(run_dir / "checkpoint.npz")
    keras.config.set_dtype_policy("mixed_bfloat16" if config.mixed_precision else "float32")
    model, origin = _build(config, init, skeleton, examples, begun.get("started_from") if checkpoint.exists() else None)
    if model.overview is not None and config.stride_test not in (0, model.stride):
        raise ValueError(f"With an overview, the stride is that of training, {model.stride}: leave --stride-test out.")
    if is_main:
        write_json(run_dir / "settings.json", {**asdict(config), "started_from": origin})

    settings = CropSettings(skeleton, model.crop_side, appearance, config.universal_skeleton)
    sizes = config.batch_size, config.batch_size_2d
    batches = CropBatches(examples, examples2d, settings, *sizes, config.seed, part, config.augment)
    validation = _validation_arrays(held_out, settings, config, part, verbose)
    steps = max(1, round(config.epochs * len(examples) / config.batch_size)) if config.epochs else config.steps
    stages = [("head", config.head_steps, config.head_learning_rate), ("all", steps, config.learning_rate)]
    done_before = [0, config.head_steps, config.head_steps + steps]
    log = TrainingLog(run_dir, done_before[checkpoint.stage] + checkpoint.step, gui) if is_main else None
    if checkpoint.stage and not checkpoint.step:
        checkpoint.restore(model.variables)
    with batches:
        batches.start(config.workers if checkpoint.stage < len(stages) else 0)
        for stage, (name, steps, learning_rate) in enumerate(stages):
            if stage < checkpoint.stage or not steps:
                continue
            freeze_before(model.backbone, config.trainable_from if name == "all" else None, config.train_depthwise)
            trainer = compile_trainer(model, config, name, steps, learning_rate)
            if checkpoint.step:
                checkpoint.restore(state_of(trainer))
            callbacks = [keras.callbacks.SwapEMAWeights()] if config.ema_momentum else []
            callbacks.append(ProgressBar(name, checkpoint.step, steps, verbose))
            callbacks.append(_Stage(stage, name, steps, done_before[stage], batches, checkpoint, log, deadline))
            if checkpoint.step < steps:  # or it was killed at the very end of the stage
                trainer.fit(
                    batches.stream(done_before[stage] + checkpoint.step),
                    steps_per_epoch=config.checkpoint_steps,
                    epochs=-(-(steps - checkpoint.step) // config.checkpoint_steps),
                    validation_data=validation,
                    validation_batch_size=config.batch_size // part[1],
                    callbacks=callbacks,
                    shuffle=False,
                    verbose=0,
                )
            gc.collect()  # or TensorFlow would find its iterator only after Python has ended, and complain
            if config.ema_momentum:
                trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
            if checkpoint.step < steps:
                break
            if is_main:
                checkpoint.save(stage + 1, 0, model.variables)
            checkpoint.stage, checkpoint.step = stage + 1, 0
    if not is_main:
        return model
    log.close()
    return _finish(config, model, origin, held_out, run_dir, log.rows)


def _build(config, init, skeleton, examples, origin: str | None) -> tuple[CropModel, str]:
    """The model to train, and what it starts from, in words; with an origin, its weights are about to be restored."""
    if init:
        model, origin = _continue_from(init, config.model), str(config.init)
    else:
        lengths = mean_bone_lengths(examples, skeleton, config.universal_skeleton)
        defaults = {"backbone": _BACKBONE, "bone_lengths": lengths, "skeleton": skeleton.name}
        model = CropModel(**{**defaults, **config.model})
        name = model.config["backbone"]
        origin = origin or pretrained.initialize_backbone(model.backbone, name, config.backbone_weights)
    if model.scale_recovery == "bone-lengths" and model.bone_lengths is None:
        raise ValueError("No example has 3D labels for all joints, so there are no mean bone lengths.")
    return model, origin


def _continue_from(init: str | Path, overrides: dict) -> CropModel:
    """The model of a folder; an overview that it does not have yet is put onto it, with random weights."""
    if _model_config(init).get("overview_channels") or not overrides.get("overview_channels"):
        return load_weights_dir(init, **overrides)
    source = load_weights_dir(init, **{**overrides, "overview_channels": 0})
    model = CropModel(**{**source.config, **overrides})
    for name in ("backbone", "neck", "head"):
        if getattr(source, name) is not None:
            getattr(model, name).set_weights(getattr(source, name).get_weights())
    return model


def _model_config(path: str | Path) -> dict:
    card = Path(path) / "model_card.json"
    if not card.is_file():
        raise FileNotFoundError(f"{path} is no crop model: it has no model_card.json.")
    return json.loads(card.read_text())["crop_model"]


def _settings_of(run_dir: Path, config: TrainingConfig) -> dict:
    """What ``settings.json`` of a run that was begun says; empty for a new one.

    Raises:
        ValueError: it was begun with settings that mean another training.
    """
    path = run_dir / "settings.json"
    if not path.exists():
        return {}
    begun = json.loads(path.read_text())
    settings = json.loads(json.dumps(asdict(config)))
    changed = [n for n in settings if n not in _MAY_CHANGE and begun.get(n, settings[n]) != settings[n]]
    if changed:
        raise ValueError(
            f"{run_dir} holds a run with another {' and '.join(changed)}; choose another --logdir, or give the same"
            " flags to go on."
        )
    return begun


def _validation_arrays(held_out: list, settings: CropSettings, config: TrainingConfig, part: tuple, verbose: int):
    """Plain crops to validate on, as ``fit`` takes them, or None. They are made once and stay in memory."""
    if not held_out:
        return None
    index, n_parts = part
    whole = config.batch_size if len(held_out) >= config.batch_size else n_parts
    chosen = held_out[: len(held_out) // whole * whole]
    progress = "validation crops" if verbose and index == 0 else ""
    batches = list(plain_batches(chosen[index::n_parts], settings, 16, config.workers, progress))
    if not batches:
        return None
    crops, intrinsics = (np.concatenate(column) for column in zip(*(inputs for inputs, _ in batches)))
    labels = {name: np.concatenate([labels[name] for _, labels in batches]) for name in batches[0][1]}
    return (crops, intrinsics), labels


def _finish(config, model, origin, held_out, run_dir, history) -> CropModel:
    """Write the model and its card, with its errors on the validation data, then and now, if there are any."""
    curve = [[row["samples"], round(row["val_mpjpe"], 1)] for row in history if "val_mpjpe" in row]
    card = {
        "name": "metrabs",
        "training": {**asdict(config), "datasets": [_describe(d) for d in config.datasets]},
        "started_from": origin,
        "samples_seen": history[-1]["samples"] if history else 0,
        "curve": {"columns": ["samples seen", "root-relative MPJPE on the validation data, mm"], "rows": curve},
    }
    if config.stride_test:
        model.config["stride"] = config.stride_test
    save_weights_dir(model, run_dir / "model", card)
    keras.distribution.set_distribution(None)
    keras.config.set_dtype_policy("float32")
    model = load_weights_dir(run_dir / "model")
    root = model.skeleton.index("pelv") if "pelv" in model.skeleton.joint_names else 0
    held_out = [e for e in held_out if e.joints3d is not None and e.valid[root]]
    if model.scale_recovery in ("bone-lengths-true", "true-root-depth"):  # these need every true joint
        held_out = [e for e in held_out if e.valid.all()]
    if held_out:
        model.config["uncertainty_scale"] = calibrate_uncertainty(model, held_out)
        save_weights_dir(model, run_dir / "model", card)
        model = load_weights_dir(run_dir / "model")
        metrics = {name: value for name, value in evaluate(model, held_out).items() if np.isfinite(value)}
        card["validation"] = {name: round(value, 2) for name, value in metrics.items()}
        save_weights_dir(model, run_dir / "model", card)
    return model
