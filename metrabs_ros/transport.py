"""The Fast DDS profile that carries images; see config/fastdds.xml."""

import os
from pathlib import Path

# Fast DDS 3 (Kilted) reads the first, versions before it (Humble, Jazzy) only the second.
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


def profile_path() -> Path:
    """Where the profile is: beside this package in the source tree, in the share folder of an installation."""
    places = ("config/fastdds.xml", "share/metrabs_ros/config/fastdds.xml")
    parents = Path(__file__).resolve().parents
    return next(parent / place for parent in parents for place in places if (parent / place).exists())


def use_profile():
    """Have Fast DDS use the profile in this process and its children, unless the user has chosen another."""
    for name in PROFILE_VARIABLES:
        os.environ.setdefault(name, str(profile_path()))
