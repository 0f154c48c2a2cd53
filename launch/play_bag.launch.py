"""Play a bag, with metrabs_node and RViz.

For example:
    ros2 launch metrabs_ros play_bag.launch.py bag:=my_bag image:=/camera/image_raw camera_info:=/camera/camera_info
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchDescription

METRABS = Path(get_package_share_directory("metrabs_ros")) / "launch" / "metrabs.launch.py"

ARGUMENTS = {
    "bag": (None, "The bag: a folder, or an .mcap file."),
    "rate": ("1.0", "How many times as fast as it was recorded."),
    "image": ("image", "Topic of the images in the bag."),
    "camera_info": ("camera_info", "Topic of their calibration."),
    "camera_frame": ("camera", "frame_id of the images; only RViz needs it."),
    "model": ("", "Name of a packaged model, or folder of any."),
    "rviz": ("true", "Start RViz, too."),
}


def generate_launch_description():
    declarations = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    passed_on = {name: LaunchConfiguration(name) for name in ARGUMENTS if name not in ("bag", "rate")}
    metrabs = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(METRABS)), launch_arguments=[("use_sim_time", "true"), *passed_on.items()]
    )
    # Fast DDS' profile is set by metrabs, so the player comes after it.
    return LaunchDescription(
        [*declarations, OpaqueFunction(function=check_bag), metrabs, OpaqueFunction(function=player)]
    )


def check_bag(context):
    bag = LaunchConfiguration("bag").perform(context)
    if not Path(bag).exists():
        raise RuntimeError(f"There is no bag at {bag}.")


def player(context):
    bag, rate = (LaunchConfiguration(name).perform(context) for name in ("bag", "rate"))
    return [ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock", "--rate", rate], output="screen")]
