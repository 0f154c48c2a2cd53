"""Training settings."""

from dataclasses import dataclass, field

from metrabs_core.errors import UserError

# Smallest values that settings may have
_AT_LEAST = {
    "batch_size": 1,
    "batch_size_2d": 1,
    "checkpoint_steps": 1,
    "steps": 0,
    "depth_steps": 0,
    "keep_crops": 0,
    "head_steps": 0,
    "pair_steps": 0,
    "epochs": 0,
    "stride_test": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "clip_norm": 0,
    "absolute_from_step": 0,
    "far_mm": 0,
    "seed": 0,
    "workers": 0,
}
_ABOVE_ZERO = ("learning_rate", "head_learning_rate", "pair_learning_rate")
_PROBABILITIES = ("background_aug_prob", "occlude_aug_prob")


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
        init: folder of a crop model to start from, or "packaged"; empty to start from a backbone's weights.
        backbone_weights: what the backbone starts from, see ``training.pretrained.initialize_backbone``; empty for
            pretrained weights, where there are any.
        head_steps: optimizer steps with the backbone frozen, first.
        keep_crops: number of training crops whose features the stages with a frozen backbone keep on disk and use
            again and again; 0 for new crops in every step.
        steps: optimizer steps after that.
        pair_steps: optimizer steps of the heads with mirrored pairs of crops, after that, with the backbone frozen.
        depth_steps: optimizer steps of the depth stage alone, last, on poses without pictures.
        epochs: passes over the 3D examples, instead of ``steps``; 0 to count steps.
        trainable_from: name of the backbone's first layer that these steps train; empty for all layers.
        train_depthwise: train the backbone's depthwise kernels, too. They are few, and cost a third of a step on a CPU.
        batch_size: crops with 3D labels per step.
        batch_size_2d: crops with 2D labels per step, if there are ``datasets2d``.
        learning_rate: of the start of training; the schedule is the paper's.
        head_learning_rate: of the first stage, with the frozen backbone, and of the depth stage.
        pair_learning_rate: of the stage with mirrored pairs.
        warmup_steps: steps over which the learning rate rises at the start of each stage.
        weight_decay: of AdamW, normalized by the root of the number of steps.
        clip_norm: largest norm of a variable's gradient; 0 for none.
        ema_momentum: momentum of the moving average of weights that validation and the result use; 0 for none.
        absolute_from_step: step from which on the absolute loss counts.
        far_mm: people farther away than this count less in the absolute loss; 0 for all alike.
        augment: change crops at random (zoom, roll, shift, mirroring, colours, and the following).
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
    backbone_weights: str = ""
    head_steps: int = 0
    keep_crops: int = 0
    steps: int = 20000
    pair_steps: int = 0
    depth_steps: int = 0
    epochs: float = 0
    trainable_from: str = ""
    train_depthwise: bool = True
    batch_size: int = 32
    batch_size_2d: int = 32
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    pair_learning_rate: float = 3e-4
    warmup_steps: int = 0
    weight_decay: float = 3e-3
    clip_norm: float = 0.0
    ema_momentum: float = 0.0
    absolute_from_step: int = 5000
    far_mm: float = 0.0
    augment: bool = True
    background_aug_prob: float = 0.0
    occlude_aug_prob: float = 0.7
    checkpoint_steps: int = 250
    seed: int = 1
    workers: int = 2
    mixed_precision: bool = False

    def check(self) -> None:
        """Refuse what nobody can train with, before anything is read.

        Raises:
            UserError: there is no data set, or a number is out of its range.
        """
        if not self.datasets:
            raise UserError("There is nothing to train on: name a data set or a folder with --dataset.")
        for name, low in _AT_LEAST.items():
            self._refuse(name, not low <= getattr(self, name) < float("inf"), f"at least {low}")
        for name in _ABOVE_ZERO:
            self._refuse(name, not 0 < getattr(self, name) < float("inf"), "above 0")
        for name in _PROBABILITIES:
            self._refuse(name, not 0 <= getattr(self, name) <= 1, "between 0 and 1")
        self._refuse("ema_momentum", not 0 <= self.ema_momentum < 1, "at least 0 and below 1")

    def _refuse(self, name: str, is_wrong: bool, meaning: str) -> None:
        if is_wrong:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be {meaning}.")
