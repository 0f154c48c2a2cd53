"""The recipes' own words: the flags in a recipe's docstring make the recipe's configuration, and all of it exists."""

import argparse
import importlib
import pkgutil
import re
import shlex

import pytest

from metrabs_core import models
from metrabs_core.network.backbones import BACKBONES
from metrabs_core.network.scale_recovery import SCALE_RECOVERIES
from training import datasets, recipes
from training.cli import COMMANDS
from training.commands.train import config_of

NAMES = [module.name for module in pkgutil.iter_modules(recipes.__path__)]


def _commands(text):
    """Commands in a docstring, of one or more lines, as lists of words."""
    found = re.findall(r"^    (metrabs-train .*(?:\n        \S.*)*)", text, re.MULTILINE)
    return [shlex.split(command.replace("\n", " "))[1:] for command in found]


def _parse(words):
    parser = argparse.ArgumentParser()
    command = COMMANDS[words[0]]
    importlib.import_module(command.module).add_arguments(parser, **command.options)
    return parser.parse_args(words[1:])


def _config_of(flags):
    """What ``metrabs-train train`` makes of flags."""
    return config_of(_parse(["train", *flags, "--logdir=somewhere"]))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in models.names()])
def test_a_recipe_is_what_its_flags_say(name):
    module = importlib.import_module(f"training.recipes.{name}")
    by_flags = next(c for c in _commands(module.__doc__) if c[0] == "train" and "--recipe" not in " ".join(c))
    assert _config_of(by_flags[1:]) == module.CONFIG
    assert _config_of([f"--recipe={name}"]) == module.CONFIG


@pytest.mark.parametrize("name", NAMES)
def test_what_a_recipe_names_exists(name):
    module = importlib.import_module(f"training.recipes.{name}")
    commands = _commands(module.__doc__)
    assert [c for c in commands if c[0] == "train" and f"--recipe={name}" in c]
    for command in commands:
        if not (command[0] == "train" and "--logdir" not in " ".join(command)):
            _parse(command)
    config = module.CONFIG
    assert config.model["backbone"] in BACKBONES
    assert config.model.get("scale_recovery", "metrabs") in SCALE_RECOVERIES
    for dataset in config.datasets + config.datasets2d:
        assert "train" in datasets.named(dataset).parts


def test_flags_override_a_recipe():
    flags = ["--recipe=metro_3dhp", "--no-universal-skeleton", "--backbone=efficientnetv2-s", "--seed=2"]
    config = _config_of(flags)
    assert (config.universal_skeleton, config.model["backbone"], config.seed) == (False, "efficientnetv2-s", 2)
    assert config.model["scale_recovery"] == "metro"
    assert importlib.import_module("training.recipes.metro_3dhp").CONFIG.universal_skeleton
