"""`make demo`: a recording goes through real DDS and the real node, and comes back as a bag and a video with skeletons.

Three processes: the node, a player that publishes the recording like a camera, and this one, which records what
arrives. All numbers of the summary are taken from the recorded bag.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from metrabs_core.cameras import DEFAULT_FOV_DEGREES
from metrabs_core.drawing import draw_people
from metrabs_core.errors import UserError
from metrabs_core.videos import VideoWriter
from metrabs_ros.child_processes import ChildProcess, Interruption
from metrabs_ros.result_topics import PERSONS_TOPIC, RESULT_TYPES, SKELETON_TOPIC
from metrabs_ros.transport import use_profile

# What is shown of a longer recording.
SECONDS = 30.0

NODE_TOPICS = {**RESULT_TYPES, "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray"}
# All that a demo may leave in its output folder.
OUTPUTS = ("input.mcap", "result.mcap", "overlay.mp4", "overlay.png", "summary.json", "node.log")

_START_TIMEOUT = 180.0  # s, for the node to load its model
_IDLE_TIMEOUT = 5.0  # s without a result after the last image, until it counts as dropped
_PNG_WIDTH = 1920  # pixels

_interruption = Interruption()


class DemoError(UserError):
    """Why the demo failed: one sentence for the user."""


class Request(NamedTuple):
    """What to show.

    Attributes:
        source: whatever `open_recording` takes.
        image_topic: '' where the recording has only one.
        camera_info_topic: '' for the one that belongs to the images by its name, or the only one.
        rectified: the images are rectified: take P of camera_info, and no distortion.
        model: directory of an exported model; '' for the packaged one.
    """

    source: str
    image_topic: str = ""
    camera_info_topic: str = ""
    rectified: bool = False
    model: str = ""


def run_demo(request: Request, output: Path) -> dict:
    """Send a recording through the node.

    Args:
        request: what to show.
        output: folder for the results, see `OUTPUTS`; they appear there when all of them are complete.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        UserError: one sentence about what is wrong.
    """
    source = Path(request.source).resolve()
    _prepare(source, output)
    with tempfile.TemporaryDirectory(dir=output, prefix=".demo.") as folder:
        folder = Path(folder)
        try:
            summary = _record(request, folder)
        except DemoError:
            if (folder / "node.log").exists():
                (folder / "node.log").replace(output / "node.log")
            raise
        _say("drawing the skeletons into the images")
        _write_overlay(folder, summary)
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        for name in OUTPUTS:
            if (output / name).resolve() != source:
                (output / name).unlink(missing_ok=True)
            if (folder / name).exists():
                (folder / name).replace(output / name)
    return summary


def _prepare(source: Path, output: Path):
    """Make the folder for the results, and check that they can be put there."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"The folder {output} for the results can't be made ({error.strerror}).") from error
    there = [name for name in OUTPUTS if (output / name).exists() and name != "node.log"]
    if there and "summary.json" not in there:
        raise DemoError(f"{output / there[0]} is not of an earlier demo, and would be replaced: move it elsewhere.")
    for name in there:
        if (output / name).is_dir():
            raise DemoError(
                f"{output / name} is a folder, and a file of that name is to be written: move it elsewhere."
            )
        if (output / name).resolve() == source and name != "input.mcap":
            raise DemoError(f"{output / name} would be replaced by the result of showing it: move it elsewhere.")


class _Played(NamedTuple):
    """A bag to be played, and its topics there."""

    bag: Path
    image_topic: str
    image_type: str
    camera_info_topic: str | None


def _find(request: Request, folder: Path) -> _Played:
    """Find the images and their camera; a video or pictures become a bag in the folder."""
    from metrabs_ros.bags.media import Media
    from metrabs_ros.bags.opening import open_recording
    from metrabs_ros.bags.topics import find_camera_info_topic, find_image_topic
    from metrabs_ros.bags.writer import copy

    source = request.source
    with open_recording(source, DEFAULT_FOV_DEGREES) as recording:
        image_topic = find_image_topic(recording, request.image_topic, "TOPIC=NAME (without make: --image-topic NAME)")
        camera_info_topic = find_camera_info_topic(
            recording,
            image_topic,
            request.camera_info_topic,
            "CAMERA_INFO_TOPIC=NAME (without make: --camera-info-topic NAME)",
        )
        bag = recording.path
        if isinstance(recording, Media):
            bag = folder / "input.mcap"
            _say(f"turning {source} into a bag")
            copy(recording, bag, SECONDS)
            _say(
                f"camera_info states a field of view of {DEFAULT_FOV_DEGREES:g} degrees; distances scale with its truth"
            )
        elif camera_info_topic is None:
            _say(f"{source} has no camera_info: a field of view of {DEFAULT_FOV_DEGREES:g} degrees is assumed")
        return _Played(bag, image_topic, recording.topics[image_topic].type, camera_info_topic)


def _record(request: Request, folder: Path) -> dict:
    """Play the recording through the node into `folder/result.mcap`. Returns the summary."""
    # Only now, after main() has chosen how processes find each other.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from metrabs_ros import bag_player
    from metrabs_ros.bag_recorder import Recorder
    from metrabs_ros.bags.recording import CAMERA_INFO_TYPE, COMPRESSED_IMAGE_TYPE
    from metrabs_ros.bags.writer import BagWriter

    played = _find(request, folder)
    compressed = played.image_type == COMPRESSED_IMAGE_TYPE
    inputs = {bag_player.COMPRESSED_TOPIC if compressed else bag_player.IMAGE_TOPIC: played.image_type}
    if played.camera_info_topic:
        inputs[bag_player.CAMERA_INFO_TOPIC] = CAMERA_INFO_TYPE

    _say("starting the node and loading the model")
    begin = time.monotonic()
    context, log_path = rclpy.Context(), folder / "node.log"
    arguments = _node_arguments(request, played, compressed)
    with (
        open(log_path, "w") as log,
        ChildProcess(_interruption, "metrabs_ros.node", *arguments, stdout=log, stderr=log) as node,
    ):
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            with BagWriter(folder / "result.mcap") as writer:
                recorder = Recorder(context, writer, NODE_TOPICS | inputs, latched=(SKELETON_TOPIC,))
                while any(recorder.count_subscribers(topic) < 2 for topic in inputs):
                    recorder.spin_once(0.05)
                    _check_node(node, log_path)
                    if time.monotonic() - begin > _START_TIMEOUT:
                        raise DemoError(f"The node was not ready after {_START_TIMEOUT:.0f} s.")
                load_seconds = time.monotonic() - begin
                _say(f"playing {request.source} at its recorded rate, {SECONDS:g} s at most, and recording the results")
                n_frames = _play(played, recorder, lambda: _check_node(node, log_path))
                recorder.close()
        finally:
            rclpy.try_shutdown(context=context)
    return _summarize(folder / "result.mcap", n_frames, load_seconds, log_path.read_text())


def _node_arguments(request: Request, played: _Played, compressed: bool) -> list[str]:
    parameters = {"image_transport": "compressed" if compressed else "raw", "rectified": request.rectified}
    if request.model:
        parameters["model"] = request.model
    if not played.camera_info_topic:
        parameters["default_fov_degrees"] = DEFAULT_FOV_DEGREES
    # The node reads values as YAML, and so a path with a colon or a number sign must stand in quotes; JSON is YAML.
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in parameters.items()}
    return ["--ros-args", *(item for name, value in values.items() for item in ("-p", f"{name}:={value}"))]


def _play(played: _Played, recorder, check_node) -> int:
    """Play and record until every image has had its chance. Returns the number of images played."""
    arguments = [str(played.bag.absolute()), "--subscribers=2", f"--seconds={SECONDS}"]
    arguments.append(f"--image-topic={played.image_topic}")
    if played.camera_info_topic:
        arguments.append(f"--camera-info-topic={played.camera_info_topic}")
    with ChildProcess(_interruption, "metrabs_ros.bag_player", *arguments, stdout=subprocess.PIPE) as player:
        while player.poll() is None:
            recorder.spin_once(0.05)
            check_node()
        if player.returncode:
            raise DemoError("The recording could not be played; see the error above.")
        n_frames = int(player.stdout.read())
    end = time.monotonic()
    while recorder.counts[PERSONS_TOPIC] < n_frames:
        recorder.spin_once(0.05)
        check_node()
        if time.monotonic() - max(end, recorder.last_arrival.get(PERSONS_TOPIC, end)) > _IDLE_TIMEOUT:
            break
    return n_frames


def _check_node(node: subprocess.Popen, log: Path):
    if node.poll() is not None:
        lines = log.read_text().strip().splitlines()
        raise DemoError(f"The node ended: {lines[-1] if lines else f'exit code {node.returncode}'}")


def _summarize(bag: Path, n_frames: int, load_seconds: float, log: str) -> dict:
    from rclpy.serialization import deserialize_message

    from metrabs_msgs.msg import PersonArray
    from metrabs_ros.bags.opening import open_recording
    from metrabs_ros.bags.recording import stamp_ns

    stamps, latencies, counts, ids = [], [], [], set()
    with open_recording(bag) as recording:
        for message in recording.messages([PERSONS_TOPIC]):
            persons = deserialize_message(message.data, PersonArray)
            stamps.append(stamp_ns(persons.header))
            latencies.append((message.time_ns - stamps[-1]) * 1e-6)
            counts.append(len(persons.persons))
            ids |= {person.id for person in persons.persons}
    if not stamps:
        lines = log.strip().splitlines()
        raise DemoError(f"The node processed none of {n_frames} images. {lines[-1] if lines else ''}".strip())
    duration = (stamps[-1] - stamps[0]) * 1e-9
    return {
        "frames_in": n_frames,
        "frames_processed": len(stamps),
        "frames_dropped": n_frames - len(stamps),
        "fps": round((len(stamps) - 1) / duration, 2) if duration else None,
        "latency_ms": {
            "median": round(float(np.median(latencies)), 1),
            "p95": round(float(np.percentile(latencies, 95)), 1),
        },
        "load_s": round(load_seconds, 2),
        "persons_mean": round(float(np.mean(counts)), 2),
        "tracks": len(ids),
    }


def _write_overlay(folder: Path, summary: dict):
    """Draw the recorded persons into the recorded images: `overlay.mp4` of all, `overlay.png` of the fullest image."""
    from rclpy.serialization import deserialize_message

    from metrabs_msgs.msg import PersonArray, Skeleton
    from metrabs_ros.bags.opening import open_recording
    from metrabs_ros.bags.recording import stamp_ns
    from metrabs_ros.bags.topics import find_image_topic
    from metrabs_ros.image_conversion import to_rgb
    from metrabs_ros.person_messages import people_from_message, skeleton_from_message

    with open_recording(folder / "result.mcap") as recording:
        persons_at = {}
        for message in recording.messages([PERSONS_TOPIC]):
            persons = deserialize_message(message.data, PersonArray)
            persons_at[stamp_ns(persons.header)] = persons
        skeletons = (deserialize_message(m.data, Skeleton) for m in recording.messages([SKELETON_TOPIC]))
        skeleton = skeleton_from_message(next(skeletons))
        start, fullest = min(persons_at), max(persons_at, key=lambda stamp: len(persons_at[stamp].persons))
        progress = tqdm(total=summary["frames_processed"], unit="image", desc="overlay", disable=None)
        video = VideoWriter(folder / "overlay.mp4") if len(persons_at) > 1 else None
        with progress, video or contextlib.nullcontext():
            for message in recording.messages([find_image_topic(recording)]):
                image_message = recording.deserialize(message)
                stamp = stamp_ns(image_message.header)
                if stamp not in persons_at:
                    continue
                people = people_from_message(persons_at[stamp], skeleton)
                arrays = people.boxes, people.poses2d, people.poses3d, people.ids
                image = draw_people(to_rgb(image_message), *arrays, skeleton)
                if video:
                    video.write(image, (stamp - start) * 1e-9)
                if stamp == fullest:
                    scale = min(1.0, _PNG_WIDTH / image.shape[1])
                    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                    cv2.imwrite(str(folder / "overlay.png"), image[..., ::-1])
                progress.update()


def _isolate():
    """Let the demo's processes find each other, and no other robot's."""
    use_profile()
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def _say(text: str):
    print(f"demo: {text}", flush=True)


def main(args=None) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Skeletons for a recording, through the real node.")
    parser.add_argument("input", help="a video, a picture, a folder of pictures, a rosbag2 folder or a .mcap file")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--image-topic", default="", help="where a bag has several image topics")
    parser.add_argument(
        "--camera-info-topic", default="", help="default: camera_info beside the images, or the only one"
    )
    parser.add_argument(
        "--rectified", action="store_true", help="the images are rectified (image_rect), as the node's parameter"
    )
    parser.add_argument("--model", default="", help="name of a packaged model, or folder of any (default: accurate)")
    arguments = parser.parse_args(args)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interruption.on_signal)
    _isolate()
    request = Request(
        arguments.input, arguments.image_topic, arguments.camera_info_topic, arguments.rectified, arguments.model
    )
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _say(str(message))
        try:
            summary = run_demo(request, arguments.output)
        except UserError as error:
            print(f"demo: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("demo: interrupted", file=sys.stderr)
            return 130
    latency = summary["latency_ms"]
    _say(
        f"{summary['frames_processed']} of {summary['frames_in']} images processed, {summary['persons_mean']} people "
        f"per image, {summary['tracks']} tracks, latency {latency['median']} ms (95 %: {latency['p95']} ms)"
    )
    if 2 * summary["frames_processed"] < summary["frames_in"] and not arguments.model:
        _say("this computer processes more images with the smaller model: make demo MODEL=fast")
    for name in OUTPUTS:
        if (arguments.output / name).exists():
            print(f"  {arguments.output / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
