"""A camera's topics: subscriptions to its images, calibration and depth, how they are paired, and what may be wrong."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from metrabs_ros.pairing import make_pairing

# How long a topic may be silent before that is worth a warning, s.
_SILENCE = 5.0
# How long the first images wait for a camera_info that has a publisher, before a field of view is assumed, s.
_CAMERA_INFO_PATIENCE = 1.0
# Images in a row without a matching camera_info or depth image from which something is certainly wrong.
_LONG_WAIT = 5


@dataclass(frozen=True)
class Problem:
    """Why images do not get through.

    Attributes:
        kind: short name; the same trouble has the same one.
        message: one sentence or two: what is wrong, and what to do.
        is_error: whether images arrive and can't be used, rather than none arriving.
    """

    kind: str
    message: str
    is_error: bool


@dataclass(frozen=True)
class _Picture:
    """An image and the depth image that belongs to it, which may be None; to a synchronizer, a message like any."""

    image: Image | CompressedImage
    depth: Image | None

    @property
    def header(self):
        return self.image.header


class CameraInput:
    """Listens to a camera, and passes on its images, each with its calibration, and its depth image if there are some.

    The node's parameters `image_transport`, `depth_topic`, `qos_reliability`, `sync_mode`, `sync_slop` and
    `sync_queue_size` count as they are when this is made, `default_fov_degrees` as it is when an image comes.
    """

    def __init__(
        self,
        node: Node,
        prefix: str,
        on_image: Callable[[], None],
        on_frame: Callable[[object, object, object], None],
    ):
        """Subscribe.

        Args:
            node: whose subscriptions these are.
            prefix: of the names `image`, `camera_info` and `depth_topic`, before they are resolved.
            on_image: called for every image that arrives.
            on_frame: called with image, camera_info and depth image of every image that can be processed; camera_info
                is None where a field of view is to be assumed, and the depth image where none is wanted.
        """
        self._node, self._prefix, self._on_image, self._on_frame = node, prefix, on_image, on_frame
        self._started = self._last_image = time.monotonic()
        self._first_image: float | None = None
        self._camera_info = None  # the newest
        self._frame_ids: set[str] = set()  # of camera_info
        self._unpaired = self._without_depth = 0

        transport = node.get_parameter("image_transport").value
        reliability = ReliabilityPolicy[node.get_parameter("qos_reliability").value.upper()]
        self._sync_mode = node.get_parameter("sync_mode").value
        queue_size, slop = (node.get_parameter(name).value for name in ("sync_queue_size", "sync_slop"))
        self._pairing = make_pairing(self._sync_mode, queue_size, slop, self._pair)
        image_type = {"raw": Image, "compressed": CompressedImage}[transport]
        # The image topic is resolved before the transport is appended, as image_transport does it: remapping `image` is
        # enough for both transports.
        topic = node.resolve_topic_name(f"{prefix}image") + ("/compressed" if transport == "compressed" else "")
        qos = QoSProfile(depth=5, reliability=reliability)
        self._images = node.create_subscription(image_type, topic, self._add_image, qos)
        self._camera_infos = node.create_subscription(CameraInfo, f"{prefix}camera_info", self._add_camera_info, qos)
        self._depth_topic = node.get_parameter("depth_topic").value
        self._depths = self._depth_pairing = None
        if self._depth_topic:
            # The newest of all depth images does not do, so these have stamps to go by in any mode.
            mode = "exact" if self._sync_mode == "exact" else "approximate"
            self._depth_pairing = make_pairing(mode, queue_size, slop, self._add_picture)
            self._depths = node.create_subscription(
                Image, prefix + self._depth_topic, self._depth_pairing.add_partner, qos
            )
        self._kept_camera_infos = None
        self._hear_what_was_kept()

    def close(self):
        """Unsubscribe."""
        for subscription in (self._images, self._camera_infos, self._kept_camera_infos, self._depths):
            if subscription:
                self._node.destroy_subscription(subscription)

    @property
    def image_topic(self) -> str:
        """Name of the topic that images come from."""
        return self._images.topic_name

    def __str__(self) -> str:
        depth = f", depth on {_described(self._depths)}" if self._depths else ""
        return f"images on {_described(self._images)} and camera_info on {_described(self._camera_infos)}{depth}"

    def _add_image(self, image):
        self._last_image = time.monotonic()
        self._first_image = self._first_image or self._last_image
        self._unpaired += 1
        self._without_depth += 1
        self._on_image()
        if self._depth_pairing:
            self._depth_pairing.add_image(image)
        else:
            self._add_picture(image, None)

    def _add_picture(self, image, depth):
        self._without_depth = 0
        picture = _Picture(image, depth)
        if self._is_camera_to_be_assumed():
            self._pair(picture, None)
        else:
            self._pairing.add_image(picture)

    def _add_camera_info(self, camera_info):
        if camera_info == self._camera_info:
            return  # both subscriptions hear a publisher that keeps what it sent
        self._camera_info = camera_info
        self._frame_ids.add(camera_info.header.frame_id)
        self._pairing.add_partner(camera_info)

    def _pair(self, picture, camera_info):
        self._unpaired = 0
        self._on_frame(picture.image, camera_info, picture.depth)

    def _is_camera_to_be_assumed(self) -> bool:
        if self._frame_ids or self._node.get_parameter("default_fov_degrees").value == 0:
            return False
        waited = time.monotonic() - self._first_image >= _CAMERA_INFO_PATIENCE
        return waited or not self._node.count_publishers(self._camera_infos.topic_name)

    def _hear_what_was_kept(self):
        """Subscribe so as to hear publishers that send camera_info once, and keep it for subscribers to come.

        Not before there is one: other publishers would warn that they do not keep what they send.
        """
        publishers = self._node.get_publishers_info_by_topic(self._camera_infos.topic_name)
        kept = DurabilityPolicy.TRANSIENT_LOCAL
        if not self._kept_camera_infos and any(p.qos_profile.durability == kept for p in publishers):
            qos = QoSProfile(depth=1, durability=kept, reliability=ReliabilityPolicy.RELIABLE)
            self._kept_camera_infos = self._node.create_subscription(
                CameraInfo, f"{self._prefix}camera_info", self._add_camera_info, qos
            )

    def watch(self) -> Problem | None:
        """Look after the topics; to be called about once a second.

        Returns:
            What keeps images from being processed at the moment, if anything does.
        """
        self._hear_what_was_kept()
        return self._problem()

    def _problem(self) -> Problem | None:
        silence = time.monotonic() - self._last_image
        if silence >= _SILENCE:
            ever = "" if self._first_image is None else " any more"
            return Problem(
                "no_images",
                f"No image arrives{ever} on {_described(self._images)}: {self._publishers(self._images, 'image')}",
                False,
            )
        if self._without_depth >= _LONG_WAIT:
            return Problem(
                "no_depth",
                f"Images arrive on {self.image_topic}, but are not processed, as no depth image with their stamps "
                f"arrives on {_described(self._depths)}: {self._publishers(self._depths, self._depth_topic)} Or set "
                "depth_topic to '' to do without.",
                True,
            )
        if self._unpaired < _LONG_WAIT:
            return None
        if not self._frame_ids:
            return Problem(
                "no_camera_info",
                f"Images arrive on {self.image_topic}, but are not processed, as no camera_info arrives on "
                f"{_described(self._camera_infos)}: {self._publishers(self._camera_infos, 'camera_info')} Or set "
                "default_fov_degrees to go on with a guessed field of view.",
                True,
            )
        if self._sync_mode == "latest":
            return Problem(
                "no_common_frame_ids",
                f"No camera_info on {self._camera_infos.topic_name} has the frame_id of the images on "
                f"{self.image_topic}; those that came have {', '.join(map(repr, sorted(self._frame_ids)))}.",
                True,
            )
        return Problem(
            "no_common_stamps",
            f"Images on {self.image_topic} and camera_info on {self._camera_infos.topic_name} have no stamps in "
            "common; set sync_mode to approximate (or raise sync_slop), or to latest where camera_info comes once or "
            "less often than images.",
            True,
        )

    def _publishers(self, subscription, name: str) -> str:
        """Who publishes the topic of a subscription, as a clause, and what to do if that is the wrong one."""
        wanted = _type_name(subscription.msg_type)
        name = self._prefix + name
        publishers = self._node.get_publishers_info_by_topic(subscription.topic_name)
        if wanted in (publisher.topic_type for publisher in publishers):
            return f"{_listed(publishers)} it, but sends nothing that arrives."
        if not publishers:
            return f"nobody publishes it. Start the camera, or remap {name}.{self._alternatives(wanted)}"
        return f"{_listed(publishers)} it, with another type. Remap {name}.{self._alternatives(wanted)}"

    def _alternatives(self, type_name: str) -> str:
        """Topics of a type that somebody publishes, as a sentence."""
        own = self._node.get_fully_qualified_name() + "/"
        found = [
            name
            for name, types in self._node.get_topic_names_and_types()
            if type_name in types and not name.startswith(own) and self._node.count_publishers(name)
        ]
        return f" Topics of that type: {', '.join(sorted(found))}." if found else ""


def _type_name(message_type) -> str:
    return f"sensor_msgs/msg/{message_type.__name__}"


def _described(subscription) -> str:
    return f"{subscription.topic_name} ({_type_name(subscription.msg_type)})"


def _listed(publishers) -> str:
    """For example: /camera (sensor_msgs/msg/Image) publishes."""
    names = {f"{p.node_namespace.rstrip('/')}/{p.node_name} ({p.topic_type})" for p in publishers}
    return f"{', '.join(sorted(names))} {'publishes' if len(names) == 1 else 'publish'}"
