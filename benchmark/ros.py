"""The node in a process of its own and a camera in this one, connected by real DDS."""

import array
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmark.people import camera_matrix
from benchmark.report import Table
from metrabs_ros.transport import use_profile

_SIZES = {"480p": (640, 480), "720p": (1280, 720), "1080p": (1920, 1080)}
_N_PEOPLE = 2
# Images per second: more than the node takes, about as many, and few enough that none waits.
_FAST, _MEDIUM, _SLOW = 40.0, 25.0, 8.0
_SECONDS, _MEMORY_SECONDS = 8, 60
_TIMEOUT = 120.0  # seconds
_MODEL = "fast"
_ROOT = Path(__file__).parents[1]


def measure(people, quick: bool) -> dict:
    """Frames per second, latency and memory.

    Returns:
        dict of ``active_after`` and ``first_after`` (seconds from the process's start until the node listens, and until
        it has published the first people, of images that came all the time), ``sizes`` (per image size: ``rate`` in
        frames/s and ``rate_latency`` in ms where images come faster than the node takes them, ``latency`` and
        ``latency_95`` in ms, median and 95th percentile, where they come slower, ``people`` per frame) and ``memory``
        (resident MB of the node after so many processed frames).
    """
    # before anything imports rclpy: alone on this machine
    os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    use_profile()
    seconds, memory_seconds = (2, 3) if quick else (_SECONDS, _MEMORY_SECONDS)
    first = [people.frame(_N_PEOPLE, *_SIZES["480p"])[0]]  # drawn before anything is timed
    with _Camera() as camera, _Node() as node:
        result = {"sizes": {}, "memory": {}}
        result["active_after"], result["first_after"] = camera.wait_for_people(node, first)
        n_frames = 1
        result["memory"][str(n_frames)] = round(node.memory())
        for name, size in tqdm(_SIZES.items(), desc="DDS", leave=False, disable=None):
            images = [people.frame(_N_PEOPLE, *size)[0]]
            first = camera.film(images, _FAST, seconds=2)  # the first images of a size take longer
            fast = camera.film(images, _FAST, seconds)
            slow = camera.film(images, _SLOW, seconds)
            n_frames += len(first) + len(fast) + len(slow)
            result["memory"][str(n_frames)] = round(node.memory())
            result["sizes"][name] = {
                "rate": round(len(fast) / seconds, 1),
                "rate_latency": round(1000 * float(np.median([latency for latency, _ in fast])), 1),
                "latency": round(1000 * float(np.median([latency for latency, _ in slow])), 1),
                "latency_95": round(1000 * float(np.percentile([latency for latency, _ in slow], 95)), 1),
                "people": round(float(np.mean([n for _, n in slow])), 1),
            }
        images = [people.frame(n, 768, 576)[0] for n in (1, 2, 3, 4)]
        for _ in tqdm(range(3), desc="memory", leave=False, disable=None):
            n_new = len(camera.film(images, _MEDIUM, memory_seconds / 3))
            if not n_new:
                raise RuntimeError("The node does not answer any more.")
            n_frames += n_new
            result["memory"][str(n_frames)] = round(node.memory())
    return result


def tables(numbers: dict) -> list[Table]:
    """Rates and latencies by image size; memory by number of frames."""
    rows = [
        [f"{name} ({'x'.join(map(str, _SIZES[name]))})"]
        + [f"{values[key]:.1f}" for key in ("rate", "rate_latency", "latency", "latency_95", "people")]
        for name, values in numbers["sizes"].items()
    ]
    header = ["image", "frames/s", "latency at that rate, ms", "latency, ms", "95 %", "people"]
    note = (
        f"From stamp to `persons` received, model `{_MODEL}`, bgr8 messages, one crop per person. Images come at "
        f"{_FAST:.0f}/s (a newer one takes the place of one that waits), then at {_SLOW:.0f}/s. The node listened "
        f"{numbers['active_after']:.1f} s after its start, and had published its first `persons` after "
        f"{numbers['first_after']:.1f} s."
    )
    counts, megabytes = zip(*numbers["memory"].items())
    return [
        Table("The node through DDS", header, rows, note),
        Table("Memory of the node", ["frames processed", *counts], [["MB", *map(str, megabytes)]]),
    ]


class _Node:
    """A running node that always has the given number of people to look at."""

    def __enter__(self):
        parameters = {
            **{"model": _MODEL, "detector_threshold": 0.0, "max_detections": _N_PEOPLE},
            "suppress_implausible_poses": "false",
        }
        command = [sys.executable, "-m", "metrabs_ros.node", "--ros-args"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={value}"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def memory(self) -> float:
        """Resident memory, MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024


class _Camera:
    """Publishes images with their calibration and listens to the people found in them."""

    def __enter__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import CameraInfo, Image

        from metrabs_msgs.msg import PersonArray

        rclpy.init()
        self._rclpy, self._node = rclpy, rclpy.create_node("camera")
        self._images = self._node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._camera_infos = self._node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._node.create_subscription(PersonArray, "metrabs_node/persons", self._on_persons, 10)
        self._received = []
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._executor.shutdown()
        self._thread.join(5)
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def wait_for_people(self, node, images) -> tuple[float, float]:
        """Publish images until there is an answer.

        Returns:
            Seconds after the start of the node until it has subscribed, and until the answer.
        """
        listened = None
        while not self.film(images, 20.0, seconds=0.05):
            now = time.monotonic() - node.started
            if node.process.poll() is not None or now > _TIMEOUT:
                raise RuntimeError("The node did not start: try `python -m metrabs_ros.node`.")
            if (
                listened is None
                and self._images.get_subscription_count()
                and self._camera_infos.get_subscription_count()
            ):
                listened = now
        answered = time.monotonic() - node.started
        return round(answered if listened is None else listened, 1), round(answered, 1)

    def film(self, images, rate: float, seconds: float) -> list[tuple[float, int]]:
        """Publish images in turn.

        Args:
            images: uint8 [H, W, 3] each, RGB.
            rate: images per second.
            seconds: for how long.

        Returns:
            Latency in seconds and number of people of each answer that came meanwhile.
        """
        from sensor_msgs.msg import CameraInfo, Image

        height, width = images[0].shape[:2]
        messages = []
        for image in images:
            data = array.array("B", np.ascontiguousarray(image[..., ::-1]).tobytes())
            messages.append(Image(height=height, width=width, encoding="bgr8", step=3 * width, data=data))
        matrix = camera_matrix(width, height).ravel().tolist()
        camera_info = CameraInfo(width=width, height=height, k=matrix, distortion_model="plumb_bob", d=[0.0] * 5)
        self._received.clear()
        start = time.monotonic()
        for i in range(int(rate * seconds)):
            message = messages[i % len(messages)]
            message.header.stamp, message.header.frame_id = self._node.get_clock().now().to_msg(), "camera"
            camera_info.header = message.header
            self._camera_infos.publish(camera_info)
            self._images.publish(message)
            time.sleep(max(0.0, start + (i + 1) / rate - time.monotonic()))
        return list(self._received)

    def _on_persons(self, message):
        stamp = message.header.stamp
        now = self._node.get_clock().now().nanoseconds
        self._received.append(((now - stamp.sec * 10**9 - stamp.nanosec) * 1e-9, len(message.persons)))
