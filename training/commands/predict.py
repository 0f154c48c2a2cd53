"""``metrabs-train predict``: predict the poses of a data set's test part.

    metrabs-train predict --dataset=h36m --checkpoint-dir=runs/h36m --stride-test=4

Every person is seen in one plain crop around their box. The result, ``predictions_DATASET.npz`` in the folder of the
training run, is what ``metrabs-train evaluate`` reads. An interrupted command resumes.
"""

import argparse
import os
from pathlib import Path

from metrabs_core.network.scale_recovery import SCALE_RECOVERIES
from training.predict import predict_test_part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument("--dataset", required=True, help="name of a data set, or a folder in our own format")
    parser.add_argument("--data-root", help="folder of the data sets (default: $DATA_ROOT)")
    parser.add_argument(
        "--checkpoint-dir",
        "--logdir",
        required=True,
        help="folder of a training run, or of a crop model (weights and card)",
    )
    parser.add_argument("--pred-path", help="file to write (default: predictions_DATASET.npz in that folder)")
    parser.add_argument("--stride-test", type=int, help="pixels between heatmap cells (default: as in training)")
    parser.add_argument(
        "--scale-recovery",
        choices=list(SCALE_RECOVERIES),
        help="for 2.5D models: whose bones (default: as in training)",
    )
    parser.add_argument(
        "--universal-skeleton",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="store poses of normalized height as the truth",
    )
    parser.add_argument(
        "--gt-boxes",
        action="store_true",
        help="mupots: crop around the annotated people, not (as the protocol wants) around detected ones",
    )
    parser.add_argument("--batch-size-test", type=int, default=32, help="crops per call of the network")
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() // 2), help="processes that make crops")
    parser.add_argument("--allow-missing", action="store_true", help="continue without pictures that are missing")


def run(args: argparse.Namespace) -> None:
    """Predict and write the file."""
    overrides = {"stride": args.stride_test, "scale_recovery": args.scale_recovery}
    path, dataset = predict_test_part(
        args.dataset,
        Path(args.checkpoint_dir),
        args.pred_path,
        overrides={name: value for name, value in overrides.items() if value is not None},
        data_root=args.data_root,
        universal_skeleton=args.universal_skeleton,
        true_boxes=args.gt_boxes,
        batch_size=args.batch_size_test,
        workers=args.workers,
        allow_missing=args.allow_missing,
    )
    n_pictures = len({example.image_path for example in dataset.examples})
    print(f"{path}: {len(dataset.examples)} poses of {dataset.name} in {n_pictures} pictures")
