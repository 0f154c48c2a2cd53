"""MeTRo on Human3.6M: metric, root-relative poses from the volumetric heatmaps alone.

    metrabs-train prepare h36m
    metrabs-train train --recipe=metro_h36m --logdir=runs/metro_h36m
    metrabs-train predict --dataset=h36m --stride-test=4 --checkpoint-dir=runs/metro_h36m
    metrabs-train evaluate --dataset=h36m --pred-path=runs/metro_h36m/predictions_h36m.npz

The same by flags:

    metrabs-train train --dataset=h36m --train-on=trainval --epochs=27 --backbone=resnet50 --scale-recovery=metro

The paper reports a mean MPJPE of 49.3 mm over five seeds.
"""

from training.config import TrainingConfig

CONFIG = TrainingConfig(
    datasets=["h36m"],
    train_on="trainval",
    epochs=27,
    model={"backbone": "resnet50", "scale_recovery": "metro"},
)
