"""Tests talk through real DDS, on this machine only and away from whatever else runs here."""

import fcntl
import functools
import os
import signal
import subprocess
import sys
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from metrabs_ros.transport import PROFILE_VARIABLES

# Before anything imports rclpy; child processes inherit it. Tests that run beside each other have a domain each.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str((zlib.crc32(RUN.encode()) + WORKER) % 100 + 1)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
for name in PROFILE_VARIABLES:
    os.environ[name] = str(Path(__file__).parents[1] / "config/fastdds.xml")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Shells have what they start in the background ignore Ctrl-C, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # the other cores are for the other workers
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def make_once(tmp_path_factory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Function of a name and of what fills a path: gives the path, which one of the workers has filled for all."""

    def make(name: str, fill: Callable[[Path], None]) -> Path:
        folder = tmp_path_factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            folder = folder.parent
        path, unfinished = folder / name, folder / f"unfinished_{name}"
        with open(folder / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                fill(unfinished)
                unfinished.rename(path)
        return path

    return make


@functools.cache
def load_once(directory: Path):
    from metrabs_core.packaging.saved_model import load_saved_model

    return load_saved_model(directory)


@pytest.fixture
def models_loaded_once(monkeypatch):
    """An exported model that several tests load is shared among them; none of them changes it."""
    from metrabs_core.packaging import loading

    monkeypatch.setattr(loading, "load_saved_model", load_once)


@pytest.fixture(scope="session")
def rendered_people(make_once) -> dict[str, np.ndarray]:
    """Pictures of people whose true places are known: the arrays that `rendered_people.py` writes."""

    def render(path: Path):
        tests = Path(__file__).parent
        environment = {**os.environ, "PYTHONPATH": str(tests.parent)}
        command = [sys.executable, str(tests / "rendered_people.py"), str(path)]
        result = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
        if result.returncode:
            pytest.fail(f"The pictures could not be rendered:\n{result.stderr}", pytrace=False)

    with np.load(make_once("people.npz", render)) as archive:
        return dict(archive)
