"""What the set-up has installed, and that its descriptions agree with the code."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from test_architecture import ROOT, ROS, imported_packages, sources

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
INTERFACES = sorted((ROOT / "metrabs_msgs").glob("*/*.[ms][sr][gv]"))
COMMANDS = ("metrabs_node", "metrabs-bag", "metrabs-train")


def prefix() -> Path:
    """Where colcon has installed the packages."""
    import metrabs_msgs

    return next(p for p in Path(metrabs_msgs.__file__).parents if (p / "share/metrabs_msgs/package.xml").exists())


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_installed(command):
    assert [entry.name for entry in entry_points(group="console_scripts", name=command)] == [command]
    assert os.access(prefix() / "lib/metrabs_ros" / command, os.X_OK)  # where `ros2 run` looks


def test_command_runs_anywhere_without_sourcing_anything(tmp_path):
    command = Path(sys.executable).parent / "metrabs-bag"
    if not command.exists():
        pytest.skip("on a ROS 2 distribution the commands are found by `ros2 run`")
    done = subprocess.run([command, "--help"], cwd=tmp_path, env={}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--image-topic" in done.stdout


def test_share_files_are_installed():
    share = prefix() / "share"
    assert (share / "ament_index/resource_index/packages/metrabs_ros").exists()
    for name in ["package.xml", *(f"{folder}/{file}" for folder in ("launch", "config") for file in listed(folder))]:
        installed = share / "metrabs_ros" / name
        assert installed.read_bytes() == (ROOT / name).read_bytes()


def listed(folder) -> list[str]:
    return [path.name for path in (ROOT / folder).iterdir() if path.is_file()]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_pinned(path):
    for line in path.read_text().splitlines():
        (specifier,) = Requirement(line).specifier
        assert specifier.operator == "=="


def test_installed_versions_are_the_pinned_ones():
    from importlib.metadata import PackageNotFoundError, version

    wrong = []
    for line in (ROOT / "requirements/run.txt").read_text().splitlines():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            if not requirement.specifier.contains(version(requirement.name)):
                wrong.append(f"{requirement.name} is {version(requirement.name)}, not {requirement.specifier}")
        except PackageNotFoundError:
            if requirement.name != "tensorflow-cpu":  # with a GPU it is `tensorflow`
                wrong.append(f"{requirement.name} is missing")
    assert not wrong


def test_package_xml_names_the_ros_packages_that_are_imported():
    manifest = xml.etree.ElementTree.parse(ROOT / "package.xml").getroot()
    named = {element.text for tag in ("depend", "exec_depend") for element in manifest.iter(tag)}
    paths = [*sources("metrabs_ros"), *sources("launch")]
    imported = set().union(*(imported_packages(path) for path in paths)) & (ROS - {"rosbags"})
    assert imported <= named
    assert (ROOT / "setup.py").read_text().count(f'version="{manifest.find("version").text}"') == 1


@pytest.mark.parametrize("path", INTERFACES, ids=lambda path: path.name)
def test_every_field_is_documented(path):
    above = False
    for line in path.read_text().splitlines():
        code, _, comment = line.partition("#")
        if code.strip() and code.strip() != "---":
            assert re.fullmatch(r"[\w/]+(\[\])? \w+", code.strip())
            assert comment or above, f"{path.name}: {line}"
        above = bool(line.startswith("#") or (above and code.strip()))
