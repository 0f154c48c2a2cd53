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
    "hri_msgs",
    "launch",
    "launch_ros",
    "lifecycle_msgs",
    "message_filters",
    "metrabs_msgs",
    "rcl_interfaces",
    "rosbags",
    "sensor_msgs",
    "std_msgs",
    "tf2_msgs",
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


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports, and of what it takes from them."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def test_commands_of_training_are_above_its_library():
    library = [path for path in sources("training") if path.parent.name != "commands" and path.stem != "__main__"]
    for path in library:
        above = {name for name in imported_modules(path) if name.startswith(("training.commands", "training.cli"))}
        assert not above, path


def test_commands_of_training_do_not_import_each_other():
    for path in sources("training/commands"):
        assert not {name for name in imported_modules(path) if name.startswith("training.commands.")}, path


@pytest.mark.parametrize(
    "path", [*sources("metrabs_core/network"), ROOT / "training/losses.py"], ids=lambda path: path.name
)
def test_network_and_losses_run_on_every_keras_backend(path):
    assert not imported_packages(path) & {"tensorflow", "torch", "jax"}


def test_there_are_no_rooms_for_leftovers():
    names = {path.stem for room in FORBIDDEN for path in sources(room)}
    assert not names & {"utils", "helpers", "common", "misc"}
