"""The rooms of the house know only whom they may know."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROS = {
    "rclpy",
    "ament_index_python",
    "builtin_interfaces",
    "cv_bridge",
    "diagnostic_msgs",
    "geometry_msgs",
    "launch",
    "launch_ros",
    "lifecycle_msgs",
    "message_filters",
    "metrabs_msgs",
    "rcl_interfaces",
    "rosbags",
    "sensor_msgs",
    "std_msgs",
    "tf2_ros",
    "visualization_msgs",
}
FORBIDDEN = {
    "metrabs_core": ROS | {"metrabs_ros", "training", "argparse"},
    "training": ROS | {"metrabs_ros"},
    "metrabs_ros": {"training", "keras", "torch"},
}


def imported_packages(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in the file it does so."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add(path.relative_to(ROOT).parts[0] if node.level else node.module.split(".")[0])
    return packages


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("room", FORBIDDEN)
def test_dependencies_point_one_way(room):
    assert sources(room)
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(room)
        for name in imported_packages(path) & FORBIDDEN[room]
    }
    assert not wrong


@pytest.mark.parametrize(
    "path", [*sources("metrabs_core/network"), ROOT / "training/losses.py"], ids=lambda path: path.name
)
def test_network_and_losses_run_on_every_keras_backend(path):
    assert not imported_packages(path) & {"tensorflow", "torch", "jax"}


def test_there_are_no_rooms_for_leftovers():
    names = {path.stem for room in FORBIDDEN for path in sources(room)}
    assert not names & {"utils", "helpers", "common", "misc"}
