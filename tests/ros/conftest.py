"""A real node in a process of its own, and a camera and listeners that talk to it through real DDS."""

import array
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from metrabs_msgs.msg import PersonArray

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT = 180.0  # s; for a busy machine, nothing here takes nearly as long

RED, BLUE = (255, 0, 0), (0, 0, 255)
FOCAL = 400.0
WIDTH, HEIGHT = 320, 240


def picture(red=None, blue=None, slow_seconds=0.0) -> np.ndarray:
    """RGB image with a red and a blue rectangle, each (left, top, width, height) or absent."""
    image = np.full([HEIGHT, WIDTH, 3], 40, np.uint8)
    for colour, box in ((RED, red), (BLUE, blue)):
        if box:
            left, top, width, height = box
            image[top : top + height, left : left + width] = colour
    image[0, 0, 1] = 51 + round(51 * slow_seconds)
    return image


def image_message(image: np.ndarray, stamp: Time, frame_id="camera", encoding="rgb8") -> Image:
    height, width = image.shape[:2]
    message = Image(height=height, width=width, encoding=encoding, step=image[0].nbytes)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = array.array("B", image.tobytes())
    return message


def camera_info_message(stamp: Time, frame_id="camera", width=WIDTH, height=HEIGHT, **fields) -> CameraInfo:
    matrix = [FOCAL, 0.0, (width - 1) / 2, 0.0, FOCAL, (height - 1) / 2, 0.0, 0.0, 1.0]
    fields = {"k": matrix, "distortion_model": "plumb_bob", "d": [0.0] * 5, **fields}
    message = CameraInfo(width=width, height=height, **fields)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    return message


def transform(parent, child, stamp, rotation, translation) -> TransformStamped:
    """Where a child frame is in its parent: a rotation of SciPy, and a translation [3] in metres."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, stamp
    q, t = message.transform.rotation, message.transform.translation
    q.x, q.y, q.z, q.w = rotation.as_quat().tolist()
    t.x, t.y, t.z = np.asarray(translation, float).tolist()
    return message


@pytest.fixture(scope="session")
def closed_form_model_path(make_once) -> Path:
    """An exported model whose answers `closed_form_model.expected_pose` tells."""

    def export(path: Path):
        script = "import sys, closed_form_model; closed_form_model.export(sys.argv[1])"
        paths = [str(REPOSITORY), str(Path(__file__).parent)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=env)

    return make_once("closed_form", export)


class NodeProcess:
    """`metrabs_node` in a process of its own, in a namespace of its own."""

    _count = 0

    def __init__(self, *arguments, environment=None, **parameters):
        NodeProcess._count += 1
        self.namespace = f"/test_{NodeProcess._count}"
        command = [sys.executable, "-m", "metrabs_ros.node", "--ros-args", "-r", f"__ns:={self.namespace}"]
        for name, value in parameters.items():
            command += ["-p", f"{name}:={str(value).lower() if isinstance(value, bool) else value}"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.append(line)

    @property
    def log(self) -> str:
        """All that the process has printed until now."""
        return "".join(self._lines)

    def wait_for_log(self, pattern: str, start: int = 0) -> str:
        """Wait for a line that a regular expression matches, after so many characters of the log; returns the line."""
        match = wait_for(lambda: re.search(f".*(?:{pattern}).*", self.log[start:]), f"{pattern!r} in the log")
        return match[0]

    def end(self, sent_signal=None) -> int:
        """Send a signal (if any), wait for the process to end, and return its exit code."""
        if sent_signal:
            self.process.send_signal(sent_signal)
        try:
            return self.process.wait(TIMEOUT)
        finally:
            self.process.kill()
            self._reader.join()


@pytest.fixture(scope="session")
def ros():
    """A node in this process, spinning in a thread."""
    rclpy.init()
    node = rclpy.create_node("tester")
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    rclpy.try_shutdown()


def wait_for(condition, what: str, timeout=TIMEOUT):
    """Wait until `condition()` is true and return its value; fail if it never is."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited in vain for {what}")


def destroy(node, method, thing):
    """Destroy something of a node in the thread that spins it: rclpy can't do without what it waits for just then."""
    task = node.executor.create_task(method, thing)
    wait_for(task.done, "the executor")


def is_at(stamp):
    """Whether a message has a stamp."""
    return lambda message: message.header.stamp == stamp


class Listener:
    """Keeps the messages of a topic; a context manager."""

    def __init__(self, node, message_type, topic, qos=10):
        self._node = node
        self.messages = []
        self.subscription = node.create_subscription(message_type, topic, self.messages.append, qos)
        wait_for(lambda: node.count_publishers(topic), f"a publisher of {topic}")

    def connect(self, send):
        """Make sure that the publisher knows of this subscription.

        Args:
            send: makes the publisher send something, and returns a function that tells whether a message is that.
        """
        for _ in range(int(TIMEOUT)):
            is_answer, end = send(), time.monotonic() + 1
            while time.monotonic() < end:
                if any(map(is_answer, self.messages)):
                    self.messages.clear()
                    return self
                time.sleep(0.005)
        raise AssertionError(f"nothing arrives on {self.subscription.topic_name}")

    def next(self, condition=lambda message: True):
        """Wait for a message that fulfils the condition; earlier ones are forgotten."""

        def found():
            while self.messages:
                message = self.messages.pop(0)
                if condition(message):
                    return message
            return None

        return wait_for(found, f"a message on {self.subscription.topic_name}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        destroy(self._node, self._node.destroy_subscription, self.subscription)


class NodeClient:
    """What a user does with a running node: sends images, sets parameters, switches it on and off."""

    _nanoseconds = 1000 * 10**9

    def __init__(self, node, namespace: str):
        self._node, self.namespace = node, namespace
        self.name = f"{namespace}/metrabs_node"
        self._publishers = {}
        self._clients = {}
        self._persons = None

    def close(self):
        for topic in list(self._publishers):
            self.withdraw(topic)
        for client in self._clients.values():
            destroy(self._node, self._node.destroy_client, client)
        if self._persons:
            self._persons.__exit__()

    def listen(self, message_type, topic, qos=10) -> Listener:
        return Listener(self._node, message_type, topic.replace("~", self.name), qos)

    @property
    def persons(self) -> Listener:
        """The persons from now on, whatever was shown before; the node is active when this is first asked for."""
        if not self._persons:
            self._persons = self.listen(PersonArray, "~/persons")
            self._persons.connect(lambda: is_at(self.show(picture())))
        self._persons.messages.clear()
        return self._persons

    def listen_to_results(self, message_type, topic) -> Listener:
        """Listen to what the node publishes with the persons of each image."""
        persons = self.persons

        def send():
            persons.next(is_at(self.show(picture())))
            return lambda _: True

        return self.listen(message_type, topic).connect(send)

    @classmethod
    def next_stamp(cls) -> Time:
        """A stamp 0.1 s after the one before."""
        cls._nanoseconds += 10**8
        return Time(sec=cls._nanoseconds // 10**9, nanosec=cls._nanoseconds % 10**9)

    def create_publisher(self, topic, message_type, qos=10):
        """Begin to publish a topic, whether anybody listens or not."""
        self._publishers[topic] = self._node.create_publisher(message_type, f"{self.namespace}/{topic}", qos)

    def withdraw(self, topic):
        """Publish a topic no more, if it was published."""
        if topic in self._publishers:
            destroy(self._node, self._node.destroy_publisher, self._publishers.pop(topic))

    def advertise(self, topic, message_type):
        """Wait until the node listens to a topic."""
        if topic not in self._publishers:
            self.create_publisher(topic, message_type)
        wait_for(self._publishers[topic].get_subscription_count, f"a subscriber of {topic}")

    def publish(self, topic, message):
        self.advertise(topic, type(message))
        self._publishers[topic].publish(message)

    def show(self, image: np.ndarray, frame_id="camera", topics=("image", "camera_info"), **camera_info) -> Time:
        """Publish an image with its camera_info. Returns their stamp."""
        stamp = self.next_stamp()
        image_topic, camera_info_topic = topics
        self.publish(camera_info_topic, camera_info_message(stamp, frame_id, **camera_info))
        self.publish(image_topic, image_message(image, stamp, frame_id))
        return stamp

    def call_async(self, service_type, name, request):
        if name not in self._clients:
            self._clients[name] = self._node.create_client(service_type, f"{self.name}/{name}")
        assert self._clients[name].wait_for_service(TIMEOUT), f"the service {name} did not come up"
        return self._clients[name].call_async(request)

    def call(self, service_type, name, request):
        future = self.call_async(service_type, name, request)
        wait_for(future.done, f"the answer of {name}")
        return future.result()

    def set_parameters(self, **values):
        """Set parameters. Returns the reason if one was refused, else ''."""
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        results = self.call(SetParameters, "set_parameters", request).results
        return " ".join(result.reason for result in results if not result.successful)

    def diagnostics(self) -> dict[str, str]:
        """The node's next status as a dict; `level` and `message` are in it, too."""
        return self.wait_for_status(lambda _: True)

    def wait_for_status(self, condition) -> dict[str, str]:
        """The next status, as above, that fulfils a condition."""

        def status(message) -> dict:
            found = next((status for status in message.status if status.name == self.name), None)
            facts = {pair.key: pair.value for pair in found.values} if found else {}
            return facts and {"level": found.level, "message": found.message, **facts}

        with self.listen(DiagnosticArray, "/diagnostics") as listener:
            message = listener.next(lambda message: status(message) and condition(status(message)))
        return status(message)

    def get_parameter(self, name):
        return self.call(GetParameters, "get_parameters", GetParameters.Request(names=[name])).values[0]

    def change_state(self, label: str) -> bool:
        request = ChangeState.Request()
        request.transition.label = label
        return self.call(ChangeState, "change_state", request).success

    def state(self) -> str:
        return self.call(GetState, "get_state", GetState.Request()).current_state.label

    def wait_until_active(self):
        wait_for(lambda: self.state() == "active", "the node to become active")

    def restart(self, **parameters):
        """Deactivate, set parameters, activate."""
        assert self.change_state("deactivate")
        wait_for(lambda: not any(p.get_subscription_count() for p in self._publishers.values()), "the node to let go")
        assert self.set_parameters(**parameters) == ""
        assert self.change_state("activate")


# What the tests of the shared node may change, and what it has again after each: the second only while it is inactive.
LIVE_PARAMETERS = {
    "default_fov_degrees": 0.0,
    "detector_interval": 1,
    "detector_threshold": 0.38,
    "max_detections": -1,
    "max_distance": 0.0,
    "max_rate": 0.0,
    "min_box_height": 0.0,
    "min_distance": 0.0,
    "num_aug": 1,
    "region_of_interest": [0, 0, 0, 0],
    "skeleton": "",
    "smoothing": "off",
    "tf_timeout": 0.1,
    "joint_orientations": False,
    "track_max_age": 1.5,
}
STATIC_PARAMETERS = {
    "depth_topic": "",
    "image_transport": "raw",
    "sync_mode": "exact",
    "qos_reliability": "reliable",
    "target_frame": "",
    "publish_tf": "off",
    "ros4hri": False,
}


@pytest.fixture(scope="session")
def process(closed_form_model_path):
    """One node for most tests. Reliable: on a busy machine no image may get lost on the way to it."""
    process = NodeProcess(model=closed_form_model_path, qos_reliability="reliable")
    yield process
    process.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def client(ros, process):
    """Somebody who uses that node."""
    client = NodeClient(ros, process.namespace)
    client.wait_until_active()
    assert client.persons  # hears everything from now on
    yield client
    client.close()


@pytest.fixture
def node(client, process):
    """What a user does with the node; it is active, and its parameters are those it began with."""
    start = len(process.log)
    yield client
    print(process.log[start:])  # shown where a test failed
    assert process.process.poll() is None
    kept = {name: client.get_parameter(name) for name in STATIC_PARAMETERS}
    kept = {name: value.bool_value if name == "ros4hri" else value.string_value for name, value in kept.items()}
    changed = kept != STATIC_PARAMETERS
    if changed:
        client.restart(**STATIC_PARAMETERS)
    assert client.set_parameters(**LIVE_PARAMETERS) == ""


@pytest.fixture
def persons(node):
    """The people that the node finds in what is shown from now on."""
    return node.persons


@pytest.fixture
def start_node():
    """Start nodes that are ended after the test."""
    started = []

    def start(*arguments, **options) -> NodeProcess:
        started.append(NodeProcess(*arguments, **options))
        return started[-1]

    yield start
    for node in started:
        node.end(signal.SIGKILL)
