"""The crop model as Keras' ``fit`` trains it: losses, optimizer and learning rates."""

import keras
import numpy as np
from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel
from training import losses
from training.config import TrainingConfig
from training.frozen_features import FrozenFeatures


@keras.saving.register_keras_serializable("metrabs")
class PaperSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Decay by 1/3 over the first 23/25 of training, then from 1/30 of the start by 0.3 over the rest.

    Args:
        start: learning rate of the first step.
        steps: steps in all.
        warmup_steps: steps over which it rises to that.
    """

    def __init__(self, start: float, steps: int, warmup_steps: int = 0):
        self.start, self.steps, self.warmup_steps = start, steps, warmup_steps

    def __call__(self, step):
        """Learning rate at a step."""
        step = ops.cast(step, "float32")
        turn = self.steps * 23 / 25
        first = self.start * ops.power(1 / 3, step / turn)
        last = self.start / 30 * ops.power(0.3, (step - turn) / (self.steps - turn))
        warmed = ops.minimum(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmed * ops.where(step < turn, first, last)

    def get_config(self):
        """Arguments of the constructor."""
        return {"start": self.start, "steps": self.steps, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("metrabs")
class AveragingAdamW(keras.optimizers.AdamW):
    """AdamW whose moving average of weights forgets the first steps sooner, so that it is of use in short runs, too."""

    def _update_model_variables_moving_average(self, trainable_variables):
        momentum = self.ema_momentum
        step = ops.cast(self.iterations, "float32")
        self.ema_momentum = ops.minimum(momentum, (1 + step) / (10 + step))
        super()._update_model_variables_moving_average(trainable_variables)
        self.ema_momentum = momentum


class Trainer(keras.Model):
    """The crop model with its losses, as ``fit`` wants it. Crops come as uint8.

    Args:
        crop_model: the model to train.
        absolute_from_step: see ``TrainingConfig``.
        far_mm: see ``TrainingConfig``.
        as_labelled_2d: see ``losses.pose_losses``.
        features: what a frozen backbone makes of crops, if batches hold that, as int8, instead of crops.
    """

    def __init__(
        self,
        crop_model: CropModel,
        absolute_from_step: int,
        far_mm: float = 0.0,
        as_labelled_2d=None,
        features: FrozenFeatures | None = None,
    ):
        super().__init__(autocast=False)
        self.loss_options = {"far_mm": far_mm or float("inf"), "as_labelled_2d": as_labelled_2d}
        self.crop_model, self.features = crop_model, features
        self.absolute_from_step = absolute_from_step
        self.root = crop_model.skeleton.root
        self.trackers = {name: keras.metrics.Mean(name) for name in [*self._terms(), "mpjpe"]}
        # the optimizer's own count is a constant inside of JAX's compiled step
        self.step = self.add_weight(name="step", shape=(), dtype="int32", initializer="zeros", trainable=False)

    def _terms(self) -> tuple[str, ...]:
        """Names of the terms of the loss."""
        has_2d_head = self.crop_model.recovery.has_2d_head
        return ("relative", "image", "absolute", "weak") if has_2d_head else ("relative", "weak")

    def call(self, inputs, training=False):
        """Poses of a batch; see ``CropModel``."""
        *crops, intrinsics = inputs
        return self.crop_model.read_maps(self._maps_of(crops, training), intrinsics, training=training)

    def _maps_of(self, crops: list, training: bool) -> list:
        """The backbone's maps of crops, or of what is kept of them."""
        if keras.backend.standardize_dtype(crops[0].dtype) == "int8":
            return self.features.dequantized(crops)
        maps = self.crop_model.backbone(ops.cast(crops[0], "float32") / 255, training=training)
        return maps if isinstance(maps, list | tuple) else [maps]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Total loss of a batch; tracks its terms and the root-relative MPJPE."""
        model = self.crop_model
        terms = losses.pose_losses(y, y_pred, model.recovery, model.crop_side, self.root, **self.loss_options)
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        error = y_pred["poses3d"] - y["joints3d"]
        error = ops.norm(error - error[:, self.root : self.root + 1], axis=-1)
        self.trackers["mpjpe"].update_state(error, sample_weight=y["valid3d"])
        loss = losses.total_loss(terms, self.step, self.absolute_from_step)
        if training:
            self.step.assign_add(1)
        return loss


class PairTrainer(Trainer):
    """The crop model with the losses of ``MirroredPairs``, for its heads, without the depth stage.

    It keeps the heads' weights as they are when it is made, for the targets: they are part of its state.
    """

    def __init__(self, crop_model: CropModel, *args, **kwargs):
        super().__init__(crop_model, *args, **kwargs)
        self.at_start = [self._copied(f"at_start{i}", variable) for i, variable in enumerate(self._of_heads())]

    def _of_heads(self) -> list:
        """Variables of the heads, without the depth stage's."""
        model = self.crop_model
        return [variable for part in model.heads if part is not model.depth_stage for variable in part.variables]

    def _copied(self, name: str, variable):
        value = np.array(ops.convert_to_numpy(variable))  # not a view, which JAX would overwrite
        return self.add_weight(
            name=name, shape=value.shape, dtype=variable.dtype, initializer=lambda *_, **__: value, trainable=False
        )

    def _terms(self) -> tuple[str, ...]:
        return (*super()._terms(), "consistency", "distillation")

    def call(self, inputs, training=False):
        """Poses of the heads; in training with ``at_start``, those of the heads before, read as in use."""
        *crops, intrinsics = inputs
        maps = self._maps_of(crops, training)
        poses = self.crop_model.read_maps(maps, intrinsics, training=training, heads_alone=True)
        if not training:
            return poses
        with keras.StatelessScope(list(zip(self._of_heads(), self.at_start, strict=True))):
            at_start = self.crop_model.read_maps(maps, intrinsics, heads_alone=True)
        return {**poses, "at_start": at_start}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Total loss of a batch; see ``Trainer``. People to validate on are no pairs, and have the labels' loss."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if "at_start" not in y_pred:
            return loss
        model = self.crop_model
        mirror, far_mm = np.array(model.skeleton.mirror), self.loss_options["far_mm"]
        terms = losses.pair_losses(
            y, y_pred, y_pred["at_start"], x[-1], model.recovery, model.crop_side, mirror, self.root, far_mm
        )
        for name, value in terms.items():
            self.trackers[name].update_state(value)
        return losses.total_pair_loss(loss, terms)


class DepthTrainer(Trainer):
    """The crop model with the loss of its depth stage, which learns from ``SimulatedHeads``."""

    def _terms(self) -> tuple[str, ...]:
        return ("relative",)

    def call(self, inputs, training=False):
        """Both poses of the stage, mm about their mean, of what heads say; or poses of crops, as ``Trainer``."""
        if len(inputs) < 4:
            return super().call(inputs)
        corrected, lifted = self.crop_model.depth_stage(list(inputs), training=training)
        return {"poses3d": 1000 * corrected, "lifted": 1000 * lifted}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Sum of both poses' losses; tracks that of the corrected one and its error."""
        error = ops.norm(self._about_root(y_pred["poses3d"]) - self._about_root(y["joints3d"]), axis=-1)
        self.trackers["mpjpe"].update_state(error, sample_weight=y.get("valid3d"))
        loss = losses.depth_loss(y["joints3d"], y_pred["poses3d"], self.root)
        self.trackers["relative"].update_state(loss)
        if "lifted" in y_pred:
            loss += losses.depth_loss(y["joints3d"], y_pred["lifted"], self.root)
        return loss

    def _about_root(self, poses):
        return poses - poses[:, self.root : self.root + 1]


def state_of(trainer: Trainer) -> list:
    """All variables that training changes: weights, statistics, random states, and the optimizer's."""
    return [*trainer.variables, *trainer.optimizer.variables]


def freeze_before(backbone: keras.Model, first_trainable: str | None, depthwise: bool = True) -> None:
    """Choose the layers of a backbone to train.

    Args:
        backbone: its layers' ``trainable`` is set.
        first_trainable: name of the first layer to train; '' for all of them, None for none.
        depthwise: train depthwise convolutions, too.

    Raises:
        UserError: there is no such layer.
    """
    names = [layer.name for layer in backbone.layers]
    if first_trainable and first_trainable not in names:
        raise UserError(f"The backbone has no layer {first_trainable!r}; it has {', '.join(names)}.")
    start = len(names) if first_trainable is None else names.index(first_trainable) if first_trainable else 0
    for i, layer in enumerate(backbone.layers):
        layer.trainable = i >= start and (depthwise or not isinstance(layer, keras.layers.DepthwiseConv2D))


def compile_trainer(
    model: CropModel,
    config: TrainingConfig,
    stage: str,
    steps: int,
    learning_rate: float,
    as_labelled_2d: np.ndarray | None = None,
    features: FrozenFeatures | None = None,
) -> Trainer:
    """Put losses and optimizer around a crop model, for a stage of its training.

    Args:
        model: the crop model.
        config: what to train.
        stage: "head", "all", "pairs" or "depth".
        steps: of this stage.
        learning_rate: at its start.
        as_labelled_2d: see ``losses.pose_losses``.
        features: see ``Trainer``.
    """
    for part in model.heads:
        part.trainable = (part is model.depth_stage) == (stage == "depth")
    absolute_from_step = config.absolute_from_step if stage == "all" else 0
    trainer_class = {"pairs": PairTrainer, "depth": DepthTrainer}.get(stage, Trainer)
    trainer = trainer_class(model, absolute_from_step, config.far_mm, as_labelled_2d, features)
    trainer.compile(
        optimizer=AveragingAdamW(
            PaperSchedule(learning_rate, max(steps, 1), config.warmup_steps),
            # Keras multiplies by the current learning rate
            weight_decay=config.weight_decay / np.sqrt(max(steps, 1)) / learning_rate,
            epsilon=1e-8,
            clipnorm=config.clip_norm or None,
            use_ema=bool(config.ema_momentum),
            ema_momentum=config.ema_momentum,
        ),
        jit_compile=keras.backend.backend() == "jax",
    )
    trainer([np.zeros([1, *model.backbone.input_shape[1:]], np.uint8), np.eye(3, dtype=np.float32)[None]])
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer
