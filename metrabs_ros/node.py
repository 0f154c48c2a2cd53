"""The ROS 2 node `metrabs_node`: images in, absolute 3D skeletons out.

The way of one frame: image and camera_info are paired and put into the mailbox of the inference thread, where a newer
frame takes the place of one that waits; each camera has its own. The thread decodes what waits, runs the network on it,
and publishes. The executor only receives, so that nothing waits for the network.
"""

import os
import signal
import sys
import time
from concurrent.futures import CancelledError, wait
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
from rclpy.task import Future
from rclpy.utilities import remove_ros_args

from metrabs_core.errors import UserError
from metrabs_core.pipeline import PersonPipeline, step_together
from metrabs_core.process import keep_freed_memory
from metrabs_msgs.msg import PersonArray
from metrabs_msgs.srv import EstimatePoses
from metrabs_ros import parameters
from metrabs_ros.camera_stream import CameraStream, explained, one_line
from metrabs_ros.frames import Frame, FrameError
from metrabs_ros.inference_thread import InferenceThread
from metrabs_ros.person_messages import persons_message
from metrabs_ros.transforms import Transforms

# The model is run on an image of this size (height, width) in advance, as the first run takes much longer.
_WARM_UP_SIZE = (480, 640)
# How long a stop waits for the network to finish what it has begun, s.
_STOP_TIMEOUT = 1.0
# How long a node that has been shut down goes on answering, so that who did it hears that it worked, s.
_FAREWELL = 0.5


class MetrabsNode(LifecycleNode):
    """Lifecycle node: configuring loads the model, activating subscribes to the camera.

    The README lists topics, services and parameters.
    """

    def __init__(self):
        super().__init__("metrabs_node")
        self._state = "unconfigured"
        parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_set_parameters)

        self._inference: InferenceThread | None = None
        self._transforms = Transforms(self)
        self._streams = [
            CameraStream(self, name, self._transforms, lambda *offered: self._inference.offer(*offered))
            for name in self.get_parameter("cameras").value or [""]
        ]
        self._diagnostics_out = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # A steady clock, so that diagnostics come when simulated time stands still, too.
        self.create_timer(1.0, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))
        # A callback group of its own, since a coroutine that waits closes its group to all others.
        self.create_service(
            EstimatePoses, "~/estimate_poses", self._on_estimate_poses, callback_group=MutuallyExclusiveCallbackGroup()
        )

    # Life cycle

    def start(self) -> bool:
        """Configure and activate. Returns whether both succeeded."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    @property
    def is_finalized(self) -> bool:
        """Whether the node has been shut down for good."""
        return self._state == "finalized"

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
            self.get_logger().error(explained(loading.exception()))
            self.stop_inference()
            return TransitionCallbackReturn.FAILURE
        self._state = "inactive"
        return super().on_configure(state)

    def on_activate(self, state):
        """Subscribe to the cameras; fails with one sentence in the log if something is missing that is asked for."""
        try:
            for stream in self._streams:
                stream.open()
        except UserError as error:
            self.get_logger().error(str(error))
            return TransitionCallbackReturn.FAILURE
        result = super().on_activate(state)
        self._state = "active"
        self._transforms.open()
        for stream in self._streams:
            stream.subscribe()
        return result

    def on_deactivate(self, state):
        """Unsubscribe, finish the frame in work, and remove all markers."""
        self._unsubscribe()
        self._state = "inactive"
        self._inference.clear()
        self._inference.request(lambda: None).result()
        for stream in self._streams:
            stream.close()
        return super().on_deactivate(state)

    def on_cleanup(self, state):
        """Let go of the model."""
        self._state = "unconfigured"
        self.stop_inference()
        return super().on_cleanup(state)

    def on_shutdown(self, state):
        """Let go of everything; the process ends soon after."""
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
        for stream in self._streams:
            stream.pipeline = None

    def _unsubscribe(self):
        for stream in self._streams:
            stream.unsubscribe()
        self._transforms.close()

    def _load_model(self):
        start = time.monotonic()
        path = self.get_parameter("model").value
        side = self.get_parameter("detector_input_side").value or None
        settings = parameters.pipeline_settings(self)
        pipeline = PersonPipeline.load(path, settings, _WARM_UP_SIZE, side)
        if len(self._streams) > 1:
            pipeline.warm_up(*_WARM_UP_SIZE, len(self._streams))
        for stream in self._streams:
            stream.pipeline = PersonPipeline(pipeline.model, settings)
        seconds = time.monotonic() - start
        if self.context.ok():
            name = path or "the packaged model"
            self.get_logger().info(f"Loaded {name} in {seconds:.1f} s; it runs on {pipeline.device}.")

    # Parameters

    def set_parameters_atomically(self, parameter_list):
        """As for every node, but an integer may be given for a float."""
        return super().set_parameters_atomically([parameters.convert(parameter) for parameter in parameter_list])

    def _on_set_parameters(self, changed) -> SetParametersResult:
        for parameter in changed:
            # `ros2 param load` sets all that a file holds, the unchanged ones as well.
            if self.has_parameter(parameter.name) and parameter.value == self.get_parameter(parameter.name).value:
                continue
            problem = parameters.check(parameter.name, parameter.value, self._state)
            if not problem and parameter.name == "skeleton" and self._streams[0].pipeline:
                try:
                    self._streams[0].pipeline.find_skeleton(parameter.value)
                except UserError as error:
                    problem = str(error)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    # Service: runs in the executor

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
            response.message = f"The model failed: {one_line(error)}"
            self._streams[0].warn("request_error", f"A request could not be answered: {explained(error)}")
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

    def _process(self, frames: dict[CameraStream, Frame]):
        views = {stream: stream.view(frame) for stream, frame in frames.items()}
        views = {stream: view for stream, view in views.items() if view}
        if not views:
            return
        begin = time.monotonic()
        try:
            found = step_together(list(views.values()))
        except Exception as error:
            for stream in views:
                stream.skip(error)
            return
        seconds = time.monotonic() - begin
        for (stream, view), people in zip(views.items(), found):
            stream.publish(frames[stream], view, people, seconds)

    def _answer(self, request) -> PersonArray:
        stream = self._streams[0]
        image, camera = stream.decode(Frame(request.image, request.camera_info, time.monotonic()))
        if request.boxes:
            boxes = np.array([[b.x_offset, b.y_offset, b.width, b.height] for b in request.boxes], np.float32)
            if not boxes[:, 2:].all():
                raise FrameError("boxes", "A box of the request is empty; give every box a width and a height.")
            people = stream.pipeline.estimate(image, camera, boxes)
        else:
            people = stream.pipeline.find(image, camera)
        return persons_message(request.image.header, people)

    # Diagnostics

    def _watch(self):
        message = DiagnosticArray(status=[stream.status(self._state) for stream in self._streams])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics_out.publish(message)


def main(args=None) -> NoReturn:
    """Run the node until SIGINT, SIGTERM or its shutdown, then end the process; exit code 1 if it could not start."""
    node, exit_code = None, 0
    keep_freed_memory()
    # Ctrl-C is left to rclpy: an exception in the middle of a callback would come out as another one, or interrupt the
    # cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _init(args)
        node = MetrabsNode()
        # One thread: with rclpy's pool of threads the waiting itself costs several milliseconds of Python per frame, in
        # which the inference thread has to wait for the interpreter.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if node.get_parameter("autostart").value and not node.start():
            exit_code = 1
        else:
            _spin(executor, node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (UserError, ParameterException) as error:
        print(f"metrabs_node could not start: {one_line(error)}", file=sys.stderr)
        exit_code = 1
    except RuntimeError:
        # What rclpy raises where a signal comes while the node is being made, or in the middle of a callback.
        if rclpy.ok():
            raise
    if node:
        node.stop_inference()
        node.destroy_node()
    rclpy.try_shutdown()
    # Not sys.exit: TensorFlow takes seconds to tear down, and can't be torn down at all under a network that runs.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def _init(args):
    """Start rclpy. Raises UserError if arguments, a parameters file or the environment are wrong."""
    try:
        rclpy.init(args=args)
    except RuntimeError as error:
        raise UserError(one_line(error)) from error
    unknown = remove_ros_args(args if args is not None else sys.argv)[1:]
    if unknown:
        raise UserError(f"Unknown arguments: {' '.join(unknown)}. Remappings and parameters come after --ros-args.")


def _spin(executor, node: MetrabsNode):
    """Spin until the node has been shut down, and for a moment after that."""
    while rclpy.ok() and not node.is_finalized:
        executor.spin_once()
    end = time.monotonic() + _FAREWELL
    while rclpy.ok() and (remaining := end - time.monotonic()) > 0:
        executor.spin_once(remaining)


if __name__ == "__main__":
    main()
