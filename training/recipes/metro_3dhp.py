"""MeTRo on MPI-INF-3DHP, with skeletons of normalized height ("universal").

    metrabs-train prepare mpi-inf-3dhp
    metrabs-train train --recipe=metro_3dhp --logdir=runs/metro_3dhp
    metrabs-train predict --dataset=mpi-inf-3dhp --stride-test=4 --checkpoint-dir=runs/metro_3dhp
    metrabs-train evaluate --dataset=mpi-inf-3dhp --pred-path=runs/metro_3dhp/predictions_mpi-inf-3dhp.npz

The same by flags:

    metrabs-train train --dataset=mpi-inf-3dhp --train-on=trainval --epochs=27 --background-aug-prob=0.7
        --universal-skeleton --backbone=resnet50 --scale-recovery=metro

``--no-universal-skeleton`` trains on real heights, the paper's other experiment.
"""

from dataclasses import replace

from training.recipes import metro_h36m

CONFIG = replace(metro_h36m.CONFIG, datasets=["mpi-inf-3dhp"], background_aug_prob=0.7, universal_skeleton=True)
