"""The command ``metrabs-train``."""

import argparse
import errno
import importlib
import os
import sys
from typing import NamedTuple

from metrabs_core.errors import UserError

# A full disk and missing permissions are no faults of the program.
_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


class Command(NamedTuple):
    """A command.

    Attributes:
        module: has its ``add_arguments(parser, **options)`` and ``run(args)``.
        purpose: what it does, for the help.
        options: tell it apart from others in the same module.
    """

    module: str
    purpose: str
    options: dict = {}


COMMANDS = {
    "synthesize": Command("training.commands.synthesize", "render an annotated data set"),
    "prepare": Command("training.commands.prepare", "make a downloaded data set ready for training and evaluation"),
    "train": Command("training.commands.train", "train a crop model; the same command resumes"),
    "predict": Command("training.commands.predict", "predict the poses of a data set's test part, for evaluate"),
    "evaluate": Command("training.commands.evaluate", "errors of predictions, by the data sets' protocols"),
    "export": Command("training.commands.export", "write a trained crop model as a SavedModel", {"kind": "crop_model"}),
    "build-multiperson": Command(
        "training.commands.export", "put a crop model behind full images and person boxes", {"kind": "multiperson"}
    ),
    "build-combined": Command(
        "training.commands.export", "put a person detector before a multiperson model", {"kind": "combined"}
    ),
    "fetch-detector": Command(
        "training.commands.fetch_detector", "download and check the weights of a person detector"
    ),
    "video": Command("training.commands.video", "skeletons of a video, as numbers, overlay and 3D recording"),
}


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and run one command; what a user did wrong ends with a sentence and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of every device that it does not find
    parser = argparse.ArgumentParser("metrabs-train", description="Render data, train and evaluate MeTRAbs models.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        description = command.purpose[0].upper() + command.purpose[1:] + "."
        subparser = commands.add_parser(name, help=command.purpose, description=description)
        if name in arguments[:1]:  # the other commands' modules, with TensorFlow and all, are not imported
            module = importlib.import_module(command.module)
            module.add_arguments(subparser, **command.options)
            subparser.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except UserError as error:
        sys.exit(f"metrabs-train {args.command}: {error}")
    except OSError as error:
        if error.errno not in _OF_THE_MACHINE:
            raise
        sys.exit(f"metrabs-train {args.command}: {error.strerror}: {error.filename or 'where results are written'}")


if __name__ == "__main__":
    main()
