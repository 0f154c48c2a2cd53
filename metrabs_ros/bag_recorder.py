"""Records topics into a bag as they arrive."""

import functools
import importlib
import time

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from metrabs_ros.bags.message_types import known_topic
from metrabs_ros.bags.recording import Message
from metrabs_ros.bags.writer import BagWriter

# Enough for a second of images while the disk is busy.
_QUEUE_DEPTH = 100


class Recorder:
    """Subscribes to topics and writes every message, unopened, with the time of its arrival.

    Attributes:
        counts: topic -> number of messages until now.
        last_arrival: topic -> steady time of its latest message, s.
    """

    def __init__(self, context, writer: BagWriter, topics: dict[str, str], latched=()):
        """Subscribe.

        Args:
            context: initialized rclpy context.
            writer: open bag.
            topics: name -> message type ("sensor_msgs/msg/Image").
            latched: names of the topics whose message from before the start is wanted, too (transient local).
        """
        self.counts = dict.fromkeys(topics, 0)
        self.last_arrival = {}
        self._writer = writer
        self._node = rclpy.create_node("bag_recorder", context=context)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        for topic, message_type in topics.items():
            writer.add_topic(known_topic(topic, message_type, latched=topic in latched))
            durability = DurabilityPolicy.TRANSIENT_LOCAL if topic in latched else DurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=_QUEUE_DEPTH, reliability=ReliabilityPolicy.RELIABLE, durability=durability)
            callback = functools.partial(self._on_message, topic)
            self._node.create_subscription(_message_class(message_type), topic, callback, qos, raw=True)

    def spin_once(self, timeout: float):
        """Receive what comes within `timeout` seconds, one message at most."""
        self._executor.spin_once(timeout)

    def count_subscribers(self, topic: str) -> int:
        """How many subscribers of a topic there are in all, this one included."""
        return self._node.count_subscribers(topic)

    def close(self):
        """Unsubscribe."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _on_message(self, topic: str, data: bytes):
        self._writer.write(Message(topic, time.time_ns(), data))
        self.counts[topic] += 1
        self.last_arrival[topic] = time.monotonic()


def _message_class(message_type: str):
    package, _, name = message_type.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name)
