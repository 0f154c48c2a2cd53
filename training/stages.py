"""The stages of a training run; any may be left out.

The heads alone, the backbone with them, the heads with mirrored pairs of crops, the depth stage.
"""

import gc
import time
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel
from training.checkpoint import Checkpoint
from training.config import TrainingConfig
from training.crop_batches import CropBatches
from training.frozen_features import FrozenFeatures
from training.mirrored_pairs import MirroredPairs
from training.progress import ProgressBar, TrainingLog
from training.simulated_heads import SimulatedHeads
from training.trainer import compile_trainer, freeze_before, state_of


@dataclass(frozen=True)
class Stage:
    """Some steps of a training run, with one schedule of the learning rate.

    Attributes:
        name: "head" while the backbone is frozen, "all", "pairs" for the heads with mirrored pairs, or "depth" for the
            depth stage alone, without pictures.
        done_before: optimizer steps of the stages before.
        steps: optimizer steps of this stage.
        learning_rate: at its start.
    """

    name: str
    done_before: int
    steps: int
    learning_rate: float


def stages_of(config: TrainingConfig, n_examples: int) -> list[Stage]:
    """The stages that a configuration describes, for a number of examples with 3D labels."""
    steps = max(1, round(config.epochs * n_examples / config.batch_size)) if config.epochs else config.steps
    stages = []
    for name, n_steps, learning_rate in (
        ("head", config.head_steps, config.head_learning_rate),
        ("all", steps, config.learning_rate),
        ("pairs", config.pair_steps, config.pair_learning_rate),
        ("depth", config.depth_steps, config.head_learning_rate),
    ):
        stages.append(Stage(name, sum(stage.steps for stage in stages), n_steps, learning_rate))
    return stages


def steps_done(stages: list[Stage], checkpoint: Checkpoint) -> int:
    """Optimizer steps of all stages that a checkpoint comes after."""
    return sum(stage.steps for stage in stages[: checkpoint.stage]) + checkpoint.step


@dataclass(frozen=True)
class Run:
    """What the stages of a training run have in common.

    Attributes:
        config: what to train.
        model: the crop model, trained in place.
        batches: of training crops.
        pairs: of mirrored pairs of them; None if no stage needs them.
        examples: people with 3D labels.
        validation: plain crops and labels to validate on, as ``fit`` takes them, or None.
        validation_batch_size: of them, in this process.
        checkpoint: says which stage and step come next.
        log: of numbers and pictures; None in a process that writes no files.
        as_labelled_2d: see ``training.losses.pose_losses``.
        deadline: time, of ``time.monotonic``, after which to stop at a checkpoint.
        verbose: 0 silent, 1 progress bars, 2 a line per checkpoint.
    """

    config: TrainingConfig
    model: CropModel
    batches: CropBatches
    pairs: MirroredPairs | None
    examples: list
    validation: tuple | None
    validation_batch_size: int
    checkpoint: Checkpoint
    log: TrainingLog | None
    as_labelled_2d: np.ndarray | None
    deadline: float
    verbose: int


def train_stages(run: Run, stages: list[Stage]) -> None:
    """Train from the checkpoint on, until the last stage has ended or time is up.

    Raises:
        UserError: a picture can't be read, or the loss became NaN.
    """
    checkpoint = run.checkpoint
    if checkpoint.stage and not checkpoint.step:
        checkpoint.restore(run.model.variables)
    with run.batches:
        run.batches.start(run.config.workers if checkpoint.stage < len(stages) else 0)
        for number, stage in enumerate(stages):
            if number < checkpoint.stage or not stage.steps:
                continue
            _train_stage(run, number, stage)
            if checkpoint.step < stage.steps:
                return
            if run.log:
                checkpoint.save(number + 1, 0, run.model.variables)
            checkpoint.stage, checkpoint.step = number + 1, 0


def _train_stage(run: Run, number: int, stage: Stage) -> None:
    config, checkpoint = run.config, run.checkpoint
    trainable_from = config.trainable_from if stage.name == "all" else None
    freeze_before(run.model.backbone, trainable_from, config.train_depthwise)
    batches, features = _batches_of(run, stage), None
    if stage.name in ("head", "pairs") and config.keep_crops:
        batches = features = _kept_features(run, stage, batches)
    trainer = compile_trainer(
        run.model, config, stage.name, stage.steps, stage.learning_rate, run.as_labelled_2d, features
    )
    if checkpoint.step:
        checkpoint.restore(state_of(trainer))
    callbacks = [keras.callbacks.SwapEMAWeights()] if config.ema_momentum else []
    callbacks.append(ProgressBar(stage.name, checkpoint.step, stage.steps, run.verbose))
    callbacks.append(_StageCallback(run, number, stage, batches))
    if checkpoint.step < stage.steps:  # or it was killed at the very end of the stage
        try:
            trainer.fit(
                batches.stream(stage.done_before + checkpoint.step),
                steps_per_epoch=config.checkpoint_steps,
                epochs=-(-(stage.steps - checkpoint.step) // config.checkpoint_steps),
                validation_data=run.validation,
                validation_batch_size=run.validation_batch_size,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
            )
        except Exception:
            batches.raise_error()  # what ended the stream is the cause, whatever Keras makes of its end
            raise
    gc.collect()  # or TensorFlow would find its iterator only after Python has ended, and complain
    if config.ema_momentum:
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    if features and checkpoint.step >= stage.steps:
        features.remove()


def _batches_of(run: Run, stage: Stage) -> CropBatches | MirroredPairs | SimulatedHeads:
    if stage.name == "depth":
        return SimulatedHeads(run.examples, run.model.skeleton, run.config.seed)
    return run.pairs if stage.name == "pairs" else run.batches


def _kept_features(run: Run, stage: Stage, batches: CropBatches | MirroredPairs) -> FrozenFeatures:
    folder = run.checkpoint.path.with_name("features" if stage.name == "head" else f"features_of_{stage.name}")
    together = 2 if batches is run.pairs else 1
    features = FrozenFeatures(folder, run.model, batches, run.config.keep_crops, together)
    features.compute(run.verbose)
    return features


class _StageCallback(keras.callbacks.Callback):
    """Ends a stage at its last step or when time is up, saves its state, logs its numbers, and stops on NaN."""

    def __init__(self, run: Run, number: int, stage: Stage, batches):
        super().__init__()
        self.run, self.number, self.stage, self.batches = run, number, stage, batches
        self.step = run.checkpoint.step

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if not np.isfinite(logs["loss"]):
            raise UserError(self._describe_bad_batch())
        if self.step >= self.stage.steps or time.monotonic() > self.run.deadline:
            self.model.stop_training = True

    def _describe_bad_batch(self):
        batches, checkpoint = self.batches, self.run.checkpoint
        step = self.stage.done_before + self.step - 1
        people = batches.examples_of(step) + (batches.examples_of(step - 1) if step else [])
        paths = list(dict.fromkeys(str(example.image_path) for example, _ in people))
        listed = checkpoint.path.with_name("not_a_number.txt")
        listed.write_text("\n".join(paths) + "\n")
        kept = f"; the checkpoint of step {checkpoint.step} is kept" if checkpoint.exists() else ""
        return (
            f"The loss is not a number at batch {self.step - 1}{kept}. Its pictures, and those of the batch before, are"
            f" listed in {listed}: {', '.join(paths[:4])}{', ...' if len(paths) > 4 else ''}. Look at their labels, or"
            " start again with a lower --learning-rate."
        )

    def _is_measured(self, name):
        """Whether a term is of anybody: people to validate on have 3D labels and are no pairs; others would be zero."""
        if name in ("val_weak", "val_consistency", "val_distillation"):
            return False
        return name != "weak" or len(self.run.batches.sources) > 1

    def on_test_begin(self, logs=None):
        self.batches.raise_error()

    def on_epoch_end(self, epoch, logs=None):
        run = self.run
        self.batches.raise_error()
        if run.log:
            step = self.stage.done_before + self.step
            with_pictures = self.stage.done_before if self.stage.name == "depth" else step
            samples = with_pictures * sum(size for _, size in run.batches.sources)
            rate = float(ops.convert_to_numpy(self.model.optimizer.learning_rate))
            numbers = {name: float(value) for name, value in logs.items() if self._is_measured(name)}
            numbers["learning_rate"] = rate
            run.log.write(self.stage.name, step, samples, numbers, self.model.crop_model, self.batches.latest)
            run.checkpoint.save(self.number, self.step, state_of(self.model))
        run.checkpoint.step = self.step
