"""Rosbag2 recordings: folders with a metadata.yaml, or without, and single files."""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import NamedTuple

import yaml
from backports import zstd
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import parse_qos

from metrabs_ros.bags.message_types import known_definition
from metrabs_ros.bags.recording import Recording, RecordingError, Topic
from metrabs_ros.bags.storage import ZSTD_START, Storage, StoredTopic, open_storage

METADATA = "metadata.yaml"
_METADATA_KEY = "rosbag2_bagfile_information"
_STORAGE_NAME = re.compile(r"[^.].*\.(mcap|db3)(\.zstd)?", re.IGNORECASE)


def is_bag(path: Path) -> bool:
    """Whether a path is a rosbag2 recording, maybe a damaged one."""
    if not path.is_dir():
        return _STORAGE_NAME.fullmatch(path.name) is not None
    metadata = path / METADATA  # which other things than bags have, too
    return bool(_storage_files(path)) or metadata.is_file() and _METADATA_KEY.encode() in metadata.read_bytes()


def _storage_files(folder: Path) -> list[Path]:
    """The MCAP and sqlite3 files in a folder, by their names."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file() and _STORAGE_NAME.fullmatch(path.name))
    except OSError as error:
        raise RecordingError(f"The folder {folder} can't be read ({error.strerror}).") from error


@contextmanager
def open_bag(path: Path) -> Iterator["Bag"]:
    """Open a rosbag2 recording.

    Raises:
        RecordingError: it can't be read, or holds other messages than its metadata.yaml states.
    """
    stated = read_metadata(path / METADATA) if (path / METADATA).exists() else None
    with ExitStack() as stack:
        storages = []
        for file in _files(path, stated):
            with _readable(path):
                storages.append(stack.enter_context(open_storage(file)))
        yield Bag(path, storages, stated)


class Metadata(NamedTuple):
    """What metadata.yaml says: names of the files; type hashes, QoS profiles and numbers of messages by topic."""

    files: list[str]
    hashes: dict[str, str]
    qos: dict[str, object]
    counts: dict[str, int]


def read_metadata(path: Path) -> Metadata:
    """Read a metadata.yaml. Raises RecordingError if it is not one of rosbag2."""
    try:
        information = yaml.safe_load(path.read_text())[_METADATA_KEY]
        entries = information["topics_with_message_count"]
        topics = [(entry["topic_metadata"], entry["message_count"]) for entry in entries]
        counts = Counter()
        for topic, count in topics:
            counts[topic["name"]] += count
        return Metadata(
            [PurePath(name).name for name in information["relative_file_paths"]],
            {topic["name"]: topic.get("type_description_hash", "") for topic, _ in topics},
            {topic["name"]: topic.get("offered_qos_profiles", "") for topic, _ in topics},
            counts,
        )
    except (OSError, ValueError, yaml.YAMLError, LookupError, TypeError, AttributeError) as error:
        raise RecordingError(
            f"{path} is damaged. Write it anew with: ros2 bag reindex {path.parent} (or remove it, if all files of the "
            "bag are there)."
        ) from error


def _files(path: Path, stated: Metadata | None) -> list[Path]:
    if path.is_file():
        return [path]
    if stated:
        missing = [name for name in stated.files if not (path / name).is_file()]
        if missing:
            raise RecordingError(f"The bag {path} lacks files that its metadata.yaml names: {', '.join(missing)}.")
        return [path / name for name in stated.files]
    files = _storage_files(path)
    # The parts of a split recording are numbered.
    if len({re.sub(r"(_\d+)?\.(mcap|db3)(\.zstd)?$", "", file.name) for file in files}) > 1:
        listed = ", ".join(file.name for file in files)
        raise RecordingError(f"The folder {path} has no metadata.yaml and holds several bags; give one of: {listed}.")
    return files


@contextmanager
def _readable(path: Path):
    """Turns what a damaged file makes its library raise, which can be anything, into one sentence."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise RecordingError(
            f"The bag {path} can't be read; it is truncated, damaged or not a ROS 2 bag ({reason}). These may save a "
            "part of it: ros2 bag reindex (sqlite3), mcap recover (MCAP)."
        ) from error


class Bag(Recording):
    """An open rosbag2 recording."""

    def __init__(self, path: Path, storages: list[Storage], stated: Metadata | None):
        """See `open_bag`, which makes it."""
        self.path, self._storages = path, storages
        stored = defaultdict(list)
        for storage in storages:
            for topic in storage.topics:
                stored[topic.name].append(topic)
        if stated:
            self._compare({name: sum(topic.count for topic in found) for name, found in stored.items()}, stated)
        self.topics, self.left_out = {}, {}
        for name, found in stored.items():
            reason = _why_unreadable(found)
            if reason:
                self.left_out[name] = reason
            else:
                self.topics[name] = _merge(found, stated)

    def _compare(self, counts: dict[str, int], stated: Metadata):
        differing = [
            f"{counts.get(name, 0)} of {name} instead of {stated.counts.get(name, 0)}"
            for name in sorted({*counts, *stated.counts})
            if counts.get(name, 0) != stated.counts.get(name, 0)
        ]
        if differing:
            raise RecordingError(
                f"The files of the bag {self.path} hold other messages than its metadata.yaml states: "
                f"{', '.join(differing)}. To go on with what is there, write metadata.yaml anew with: ros2 bag reindex "
                f"{self.path} (or remove it)."
            )

    def messages(self, topics=None):  # noqa: D102
        wanted = {name for name in self.topics if topics is None or name in topics}
        messages = heapq.merge(*(storage.messages(wanted) for storage in self._storages), key=lambda m: m.time_ns)
        read = Counter()
        while wanted:
            with _readable(self.path):
                message = next(messages, None)
                if message and message.data.startswith(ZSTD_START):  # no CDR begins like this
                    message = message._replace(data=zstd.decompress(message.data))
            if message is None:
                break
            read[message.topic] += 1
            yield message
        lacking = [f"{read[name]} of {name}" for name in sorted(wanted) if read[name] != self.topics[name].count]
        if lacking:
            raise RecordingError(f"The bag {self.path} has an index that is wrong: it held only {', '.join(lacking)}.")


def _why_unreadable(found: list[StoredTopic]) -> str:
    encodings, types = {topic.encoding for topic in found}, {topic.type for topic in found}
    if encodings != {"cdr"}:
        return f"its messages are {' and '.join(sorted(encodings)) or 'of no known encoding'}, not ROS 2's CDR"
    if len(types) > 1 or "" in types:
        return f"it has several types, {' and '.join(sorted(types))}" if len(types) > 1 else "it has no type"
    return ""


def _merge(found: list[StoredTopic], stated: Metadata | None) -> Topic:
    """What all files and metadata.yaml say about a topic."""
    name, message_type = found[0].name, found[0].type
    definition = next((topic.definition for topic in found if topic.definition.strip()), "")
    hashes = [topic.type_hash for topic in found] + [stated.hashes.get(name) if stated else None]
    profiles = [stated.qos.get(name) if stated else None] + [topic.qos for topic in found]
    return Topic(
        name,
        message_type,
        sum(topic.count for topic in found),
        definition or known_definition(message_type),
        next(filter(None, hashes), ""),
        _parse_qos(next(filter(None, profiles), "")),
    )


def _parse_qos(profiles) -> list[Qos]:
    """Offered profiles as YAML or what that holds; none at all if they can't be made sense of."""
    try:
        return parse_qos(profiles)
    except Exception:  # rosbags raises whatever is handy for hand-edited ones
        return []
