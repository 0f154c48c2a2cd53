"""Definitions of the message types of ROS 2 and of metrabs_msgs, and messages as bytes."""

from functools import cache
from pathlib import Path

from rclpy.serialization import serialize_message
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

import metrabs_msgs
from metrabs_ros.bags.recording import Topic

_FOREVER = QosTime(9223372036, 854775807)

# Quality of service of a topic whose last message a late subscriber gets, too.
LATCHED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=1,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.TRANSIENT_LOCAL,
    deadline=_FOREVER,
    lifespan=_FOREVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOREVER,
    avoid_ros_namespace_conventions=False,
)


@cache
def _typestore():
    """A rosbags typestore with the types of ROS 2 and of metrabs_msgs."""
    store = get_typestore(Stores.ROS2_KILTED)
    share = next(
        parent / "share/metrabs_msgs"
        for parent in Path(metrabs_msgs.__file__).parents
        if (parent / "share/metrabs_msgs/msg").is_dir()
    )
    types = {}
    for path in share.glob("msg/*.msg"):
        types |= get_types_from_msg(path.read_text(), f"metrabs_msgs/msg/{path.stem}")
    store.register(types)
    return store


def known_definition(message_type: str) -> str:
    """The definition of a type of ROS 2 or of metrabs_msgs, see `Topic`; '' for any other."""
    store = _typestore()
    return store.generate_msgdef(message_type, ros_version=2)[0] if message_type in store.fielddefs else ""


def known_topic(name: str, message_type: str, count: int = 0, latched: bool = False) -> Topic:
    """A topic with a type of ROS 2 or of metrabs_msgs."""
    type_hash = _typestore().hash_rihs01(message_type)
    return Topic(name, message_type, count, known_definition(message_type), type_hash, [LATCHED] if latched else [])


def definition_hash(definition: str, message_type: str) -> str:
    """RIHS01 hash of a type, computed from its definition; '' if rosbags can't make sense of it."""
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(get_types_from_msg(definition, message_type))
        return store.hash_rihs01(message_type)
    except Exception:  # rosbags names no exception for what foreign definitions do to its parser
        return ""


def to_cdr(message, message_type: str) -> bytes:
    """The bytes of an rclpy message of a known type, the same for equal messages.

    Fast CDR leaves whatever was in memory in the gaps between fields; rosbags writes zeros.
    """
    store = _typestore()
    return bytes(store.serialize_cdr(store.deserialize_cdr(serialize_message(message), message_type), message_type))
