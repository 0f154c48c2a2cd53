"""Tests talk through real DDS, on this machine only and away from whatever else runs here."""

import os
import random
from pathlib import Path

# Before anything imports rclpy; child processes inherit it.
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["FASTDDS_DEFAULT_PROFILES_FILE"] = str(Path(__file__).parents[1] / "config/fastdds.xml")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
