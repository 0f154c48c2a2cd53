"""The packaged model ``fast``: as ``accurate``, with MoveNet Lightning's encoder and smaller crops.

    metrabs-train train --recipe=fast --dataset=data/train1 --validation=data/everyday --validation=data/wild \
        --logdir=runs/fast

The people are among those of the recipe ``accurate``. Its heads, too, go on with mirrored pairs of degraded crops.
"""

from dataclasses import replace

from training.recipes import accurate

CONFIG = replace(
    accurate.CONFIG,
    model={**accurate.CONFIG.model, "backbone": "movenet-lightning-pyramid", "crop_side": 192},
    head_steps=2800,
    keep_crops=24000,
)
