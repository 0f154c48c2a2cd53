"""One camera of the node: its topics in and out, its people, and what is counted of its images."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from traceback import format_exception

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.limits import RateLimit
from metrabs_core.pipeline import People, PersonPipeline, View
from metrabs_ros import parameters
from metrabs_ros.camera_input import CameraInput
from metrabs_ros.diagnostics import Statistics, status_message
from metrabs_ros.frames import Frame, FrameError
from metrabs_ros.person_publishers import PersonPublishers
from metrabs_ros.transforms import Transforms

# A warning about the same trouble is repeated at most this often, s.
_WARNING_PERIOD = 30.0


class CameraStream:
    """The way of a camera's frames through the node, but for the network, which all cameras share.

    Attributes:
        pipeline: of the camera; the node sets it while a model is loaded.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        transforms: Transforms,
        offer: Callable[["CameraStream", Frame], bool],
    ):
        """Create the publishers.

        Args:
            node: whose camera it is.
            name: '' for the only camera; otherwise all its topics and frames begin with it.
            transforms: of the node.
            offer: puts a frame into the camera's mailbox, and returns whether it took the place of another.
        """
        self.pipeline: PersonPipeline | None = None
        self._node, self._name, self._transforms, self._offer = node, name, transforms, offer
        self._prefix = f"{name}/" if name else ""
        self._statistics, self._rate_limit = Statistics(), RateLimit()
        self._warned: dict[str, float] = {}
        self._input: CameraInput | None = None
        self._publishers = PersonPublishers(node, self._prefix)

    # Life cycle: runs in the executor

    def open(self):
        """Prepare for an active node. Raises UserError if the parameters ask for what can't be had."""
        depth_topic = self._node.get_parameter("depth_topic").value
        if self._name and depth_topic.startswith(("/", "~")):
            raise UserError(
                f"Where there are cameras, depth_topic begins with the name of each, so it can't be {depth_topic!r}."
            )
        self._publishers.open()

    def subscribe(self):
        """Listen to the camera of an active node."""
        self._statistics.begin()
        self._warned.clear()
        self.pipeline.settings = parameters.pipeline_settings(self._node)
        self.pipeline.forget_motion()
        self._publishers.publish_skeleton(self.pipeline.skeleton)
        self._input = CameraInput(self._node, self._prefix, self._statistics.count_received, self._on_frame)
        self._node.get_logger().info(f"Subscribed to {self._input}.")

    def unsubscribe(self):
        """Listen no more."""
        if self._input:
            self._input.close()
        self._input = None

    def close(self):
        """Remove everything that is shown."""
        self._publishers.close()

    def _on_frame(self, image, camera_info, depth):
        frame = Frame(image, camera_info, time.monotonic(), depth)
        if self._rate_limit.admits(frame.arrival, self._node.get_parameter("max_rate").value):
            self._statistics.count_accepted(overtaken=self._offer(self, frame))
        else:
            self._statistics.count_left_out()

    # Processing: runs in the inference thread

    def decode(self, frame: Frame) -> tuple[np.ndarray, Camera]:
        """Image and camera of a frame. Raises FrameError if it can't be used."""
        self._update_settings()
        rectified, fov_degrees = (self._node.get_parameter(n).value for n in ("rectified", "default_fov_degrees"))
        return frame.decode(rectified, fov_degrees)

    def view(self, frame: Frame) -> View | None:
        """What the pipeline takes of a frame; None if it can't be used, which is counted."""
        with self._skipping():
            image, camera = self.decode(frame)
            camera = self._transforms.place(camera, frame.image.header)
            return View(self.pipeline, image, camera, frame.seconds, frame.decode_depth(image))
        return None

    def publish(self, frame: Frame, view: View, people: People, inference: float):
        """Publish the people of a frame, and count it.

        Args:
            frame: of the camera.
            view: of the frame.
            people: who is in it.
            inference: for how long the pipeline has worked, s.
        """
        with self._skipping():
            header = frame.image.header
            located = self._transforms.locate(header, people, view.camera)
            self._publishers.publish(located, self._transforms.up, header, view.image, people)
            self._transforms.broadcast(*located, self._prefix)
            latency = self._node.get_clock().now().nanoseconds * 1e-9 - frame.seconds
            self._statistics.count_processed(latency, time.monotonic() - frame.arrival, inference, len(people))

    def skip(self, error: Exception):
        """Count a frame that could not be processed, and warn of what came in the way."""
        if isinstance(error, FrameError):
            self._statistics.count_skipped(error.reason)
            self.warn(error.reason, str(error))
        elif self._node.context.ok():  # else the process is about to end, and nothing can be published
            self._statistics.count_skipped("model_error")
            self.warn("model_error", f"A frame could not be processed: {explained(error)}")

    @contextmanager
    def _skipping(self):
        try:
            yield
        except Exception as error:
            self.skip(error)

    def _update_settings(self):
        settings, skeleton = parameters.pipeline_settings(self._node), self.pipeline.skeleton
        if settings != self.pipeline.settings:
            self.pipeline.settings = settings
        if self.pipeline.skeleton != skeleton:
            self._publishers.publish_skeleton(self.pipeline.skeleton)

    # Warnings and diagnostics

    def status(self, state: str) -> DiagnosticStatus:
        """What happened since the last call, in a state of the node's life cycle; warns of what keeps images away."""
        report = self._statistics.report()
        problem = self._input.watch() if self._input else None
        if problem:
            self.warn(problem.kind, problem.message)
        pipeline = self.pipeline
        facts = {
            "model": self._node.get_parameter("model").value or "packaged",
            "device": pipeline.device if pipeline else "",
            "image_topic": self._input.image_topic if self._input else "",
        }
        if pipeline:
            facts |= {f"people_left_out_{limit}": n for limit, n in pipeline.left_out.items() if n}
        name = self._node.get_fully_qualified_name() + (f": {self._name}" if self._name else "")
        return status_message(name, state, report, problem, facts)

    def warn(self, kind: str, message: str):
        """Write a warning to the log, unless one of that kind was written not long ago."""
        now = time.monotonic()
        if now - self._warned.get(kind, -np.inf) >= _WARNING_PERIOD:
            self._warned[kind] = now
            self._node.get_logger().warning(f"{self._name}: {message}" if self._name else message)


def one_line(error: BaseException) -> str:
    """The message of an exception without line breaks, or its type."""
    return " ".join(str(error).split()) or type(error).__name__


def explained(error: BaseException) -> str:
    """What a user can mend in a line; anything else is a fault of the program, and keeps its traceback."""
    return one_line(error) if isinstance(error, (UserError, OSError)) else "".join(format_exception(error))
