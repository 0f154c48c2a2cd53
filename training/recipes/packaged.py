"""The packaged default model: BlazePose's encoder, fine-tuned on synthetic people.

    metrabs-train synthesize --out=data/train --scenes=7000 --seed=1 --background-part=train
    metrabs-train synthesize --out=data/validation --scenes=300 --seed=1000 --background-part=val
    metrabs-train train --recipe=packaged --dataset=data/train --validation=data/validation --logdir=runs/packaged

Sized for an hour on two CPU cores: the early layers, which see edges and cloth, stay as they were.
"""

from training.config import TrainingConfig

CONFIG = TrainingConfig(
    model={"backbone": "blazepose", "crop_side": 192, "head_channels": 384},
    head_steps=1000,
    head_learning_rate=1e-3,
    steps=2250,
    learning_rate=3e-4,
    trainable_from="block11_expand",
    absolute_from_step=500,
    far_mm=4000.0,
    warmup_steps=100,
    clip_norm=1.0,
    ema_momentum=0.998,
    occlude_aug_prob=0.4,
)
