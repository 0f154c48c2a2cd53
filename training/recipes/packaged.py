"""The packaged default model: that of the recipe ``packaged_start``, with an overview and more people.

    metrabs-train synthesize --out=data/train3 --scenes=14000 --seed=3 --background-part=train
    metrabs-train train --recipe=packaged --init=runs/packaged_start/model --dataset=data/train1 --dataset=data/train2 \
        --dataset=data/train3 --validation=data/validation --logdir=runs/packaged

Sized for an hour on two CPU cores. The other people are those of ``packaged_start``.
"""

from dataclasses import replace

from training.recipes import packaged_start

CONFIG = replace(
    packaged_start.CONFIG,
    model={**packaged_start.CONFIG.model, "overview_channels": 512},
    head_steps=1200,
    steps=6400,
    learning_rate=8e-5,
    head_factor=4.0,
    absolute_from_step=0,
    checkpoint_steps=400,
    seed=6,
)
