"""The node's topics about the people in an image."""

import array

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from metrabs_core.drawing import draw_people
from metrabs_core.errors import UserError
from metrabs_core.pipeline import People
from metrabs_core.skeletons import Skeleton
from metrabs_msgs import msg
from metrabs_ros.markers import delete_all_message, markers_message
from metrabs_ros.person_messages import persons_message, skeleton_message
from metrabs_ros.ros4hri import HumanBodies

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE)


class PersonPublishers:
    """`~/persons`, `~/skeleton`, `~/markers` and `~/overlay` of a lifecycle node, which only an active one publishes.

    Of one camera of several: `~/<camera>/persons` and so on.

    Markers and overlay are made only where somebody subscribes, and topics of ROS4HRI only where the node's parameter
    `ros4hri` asks for them.
    """

    def __init__(self, node: LifecycleNode, prefix: str = ""):
        """Create the publishers; the prefix is the camera's, such as "front/"."""
        self._persons = node.create_lifecycle_publisher(msg.PersonArray, f"~/{prefix}persons", 10)
        self._skeleton = node.create_lifecycle_publisher(msg.Skeleton, f"~/{prefix}skeleton", _LATCHED)
        self._markers = node.create_lifecycle_publisher(MarkerArray, f"~/{prefix}markers", 10)
        self._overlay = node.create_lifecycle_publisher(Image, f"~/{prefix}overlay", 1)
        self._prefix = prefix
        self._node, self._shown_ids = node, set()
        self._bodies: HumanBodies | None = None

    def open(self):
        """Prepare for an active node. Raises UserError if what the parameters ask for is not installed."""
        self._bodies = None
        if self._node.get_parameter("ros4hri").value:
            if self._prefix:
                raise UserError("ros4hri takes one camera only: set it to false, or start the node without cameras.")
            self._bodies = HumanBodies(self._node)

    def publish_skeleton(self, skeleton: Skeleton):
        """Publish the joint names and bones of the people to come."""
        self._skeleton.publish(skeleton_message(skeleton))

    def publish(self, located: tuple[Header, People], up, image_header, image: np.ndarray, people: People):
        """Publish the people of an image.

        Args:
            located: header and people for `~/persons` and `~/markers`, which may be in another frame than the camera's.
            up: direction [3] in that frame.
            image_header: of the image.
            image: uint8 [H, W, 3], RGB.
            people: in the camera's frame.
        """
        persons = persons_message(*located, self._node.get_parameter("joint_orientations").value)
        self._persons.publish(persons)
        if self._markers.get_subscription_count():
            self._markers.publish(markers_message(persons, people.skeleton, self._shown_ids, up))
            self._shown_ids = set(people.ids.tolist())
        if self._bodies:
            self._bodies.publish(image_header, image, people, *located)
        if self._overlay.get_subscription_count():
            arrays = people.boxes, people.poses2d, people.poses3d, people.ids
            self._overlay.publish(_image_message(image_header, draw_people(image, *arrays, people.skeleton)))

    def close(self):
        """Remove everything that RViz shows, and all bodies."""
        if self._bodies:
            self._bodies.close()
        self._bodies = None
        self._markers.publish(delete_all_message())
        self._shown_ids = set()


def _image_message(header, image: np.ndarray) -> Image:
    height, width = image.shape[:2]
    data = array.array("B", image.tobytes())
    return Image(header=header, height=height, width=width, encoding="rgb8", step=3 * width, data=data)
