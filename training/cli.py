"""The command ``metrabs-train``."""

import argparse
import importlib
import os
import sys

# Name of each command: the module that has its ``add_arguments(parser)`` and ``run(args)``, and what it does.
COMMANDS = {
    "synthesize": ("training.synthesis.synthesize", "render an annotated data set"),
    "prepare": ("training.prepare", "make a downloaded data set ready for training and evaluation"),
    "train": ("training.train", "train a crop model; the same command resumes"),
    "predict": ("training.predict", "predict the poses of a data set's test part, for evaluate"),
    "evaluate": ("training.evaluate", "errors of predictions, by the data sets' protocols"),
    "export": ("training.export", "write a trained crop model as a SavedModel"),
    "build-multiperson": ("training.build_multiperson", "put a crop model behind full images and person boxes"),
    "build-combined": ("training.build_combined", "put a person detector before a multiperson model"),
    "fetch-detector": ("training.fetch_detector", "download and check the weights of a person detector"),
    "video": ("training.video", "skeletons of a video, as numbers, overlay and 3D recording"),
}


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run one command; known errors end with one sentence and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of every device that it does not find
    parser = argparse.ArgumentParser("metrabs-train", description="Render data, train and evaluate MeTRAbs models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module_name, purpose) in COMMANDS.items():
        command = commands.add_parser(name, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if name in arguments[:1]:  # the other commands' modules, with TensorFlow and all, are not imported
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except (FileNotFoundError, ValueError, RuntimeError, OSError, FloatingPointError) as error:
        sys.exit(f"metrabs-train {args.command}: {error}")


if __name__ == "__main__":
    main()
