"""The launch file, with the real launch system where that is installed (a ROS 2 distribution has it)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import TIMEOUT, NodeClient, picture

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


def test_launched_node_has_its_topics_parameters_and_namespace(ros, launch_file, closed_form_model_path, tmp_path):
    parameters = tmp_path / "parameters.yaml"
    parameters.write_text("/**: {ros__parameters: {qos_reliability: reliable, num_aug: 3}}")
    arguments = ["namespace:=launched", "image:=/launched/eye/image_raw", "camera_info:=/launched/eye/camera_info"]
    arguments += [f"model:={closed_form_model_path}", f"params_file:={parameters}"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(launch_file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={"AMENT_PREFIX_PATH": sys.prefix, **os.environ},
    )
    node = NodeClient(ros, "/launched")
    try:
        node.wait_until_active()
        assert node.get_parameter("num_aug").integer_value == 3
        with node.listen(PersonArray, "~/persons") as persons:
            stamp = node.show(picture((40, 60, 50, 120)), topics=("eye/image_raw", "eye/camera_info"))
            assert len(persons.next(lambda message: message.header.stamp == stamp).persons) == 1
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0 and "finished cleanly" in output, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        node.close()


def test_launch_arguments(launch_file):
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    description = get_launch_description_from_python_launch_file(str(launch_file))
    arguments = {entity.name for entity in description.entities if isinstance(entity, DeclareLaunchArgument)}
    assert arguments == {
        "image",
        "camera_info",
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
