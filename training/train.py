"""Train a crop model: ``metrabs-train train``."""

import importlib
import json
import pkgutil
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from metrabs_core.skeletons import SKELETONS
from training import losses, pretrained, recipes
from training.dataset_format import read_description
from training.evaluate import evaluate
from training.examples import CropBatches, read_examples


@dataclass
class TrainingConfig:
    """What a recipe sets and flags override; the defaults are the paper's (T-BIOM, section IV).

    Attributes:
        datasets: names or folders of data sets with 3D labels, mixed in proportion to their numbers of examples.
        datasets2d: the same with 2D labels only, for weak supervision; may be empty.
        train_on: part of the data sets to train on: "train" or "trainval".
        validation: names or folders to validate on at every checkpoint (the "val" part); may be empty.
        data_root: folder that holds the named data sets; empty for the environment variable DATA_ROOT.
        universal_skeleton: 3D losses use skeletons of normalized height, where a data set has them.
        model: arguments of ``CropModel``; ``stride`` and ``train_stride`` are those of training.
        stride_test: stride of the finished model; 0 for that of training.
        init: folder of a crop model to start from, or "packaged"; empty for the backbone's pretrained weights.
        head_steps: optimizer steps with the backbone frozen, first.
        steps: optimizer steps after that.
        epochs: passes over the 3D examples, instead of ``steps``; 0 to count steps.
        trainable_from: name of the backbone's first layer that these steps train; empty for all layers.
        batch_size: crops with 3D labels per step.
        batch_size_2d: crops with 2D labels per step, if there are ``datasets2d``.
        learning_rate: of the start of training; the schedule is the paper's.
        head_learning_rate: of the stage with the frozen backbone.
        warmup_steps: steps over which the learning rate rises at the start of each stage.
        weight_decay: of AdamW, normalized by the root of the number of steps.
        clip_norm: largest norm of a variable's gradient; 0 for none.
        ema_momentum: momentum of the moving average of weights that validation and the result use; 0 for none.
        absolute_from_step: step from which on the absolute loss counts.
        background_aug_prob: how often the background is swapped where the person's mask is known.
        occlude_aug_prob: how often something is put before the person.
        checkpoint_steps: steps between checkpoints, each with a validation.
        seed: of initial weights, order and augmentation.
        workers: processes that make crops; 0 to make them in the training process.
        mixed_precision: compute in ``mixed_bfloat16``, for accelerators.
    """

    datasets: list[str] = field(default_factory=list)
    datasets2d: list[str] = field(default_factory=list)
    train_on: str = "train"
    validation: list[str] = field(default_factory=list)
    data_root: str = ""
    universal_skeleton: bool = False
    model: dict = field(default_factory=dict)
    stride_test: int = 0
    init: str = ""
    head_steps: int = 0
    steps: int = 20000
    epochs: float = 0
    trainable_from: str = ""
    batch_size: int = 32
    batch_size_2d: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    warmup_steps: int = 0
    weight_decay: float = 3e-3
    clip_norm: float = 0.0
    ema_momentum: float = 0.0
    absolute_from_step: int = 5000
    background_aug_prob: float = 0.0
    occlude_aug_prob: float = 0.7
    checkpoint_steps: int = 250
    seed: int = 1
    workers: int = 2
    mixed_precision: bool = False


@keras.saving.register_keras_serializable("metrabs")
class PaperSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Decay by 1/3 over the first 23/25 of training, then from 1/30 of the start by 0.3 over the rest."""

    def __init__(self, start: float, steps: int):
        self.start, self.steps = start, steps

    def __call__(self, step):
        """Learning rate at a step."""
        step = ops.cast(step, "float32")
        turn = self.steps * 23 / 25
        first = self.start * ops.power(1 / 3, step / turn)
        last = self.start / 30 * ops.power(0.3, (step - turn) / (self.steps - turn))
        warmed = ops.minimum(1.0, (step + 1) / 100)
        return warmed * ops.where(step < turn, first, last)

    def get_config(self):
        """Arguments of the constructor."""
        return {"start": self.start, "steps": self.steps}


class Trainer(keras.Model):
    """The crop model with its losses, as ``fit`` wants it. Crops come as uint8."""

    def __init__(self, crop_model: CropModel, absolute_from_step: int):
        super().__init__(autocast=False)
        self.crop_model = crop_model
        self.absolute_from_step = absolute_from_step
        self.root = crop_model.skeleton.index("pelv") if "pelv" in crop_model.skeleton.joint_names else 0
        names = ["relative", "image", "absolute", "weak"] if crop_model.has_2d_head else ["relative", "weak"]
        self.trackers = {name: keras.metrics.Mean(name) for name in [*names, "mpjpe"]}

    def call(self, inputs, training=False):
        """Poses of a batch; see ``CropModel``."""
        crops, intrinsics = inputs
        return self.crop_model([ops.cast(crops, "float32") / 255, intrinsics], training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Total loss of a batch; tracks its terms and the root-relative MPJPE."""
        model = self.crop_model
        terms = losses.pose_losses(y, y_pred, model.scale_recovery, model.crop_side, self.root)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        error = y_pred["poses3d"] - y["joints3d"]
        error = ops.norm(error - error[:, self.root : self.root + 1], axis=-1)
        self.trackers["mpjpe"].update_state(error, sample_weight=y["valid3d"])
        return losses.total_loss(terms, self.optimizer.iterations, self.absolute_from_step)


class _Progress(keras.callbacks.Callback):
    """Keep the batches in step with the epochs, append metrics to a file, and stop on NaN."""

    def __init__(self, batches: CropBatches, path: Path, stage: str):
        super().__init__()
        self.batches, self.path, self.stage = batches, path, stage
        self.started = time.time()

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"The loss is not a number at batch {batch} of epoch {self.batches.epoch}; the last checkpoint is kept."
                " Lower the learning rate or look at that batch."
            )

    def on_epoch_end(self, epoch, logs=None):
        row = {"stage": self.stage, "epoch": epoch, "seconds": round(time.time() - self.started, 1)}
        row["samples"] = (epoch + 1) * len(self.batches) * self.batches.batch_size
        row |= {name: round(float(value), 4) for name, value in logs.items()}
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    parser.add_argument("--recipe", choices=names, required=True, help="experiment to start from; other flags override")
    parser.add_argument("--logdir", required=True, help="folder for checkpoints, history and the trained model")
    parser.add_argument("--dataset", action="append", help="folder to train on; may be given several times")
    parser.add_argument("--validation", action="append", help="folder to validate on; may be given several times")
    parser.add_argument("--init", help="folder of a crop model to start from")
    parser.add_argument("--head-steps", type=int, help="optimizer steps with the backbone frozen")
    parser.add_argument("--steps", type=int, help="optimizer steps after that")
    parser.add_argument("--trainable-from", help="first layer of the backbone that these steps train (default: all)")
    parser.add_argument("--checkpoint-steps", type=int, help="steps between checkpoints and validations")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--workers", type=int, help="threads that make crops")
    parser.add_argument("--crop-side", type=int, help="side of the crops in pixels")
    parser.add_argument("--scale-recovery", help="metrabs, metro, bone-lengths, bone-lengths-true or true-root-depth")
    parser.add_argument("--mixed-precision", action="store_true", default=None, help="bfloat16, for accelerators")
    parser.add_argument("--verbose", type=int, default=1, help="0 silent, 1 progress bar, 2 a line per epoch")


def run(args) -> None:
    """Train what the flags say."""
    config = importlib.import_module(f"training.recipes.{args.recipe}").CONFIG
    flags = {
        "datasets": args.dataset,
        "validation": args.validation,
        "init": args.init,
        "steps": args.steps,
        "head_steps": args.head_steps,
        "trainable_from": args.trainable_from,
        "checkpoint_steps": args.checkpoint_steps,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "seed": args.seed,
        "workers": args.workers,
        "mixed_precision": args.mixed_precision,
    }
    config = replace(config, **{name: value for name, value in flags.items() if value is not None})
    model = {"crop_side": args.crop_side, "scale_recovery": args.scale_recovery}
    config.model |= {name: value for name, value in model.items() if value is not None}
    if not config.datasets:
        raise ValueError("There is nothing to train on: give a folder with --dataset.")
    train(config, args.logdir, args.verbose)


def _describe(dataset_dir: str) -> dict:
    """What a data set says of its origin, for the model card."""
    return {"name": Path(dataset_dir).name, **read_description(dataset_dir).other}


def _freeze_before(backbone: keras.Model, first_trainable: str | None) -> None:
    """Train the backbone from a layer on: '' for all of it, None for nothing."""
    names = [layer.name for layer in backbone.layers]
    if first_trainable and first_trainable not in names:
        raise ValueError(f"The backbone has no layer {first_trainable!r}; it has {', '.join(names)}.")
    start = len(names) if first_trainable is None else names.index(first_trainable) if first_trainable else 0
    for i, layer in enumerate(backbone.layers):
        layer.trainable = i >= start


def mean_bone_lengths(examples, skeleton) -> list[float]:
    """Mean length in millimetres of each of the skeleton's edges over the examples that have 3D labels."""
    poses = np.array([e.joints3d for e in examples if e.joints3d is not None and e.valid.all()])
    if not len(poses):
        raise ValueError("No example has 3D labels for all joints, so there are no mean bone lengths.")
    return [round(float(np.linalg.norm(poses[:, a] - poses[:, b], axis=-1).mean()), 1) for a, b in skeleton.edges]


def train(config: TrainingConfig, run_dir: str | Path, verbose: int = 1) -> CropModel:
    """Train and leave the model in ``run_dir/model``; resumes where an interrupted run of the same folder stopped.

    Args:
        config: what to train on what.
        run_dir: folder for checkpoints, ``history.jsonl`` and the result.
        verbose: Keras' verbosity: 0 silent, 1 progress bars, 2 a line per epoch.

    Returns:
        the trained model.

    Raises:
        FileNotFoundError: a dataset folder is missing.
        ValueError: no example is left, or the configuration is not possible.
        FloatingPointError: the loss became NaN.
    """
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(config.seed)
    if config.mixed_precision:
        keras.config.set_dtype_policy("mixed_bfloat16")
    skeleton = SKELETONS[config.model.get("skeleton", "native_34")]
    examples = [e for folder in config.datasets for e in read_examples(folder, skeleton)]
    held_out = [e for folder in config.validation for e in read_examples(folder, skeleton)]

    if config.init:
        model = load_weights_dir(config.init, **config.model)
    else:
        model = CropModel(**{"bone_lengths": mean_bone_lengths(examples, skeleton), **config.model})
        if model.config["backbone"] == "blazepose":
            pretrained.load_blazepose_weights(model.backbone)

    stages = [("head", config.head_steps, config.head_learning_rate), ("all", config.steps, config.learning_rate)]
    for stage, steps, learning_rate in stages:
        if not steps:
            continue
        if (run_dir / f"{stage}.done.weights.h5").exists():
            model.load_weights(run_dir / f"{stage}.done.weights.h5")
            continue
        _freeze_before(model.backbone, config.trainable_from if stage == "all" else None)
        trainer = Trainer(model, config.absolute_from_step if stage == "all" else 0)
        trainer.compile(
            optimizer=keras.optimizers.AdamW(
                PaperSchedule(learning_rate, steps),
                weight_decay=config.weight_decay / np.sqrt(steps) / learning_rate,
                epsilon=1e-8,
                clipnorm=1.0,
                use_ema=True,
                ema_momentum=0.998,
            ),
            jit_compile=False,
        )
        trainer([np.zeros([1, *model.backbone.input_shape[1:]], np.uint8), np.eye(3, dtype=np.float32)[None]])
        n_steps = min(config.checkpoint_steps, steps)
        batches = CropBatches(
            examples, skeleton, model.crop_side, config.batch_size, n_steps, config.seed, workers=config.workers
        )
        n_validation = len(held_out) // config.batch_size
        validation = CropBatches(
            held_out, skeleton, model.crop_side, config.batch_size, n_validation, config.seed, augment=False
        )
        trainer.fit(
            batches,
            epochs=-(-steps // n_steps),
            validation_data=validation if n_validation else None,
            callbacks=[
                keras.callbacks.SwapEMAWeights(),
                keras.callbacks.BackupAndRestore(run_dir / f"{stage}_backup"),
                _Progress(batches, run_dir / "history.jsonl", stage),
            ],
            verbose=verbose,
        )
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
        temporary = run_dir / f"{stage}.tmp.weights.h5"
        model.save_weights(temporary)
        temporary.rename(run_dir / f"{stage}.done.weights.h5")
    card = {
        "name": "metrabs",
        "training": {**asdict(config), "datasets": [_describe(d) for d in config.datasets]},
        "samples_seen": (config.head_steps + config.steps) * config.batch_size,
    }
    if held_out:
        metrics = evaluate(model, held_out)
        # relative to the scale that the evaluated model applies already
        scale = metrics.pop("uncertainty_scale") * model.uncertainty_scale
        model.config["uncertainty_scale"] = model.uncertainty_scale = round(scale, 4)
        card["validation"] = {name: round(value, 2) for name, value in metrics.items()}
    save_weights_dir(model, run_dir / "model", card)
    return model
