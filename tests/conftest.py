"""Tests talk through real DDS, on this machine only and away from whatever else runs here."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from metrabs_ros.transport import PROFILE_VARIABLES

# Before anything imports rclpy; child processes inherit it.
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
for name in PROFILE_VARIABLES:
    os.environ[name] = str(Path(__file__).parents[1] / "config/fastdds.xml")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(scope="session")
def rendered_people(tmp_path_factory) -> dict[str, np.ndarray]:
    """Pictures of people whose true places are known: the arrays that `rendered_people.py` writes."""
    path = tmp_path_factory.mktemp("rendered") / "people.npz"
    tests = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": str(tests.parent)}
    command = [sys.executable, str(tests / "rendered_people.py"), str(path)]
    result = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if result.returncode:
        pytest.fail(f"The pictures could not be rendered:\n{result.stderr}", pytrace=False)
    with np.load(path) as archive:
        return dict(archive)
