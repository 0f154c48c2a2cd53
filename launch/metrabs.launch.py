"""Start metrabs_node for one camera, with RViz if wanted.

For example:
    ros2 launch metrabs_ros metrabs.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info
    ros2 launch metrabs_ros metrabs.launch.py rviz:=true camera_frame:=camera_color_optical_frame
"""

import shutil
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from metrabs_ros.transport import PROFILE_VARIABLES

CONFIG = Path(get_package_share_directory("metrabs_ros")) / "config"

# Whatever ends the launch ends the node: an error in it, or even SIGKILL. setpriv is part of util-linux.
END_WITH_LAUNCH = "setpriv --pdeathsig TERM --" if shutil.which("setpriv") else ""

ARGUMENTS = {
    "image": ("image", "Topic of the camera's images (without /compressed)."),
    "camera_info": ("camera_info", "Topic of the camera's calibration."),
    "model": ("", "Name of a packaged model, or folder of any. Empty: what params_file says."),
    "default_fov_degrees": ("", "To assume for a camera without calibration. Empty: what params_file says."),
    "params_file": (str(CONFIG / "metrabs.yaml"), "File with the node's parameters."),
    "namespace": ("", "Namespace of the node and its topics."),
    "use_sim_time": ("false", "Follow /clock, as when a bag is played with --clock."),
    "rviz": ("false", "Start RViz, too."),
    "camera_frame": ("camera", "frame_id of the images; only RViz needs it."),
}


def generate_launch_description():
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    # Raw images do not fit into what Fast DDS reserves by default; other middleware ignores the variable. The camera's
    # process needs the same.
    profile = [
        SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=str(CONFIG / "fastdds.xml")))
        for name in PROFILE_VARIABLES
    ]
    # RViz first: where its packages are missing, launch ends before the node has begun.
    return LaunchDescription([*declarations, *profile, rviz(), OpaqueFunction(function=metrabs_node)])


def metrabs_node(context):
    use_sim_time = ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)
    parameters = [LaunchConfiguration("params_file"), {"use_sim_time": use_sim_time}]
    # Only what was asked for may override what is in the file.
    for name, kind in {"model": str, "default_fov_degrees": float}.items():
        value = LaunchConfiguration(name).perform(context)
        if value:
            parameters.append({name: kind(value)})
    return [
        Node(
            package="metrabs_ros",
            executable="metrabs_node",
            name="metrabs_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=parameters,
            remappings=[(name, LaunchConfiguration(name)) for name in ("image", "camera_info")],
            output="screen",
            prefix=END_WITH_LAUNCH,
        )
    ]


def rviz():
    use_sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    # RViz holds z for up, but a camera's optical frame has z forward: a frame turned upright to look from. As a child
    # of the camera it changes nothing in the tree of frames that the robot has.
    rotation = ["--qx", "0.5", "--qy", "-0.5", "--qz", "0.5", "--qw", "0.5"]
    upright = Node(
        package="tf2_ros",
        executable="static_transform_publisher",
        name="metrabs_view",
        arguments=[*rotation, "--frame-id", LaunchConfiguration("camera_frame"), "--child-frame-id", "metrabs_view"],
        parameters=[use_sim_time],
    )
    viewer = Node(
        package="rviz2",
        executable="rviz2",
        name="metrabs_rviz",
        namespace=LaunchConfiguration("namespace"),
        arguments=["-d", str(CONFIG / "metrabs.rviz")],
        parameters=[use_sim_time],
        # The names in the file are absolute; here they follow the namespace.
        remappings=[(f"/metrabs_node/{name}", f"metrabs_node/{name}") for name in ("markers", "overlay")],
    )
    return GroupAction([upright, viewer], condition=IfCondition(LaunchConfiguration("rviz")))
