"""People as ROS4HRI (REP 155) has them: a list of bodies, and topics of each, as hri_body_detect publishes them."""

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PointStamped, TwistStamped
from rclpy.node import Node

from metrabs_core.errors import UserError
from metrabs_core.pipeline import People

_ROOT = "/humans/bodies"
# The joints of hri_msgs/Skeleton2D in their order; where a skeleton lacks one, the middle of others stands for it.
_JOINTS = (
    *("nose", "neck", "rsho", "relb", "rwri", "lsho", "lelb", "lwri", "rhip", "rkne", "rank", "lhip", "lkne", "lank"),
    *("leye", "reye", "lear", "rear"),
)
_STAND_INS = {"neck": ("lsho", "rsho")}
_MM_PER_METRE = 1000.0


def body_id(person: int) -> str:
    """Id of a person's body. Names of topics must not begin with a digit."""
    return f"p{person}"


class HumanBodies:
    """`/humans/bodies/tracked`, and `roi`, `skeleton2d`, `position` and `velocity` below `/humans/bodies/<id>`."""

    def __init__(self, node: Node):
        """Create the list's publisher.

        Raises:
            UserError: the package hri_msgs is not installed.
        """
        try:
            from hri_msgs import msg
        except ModuleNotFoundError as error:
            raise UserError(
                "ros4hri needs the package hri_msgs, which is not installed: install it (ros-<distribution>-hri-msgs), "
                "or set ros4hri to false."
            ) from error
        self._node, self._msg = node, msg
        self._tracked = node.create_publisher(msg.IdsList, f"{_ROOT}/tracked", 1)
        self._publishers: dict[int, dict] = {}

    def close(self):
        """Tell that nobody is seen any more, and unadvertise everything."""
        self._tracked.publish(self._msg.IdsList())
        for person in list(self._publishers):
            self._forget(person)
        self._later(self._node.destroy_publisher, self._tracked)

    def publish(self, image_header, image: np.ndarray, people: People, header, located: People):
        """Publish the people of an image.

        Args:
            image_header: of the image.
            image: [H, W, 3].
            people: in the frame of the camera.
            header: of the frame that `located` is in.
            located: the same people.
        """
        ids = people.ids.tolist()
        for gone in set(self._publishers) - set(ids):
            self._forget(gone)
        scale = 1 / np.array([image.shape[1], image.shape[0]])
        points, confidences = _points(people)
        pelvis = located.skeleton.pelvis(located.poses3d).astype(np.float64) / _MM_PER_METRE
        velocities = located.velocities.astype(np.float64) / _MM_PER_METRE
        self._tracked.publish(self._msg.IdsList(header=image_header, ids=[body_id(person) for person in ids]))
        for i, person in enumerate(ids):
            topics = self._of(person)
            roi = self._region(image_header, people.boxes[i].astype(np.float64), float(people.scores[i]), scale)
            topics["roi"].publish(roi)
            # The top left corner of the image is (0, 0), and not the middle of its first pixel.
            skeleton = zip(((points[i] + 0.5) * scale).tolist(), confidences[i].tolist())
            skeleton = [self._msg.NormalizedPointOfInterest2D(x=x, y=y, c=c) for (x, y), c in skeleton]
            topics["skeleton2d"].publish(self._msg.Skeleton2D(header=image_header, skeleton=skeleton))
            position, velocity = PointStamped(header=header), TwistStamped(header=header)
            position.point.x, position.point.y, position.point.z = pelvis[i].tolist()
            topics["position"].publish(position)
            if np.isfinite(velocities[i]).all():
                linear = velocity.twist.linear
                linear.x, linear.y, linear.z = velocities[i].tolist()
                topics["velocity"].publish(velocity)

    def _of(self, person: int) -> dict:
        """The publishers of a body by the last part of their topic."""
        if person not in self._publishers:
            types = {
                "roi": self._msg.NormalizedRegionOfInterest2D,
                "skeleton2d": self._msg.Skeleton2D,
                "position": PointStamped,
                "velocity": TwistStamped,
            }
            self._publishers[person] = {
                name: self._node.create_publisher(kind, f"{_ROOT}/{body_id(person)}/{name}", 1)
                for name, kind in types.items()
            }
        return self._publishers[person]

    def _forget(self, person: int):
        for publisher in self._publishers.pop(person).values():
            self._later(self._node.destroy_publisher, publisher)

    def _later(self, function: Callable, publisher):
        """Call a function in the executor, which can't do without what it waits for just then."""
        self._node.executor.create_task(function, publisher)

    def _region(self, header, box: np.ndarray, score: float, scale: np.ndarray):
        low, high = (np.clip(corner * scale, 0, 1).tolist() for corner in (box[:2] + 0.5, box[:2] + box[2:] + 0.5))
        return self._msg.NormalizedRegionOfInterest2D(
            header=header, xmin=low[0], ymin=low[1], xmax=high[0], ymax=high[1], c=score
        )


def _points(people: People) -> tuple[np.ndarray, np.ndarray]:
    """The joints of hri_msgs/Skeleton2D: float64 [n, 18, 2], pixels, and confidences [n, 18].

    A joint outside of the image, or unknown, has confidence 0, the others the person's score.
    """
    names = people.skeleton.joint_names
    points = np.full([len(people), len(_JOINTS), 2], np.nan)
    is_seen = np.zeros(points.shape[:2], bool)
    for place, joint in enumerate(_JOINTS):
        sources = (joint,) if joint in names else _STAND_INS.get(joint, ())
        if sources and set(sources) <= set(names):
            chosen = [names.index(name) for name in sources]
            points[:, place] = people.poses2d[:, chosen].mean(axis=1)
            is_seen[:, place] = people.in_view[:, chosen].all(axis=1)
    return np.nan_to_num(points), is_seen * people.scores[:, np.newaxis].astype(np.float64)
