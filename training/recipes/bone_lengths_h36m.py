"""2.5D on Human3.6M: pixels and metric depths, placed so that bones have the mean lengths of the training set.

    metrabs-train prepare h36m
    metrabs-train train --recipe=bone_lengths_h36m --logdir=runs/bone_lengths_h36m
    metrabs-train predict --dataset=h36m --stride-test=4 --checkpoint-dir=runs/bone_lengths_h36m
    metrabs-train evaluate --dataset=h36m --pred-path=runs/bone_lengths_h36m/predictions_h36m.npz

The same by flags:

    metrabs-train train --dataset=h36m --train-on=trainval --epochs=27 --backbone=resnet50 --scale-recovery=bone-lengths

It is what the paper compares MeTRo with. ``--scale-recovery=bone-lengths-true`` and ``true-root-depth`` take the
lengths or the depth from the truth at test time, as upper bounds.
"""

from dataclasses import replace

from training.recipes import metro_h36m

CONFIG = replace(metro_h36m.CONFIG, model={"backbone": "resnet50", "scale_recovery": "bone-lengths"})
