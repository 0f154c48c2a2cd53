"""What holds for every data set that has a name."""

import importlib
import warnings
from pathlib import Path

import pytest

from metrabs_core.errors import UserError
from training import datasets


@pytest.mark.parametrize("name", datasets.REGISTRY)
def test_every_data_set_says_what_is_missing(tmp_path, name):
    for split in datasets.named(name).parts:
        with pytest.raises(UserError, match=rf"{name} in .* is not complete"):
            datasets.read(name, split, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ValueError, match="nobody left"):
                datasets.read(name, split, tmp_path, allow_missing=True)


def test_the_registry_has_every_data_set():
    folder = Path(datasets.__file__).parent
    modules = [importlib.import_module(f"training.datasets.{path.stem}") for path in folder.glob("[a-z]*.py")]
    defined = [name for module in modules for name in getattr(module, "DATASETS", ())]
    assert sorted(defined) == sorted(datasets.REGISTRY)


def test_every_skeleton_has_both_sides(tmp_path):
    for name in datasets.REGISTRY:
        named = datasets.named(name)
        if not named.parts:  # things and backgrounds
            continue
        skeleton = named.find(tmp_path, "train" if "train" in named.parts else "test").skeleton
        sides = {joint[1:] for joint in skeleton.joint_names if joint[0] in "lr"}
        assert all({f"l{side}", f"r{side}"} <= set(skeleton.joint_names) for side in sides), name
        assert {i for edge in skeleton.edges for i in edge} == set(range(skeleton.n_joints)), name
