"""The command `metrabs-bag`: every frame of a recording through the model, offline and deterministic.

    metrabs-bag INPUT OUTPUT

The output bag holds everything that the input holds, and persons, skeleton and markers on the topics on which the node
publishes them. Unlike the node, which drops what it has no time for, this takes the time that every frame needs.
"""

import argparse
import io
import json
import struct
import sys
import zlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.pipeline import People, PersonPipeline, PipelineSettings
from metrabs_core.skeletons import Skeleton
from metrabs_ros.bag_io import (
    LATCHED,
    BagWriter,
    CameraInfos,
    Message,
    MessageError,
    Recording,
    RecordingError,
    find_camera_info_topic,
    find_image_topic,
    open_recording,
    own_typestore,
    stamp_ns,
    to_cdr,
)
from metrabs_ros.image_conversion import CameraInfoError, ImageError, camera_from_info, image_size_from_info, to_rgb
from metrabs_ros.markers import markers_message
from metrabs_ros.person_messages import persons_message, skeleton_message

PERSONS_TOPIC = "/metrabs_node/persons"
SKELETON_TOPIC = "/metrabs_node/skeleton"
MARKERS_TOPIC = "/metrabs_node/markers"
RESULT_TYPES = {
    PERSONS_TOPIC: "metrabs_msgs/msg/PersonArray",
    SKELETON_TOPIC: "metrabs_msgs/msg/Skeleton",
    MARKERS_TOPIC: "visualization_msgs/msg/MarkerArray",
}


def process(
    recording: Recording,
    output,
    model_path: str = "",
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    fov_degrees: float | None = None,
    settings: PipelineSettings = PipelineSettings(),  # noqa: B008 (it is immutable)
    force: bool = False,
) -> Counter:
    """Write a copy of a recording with the people in its images.

    What the model found is kept beside the output while the work goes on, so that the same call after an interruption
    takes it from there; the result is the same as without the interruption.

    Args:
        recording: to read.
        output: the bag to write, see `bag_io.BagWriter`.
        model_path: directory of an exported model; '' for the packaged one.
        image_topic: None where the recording has only one.
        camera_info_topic: None for the one that belongs to the images by its name, or the only one.
        fov_degrees: instead of camera_info: field of view over the longer side of the image.
        settings: how people are found and followed.
        force: replace an existing output.

    Returns:
        Numbers of `images`, `persons`, and of images `skipped` because they could not be decoded or used.

    Raises:
        RecordingError: one sentence about what is wrong with input or output.
    """
    image_topic = find_image_topic(recording, image_topic)
    cameras = None
    if fov_degrees is None:
        camera_info_topic = find_camera_info_topic(recording, image_topic, camera_info_topic)
        if camera_info_topic is None:
            raise RecordingError(
                f"{recording.path} has no camera_info; state the field of view over the longer image side with --fov."
            )
        cameras = CameraInfos(recording, camera_info_topic)
    output = Path(output)
    journal_path = output.with_name(f".{output.name}.predictions")

    with BagWriter(output, force) as writer:
        try:
            pipeline = PersonPipeline.load(model_path, settings)
        except Exception as error:
            raise RecordingError(" ".join(str(error).split())) from error
        job = _describe_job(recording, model_path, image_topic, camera_info_topic, fov_degrees, asdict(settings))
        for topic, kind in recording.topics.items():
            if topic not in RESULT_TYPES:
                writer.add_topic(topic, kind, recording.typestore, recording.qos(topic))
        store = own_typestore()
        for topic, kind in RESULT_TYPES.items():
            writer.add_topic(topic, kind, store, [LATCHED] if topic == SKELETON_TOPIC else [])

        def write(topic, time_ns, message):
            writer.write(Message(topic, time_ns, to_cdr(message, RESULT_TYPES[topic], store)))

        shown_ids, counts, problem = set(), Counter(), None
        progress = tqdm(total=recording.counts[image_topic], unit="image", mininterval=0.5, disable=None)
        with PredictionJournal(journal_path, job, pipeline.skeleton) as journal, progress:
            for message in recording.messages(set(recording.topics) - set(RESULT_TYPES)):
                writer.write(message)
                if message.topic != image_topic:
                    continue
                if not counts["images"]:
                    write(SKELETON_TOPIC, message.time_ns, skeleton_message(pipeline.skeleton))
                try:
                    image_message = recording.deserialize(message)
                    candidates = journal.get(counts["images"])
                    if candidates is None:
                        candidates = _detect(pipeline, image_message, cameras, fov_degrees)
                        journal.put(counts["images"], candidates)
                except (MessageError, ImageError, CameraInfoError) as error:
                    counts["skipped"] += 1
                    problem = problem or str(error)
                else:
                    header = image_message.header
                    people = pipeline.follow(candidates, stamp_ns(header) * 1e-9)
                    persons = persons_message(header, people)
                    markers = markers_message(persons, people.skeleton, shown_ids)
                    shown_ids = set(people.ids.tolist())
                    counts["persons"] += len(people)
                    write(PERSONS_TOPIC, message.time_ns, persons)
                    write(MARKERS_TOPIC, message.time_ns, markers)
                counts["images"] += 1
                progress.update()
        if not counts["images"]:
            raise RecordingError(f"The topic {image_topic} of {recording.path} has no messages.")
        if counts["skipped"] == counts["images"]:
            raise RecordingError(f"None of the {counts['images']} images could be used: {problem}")
    journal_path.unlink()
    if problem:
        print(f"{counts['skipped']} images were skipped; the first because: {problem}", file=sys.stderr)
    return counts


def _detect(pipeline: PersonPipeline, image_message, cameras, fov_degrees) -> People:
    image = to_rgb(image_message)
    size = image.shape[1], image.shape[0]
    if cameras is None:
        camera = {"default_fov_degrees": fov_degrees}
    else:
        info = cameras.nearest(stamp_ns(image_message.header))
        matrix, distortion = camera_from_info(info)
        described = image_size_from_info(info)
        if all(described) and described != size:
            raise CameraInfoError(
                f"The image has {size[0]}x{size[1]} pixels, but camera_info describes {described[0]}x{described[1]}."
            )
        camera = {"intrinsic_matrix": matrix, "distortion_coeffs": distortion}
    return pipeline.detect(image, camera)


def _describe_job(recording, model_path, *arguments) -> dict:
    """What the predictions depend on, as JSON."""

    def state(path: Path):
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]

    from metrabs_core.packaging import PACKAGED_MODEL_DIR

    model = Path(model_path) if model_path else PACKAGED_MODEL_DIR
    return {"input": state(recording.path.resolve()), "model": state(model.resolve()), "arguments": list(arguments)}


class PredictionJournal:
    """The people found by a job that may be interrupted at any moment, in a file.

    The first line says what job it is; a file of another job is begun anew. The people of each image follow as the
    length and checksum of a NumPy archive, and the archive; a last one that was cut off is overwritten.
    """

    _HEAD = struct.Struct("<II")

    def __init__(self, path: Path, job: dict, skeleton: Skeleton):
        self._path, self._skeleton = path, skeleton
        self._job = json.dumps(job).encode() + b"\n"
        self._found: dict[int, People] = {}

    def __enter__(self):
        self._file = open(self._path, "r+b" if self._path.exists() else "w+b")
        if self._file.readline() == self._job:
            self._read()
        else:
            self._file.seek(0)
            self._file.write(self._job)
        self._file.truncate()
        return self

    def __exit__(self, *_):
        self._file.close()

    def _read(self):
        while True:
            start = self._file.tell()
            head = self._file.read(self._HEAD.size)
            length, checksum = self._HEAD.unpack(head) if len(head) == self._HEAD.size else (0, None)
            data = self._file.read(length)
            if len(data) != length or zlib.crc32(data) != checksum:
                self._file.seek(start)
                return
            with np.load(io.BytesIO(data)) as arrays:
                found = dict(arrays)
            index = int(found.pop("index"))
            self._found[index] = People(skeleton=self._skeleton, **found)

    def get(self, index: int) -> People | None:
        """The people of image `index`, if they are known from before."""
        return self._found.pop(index, None)

    def put(self, index: int, people: People):
        """Note the people of image `index`."""
        buffer = io.BytesIO()
        np.savez(buffer, index=index, **people.arrays())
        data = buffer.getvalue()
        self._file.write(self._HEAD.pack(len(data), zlib.crc32(data)) + data)
        self._file.flush()


def _fov(text: str) -> float:
    value = float(text)
    if not 0 < value < 180:
        raise argparse.ArgumentTypeError("must be between 0 and 180 degrees")
    return value


def main(args=None) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="metrabs-bag",
        description="Finds the people in every image of a recording and writes a bag with everything that the "
        "recording holds and the people's 3D skeletons. An interrupted run goes on where it was when it is started "
        "again in the same way.",
    )
    parser.add_argument("input", help="a rosbag2 folder, a .mcap file, a video, a picture or a folder of pictures")
    parser.add_argument(
        "output", help="a bag: one MCAP file if the name ends in .mcap, else a rosbag2 folder (sqlite3)"
    )
    parser.add_argument("--image-topic", help="where a bag has several image topics")
    parser.add_argument("--camera-info-topic", help="default: camera_info beside the images, or the only one")
    parser.add_argument(
        "--fov",
        type=_fov,
        metavar="DEGREES",
        help="field of view over the longer image side, instead of camera_info (default for videos and pictures: 55)",
    )
    parser.add_argument("--model", default="", help="directory of an exported model (default: the packaged model)")
    parser.add_argument("--skeleton", help="joint convention, for example smpl_24 (default: all joints)")
    parser.add_argument("--num-aug", type=int, help="crops per person: 1 is fastest (default), 5 more accurate")
    parser.add_argument(
        "--threshold", type=float, help="score from which a box counts as a person (default: the node's)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing output")
    arguments = parser.parse_args(args)
    options = {
        "skeleton": arguments.skeleton,
        "num_aug": arguments.num_aug,
        "detector_threshold": arguments.threshold,
    }
    settings = PipelineSettings(**{name: value for name, value in options.items() if value is not None})
    try:
        with open_recording(arguments.input, arguments.fov or 55.0) as recording:
            counts = process(
                recording,
                arguments.output,
                arguments.model,
                arguments.image_topic,
                arguments.camera_info_topic,
                arguments.fov,
                settings,
                arguments.force,
            )
    except (UserError, OSError) as error:
        print(f"metrabs-bag: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("metrabs-bag: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    print(
        f"{arguments.output}: {counts['images']} images, {counts['persons'] / counts['images']:.1f} persons per image"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
