"""The ROS 2 node `metrabs_node`: images in, absolute 3D skeletons out.

The way of one frame: image and camera_info are paired by stamp and put into the mailbox of the inference thread, where
a newer frame takes the place of one that waits. The thread converts the image, runs the model, tracks, and publishes.
The executor only receives, so that nothing waits for the network.
"""

import array
import os
import signal
import sys
import time
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from visualization_msgs.msg import MarkerArray

from metrabs_core.cameras import Camera
from metrabs_core.drawing import draw_people
from metrabs_core.errors import UserError
from metrabs_core.pipeline import People, PersonPipeline, PipelineSettings
from metrabs_msgs.msg import PersonArray, Skeleton
from metrabs_msgs.srv import EstimatePoses
from metrabs_ros import parameters
from metrabs_ros.camera_info import CameraInfoError, camera_of_image
from metrabs_ros.diagnostics import LONG_WAIT, Statistics, status_message
from metrabs_ros.image_conversion import ImageError, to_rgb
from metrabs_ros.inference_thread import InferenceThread
from metrabs_ros.markers import delete_all_message, markers_message
from metrabs_ros.parameters import PIPELINE_PARAMETERS
from metrabs_ros.person_messages import persons_message, skeleton_message

try:
    from message_filters import ApproximateTimeSynchronizer, Subscriber, TimeSynchronizer
except ModuleNotFoundError:
    from metrabs_ros.message_filters_fallback import ApproximateTimeSynchronizer, Subscriber, TimeSynchronizer

# A warning about the same trouble is repeated at most this often, s.
_WARNING_PERIOD = 30.0
# The model is run on an image of this size (height, width) in advance, as the first run takes much longer.
_WARM_UP_SIZE = (480, 640)
# How long a stop waits for the network to finish what it has begun, s.
_STOP_TIMEOUT = 1.0


class FrameError(Exception):
    """A frame that can't be processed; the message is one sentence for the log.

    Attributes:
        reason: short name for the diagnostics.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Frame:
    """An image on its way to the model.

    Attributes:
        image: the image as it came.
        camera_info: its calibration, or None where a camera is to be made up.
        arrival: steady time of arrival, s.
    """

    image: Image | CompressedImage
    camera_info: CameraInfo | None
    arrival: float


class MetrabsNode(LifecycleNode):
    """Lifecycle node: configuring loads the model, activating subscribes to the camera.

    The README lists topics, services and parameters.
    """

    def __init__(self):
        super().__init__("metrabs_node")
        self._state = "unconfigured"
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

        self._statistics = Statistics()
        self._warned: dict[str, float] = {}
        self._inference: InferenceThread | None = None
        self._pipeline: PersonPipeline | None = None
        self._shown_ids: set[int] = set()
        self._image_subscription = self._camera_info_subscription = None
        self._camera_info_seen = False

        latched = QoSProfile(
            depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
        )
        self._persons_publisher = self.create_lifecycle_publisher(PersonArray, "~/persons", 10)
        self._skeleton_publisher = self.create_lifecycle_publisher(Skeleton, "~/skeleton", latched)
        self._markers_publisher = self.create_lifecycle_publisher(MarkerArray, "~/markers", 10)
        self._overlay_publisher = self.create_lifecycle_publisher(Image, "~/overlay", 1)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock, so that diagnostics come when simulated time stands still, too.
        self.create_timer(1.0, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        # A callback group of its own, since a coroutine that waits closes its group to all others.
        self.create_service(
            EstimatePoses, "~/estimate_poses", self._on_estimate_poses, callback_group=MutuallyExclusiveCallbackGroup()
        )

    # Life cycle

    def start(self) -> bool:
        """Configure and activate. Returns whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state):
        """Load the model; fails with one sentence in the log if it can't be loaded."""
        self._inference = InferenceThread(self._process)
        # The thread that will run the model loads it, too; this one stays free to notice that the process is to end.
        loading = self._inference.request(self._load_model)
        while not loading.done():
            wait([loading], timeout=0.1)
            if not self.context.ok():
                raise KeyboardInterrupt  # SIGTERM raises nothing by itself
        if loading.exception():
            self.get_logger().error(_one_line(loading.exception()))
            self.stop_inference()
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state):
        """Subscribe to the camera."""
        result = super().on_activate(state)
        self._state = "active"
        self._shown_ids.clear()
        self._camera_info_seen = False
        self._update_settings()
        self._skeleton_publisher.publish(skeleton_message(self._pipeline.skeleton))
        self._subscribe()
        return result

    def on_deactivate(self, state):
        """Unsubscribe, finish the frame in work, and remove all markers."""
        self._unsubscribe()
        self._state = "inactive"
        self._inference.clear()
        self._inference.request(lambda: None).result()
        self._markers_publisher.publish(delete_all_message())
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        """Let go of the model."""
        self._state = "unconfigured"
        self.stop_inference()
        return super().on_cleanup(state)

    def on_shutdown(self, state):
        """Let go of everything."""
        self._state = "finalized"
        self._unsubscribe()
        self.stop_inference()
        return super().on_shutdown(state)

    def on_error(self, state):
        """Go back to where nothing is loaded, after a transition that failed with an exception."""
        self._state = "unconfigured"
        self._unsubscribe()
        self.stop_inference()
        return super().on_error(state)

    def stop_inference(self):
        """End the inference thread, if there is one."""
        if self._inference:
            self._inference.stop(_STOP_TIMEOUT)
        self._pipeline = None

    def _load_model(self):
        start = time.monotonic()
        path = self.get_parameter("model").value
        self._pipeline = PersonPipeline.load(path, self._settings(), _WARM_UP_SIZE)
        seconds = time.monotonic() - start
        if self.context.ok():
            name = path or "the packaged model"
            self.get_logger().info(f"Loaded {name} in {seconds:.1f} s; it runs on {self._pipeline.device}.")

    def _on_set_parameters(self, changed) -> SetParametersResult:
        for parameter in changed:
            problem = parameters.check(parameter.name, parameter.value, self._state)
            if not problem and parameter.name == "skeleton" and self._pipeline:
                try:
                    self._pipeline.find_skeleton(parameter.value)
                except UserError as error:
                    problem = str(error)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    # Input: runs in the executor

    def _subscribe(self):
        compressed = self.get_parameter("image_transport").value == "compressed"
        # The image topic is resolved before the transport is appended, as image_transport does it: remapping `image` is
        # enough for both transports.
        topic = self.resolve_topic_name("image") + ("/compressed" if compressed else "")
        reliability = ReliabilityPolicy[self.get_parameter("qos_reliability").value.upper()]
        qos = QoSProfile(depth=5, reliability=reliability)
        images = Subscriber(self, CompressedImage if compressed else Image, topic, qos_profile=qos)
        camera_infos = Subscriber(self, CameraInfo, "camera_info", qos_profile=qos)
        images.registerCallback(self._on_image)
        camera_infos.registerCallback(self._on_camera_info)
        queue_size = self.get_parameter("sync_queue_size").value
        if self.get_parameter("sync_mode").value == "exact":
            synchronizer = TimeSynchronizer([images, camera_infos], queue_size)
        else:
            slop = self.get_parameter("sync_slop").value
            synchronizer = ApproximateTimeSynchronizer([images, camera_infos], queue_size, slop)
        synchronizer.registerCallback(self._on_pair)
        self._image_subscription, self._camera_info_subscription = images.sub, camera_infos.sub

    def _unsubscribe(self):
        for subscription in (self._image_subscription, self._camera_info_subscription):
            if subscription:
                self.destroy_subscription(subscription)
        self._image_subscription = self._camera_info_subscription = None

    def _on_image(self, image):
        self._statistics.count_received()
        # Without any camera_info there will be no pair; the image goes its way alone if a camera may be made up.
        if (
            self.get_parameter("default_fov_degrees").value > 0
            and not self._camera_info_seen
            and not self.count_publishers(self._camera_info_subscription.topic_name)
        ):
            self._offer(image, None)

    def _on_camera_info(self, _):
        self._camera_info_seen = True

    def _on_pair(self, image, camera_info):
        self._offer(image, camera_info)

    def _offer(self, image, camera_info):
        overtaken = self._inference.offer(Frame(image, camera_info, time.monotonic()))
        self._statistics.count_accepted(overtaken)

    async def _on_estimate_poses(self, request, response):
        if self._state != "active":
            response.message = f"The node is {self._state}; activate it first."
            return response
        answer = self._inference.request(lambda: self._answer(request))
        await self._done(answer)
        try:
            response.persons = answer.result()
            response.success = True
        except FrameError as error:
            response.message = str(error)
        except CancelledError:
            response.message = "The node was shut down."
        except Exception as error:
            response.message = f"The model failed: {_one_line(error)}"
        return response

    def _done(self, answer) -> Future:
        """What a coroutine in the executor can await until the inference thread has an answer."""
        done, executor = Future(executor=self.executor), self.executor

        def finish(_):
            done.set_result(None)
            if self.context.ok():
                # The executor looks after coroutines only when something wakes it.
                executor.wake()

        answer.add_done_callback(finish)
        return done

    # Processing: runs in the inference thread

    def _process(self, frame: Frame):
        try:
            image, camera = self._decode(frame.image, frame.camera_info)
            self._update_settings()
            begin = time.monotonic()
            people = self._pipeline.step(image, camera, _seconds(frame.image.header.stamp))
            end = time.monotonic()
            self._publish(frame.image.header, image, people)
        except FrameError as error:
            self._statistics.count_skipped(error.reason)
            self._warn(error.reason, str(error))
            return
        except Exception as error:
            if self.context.ok():  # else the process is about to end, and nothing can be published
                self._statistics.count_skipped("model_error")
                self._warn("model_error", f"A frame could not be processed: {_one_line(error)}")
            return
        latency = self.get_clock().now().nanoseconds * 1e-9 - _seconds(frame.image.header.stamp)
        self._statistics.count_processed(latency, time.monotonic() - frame.arrival, end - begin, len(people))

    def _decode(self, image_msg, camera_info) -> tuple[np.ndarray, Camera]:
        """The RGB image and the camera that took it."""
        try:
            image = to_rgb(image_msg)
        except ImageError as error:
            raise FrameError("image", str(error)) from error
        rectified, fov = (self.get_parameter(name).value for name in ("rectified", "default_fov_degrees"))
        try:
            return image, camera_of_image(camera_info, image.shape[1], image.shape[0], rectified, fov)
        except CameraInfoError as error:
            raise FrameError(error.reason, str(error)) from error

    def _settings(self) -> PipelineSettings:
        return PipelineSettings(**{p.name: self.get_parameter(p.name).value for p in PIPELINE_PARAMETERS})

    def _update_settings(self):
        settings, skeleton = self._settings(), self._pipeline.skeleton
        if settings != self._pipeline.settings:
            self._pipeline.settings = settings
        if self._pipeline.skeleton != skeleton:
            self._skeleton_publisher.publish(skeleton_message(self._pipeline.skeleton))

    def _publish(self, header, image: np.ndarray, people: People):
        persons = persons_message(header, people)
        self._persons_publisher.publish(persons)
        if self._markers_publisher.get_subscription_count():
            self._markers_publisher.publish(markers_message(persons, people.skeleton, self._shown_ids))
            self._shown_ids = set(people.ids.tolist())
        if self._overlay_publisher.get_subscription_count():
            arrays = people.boxes, people.poses2d, people.poses3d, people.ids
            self._overlay_publisher.publish(_image_message(header, draw_people(image, *arrays, people.skeleton)))

    def _answer(self, request) -> PersonArray:
        image, camera = self._decode(request.image, request.camera_info)
        self._update_settings()
        if request.boxes:
            boxes = np.array([[b.x_offset, b.y_offset, b.width, b.height] for b in request.boxes], np.float32)
            if not boxes[:, 2:].all():
                raise FrameError("boxes", "A box of the request is empty; give every box a width and a height.")
            people = self._pipeline.estimate(image, camera, boxes)
        else:
            people = self._pipeline.find(image, camera)
        return persons_message(request.image.header, people)

    # Telling

    def _warn(self, reason: str, message: str):
        now = time.monotonic()
        if now - self._warned.get(reason, -np.inf) >= _WARNING_PERIOD:
            self._warned[reason] = now
            self.get_logger().warning(message)

    def _publish_diagnostics(self):
        report = self._statistics.report()
        facts = {"model": self.get_parameter("model").value or "packaged", "device": "", "image_topic": ""}
        if self._pipeline:
            facts["device"] = self._pipeline.device
        if self._state == "active":
            facts["image_topic"] = self._image_subscription.topic_name
            if report.waiting_streak >= LONG_WAIT:
                self._warn_of_missing_camera_info()
        status = status_message(self.get_fully_qualified_name(), self._state, report, facts)
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_publisher.publish(message)

    def _warn_of_missing_camera_info(self):
        images, camera_infos = self._image_subscription.topic_name, self._camera_info_subscription.topic_name
        if self._camera_info_seen:
            self._warn(
                "no_common_stamps",
                f"Images on {images} and camera_info on {camera_infos} have no stamps in common; set sync_mode to "
                "approximate, or raise sync_slop.",
            )
        else:
            self._warn(
                "no_camera_info",
                f"Images arrive on {images}, but no camera_info on {camera_infos}, so they are not processed; remap "
                "camera_info, or set default_fov_degrees to go on with a guessed field of view.",
            )


def _image_message(header, image: np.ndarray) -> Image:
    height, width = image.shape[:2]
    data = array.array("B", image.tobytes())
    return Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data)


def _seconds(stamp) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main(args=None) -> NoReturn:
    """Run the node until SIGINT or SIGTERM, then end the process; its exit code is 1 if the node could not start."""
    node, exit_code = None, 0
    try:
        rclpy.init(args=args)
        node = MetrabsNode()
        # One thread: with rclpy's pool of threads the waiting itself costs several milliseconds of Python per frame, in
        # which the inference thread has to wait for the interpreter.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value and not node.start():
            exit_code = 1
        else:
            executor.spin()
    except (ParameterException, ValueError) as error:
        print(f"metrabs_node could not start: {_one_line(error)}", file=sys.stderr)
        exit_code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:
        # What rclpy raises where SIGTERM comes while the node is being made.
        if rclpy.ok():
            raise
    # From here on a second Ctrl-C would only interrupt the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if node:
        node.stop_inference()
        node.destroy_node()
    rclpy.try_shutdown()
    # Not sys.exit: TensorFlow takes seconds to tear down, and can't be torn down at all under a network that runs.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    main()
