"""The packaged default model: BlazePose's encoder, fine-tuned on synthetic people.

metrabs-train synthesize --out=data/train --scenes=20000 --seed=2
metrabs-train synthesize --out=data/validation --scenes=400 --seed=1000
metrabs-train train --recipe=packaged --dataset=data/train --validation=data/validation --logdir=runs/packaged
"""

from training.train import TrainingConfig

CONFIG = TrainingConfig(
    model={"backbone": "blazepose", "crop_side": 256, "head_channels": 384},
    head_steps=1000,
    head_learning_rate=1e-3,
    steps=6000,
    learning_rate=4e-4,
    absolute_from_step=500,
)
