"""The first half of the packaged model's training: BlazePose's encoder, fine-tuned on synthetic people.

    metrabs-train synthesize --out=data/train1 --scenes=12000 --seed=1 --background-part=train
    metrabs-train synthesize --out=data/train2 --scenes=14000 --seed=2 --background-part=train
    metrabs-train synthesize --out=data/validation --scenes=300 --seed=1000 --background-part=val
    metrabs-train train --recipe=packaged_start --dataset=data/train1 --dataset=data/train2 \
        --validation=data/validation --logdir=runs/packaged_start

Sized for an hour and a half on two CPU cores: the early layers, which see edges and cloth, and the depthwise kernels
stay as they were. The recipe ``packaged`` goes on from here.
"""

from training.config import TrainingConfig

CONFIG = TrainingConfig(
    model={
        "backbone": "blazepose-pyramid",
        "crop_side": 192,
        "stride": 16,
        "train_stride": 16,
        "head_channels": 192,
    },
    head_steps=1000,
    head_learning_rate=1e-3,
    steps=10000,
    learning_rate=1.5e-4,
    trainable_from="block4_expand",
    train_depthwise=False,
    absolute_from_step=500,
    far_mm=4000.0,
    warmup_steps=100,
    clip_norm=1.0,
    ema_momentum=0.998,
    occlude_aug_prob=0.2,
    checkpoint_steps=500,
)
