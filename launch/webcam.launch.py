"""Start a webcam's driver and metrabs_node.

For example:
    ros2 launch metrabs_ros webcam.launch.py camera:=v4l2 device:=/dev/video0 rviz:=true
"""

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

METRABS = Path(get_package_share_directory("metrabs_ros")) / "launch" / "metrabs.launch.py"

# Package and executable of the drivers; both have the parameter video_device, and publish image_raw and camera_info.
DRIVERS = {"v4l2": ("v4l2_camera", "v4l2_camera_node"), "usb_cam": ("usb_cam", "usb_cam_node_exe")}

ARGUMENTS = {
    "camera": ("v4l2", f"Driver of the camera: {' or '.join(DRIVERS)}."),
    "device": ("/dev/video0", "The camera."),
    "default_fov_degrees": ("55", "Field of view to assume while the camera is not calibrated."),
    "model": ("", "Name of a packaged model, or folder of any."),
    "rviz": ("false", "Start RViz, too."),
}


def generate_launch_description():
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    passed_on = {name: LaunchConfiguration(name) for name in ("default_fov_degrees", "model", "rviz")}
    topics = {"image": "image_raw", "camera_info": "camera_info"}
    metrabs = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(METRABS)), launch_arguments=[*topics.items(), *passed_on.items()]
    )
    # The driver first: where it is missing, launch ends before the node has begun. Fast DDS' profile is set by metrabs.
    return LaunchDescription(
        [*declarations, OpaqueFunction(function=check_driver), metrabs, OpaqueFunction(function=driver)]
    )


def check_driver(context):
    name = LaunchConfiguration("camera").perform(context)
    if name not in DRIVERS:
        raise RuntimeError(f"camera is {name!r}, but must be one of {', '.join(DRIVERS)}.")
    package, executable = DRIVERS[name]
    try:
        is_installed = (Path(get_package_prefix(package)) / "lib" / package / executable).exists()
    except PackageNotFoundError:
        is_installed = False
    if not is_installed:
        debian = f"ros-{os.environ.get('ROS_DISTRO', '<distribution>')}-{package.replace('_', '-')}"
        raise RuntimeError(f"The camera's driver is missing: install the package {package} (apt install {debian}).")


def driver(context):
    package, executable = DRIVERS[LaunchConfiguration("camera").perform(context)]
    device = {"video_device": LaunchConfiguration("device").perform(context)}
    return [Node(package=package, executable=executable, name="webcam", parameters=[device], output="screen")]
