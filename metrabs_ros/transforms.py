"""TF in and out: where the camera is in the frame that people are wanted in, and the frames of people."""

from dataclasses import replace

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from metrabs_core.cameras import UP, Camera
from metrabs_core.orientations import body_orientations, joint_orientations
from metrabs_core.pipeline import People
from metrabs_ros.frames import FrameError
from metrabs_ros.ros4hri import body_id

_MM_PER_METRE = 1000.0
# Up, in a frame as REP 103 has them, and how those begin or end that have the axes of a camera instead.
_UP = (0.0, 0.0, 1.0)
_OPTICAL = ("_optical", "_optical_frame")


class Transforms:
    """What a node has to do with TF, as its parameters are: `target_frame`, `tf_timeout`, `publish_tf`, `ros4hri`.

    All but `tf_timeout` count as they are when `open` is called.
    """

    def __init__(self, node: Node):
        """Do nothing yet."""
        self._node = node
        self._target, self._frames, self._bodies = "", "off", False
        self._tf2 = self._buffer = self._listener = self._broadcaster = None

    def open(self):
        """Begin to listen and to publish, as far as the parameters ask for that."""
        self._target = self._node.get_parameter("target_frame").value
        self._frames = self._node.get_parameter("publish_tf").value
        self._bodies = self._node.get_parameter("ros4hri").value
        if self._target or self._is_sending:
            self._tf2 = _tf2()
        if self._target:
            self._buffer = self._tf2.Buffer()
            self._listener = self._tf2.TransformListener(self._buffer, self._node)
        if self._is_sending:
            self._broadcaster = self._broadcaster or self._tf2.TransformBroadcaster(self._node)

    def close(self):
        """Listen no more."""
        if self._listener:
            self._listener.unregister()
        self._listener = None

    @property
    def _is_sending(self) -> bool:
        return self._frames != "off" or self._bodies

    @property
    def up(self) -> tuple[float, float, float]:
        """Up in the frame that people are published in."""
        return _UP if self._target and not self._target.endswith(_OPTICAL) else UP

    def place(self, camera: Camera, header) -> Camera:
        """The camera with the place and the up that it has in the target frame, which is its world then.

        Not to be called in the executor, as it may wait.

        Args:
            camera: that took an image.
            header: std_msgs/Header of the image.

        Raises:
            FrameError: the place is not known in time.
        """
        if not self._target:
            return camera
        timeout = self._node.get_parameter("tf_timeout").value
        try:
            found = self._buffer.lookup_transform(
                header.frame_id, self._target, Time.from_msg(header.stamp), Duration(seconds=timeout)
            )
        except self._tf2.TransformException as error:
            raise FrameError(
                "transform",
                f"The transform from the images' frame {header.frame_id!r} to target_frame {self._target!r} is not "
                f"known {timeout:g} s after an image has come: {error}",
            ) from error
        return replace(camera, extrinsic_matrix=_matrix(found.transform), world_up=self.up)

    def locate(self, header, people: People, camera: Camera) -> tuple[Header, People]:
        """Header and people as they are to be published: in the target frame, if there is one.

        Args:
            header: of the image.
            people: in the frame of the camera.
            camera: from `place`.
        """
        if not self._target:
            return header, people
        return Header(stamp=header.stamp, frame_id=self._target), people.in_world(camera)

    def broadcast(self, header, people: People, prefix: str = ""):
        """Publish frames of people, and of their joints, if that is wanted.

        Args:
            header: from `locate`.
            people: from `locate`.
            prefix: of the frames' names.
        """
        if not self._is_sending:
            return
        poses, skeleton = people.poses3d, people.skeleton
        names, transforms = [f"{prefix}person_{person}" for person in people.ids], []
        places, turned = skeleton.pelvis(poses), body_orientations(poses, skeleton)
        if self._frames != "off":
            transforms += _transforms(header, names, places, turned)
        if self._bodies:
            transforms += _transforms(header, [f"body_{body_id(person)}" for person in people.ids], places, turned)
        if self._frames == "joints":
            for name, pose, of_joints in zip(names, poses, joint_orientations(poses, skeleton)):
                transforms += _transforms(
                    header, [f"{name}/{joint}" for joint in skeleton.joint_names], pose, of_joints
                )
        if transforms:
            self._broadcaster.sendTransform(transforms)


def _tf2():
    """The package tf2_ros, or what stands in for it; only now, so that nobody who does without TF waits for it."""
    try:
        import tf2_ros
    except ModuleNotFoundError:
        from metrabs_ros import tf2_fallback as tf2_ros
    return tf2_ros


def _matrix(transform) -> np.ndarray:
    """A geometry_msgs/Transform as float64 [4, 4], mm."""
    q, t = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = _MM_PER_METRE * np.array([t.x, t.y, t.z])
    return matrix


def _transforms(header, names, places, orientations) -> list[TransformStamped]:
    """Frames at places [n, 3] (mm) with orientations [n, 4]; those that are not known are left out."""
    transforms = []
    is_known = np.isfinite(orientations).all(axis=-1) & np.isfinite(places).all(axis=-1)
    places = np.asarray(places, np.float64) / _MM_PER_METRE
    for i in np.flatnonzero(is_known):
        frame = TransformStamped(header=header, child_frame_id=names[i])
        q, t = frame.transform.rotation, frame.transform.translation
        q.x, q.y, q.z, q.w = orientations[i].tolist()
        t.x, t.y, t.z = places[i].tolist()
        transforms.append(frame)
    return transforms
