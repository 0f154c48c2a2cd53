"""2.5D on MPI-INF-3DHP, with skeletons of normalized height ("universal").

    metrabs-train prepare mpi-inf-3dhp
    metrabs-train train --recipe=bone_lengths_3dhp --logdir=runs/bone_lengths_3dhp
    metrabs-train predict --dataset=mpi-inf-3dhp --stride-test=4 --checkpoint-dir=runs/bone_lengths_3dhp
    metrabs-train evaluate --dataset=mpi-inf-3dhp --pred-path=runs/bone_lengths_3dhp/predictions_mpi-inf-3dhp.npz

The same by flags:

    metrabs-train train --dataset=mpi-inf-3dhp --train-on=trainval --epochs=27 --background-aug-prob=0.7
        --universal-skeleton --backbone=resnet50 --scale-recovery=bone-lengths

It is what the paper compares MeTRo with.
"""

from dataclasses import replace

from training.recipes import metro_3dhp

CONFIG = replace(metro_3dhp.CONFIG, model={"backbone": "resnet50", "scale_recovery": "bone-lengths"})
