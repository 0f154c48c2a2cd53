"""The launch file, with the real launch system where that is installed (a ROS 2 distribution has it)."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from conftest import TIMEOUT, NodeClient, is_at, picture, wait_for

from metrabs_msgs.msg import PersonArray

ROOT = Path(__file__).resolve().parents[2]
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

arguments = [argument.split(":=") for argument in sys.argv[2:]]
service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""


@pytest.fixture
def launch_file():
    pytest.importorskip("launch.actions")
    pytest.importorskip("launch_ros.actions")
    return ROOT / "launch/metrabs.launch.py"


@pytest.fixture
def launch(launch_file):
    """Launch with arguments; what is left of it is ended after the test."""
    processes = []

    def launch(*arguments, launch_file=launch_file) -> subprocess.Popen:
        environment = {"AMENT_PREFIX_PATH": sys.prefix, **os.environ}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(launch_file), *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                env=environment,
            )
        )
        return processes[-1]

    yield launch
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_launched_node_has_its_topics_parameters_and_namespace(ros, launch, closed_form_model_path, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**: {ros__parameters: {qos_reliability: reliable, num_aug: 3, track_max_age: 2}}")
    arguments = ["namespace:=launched", "image:=/launched/eye/image_raw", "camera_info:=/launched/eye/camera_info"]
    process = launch(*arguments, f"model:={closed_form_model_path}", f"params_file:={parameters}")
    node = NodeClient(ros, "/launched")
    node.wait_until_active()
    assert node.get_parameter("num_aug").integer_value == 3
    assert node.get_parameter("track_max_age").double_value == 2.0
    with node.listen(PersonArray, "~/persons") as persons:

        def send():
            return is_at(node.show(picture((40, 60, 50, 120)), topics=("eye/image_raw", "eye/camera_info")))

        persons.connect(send)
        assert len(persons.next(send()).persons) == 1
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0 and "finished cleanly" in output, output
    node.close()


def children_of(process) -> list[int]:
    """Ids of the node's processes: those of the launch's session that are not itself."""
    found = []
    for folder in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            fields = Path(f"/proc/{folder}/stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[3]) == process.pid != int(folder) and fields[0] != "Z":
                found.append(int(folder))
    return found


def test_a_launch_that_is_killed_takes_the_node_with_it(launch, closed_form_model_path):
    process = launch("namespace:=killed", f"model:={closed_form_model_path}")
    wait_for(lambda: any(b"metrabs_node" in command_of(child) for child in children_of(process)), "the node's process")
    process.kill()
    wait_for(lambda: not children_of(process), "the node to end")


def command_of(process_id) -> bytes:
    with suppress(OSError):
        command = Path(f"/proc/{process_id}/cmdline").read_bytes()
        return b"" if b"setpriv" in command else command
    return b""


def test_a_launch_that_fails_leaves_no_node(launch):
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        process = launch("namespace:=failed", "rviz:=true")
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 1 and re.search("package '(tf2_ros|rviz2)' not found", output), output
        wait_for(lambda: not children_of(process), "the node to end")
    else:
        pytest.skip("RViz is installed: nothing fails")


def test_fast_dds_is_given_the_profile_by_both_names(launch_file, monkeypatch):
    from launch.actions import SetEnvironmentVariable
    from launch.launch_description_sources import get_launch_description_from_python_launch_file
    from launch.utilities import perform_substitutions

    from launch import LaunchContext

    monkeypatch.setenv("AMENT_PREFIX_PATH", sys.prefix)
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "my_own.xml")
    monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE")
    description, context = get_launch_description_from_python_launch_file(str(launch_file)), LaunchContext()
    actions = [entity for entity in description.entities if isinstance(entity, SetEnvironmentVariable)]
    variables = {
        perform_substitutions(context, action.name): perform_substitutions(context, action.value) for action in actions
    }
    profile = variables.pop("FASTRTPS_DEFAULT_PROFILES_FILE")
    assert Path(profile).read_text() == (ROOT / "config/fastdds.xml").read_text()
    assert variables == {"FASTDDS_DEFAULT_PROFILES_FILE": "my_own.xml"}


def test_launch_arguments(launch_file):
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    description = get_launch_description_from_python_launch_file(str(launch_file))
    arguments = {entity.name for entity in description.entities if isinstance(entity, DeclareLaunchArgument)}
    assert arguments == {
        "image",
        "camera_info",
        "default_fov_degrees",
        "model",
        "params_file",
        "namespace",
        "use_sim_time",
        "rviz",
        "camera_frame",
    }


def test_rviz_shows_what_the_node_publishes():
    config = yaml.safe_load((ROOT / "config/metrabs.rviz").read_text())["Visualization Manager"]
    topics = {display["Topic"]["Value"] for display in config["Displays"] if "Topic" in display}
    assert topics == {"/metrabs_node/markers", "/metrabs_node/overlay"}
    assert "rviz_default_plugins/TF" in {display["Class"] for display in config["Displays"]}


def test_foxglove_shows_the_same():
    layout = json.loads((ROOT / "config/foxglove_layout.json").read_text())
    panels = layout["configById"]
    [scene], [image] = ([p for name, p in panels.items() if name.startswith(kind)] for kind in ("3D!", "Image!"))
    assert scene["topics"]["/metrabs_node/markers"]["visible"]
    assert image["imageMode"]["imageTopic"] == "/metrabs_node/overlay"
    shown = set()

    def walk(place):
        if isinstance(place, str):
            shown.add(place)
        else:
            walk(place["first"]), walk(place["second"])

    walk(layout["layout"])
    assert shown == set(panels)


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("webcam", ["camera:=toaster"], "camera is 'toaster', but must be one of v4l2, usb_cam"),
        ("webcam", ["camera:=v4l2"], "driver is missing: install the package v4l2_camera"),
        ("play_bag", ["bag:=/no/such/bag"], "There is no bag at /no/such/bag"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(launch, name, arguments, words):
    with suppress(PackageNotFoundError):
        if get_package_prefix("v4l2_camera") and "v4l2" in arguments[0]:
            pytest.skip("the driver is installed")
    process = launch(*arguments, launch_file=ROOT / f"launch/{name}.launch.py")
    output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1 and words in output, output
    wait_for(lambda: not children_of(process), "the launch to end")
