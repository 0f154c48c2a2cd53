"""Stand-in for the package tf2_ros where it is not installed (ROS 2 from PyPI lacks it).

It has what the node uses, with the same names and arguments, on the same topics.
"""

import threading
from bisect import bisect, insort
from time import monotonic, sleep

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

_QOS = QoSProfile(depth=100)
_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
# How often a lookup that waits looks again, s.
_PERIOD = 0.01


class TransformException(Exception):
    """A transform that is not known."""


class Buffer:
    """The transforms of the last seconds, each between a frame and its parent."""

    def __init__(self, cache_time: Duration = Duration(seconds=10)):  # noqa: B008 (it does not change)
        """Begin with nothing."""
        self._cache_ns = cache_time.nanoseconds
        self._parents: dict[str, str] = {}
        self._moving: dict[str, list[tuple[int, TransformStamped]]] = {}  # by frame, ascending stamps in ns
        self._static: dict[str, TransformStamped] = {}
        self._lock = threading.Lock()

    def set_transform(self, transform: TransformStamped, authority: str = ""):
        """Take a transform of /tf."""
        frame, stamp = _name(transform.child_frame_id), _nanoseconds(transform.header.stamp)
        with self._lock:
            history = self._moving.setdefault(frame, [])
            if history and stamp < history[-1][0] - self._cache_ns:
                history.clear()  # a bag that starts again
            insort(history, (stamp, transform), key=lambda entry: entry[0])
            while history[0][0] < history[-1][0] - self._cache_ns:
                del history[0]
            self._parents[frame] = _name(transform.header.frame_id)

    def set_transform_static(self, transform: TransformStamped, authority: str = ""):
        """Take a transform of /tf_static."""
        frame = _name(transform.child_frame_id)
        with self._lock:
            self._static[frame] = transform
            self._parents[frame] = _name(transform.header.frame_id)

    def lookup_transform(self, target_frame: str, source_frame: str, time, timeout: Duration = Duration()):  # noqa: B008
        """Where a frame is at a time: what turns points of the source frame into such of the target frame.

        Args:
            target_frame: name.
            source_frame: name.
            time: rclpy.time.Time or builtin_interfaces/Time.
            timeout: how long to wait until it is known; not to be called from where the executor runs, then.

        Raises:
            TransformException: it is not known.
        """
        end = monotonic() + timeout.nanoseconds * 1e-9
        while True:
            try:
                return self._lookup(_name(target_frame), _name(source_frame), time)
            except TransformException:
                if monotonic() >= end:
                    raise
            sleep(_PERIOD)

    def _lookup(self, target: str, source: str, stamp) -> TransformStamped:
        nanoseconds = stamp.nanoseconds if hasattr(stamp, "nanoseconds") else _nanoseconds(stamp)
        with self._lock:
            to_root, from_root = self._ancestors(source), self._ancestors(target)
            common = next((frame for frame in to_root if frame in from_root), None)
            if common is None:
                raise TransformException(f"{source} and {target} are not connected.")
            rotation, translation = self._up(to_root[: to_root.index(common)], nanoseconds)
            target_rotation, target_translation = self._up(from_root[: from_root.index(common)], nanoseconds)
        back = target_rotation.inv()
        result = TransformStamped(child_frame_id=source)
        result.header.frame_id = target
        result.header.stamp.sec, result.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        moved = back.apply(translation - target_translation)
        _fill(result.transform, back * rotation, moved)
        return result

    def _ancestors(self, frame: str) -> list[str]:
        chain = [frame]
        while chain[-1] in self._parents:
            parent = self._parents[chain[-1]]
            if parent in chain:
                raise TransformException(f"The frames {', '.join(chain)} go round in a circle.")
            chain.append(parent)
        return chain

    def _up(self, frames: list[str], stamp: int) -> tuple[Rotation, np.ndarray]:
        """Rotation and translation [3] from the first of the frames to the parent of the last."""
        rotation, translation = Rotation.identity(), np.zeros(3)
        for frame in frames:
            step, shift = self._at(frame, stamp)
            rotation, translation = step * rotation, step.apply(translation) + shift
        return rotation, translation

    def _at(self, frame: str, stamp: int) -> tuple[Rotation, np.ndarray]:
        """Rotation and translation from a frame to its parent at a time, interpolated."""
        if frame in self._static:
            return _parts(self._static[frame])
        history = self._moving[frame]
        stamps = [entry[0] for entry in history]
        if not stamps[0] <= stamp <= stamps[-1]:
            raise TransformException(
                f"{frame} is known from {stamps[0] * 1e-9:.3f} s to {stamps[-1] * 1e-9:.3f} s, but not at "
                f"{stamp * 1e-9:.3f} s."
            )
        after = min(bisect(stamps, stamp), len(stamps) - 1)
        if stamps[after] == stamp or after == 0:
            return _parts(history[after][1])
        (first, first_place), (last, last_place) = (_parts(history[i][1]) for i in (after - 1, after))
        part = (stamp - stamps[after - 1]) / (stamps[after] - stamps[after - 1])
        rotation = Slerp([0, 1], Rotation.concatenate([first, last]))(part)
        return rotation, first_place + part * (last_place - first_place)


class TransformListener:
    """Puts what comes on /tf and /tf_static into a buffer."""

    def __init__(self, buffer: Buffer, node, *, spin_thread: bool = False):
        """Subscribe; the executor of the node is to run."""
        self._node, self._buffer = node, buffer
        self._subscriptions = [
            node.create_subscription(TFMessage, "/tf", self._add, _QOS),
            node.create_subscription(TFMessage, "/tf_static", self._add_static, _STATIC_QOS),
        ]

    def _add(self, message):
        for transform in message.transforms:
            self._buffer.set_transform(transform)

    def _add_static(self, message):
        for transform in message.transforms:
            self._buffer.set_transform_static(transform)

    def unregister(self):
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


class TransformBroadcaster:
    """Publishes transforms on /tf."""

    def __init__(self, node):
        """Create the publisher."""
        self._publisher = node.create_publisher(TFMessage, "/tf", _QOS)

    def sendTransform(self, transform: list[TransformStamped]):
        """Publish transforms."""
        self._publisher.publish(TFMessage(transforms=transform))


def _name(frame_id: str) -> str:
    return frame_id.lstrip("/")


def _nanoseconds(stamp) -> int:
    return stamp.sec * 10**9 + stamp.nanosec


def _parts(transform: TransformStamped) -> tuple[Rotation, np.ndarray]:
    q, t = transform.transform.rotation, transform.transform.translation
    try:
        return Rotation.from_quat([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z])
    except ValueError as error:
        raise TransformException(f"The rotation of {transform.child_frame_id} is none: {error}.") from error


def _fill(message, rotation: Rotation, translation: np.ndarray):
    q, t = message.rotation, message.translation
    q.x, q.y, q.z, q.w = rotation.as_quat().tolist()
    t.x, t.y, t.z = translation.tolist()
