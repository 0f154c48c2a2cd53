"""The command ``metrabs-train``."""

import argparse
import importlib
import pkgutil
import sys
from dataclasses import replace

from training import recipes


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run one command; known errors end with one sentence and exit status 1."""
    parser = argparse.ArgumentParser("metrabs-train", description="Render data, train and evaluate MeTRAbs models.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_synthesize(commands)
    _add_train(commands)
    _add_evaluate(commands)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (FileNotFoundError, ValueError, RuntimeError, OSError, FloatingPointError) as error:
        sys.exit(f"metrabs-train {args.command}: {error}")


def _add_synthesize(commands) -> None:
    from training.synthesis import synthesize

    parser = commands.add_parser("synthesize", help="render an annotated data set")
    synthesize.add_arguments(parser)
    parser.set_defaults(run=synthesize.run)


def _add_train(commands) -> None:
    names = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    parser = commands.add_parser("train", help="train a crop model; the same command resumes")
    parser.add_argument("--recipe", choices=names, required=True, help="experiment to start from; other flags override")
    parser.add_argument("--logdir", required=True, help="folder for checkpoints, history and the trained model")
    parser.add_argument("--dataset", action="append", help="folder to train on; may be given several times")
    parser.add_argument("--validation", action="append", help="folder to validate on; may be given several times")
    parser.add_argument("--init", help="folder of a crop model to start from")
    parser.add_argument("--head-steps", type=int, help="optimizer steps with the backbone frozen")
    parser.add_argument("--steps", type=int, help="optimizer steps after that")
    parser.add_argument("--trainable-from", help="first layer of the backbone that these steps train (default: all)")
    parser.add_argument("--steps-per-epoch", type=int, help="steps between checkpoints and validations")
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--workers", type=int, help="threads that make crops")
    parser.add_argument("--crop-side", type=int, help="side of the crops in pixels")
    parser.add_argument("--scale-recovery", help="metrabs, metro, bone-lengths, bone-lengths-true or true-root-depth")
    parser.add_argument("--mixed-precision", action="store_true", default=None, help="bfloat16, for accelerators")
    parser.add_argument("--verbose", type=int, default=1, help="0 silent, 1 progress bar, 2 a line per epoch")
    parser.set_defaults(run=_train)


def _add_evaluate(commands) -> None:
    from training import evaluate

    parser = commands.add_parser("evaluate", help="errors of a crop model on annotated pictures")
    evaluate.add_arguments(parser)
    parser.set_defaults(run=evaluate.run)


def _train(args) -> None:
    from training.train import train

    config = importlib.import_module(f"training.recipes.{args.recipe}").CONFIG
    flags = {
        "datasets": args.dataset,
        "validation": args.validation,
        "init": args.init,
        "steps": args.steps,
        "head_steps": args.head_steps,
        "trainable_from": args.trainable_from,
        "steps_per_epoch": args.steps_per_epoch,
        "batch_size": args.batch_size,
        "learning_rate": args.learning_rate,
        "seed": args.seed,
        "workers": args.workers,
        "mixed_precision": args.mixed_precision,
    }
    config = replace(config, **{name: value for name, value in flags.items() if value is not None})
    model = {"crop_side": args.crop_side, "scale_recovery": args.scale_recovery}
    config.model |= {name: value for name, value in model.items() if value is not None}
    if not config.datasets:
        raise ValueError("There is nothing to train on: give a folder with --dataset.")
    train(config, args.logdir, args.verbose)


if __name__ == "__main__":
    main()
