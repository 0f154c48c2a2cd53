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
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from metrabs_core.drawing import draw_people
from metrabs_core.errors import UserError
from metrabs_core.videos import VideoWriter

# What is shown of a longer recording.
SECONDS = 30.0
# Assumed for a recording without camera_info: field of view over the longer image side.
FOV_DEGREES = 55.0

PERSONS_TOPIC, SKELETON_TOPIC = "/metrabs_node/persons", "/metrabs_node/skeleton"
NODE_TOPICS = {
    PERSONS_TOPIC: "metrabs_msgs/msg/PersonArray",
    SKELETON_TOPIC: "metrabs_msgs/msg/Skeleton",
    "/metrabs_node/markers": "visualization_msgs/msg/MarkerArray",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
# All that a demo may leave in its output folder.
OUTPUTS = ("input.mcap", "result.mcap", "overlay.mp4", "overlay.png", "summary.json", "node.log")

_START_TIMEOUT = 180.0  # s, for the node to load its model
_IDLE_TIMEOUT = 5.0  # s without a result after the last image, until it counts as dropped
_STOP_TIMEOUT = 10.0  # s for a process to end by itself
_PNG_WIDTH = 1920  # pixels


class DemoError(UserError):
    """Why the demo failed: one sentence for the user."""


def run_demo(source: str, output: Path, model: str = "") -> dict:
    """Send a recording through the node.

    Args:
        source: whatever `bag_io.open_recording` takes.
        output: folder for the results, see `OUTPUTS`; they appear there when all of them are complete.
        model: directory of an exported model; '' for the packaged one.

    Returns:
        The summary, as in `summary.json`.

    Raises:
        DemoError, bag_io.RecordingError, bag_io.MessageError: one sentence each.
    """
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".demo.") as folder:
        folder = Path(folder)
        try:
            summary = _record(source, folder, model)
        except DemoError:
            if (folder / "node.log").exists():
                (folder / "node.log").replace(output / "node.log")
            raise
        _say("drawing the skeletons into the images")
        _write_overlay(folder, summary)
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        for name in OUTPUTS:
            if (output / name).resolve() != Path(source).resolve():
                (output / name).unlink(missing_ok=True)
            if (folder / name).exists():
                (folder / name).replace(output / name)
    return summary


def _record(source: str, folder: Path, model: str) -> dict:
    """Play `source` through the node into `folder/result.mcap`. Returns the summary."""
    # Only now, after main() has chosen how processes find each other.
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    from metrabs_ros import bag_io, bag_player
    from metrabs_ros.bag_recorder import Recorder

    with bag_io.open_recording(source, FOV_DEGREES) as recording:
        image_topic = bag_io.find_image_topic(recording)
        compressed = recording.topics[image_topic] == bag_io.COMPRESSED_IMAGE_TYPE
        has_camera_info = bag_io.find_camera_info_topic(recording, image_topic) is not None
        played = recording.path
        if isinstance(recording, bag_io.Media):
            played = folder / "input.mcap"
            _say(f"turning {source} into a bag")
            bag_io.copy(recording, played, SECONDS)
            _say(f"camera_info states a field of view of {FOV_DEGREES:g} degrees; distances scale with its truth")

    topics = dict(NODE_TOPICS)
    played_topic = bag_player.COMPRESSED_TOPIC if compressed else bag_player.IMAGE_TOPIC
    topics[played_topic] = recording.topics[image_topic]
    parameters = {"image_transport": "compressed" if compressed else "raw"}
    if model:
        parameters["model"] = model
    if has_camera_info:
        topics[bag_player.CAMERA_INFO_TOPIC] = bag_io.CAMERA_INFO_TYPE
    else:
        parameters["default_fov_degrees"] = FOV_DEGREES
        _say(f"{source} has no camera_info: a field of view of {FOV_DEGREES:g} degrees is assumed")

    _say("starting the node and loading the model")
    begin = time.monotonic()
    arguments = [item for name, value in parameters.items() for item in ("-p", f"{name}:={value}")]
    context = rclpy.Context()
    with (
        open(folder / "node.log", "w") as log,
        _ChildProcess("metrabs_ros.node", "--ros-args", *arguments, stdout=log, stderr=log) as node,
    ):
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            with bag_io.BagWriter(folder / "result.mcap") as writer:
                recorder = Recorder(context, writer, topics, latched=(SKELETON_TOPIC,))
                inputs = [topic for topic in topics if topic not in NODE_TOPICS]
                while any(recorder.count_subscribers(topic) < 2 for topic in inputs):
                    recorder.spin_once(0.05)
                    _check_node(node, folder / "node.log")
                    if time.monotonic() - begin > _START_TIMEOUT:
                        raise DemoError(f"The node was not ready after {_START_TIMEOUT:.0f} s.")
                load_seconds = time.monotonic() - begin
                _say(f"playing {source} at its recorded rate, {SECONDS:g} s at most, and recording the results")
                n_frames = _play(played, recorder, lambda: _check_node(node, folder / "node.log"))
                recorder.close()
        finally:
            rclpy.try_shutdown(context=context)
    return _summarize(folder / "result.mcap", n_frames, load_seconds, (folder / "node.log").read_text())


def _play(recording: Path, recorder, check_node) -> int:
    """Play and record until every image has had its chance. Returns the number of images played."""
    with _ChildProcess(
        "metrabs_ros.bag_player", str(recording), "--subscribers=2", f"--seconds={SECONDS}", stdout=subprocess.PIPE
    ) as player:
        while player.poll() is None:
            recorder.spin_once(0.05)
            check_node()
        if player.returncode:
            raise DemoError("The recording could not be played; the reason stands above.")
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


class _Interruption:
    """Turns SIGINT and SIGTERM into KeyboardInterrupt, but not while a child process is being started or ended."""

    def __init__(self):
        self._deferred = self._pending = False

    def on_signal(self, *_):
        if not self._deferred:
            raise KeyboardInterrupt
        self._pending = True

    def defer(self):
        self._deferred = True

    def allow(self):
        self._deferred = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt


_interruption = _Interruption()


class _ChildProcess:
    """A module of this package as a child process that doesn't outlive the block, together with its own children."""

    def __init__(self, module: str, *arguments: str, **streams):
        self._command = [sys.executable, "-m", module, *arguments]
        self._streams = streams

    def __enter__(self) -> subprocess.Popen:
        _interruption.defer()
        # In a session of its own, so that Ctrl-C in the terminal reaches only this process, which ends the others.
        self._process = subprocess.Popen(self._command, start_new_session=True, **self._streams)
        try:
            _interruption.allow()
        except KeyboardInterrupt:
            self.__exit__()
            raise
        return self._process

    def __exit__(self, *_):
        _interruption.defer()
        for number in (signal.SIGINT, signal.SIGKILL):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)
                try:
                    self._process.wait(_STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    continue
        if self._process.stdout:
            self._process.stdout.close()
        _interruption.allow()


def _summarize(bag: Path, n_frames: int, load_seconds: float, log: str) -> dict:
    from rclpy.serialization import deserialize_message

    from metrabs_msgs.msg import PersonArray
    from metrabs_ros.bag_io import open_recording, stamp_ns

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
    from metrabs_ros.bag_io import find_image_topic, open_recording, stamp_ns
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
    # Beside this package in the source tree, in the share folder of an installation.
    places = ("config/fastdds.xml", "share/metrabs_ros/config/fastdds.xml")
    parents = Path(__file__).resolve().parents
    profile = next(parent / place for parent in parents for place in places if (parent / place).exists())
    os.environ.setdefault("FASTDDS_DEFAULT_PROFILES_FILE", str(profile))
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.randint(1, 100)))
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


def _say(text: str):
    print(f"demo: {text}", flush=True)


def main(args=None) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description="Skeletons for a recording, through the real node.")
    parser.add_argument("input", help="a video, a picture, a folder of pictures, a rosbag2 folder or a .mcap file")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--model", default="", help="directory of an exported model (default: the packaged model)")
    arguments = parser.parse_args(args)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interruption.on_signal)
    _isolate()
    try:
        summary = run_demo(arguments.input, arguments.output, arguments.model)
    except (UserError, OSError) as error:
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
    for name in OUTPUTS:
        if (arguments.output / name).exists():
            print(f"  {arguments.output / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
