"""MeTRAbs on MuCo-3DHP with MPII for weak supervision: absolute poses, evaluated on MuPoTS-3D.

    metrabs-train prepare muco-17-150k
    metrabs-train prepare mpii-yolo
    metrabs-train train --recipe=metrabs_muco --logdir=runs/metrabs_muco
    metrabs-train predict --dataset=mupots --stride-test=32 --checkpoint-dir=runs/metrabs_muco
    metrabs-train evaluate --dataset=mupots --pred-path=runs/metrabs_muco/predictions_mupots.npz

The same by flags:

    metrabs-train train --dataset=muco-17-150k --dataset2d=mpii-yolo --scale-recovery=metrabs --epochs=24
        --background-aug-prob=0.7 --occlude-aug-prob=0.3 --stride-test=32 --universal-skeleton --backbone=resnet50

The authors' later models, trained on much more data, reach a PCK of 90.0 % (EfficientNetV2-S) and 86.6 %
(MobileNetV3-Large) on MuPoTS-3D.
"""

from training.config import TrainingConfig

CONFIG = TrainingConfig(
    datasets=["muco-17-150k"],
    datasets2d=["mpii-yolo"],
    epochs=24,
    background_aug_prob=0.7,
    occlude_aug_prob=0.3,
    stride_test=32,
    universal_skeleton=True,
    model={"backbone": "resnet50", "scale_recovery": "metrabs"},
)
