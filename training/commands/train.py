"""``metrabs-train train``: train a crop model."""

import argparse
import importlib
import pkgutil
import sys
from dataclasses import fields, replace

from metrabs_core import models
from metrabs_core.network.backbones import BACKBONES
from metrabs_core.network.scale_recovery import SCALE_RECOVERIES
from metrabs_core.process import keep_freed_memory
from metrabs_core.skeletons import SKELETONS
from training import recipes
from training.config import TrainingConfig
from training.train import train


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    flag = parser.add_argument
    flag("--recipe", choices=names, help="experiment to start from; other flags override (default: the paper's values)")
    flag("--logdir", required=True, help="folder for checkpoints, logs and the trained model")
    flag("--dataset", dest="datasets", action="append", help="name or folder to train on; may be given several times")
    flag("--dataset2d", dest="datasets2d", action="append", help="the same with 2D labels, for weak supervision")
    flag("--train-on", choices=["train", "trainval"], help="part of the data sets to train on")
    flag("--validation", action="append", help="name or folder to validate on; may be given several times")
    flag("--data-root", help="folder that holds the named data sets (default: $DATA_ROOT)")
    flag("--init", help=f"model to start from: a folder, or {', '.join(models.names())} (packaged: {models.DEFAULT})")
    flag("--backbone", choices=list(BACKBONES), help="network below the heads (default: resnet50)")
    flag(
        "--backbone-weights",
        help="pretrained, random, a file or a crop model's folder (default: pretrained weights, where there are any)",
    )
    flag("--skeleton", choices=list(SKELETONS), help="joints to predict (default: those of the first data set)")
    flag("--scale-recovery", choices=list(SCALE_RECOVERIES))
    flag("--crop-side", type=int, help="side of the crops in pixels")
    flag("--stride-train", type=int, help="pixels between heatmap cells in training")
    flag("--stride-test", type=int, help="the same of the finished model (default: as in training)")
    flag("--universal-skeleton", action=argparse.BooleanOptionalAction, help="3D labels of normalized height")
    flag("--epochs", type=float, help="passes over the 3D examples, instead of --steps")
    flag("--steps", type=int, help="optimizer steps, after --head-steps")
    flag("--head-steps", type=int, help="optimizer steps with the backbone frozen, first")
    flag("--pair-steps", type=int, help="optimizer steps of the heads with mirrored pairs of crops, after --steps")
    flag("--depth-steps", type=int, help="optimizer steps of the depth stage, last, on poses without pictures")
    flag(
        "--keep-crops", type=int, help="crops to keep the frozen backbone's features of, which is faster than new ones"
    )
    flag("--trainable-from", help="first layer of the backbone that --steps train (default: all)")
    flag(
        "--train-depthwise",
        action=argparse.BooleanOptionalAction,
        help="train the backbone's depthwise kernels, too; without, a step on a CPU takes two thirds of the time",
    )
    flag("--batch-size", type=int, help="crops with 3D labels per step")
    flag("--batch-size-2d", type=int, help="crops with 2D labels per step")
    flag("--learning-rate", type=float, help="of --steps, at their start")
    flag("--head-learning-rate", type=float, help="of --head-steps and --depth-steps, at their start")
    flag("--augment", action=argparse.BooleanOptionalAction, help="change crops at random (default: yes)")
    flag("--background-aug-prob", type=float, help="how often the background is swapped, where masks are known")
    flag("--occlude-aug-prob", type=float, help="how often something is put before the person")
    flag("--checkpoint-steps", type=int, help="steps between checkpoints, each with a validation")
    flag("--minutes", type=float, help="stop after this time, at a checkpoint; the same command resumes")
    flag("--seed", type=int)
    flag("--workers", type=int, help="processes that make crops")
    flag("--mixed-precision", action=argparse.BooleanOptionalAction, help="bfloat16, for accelerators")
    flag("--gui", action="store_true", help="show crops with true and predicted skeletons at each checkpoint")
    flag("--verbose", type=int, default=1, choices=[0, 1, 2], help="0 silent, 1 progress bar, 2 a line per checkpoint")


def config_of(args: argparse.Namespace) -> TrainingConfig:
    """The recipe that the arguments name, or the default, with what other arguments override."""
    config = importlib.import_module(f"training.recipes.{args.recipe}").CONFIG if args.recipe else TrainingConfig()
    flags = {f.name: getattr(args, f.name, None) for f in fields(config)}
    if args.steps is not None and args.epochs is None:
        flags["epochs"] = 0
    model = {name: getattr(args, name) for name in ("backbone", "skeleton", "scale_recovery", "crop_side")}
    model |= {"stride": args.stride_train, "train_stride": args.stride_train}
    flags["model"] = config.model | {name: value for name, value in model.items() if value is not None}
    return replace(config, **{name: value for name, value in flags.items() if value is not None})


def run(args: argparse.Namespace) -> None:
    """Train what the arguments say."""
    keep_freed_memory()
    try:
        train(config_of(args), args.logdir, verbose=args.verbose, gui=args.gui, minutes=args.minutes)
    except KeyboardInterrupt:
        sys.exit("metrabs-train train: interrupted; run the same command again to resume from the last checkpoint.")
