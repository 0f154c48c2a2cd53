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


def test_a_distribution_keeps_its_own_numpy_opencv_and_scipy():
    run, distribution = (
        [Requirement(line) for line in (ROOT / "requirements" / name).read_text().splitlines()]
        for name in ("run.txt", "distribution.txt")
    )
    for python in ("3.10", "3.12"):  # Humble's, and that of Jazzy and Kilted
        environment = {"python_version": python, "python_full_version": f"{python}.4", "platform_machine": "x86_64"}
        wanted, all_of_them = (
            {r.name: str(r.specifier) for r in requirements if not r.marker or r.marker.evaluate(environment)}
            for requirements in (distribution, run)
        )
        # Humble's NumPy is too old for TensorFlow.
        assert wanted.get("numpy") == ("==1.26.4" if python == "3.10" else None)
        assert set(all_of_them) - set(wanted) - {"numpy"} == {"opencv-python", "scipy", "tqdm", "pyyaml"}
        assert all(wanted[name] == all_of_them[name] for name in wanted if name != "numpy")
    manifest = (ROOT / "package.xml").read_text()
    assert all(f"python3-{name}<" in manifest for name in ("numpy", "opencv", "scipy", "tqdm", "yaml"))


@pytest.mark.parametrize("machine, name", [("x86_64", "tensorflow-cpu"), ("aarch64", "tensorflow")])
def test_every_machine_gets_the_tensorflow_that_has_packages_for_it(machine, name):
    for path in ("run.txt", "distribution.txt"):
        requirements = [Requirement(line) for line in (ROOT / "requirements" / path).read_text().splitlines()]
        chosen = [r.name for r in requirements if not r.marker or r.marker.evaluate({"platform_machine": machine})]
        assert [r for r in chosen if r.startswith("tensorflow")] == [name]


def test_a_python_without_tensorflow_gets_a_sentence(tmp_path):
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$*" in *"import rclpy"*) exit 0;; -V) echo Python 3.14.0;; *) exit 1;; esac\n')
    python.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ROS_DISTRO": "lyrical"}
    done = subprocess.run([ROOT / "scripts/setup.sh"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "3.10 to 3.13, but ROS 2 lyrical uses Python 3.14.0; supported are Humble, Jazzy and Kilted" in done.stderr


def test_a_missing_tensorflow_is_told_in_a_sentence():
    code = "import sys; sys.modules['tensorflow'] = None; import metrabs_core; metrabs_core.load()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    version = ".".join(map(str, sys.version_info[:3]))
    last = done.stderr.splitlines()[-1]
    assert f"TensorFlow is not installed for this Python ({version}): it has packages for Python 3.10 to 3.13" in last
    assert last.startswith("metrabs_core.errors.UserError")


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
    # hri_msgs is not in every distribution; without it the node says what is missing where that is asked for.
    imported = set().union(*(imported_packages(path) for path in paths)) & (ROS - {"rosbags", "hri_msgs"})
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
