"""Plays the images of a recording into ROS as a camera driver would publish them now.

    python -m metrabs_ros.bag_player RECORDING

Images come at the rate at which they were recorded, on `/image` or `/image/compressed`, each with its camera_info on
`/camera_info`. Both get the time of publishing as their stamp, so that receivers can measure latency and synchronize.
"""

import argparse
import math
import sys
import time

import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import COMPRESSED_IMAGE_TYPE, MessageError, Recording, RecordingError, stamp_ns
from metrabs_ros.bags.topics import CameraInfos, find_camera_info_topic, find_image_topic

IMAGE_TOPIC, COMPRESSED_TOPIC, CAMERA_INFO_TOPIC = "/image", "/image/compressed", "/camera_info"
# How long a player waits for its subscribers, s; a node may be loading its model.
_DISCOVERY_TIMEOUT = 180.0
# The recorded rate starts after this many seconds, in which the first message has found its way.
_LEAD_TIME = 0.2


class PlayerError(UserError):
    """Nobody to play to; the message is one sentence for the user."""


def play(
    recording: Recording, n_subscribers: int = 1, image_topic=None, camera_info_topic=None, seconds: float = math.inf
) -> int:
    """Publish all images of a recording, with the camera_info (if it has any) that belongs to each.

    Args:
        recording: to play.
        n_subscribers: each topic is waited for until this many have subscribed.
        image_topic: where the recording has several.
        camera_info_topic: default as in `metrabs-bag`.
        seconds: how much of the recording to play.

    Returns:
        The number of images.

    Raises:
        RecordingError: the recording has no images, or can't be read.
        PlayerError: the subscribers did not come.
    """
    image_topic = find_image_topic(recording, image_topic)
    camera_info_topic = find_camera_info_topic(recording, image_topic, camera_info_topic)
    cameras = CameraInfos(recording, camera_info_topic) if camera_info_topic else None
    compressed = recording.topics[image_topic].type == COMPRESSED_IMAGE_TYPE

    node = rclpy.create_node("bag_player")
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
    images = node.create_publisher(
        CompressedImage if compressed else Image, COMPRESSED_TOPIC if compressed else IMAGE_TOPIC, qos
    )
    camera_infos = cameras and node.create_publisher(CameraInfo, CAMERA_INFO_TOPIC, qos)
    try:
        for publisher in filter(None, (images, camera_infos)):
            _wait_for_subscribers(publisher, n_subscribers)
        n_images = _publish(recording, image_topic, cameras, images, camera_infos, node.get_clock(), seconds)
        if not n_images:
            raise RecordingError(f"The topic {image_topic} of {recording.path} has no messages.")
        # What is still on its way must not be lost with the publisher.
        images.wait_for_all_acked(Duration(seconds=5))
        return n_images
    finally:
        node.destroy_node()


def _publish(recording, image_topic, cameras, images, camera_infos, clock, seconds) -> int:
    """Publish at the recorded rate; see `play`."""
    n_images, begin = 0, None
    total = recording.topics[image_topic].count
    with tqdm(total=total, unit="image", desc="playing", mininterval=0.5, disable=None) as progress:
        for message in recording.messages([image_topic]):
            if begin is None:
                first = time.monotonic() + _LEAD_TIME
                begin = first - message.time_ns * 1e-9
            if begin + message.time_ns * 1e-9 >= first + seconds:
                break
            try:
                image = recording.deserialize(message)
            except MessageError:
                continue
            info = cameras and cameras.nearest(stamp_ns(image.header))
            time.sleep(max(0.0, begin + message.time_ns * 1e-9 - time.monotonic()))
            image.header.stamp = clock.now().to_msg()
            if cameras:
                info.header = image.header
                camera_infos.publish(info)
            images.publish(image)
            n_images += 1
            progress.update()
    return n_images


def _wait_for_subscribers(publisher, n_subscribers: int):
    end = time.monotonic() + _DISCOVERY_TIMEOUT
    while publisher.get_subscription_count() < n_subscribers:
        if time.monotonic() > end:
            raise PlayerError(
                f"{publisher.topic_name} has {publisher.get_subscription_count()} subscribers after "
                f"{_DISCOVERY_TIMEOUT:.0f} s, {n_subscribers} were expected."
            )
        time.sleep(0.01)


def main(args=None) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Plays the images of a recording into ROS with the present time.")
    parser.add_argument("recording", help="a rosbag2 folder, a .mcap file, a video, a picture or a folder of pictures")
    parser.add_argument("--subscribers", type=int, default=1, help="wait until each topic has so many")
    parser.add_argument("--image-topic", help="where a bag has several image topics")
    parser.add_argument("--camera-info-topic", help="default: camera_info beside the images, or the only one")
    parser.add_argument("--seconds", type=float, default=math.inf, help="play only the first seconds")
    arguments = parser.parse_args(args)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C raises KeyboardInterrupt as usual
    try:
        with open_recording(arguments.recording) as recording:
            n_images = play(
                recording,
                arguments.subscribers,
                arguments.image_topic,
                arguments.camera_info_topic,
                arguments.seconds,
            )
    except UserError as error:
        print(f"bag_player: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()
    print(n_images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
