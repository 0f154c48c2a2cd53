"""The command `metrabs-bag`: every frame of a recording through the model, offline and deterministic.

    metrabs-bag INPUT OUTPUT

The output bag holds everything that the input holds, and persons, skeleton and markers on the topics on which the node
publishes them. Unlike the node, which drops what it has no time for, this takes the time that every frame needs.
"""

import argparse
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from metrabs_core import models
from metrabs_core.cameras import DEFAULT_FOV_DEGREES
from metrabs_core.errors import UserError
from metrabs_core.pipeline import People, PersonPipeline, PipelineSettings
from metrabs_core.process import keep_freed_memory
from metrabs_core.skeletons import Skeleton
from metrabs_core.smoothing import SMOOTHINGS
from metrabs_ros.bags.journal import PredictionJournal
from metrabs_ros.bags.media import Media
from metrabs_ros.bags.message_types import known_topic, to_cdr
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import Message, MessageError, Recording, RecordingError, stamp_ns
from metrabs_ros.bags.topics import CameraInfos, DepthImages, find_camera_info_topic, find_image_topic
from metrabs_ros.bags.writer import BagWriter
from metrabs_ros.camera_info import CameraInfoError, camera_of_image
from metrabs_ros.image_conversion import ImageError, to_depth, to_rgb
from metrabs_ros.markers import markers_message
from metrabs_ros.parameters import PIPELINE_PARAMETERS
from metrabs_ros.person_messages import persons_message, skeleton_message
from metrabs_ros.result_topics import MARKERS_TOPIC, PERSONS_TOPIC, RESULT_TYPES, SKELETON_TOPIC


def process(
    recording: Recording,
    output,
    model_path: str = "",
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    fov_degrees: float | None = None,
    settings: PipelineSettings = PipelineSettings(),  # noqa: B008 (it is immutable)
    force: bool = False,
    rectified: bool = False,
    depth_topic: str | None = None,
) -> Counter:
    """Write a copy of a recording with the people in its images.

    What the model found is kept beside the output while the work goes on, so that the same call after an interruption
    takes it from there; the result is the same as without the interruption. Topics that can't be read, and images that
    can't be used, are left out, with a warning.

    Args:
        recording: to read.
        output: the bag to write, see `BagWriter`.
        model_path: directory of an exported model; '' for the packaged one.
        image_topic: None where the recording has only one.
        camera_info_topic: None for the one that belongs to the images by its name, or the only one.
        fov_degrees: instead of camera_info: field of view over the longer side of the image.
        settings: how people are found and followed.
        force: replace an existing output.
        rectified: the images are rectified: take P of camera_info, and no distortion.
        depth_topic: depth images that belong to the images pixel by pixel, to correct people's distances by.

    Returns:
        Numbers of `images`, `persons`, of images `skipped` because they could not be decoded or used, and of images
        `without_depth`.

    Raises:
        UserError: one sentence about what is wrong with input or output.
    """
    image_topic = find_image_topic(recording, image_topic)
    place, source = Path(output).absolute(), recording.path.resolve()
    if place.resolve() in (source, *source.parents):
        raise RecordingError(f"{output} is or holds what is read: give the output another name.")
    journal_path = place.with_name(f".{place.name}.predictions")

    with BagWriter(output, force) as writer:
        # Finds out what is wrong with camera_info before the model is loaded, which takes seconds.
        find_camera = _find_camera(recording, image_topic, camera_info_topic, fov_degrees, rectified)
        depths = DepthImages(recording, depth_topic) if depth_topic else None
        pipeline = _load(model_path, settings)
        job = _describe_job(
            recording, model_path, image_topic, camera_info_topic, fov_degrees, asdict(settings), rectified, depth_topic
        )
        counts = Counter()
        detect = _detection(pipeline, find_camera, depths, counts)
        with PredictionJournal(journal_path, job, pipeline.skeleton) as journal:
            _process_images(recording, image_topic, detect, pipeline, journal, writer, counts)
    journal_path.unlink()
    return counts


def _detection(pipeline, find_camera, depths, counts) -> Callable:
    """A function of a recorded message and the image message in it, which gives the people, untracked."""

    def detect(message, image_message) -> People:
        image = to_rgb(image_message)
        camera, depth = find_camera(image_message.header, image), None
        if depths:
            found = depths.nearest(message.time_ns, stamp_ns(image_message.header))
            counts["without_depth"] += found is None
            depth = found and to_depth(found, *image.shape[1::-1])
        return pipeline.detect(image, camera, depth)

    return detect


def _process_images(recording, image_topic, detect, pipeline, journal, writer, counts):
    """Copy all messages, and add people after each image; see `process`."""
    for name, reason in recording.left_out.items():
        warnings.warn(f"The topic {name} is left out: {reason}.", stacklevel=3)
    copied = [topic for name, topic in recording.topics.items() if name not in RESULT_TYPES]
    for topic in copied:
        writer.add_topic(topic)
    results = _Results(writer, pipeline.skeleton)
    problem = None
    total = recording.topics[image_topic].count
    with tqdm(total=total, unit="image", mininterval=0.5, disable=None) as progress:
        for message in recording.messages([topic.name for topic in copied]):
            writer.write(message)
            if message.topic != image_topic:
                continue
            if not counts["images"]:
                results.begin(message.time_ns)
            try:
                image_message = recording.deserialize(message)
                candidates = journal.get(counts["images"])
                if candidates is None:
                    candidates = detect(message, image_message)
                    journal.put(counts["images"], candidates)
            except (MessageError, ImageError, CameraInfoError) as error:
                counts["skipped"] += 1
                problem = problem or str(error)
            else:
                people = pipeline.follow(candidates, stamp_ns(image_message.header) * 1e-9)
                results.add(message.time_ns, image_message.header, people)
                counts["persons"] += len(people)
            counts["images"] += 1
            progress.update()
    if not counts["images"]:
        raise RecordingError(f"The topic {image_topic} of {recording.path} has no messages.")
    if counts["skipped"] == counts["images"]:
        raise RecordingError(f"None of the {counts['images']} images could be used: {problem}")
    if problem:
        warnings.warn(f"{counts['skipped']} images were skipped; the first because: {problem}", stacklevel=3)
    if counts["without_depth"]:
        warnings.warn(
            f"{counts['without_depth']} images have no depth image of their stamp; their people's distances are those "
            "of the image alone.",
            stacklevel=3,
        )


class _Results:
    """The topics that the node would publish."""

    def __init__(self, writer: BagWriter, skeleton: Skeleton):
        self._writer, self._skeleton, self._shown_ids = writer, skeleton, set()
        for topic, message_type in RESULT_TYPES.items():
            writer.add_topic(known_topic(topic, message_type, latched=topic == SKELETON_TOPIC))

    def begin(self, time_ns: int):
        self._write(SKELETON_TOPIC, time_ns, skeleton_message(self._skeleton))

    def add(self, time_ns: int, header, people: People):
        persons = persons_message(header, people)
        self._write(PERSONS_TOPIC, time_ns, persons)
        self._write(MARKERS_TOPIC, time_ns, markers_message(persons, people.skeleton, self._shown_ids))
        self._shown_ids = set(people.ids.tolist())

    def _write(self, topic: str, time_ns: int, message):
        self._writer.write(Message(topic, time_ns, to_cdr(message, RESULT_TYPES[topic])))


def _load(model_path: str, settings: PipelineSettings) -> PersonPipeline:
    try:
        return PersonPipeline.load(model_path, settings)
    except (OSError, ValueError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _find_camera(recording, image_topic, camera_info_topic, fov_degrees, rectified) -> Callable:
    """A function of an image's header and the image, which gives the camera."""
    if fov_degrees is None and isinstance(recording, Media):
        fov_degrees = recording.fov_degrees  # camera_info says the same, but all images would be decoded for it
    if fov_degrees is not None:
        return lambda header, image: camera_of_image(None, *image.shape[1::-1], fov_degrees=fov_degrees)
    topic = find_camera_info_topic(recording, image_topic, camera_info_topic)
    if topic is None:
        raise RecordingError(
            f"{recording.path} has no camera_info; state the field of view over the longer image side with --fov."
        )
    infos = CameraInfos(recording, topic)
    return lambda header, image: camera_of_image(infos.nearest(stamp_ns(header)), *image.shape[1::-1], rectified)


def _describe_job(recording, model_path, *arguments) -> dict:
    """What the predictions depend on, as JSON."""

    def state(path: Path):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        files = [file for file in files if not file.name.endswith("-shm")]  # which SQLite makes while it reads
        return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    model = models.locate(model_path).resolve()
    return {"input": state(recording.path.resolve()), "model": state(model), "arguments": list(arguments)}


def _fov(text: str) -> float:
    value = float(text)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError("must be between 0 and 180 degrees")
    return value


def _limited(name: str) -> Callable[[str], float]:
    """Reads a number within the limits of the node's parameter of that name."""
    parameter = next(parameter for parameter in PIPELINE_PARAMETERS if parameter.name == name)
    low, high = parameter.limits

    def read(text: str):
        value = type(parameter.default)(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be between {low} and {high}")
        return value

    return read


def _parse(args) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="metrabs-bag",
        description="Finds the people in every image of a recording and writes a bag with everything that the "
        "recording holds and the people's 3D skeletons. An interrupted run resumes where it stopped when it is started "
        "again in the same way.",
    )
    parser.add_argument("input", help="a rosbag2 folder, a .mcap file, a video, a picture or a folder of pictures")
    parser.add_argument(
        "output", help="a bag: one MCAP file if the name ends in .mcap, else a rosbag2 folder (sqlite3)"
    )
    parser.add_argument("--image-topic", help="where a bag has several image topics")
    parser.add_argument("--camera-info-topic", help="default: camera_info beside the images, or the only one")
    parser.add_argument(
        "--depth-topic",
        help="depth images (16UC1 or 32FC1) that belong to the images pixel by pixel, to correct distances by",
    )
    parser.add_argument(
        "--fov",
        type=_fov,
        metavar="DEGREES",
        help="field of view over the longer image side, instead of camera_info (default for videos and pictures: "
        f"{DEFAULT_FOV_DEGREES:g})",
    )
    parser.add_argument(
        "--rectified",
        action="store_true",
        help="the images are rectified (image_rect): use camera_info's projection matrix P, and no distortion",
    )
    parser.add_argument("--model", default="", help="name of a packaged model, or folder of any (default: accurate)")
    parser.add_argument("--skeleton", help="joint convention, for example smpl_24 (default: all joints)")
    parser.add_argument(
        "--num-aug",
        type=_limited("num_aug"),
        metavar="N",
        help="crops per person, of whose poses one is made: 1 (default) is fastest",
    )
    parser.add_argument(
        "--threshold",
        type=_limited("detector_threshold"),
        metavar="SCORE",
        help="score from which a box counts as a person (default: the node's)",
    )
    parser.add_argument(
        "--smoothing", choices=SMOOTHINGS, help="of poses over time, with the One-Euro filter (default: off)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    arguments = parser.parse_args(args)
    if arguments.rectified and arguments.fov:
        parser.error("--rectified is about camera_info, which --fov replaces")
    return arguments


def main(args=None) -> int:
    """Run the command. Returns the exit code."""
    arguments = _parse(args)
    keep_freed_memory()
    options = {
        "skeleton": arguments.skeleton,
        "num_aug": arguments.num_aug,
        "detector_threshold": arguments.threshold,
        "smoothing": arguments.smoothing,
    }
    settings = PipelineSettings(**{name: value for name, value in options.items() if value is not None})
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(f"metrabs-bag: {message}", file=sys.stderr)
        try:
            with open_recording(arguments.input, arguments.fov or DEFAULT_FOV_DEGREES) as recording:
                counts = process(
                    recording,
                    arguments.output,
                    arguments.model,
                    arguments.image_topic,
                    arguments.camera_info_topic,
                    arguments.fov,
                    settings,
                    arguments.force,
                    arguments.rectified,
                    arguments.depth_topic,
                )
        except UserError as error:
            print(f"metrabs-bag: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("metrabs-bag: interrupted; run the same command again to resume.", file=sys.stderr)
            return 130
    print(
        f"{arguments.output}: {counts['images']} images, {counts['persons'] / counts['images']:.1f} persons per image"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
