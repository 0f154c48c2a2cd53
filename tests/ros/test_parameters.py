from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from metrabs_core.pipeline import PipelineSettings
from metrabs_ros import parameters
from metrabs_ros.parameters import PARAMETERS, PIPELINE_PARAMETERS

CONFIG = Path(__file__).resolve().parents[2] / "config"


def test_the_parameters_file_lists_all_parameters_with_their_defaults():
    listed = yaml.safe_load((CONFIG / "metrabs.yaml").read_text())["/**"]["ros__parameters"]
    assert listed == {parameter.name: parameter.default for parameter in PARAMETERS}
    assert {name: type(value) for name, value in listed.items()} == {p.name: type(p.default) for p in PARAMETERS}


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda parameter: parameter.name)
def test_every_parameter_is_described_and_its_default_allowed(parameter):
    descriptor = parameter.descriptor
    assert len(descriptor.description) > 10 and descriptor.description.endswith(".")
    assert parameter.check(parameter.default, "") == ""
    if parameter.limits:
        low, high = parameter.limits
        assert low <= parameter.default <= high
    assert ("always" in comment_of(parameter.name)) == (parameter.settable == parameters.ALWAYS)
    assert ("(unconfigured)" in comment_of(parameter.name)) == (parameter.settable == parameters.BEFORE_CONFIGURE)
    assert ("(start)" in comment_of(parameter.name)) == (parameter.settable == parameters.AT_START)


def comment_of(name: str) -> str:
    """The comment above a parameter in the parameters file."""
    lines = (CONFIG / "metrabs.yaml").read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
    start = max(i for i in range(end) if not lines[i].strip())
    return " ".join(line for line in lines[start:end] if line.strip().startswith("#"))


def test_every_setting_of_the_pipeline_is_a_parameter():
    assert {p.name: p.setting(p.default) for p in PIPELINE_PARAMETERS} == asdict(PipelineSettings())


def test_parameters_of_others_are_not_our_business():
    assert parameters.check("use_sim_time", True, "active") == ""


def test_metres_become_millimetres_for_the_pipeline():
    by_name = {parameter.name: parameter for parameter in PIPELINE_PARAMETERS}
    assert by_name["min_distance"].setting(1.5) == 1500 and by_name["min_box_height"].setting(1.5) == 1.5
    assert by_name["region_of_interest"].setting([1, 2, 3, 4]) == (1, 2, 3, 4)
