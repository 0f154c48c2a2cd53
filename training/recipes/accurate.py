"""The packaged model ``accurate``: MoveNet Thunder's encoder as it is, with heads that learn from synthetic people.

    metrabs-train synthesize --out=data/train1 --scenes=5000 --seed=11 --background-part=train --motions=MOTIONS
    metrabs-train synthesize --out=data/train2 --scenes=5000 --seed=13 --background-part=train --motions=MOTIONS
    metrabs-train synthesize --out=data/everyday --scenes=200 --seed=1001 --background-part=val --motions=MOTIONS
    metrabs-train synthesize --out=data/wild --scenes=300 --seed=1000 --background-part=val
    metrabs-train train --recipe=accurate --dataset=data/train1 --dataset=data/train2 \
        --validation=data/everyday --validation=data/wild --logdir=runs/accurate

MOTIONS is a folder of motion capture in BVH, see docs/training.md. The encoder has learned from photographs of real
people, and stays frozen: trained on rendered ones, it would be worse with real ones. So its features are computed once.
Then the heads go on with mirrored pairs of degraded crops, for answers that noise and mirroring change less. The depth
stage learns last, from the poses of the rendered people without their pictures.
"""

from training.config import TrainingConfig

CONFIG = TrainingConfig(
    model={
        "backbone": "movenet-thunder-pyramid",
        "crop_side": 256,
        "stride": 16,
        "train_stride": 16,
        "head_channels": 256,
        "overview_channels": 512,
        "depth_channels": 512,
        "max_roll_degrees": 10.0,
    },
    head_steps=3200,
    keep_crops=16384,
    steps=0,
    pair_steps=800,
    depth_steps=8000,
    absolute_from_step=0,
    far_mm=4000.0,
    warmup_steps=100,
    clip_norm=1.0,
    ema_momentum=0.998,
    occlude_aug_prob=0.2,
    checkpoint_steps=500,
)
