"""The stand-in for tf2_ros: trees of frames against matrices, and through DDS."""

import numpy as np
import pytest
from conftest import destroy, wait_for
from geometry_msgs.msg import TransformStamped
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from metrabs_ros.tf2_fallback import Buffer, TransformBroadcaster, TransformException, TransformListener


def transform(parent, child, seconds, matrix) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, Time(seconds=seconds).to_msg()
    q, t = message.transform.rotation, message.transform.translation
    q.x, q.y, q.z, q.w = Rotation.from_matrix(matrix[:3, :3]).as_quat().tolist()
    t.x, t.y, t.z = matrix[:3, 3].tolist()
    return message


def matrix_of(message) -> np.ndarray:
    q, t = message.transform.rotation, message.transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix()
    matrix[:3, 3] = t.x, t.y, t.z
    return matrix


def random_matrix(rng) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=int(rng.integers(2**31))).as_matrix()
    matrix[:3, 3] = rng.normal(size=3)
    return matrix


@settings(max_examples=30, deadline=None)
@given(parents=st.lists(st.integers(0, 100), min_size=1, max_size=8), seed=st.integers(0, 2**31), data=st.data())
def test_any_two_frames_of_a_tree_are_found(parents, seed, data):
    rng, buffer = np.random.default_rng(seed), Buffer()
    to_root = [np.eye(4)]
    for frame, parent in enumerate(parents, start=1):
        parent, matrix = parent % frame, random_matrix(rng)
        to_root.append(to_root[parent] @ matrix)
        if rng.random() < 0.5:
            buffer.set_transform_static(transform(f"f{parent}", f"f{frame}", 0, matrix))
        else:
            for seconds in (10, 11, 12):
                buffer.set_transform(transform(f"f{parent}", f"/f{frame}", seconds, matrix))
    target, source = (data.draw(st.integers(0, len(parents))) for _ in range(2))
    found = buffer.lookup_transform(f"f{target}", f"f{source}", Time(seconds=11.5))
    assert (found.header.frame_id, found.child_frame_id) == (f"f{target}", f"f{source}")
    np.testing.assert_allclose(matrix_of(found), np.linalg.inv(to_root[target]) @ to_root[source], atol=1e-9)


def test_places_between_two_stamps_are_interpolated_whatever_their_order_was():
    buffer, turned = Buffer(), np.eye(4)
    turned[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    turned[:3, 3] = 4, 0, 2
    for message in (transform("map", "base", 6, turned), transform("map", "base", 5, np.eye(4))):
        buffer.set_transform(message)
    found = matrix_of(buffer.lookup_transform("map", "base", Time(seconds=5.25)))
    np.testing.assert_allclose(found[:3, 3], [1, 0, 0.5])
    quarter = Rotation.from_euler("z", 22.5, degrees=True).as_matrix()
    np.testing.assert_allclose(found[:3, :3], quarter, atol=1e-9)
    np.testing.assert_allclose(matrix_of(buffer.lookup_transform("map", "base", Time(seconds=6))), turned, atol=1e-9)


@pytest.mark.parametrize(
    "target, source, seconds, words",
    [
        ("map", "base", 4.9, "known from 5.000 s to 6.000 s, but not at 4.900 s"),
        ("map", "base", 6.1, "not at 6.100 s"),
        ("map", "moon", 5.5, "moon and map are not connected"),
        ("a", "map", 5.5, "circle"),
    ],
)
def test_what_is_not_known_is_said(target, source, seconds, words):
    buffer = Buffer()
    for parent, child in (("map", "base"), ("a", "b"), ("b", "a")):
        for stamp in (5, 6):
            buffer.set_transform(transform(parent, child, stamp, np.eye(4)))
    with pytest.raises(TransformException, match=words):
        buffer.lookup_transform(target, source, Time(seconds=seconds))


def test_a_bag_that_starts_again_is_followed_and_memory_is_bounded():
    buffer = Buffer()
    for seconds in range(100, 200):
        buffer.set_transform(transform("map", "base", seconds, np.eye(4)))
    assert len(buffer._moving["base"]) == 11
    buffer.set_transform(transform("map", "base", 100, np.eye(4)))
    buffer.lookup_transform("map", "base", Time(seconds=100))


def test_transforms_come_through_dds_also_those_that_were_sent_before(ros):
    broadcaster = TransformBroadcaster(ros)
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = ros.create_publisher(TFMessage, "/tf_static", latched)
    static.publish(TFMessage(transforms=[transform("test_base", "test_eye", 0, np.eye(4))]))
    buffer = Buffer()
    listener = TransformListener(buffer, ros)
    matrix = random_matrix(np.random.default_rng(0))

    def found():
        broadcaster.sendTransform([transform("test_map", "test_base", 5, matrix)])
        try:
            return buffer.lookup_transform("test_map", "test_eye", Time(seconds=5), Duration(seconds=0.1))
        except TransformException:
            return None

    np.testing.assert_allclose(matrix_of(wait_for(found, "the transform")), matrix, atol=1e-9)
    wait_for(ros.executor.create_task(listener.unregister).done, "the executor")
    destroy(ros, ros.destroy_publisher, static)
