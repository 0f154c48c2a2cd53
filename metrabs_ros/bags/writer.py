"""Bags that are written, with rosbags."""

import os
import shutil
import sqlite3
from contextlib import contextmanager
from pathlib import Path

import rosbags.rosbag2 as rosbag2
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Writer

from metrabs_core.pictures import PICTURE_SUFFIXES
from metrabs_core.videos import VIDEO_SUFFIXES
from metrabs_ros.bags.message_types import definition_hash
from metrabs_ros.bags.reader import METADATA, read_metadata
from metrabs_ros.bags.recording import Message, Recording, RecordingError, Topic
from metrabs_ros.bags.storage import MCAP_START

# Endings of other things than bags.
_OTHER_SUFFIXES = (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES, ".db3", ".bag", ".zstd", ".yaml")
# Stands for the hash of a type of which neither hash nor definition is known.
_NO_HASH = f"RIHS01_{0:064}"


class _SqliteStorage(Sqlite3Writer):
    """rosbags' own takes the path for a part of a URI, in which # ? and % mean something else."""

    def __init__(self, path, compression):
        self.path = path / f"{path.name}.db3"
        self.conn = sqlite3.connect(self.path)
        self.conn.executescript(self.SQLITE_SCHEMA)
        self.cursor = self.conn.cursor()


class _Rosbag2Writer(rosbag2.Writer):
    STORAGE_PLUGINS = {**rosbag2.Writer.STORAGE_PLUGINS, rosbag2.StoragePlugin.SQLITE3: _SqliteStorage}


class BagWriter:
    """Writes a bag under a temporary name and gives it its name when it is complete.

    A path that ends in `.mcap` becomes one MCAP file, any other a rosbag2 folder with sqlite3 storage. Used as a
    context manager: an exception inside leaves nothing behind.
    """

    def __init__(self, path, force: bool = False):
        """Prepare to write.

        Args:
            path: the bag to write.
            force: replace the bag at `path`, if there is one.

        Raises:
            RecordingError: something is at `path` that may not be replaced, or it is no name for a bag.
        """
        self.path, self._force = Path(path), force
        self._place = Path(os.path.abspath(path))
        with self._writable():
            self._check_path()
        self._as_file = self._place.suffix.lower() == ".mcap"
        # In a folder of its own, as the names of the files inside a bag are made from the name of the bag.
        self._folder = self._place.with_name(f".{self._place.name}.partial")
        self._connections = {}

    def __enter__(self):
        with self._writable():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True)
            plugin = rosbag2.StoragePlugin.MCAP if self._as_file else rosbag2.StoragePlugin.SQLITE3
            self._writer = _Rosbag2Writer(self._folder / self._place.name, version=9, storage_plugin=plugin)
            self._writer.open()
        return self

    def __exit__(self, exception_type, exception, traceback):
        try:
            if exception_type is None:
                with self._writable():
                    self._writer.close()
                    self._install()
            else:
                self._writer.abort()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _check_path(self):
        if self._place.suffix.lower() in _OTHER_SUFFIXES:
            raise RecordingError(
                f"{self.path} is no name for a bag: give one that ends in .mcap, or the name of a folder."
            )
        if Path.cwd().is_relative_to(self._place):
            raise RecordingError(f"{self.path} is the folder that you are in, or above it: give the bag another name.")
        if not self._place.exists() or self._place.is_dir() and not any(self._place.iterdir()):
            return
        problem = _why_no_bag(self._place)
        if problem:
            raise RecordingError(f"{self.path} exists already and {problem}: give the bag another name.")
        if not self._force:
            raise RecordingError(f"{self.path} exists already; use --force to replace it.")

    def _install(self):
        self._check_path()  # it may have become something else in the meantime
        written = self._folder / self._place.name
        if self._as_file:
            written = written / f"{self._place.name}.mcap"
        if self._place.exists():
            os.replace(self._place, self._folder / "replaced")
        os.replace(written, self._place)

    @contextmanager
    def _writable(self):
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise RecordingError(f"The bag {self.path} can't be written ({reason}).") from error

    def add_topic(self, topic: Topic):
        """Declare a topic before its first message. Its definition goes into the bag."""
        definition = topic.definition.replace("\r\n", "\n")
        # Readers refuse a definition whose hash is another, and so what the recording states counts only without one.
        type_hash = definition_hash(definition, topic.type) or topic.type_hash or _NO_HASH
        with self._writable():
            self._connections[topic.name] = self._writer.add_connection(
                topic.name, topic.type, msgdef=definition, rihs01=type_hash, offered_qos_profiles=list(topic.qos)
            )

    def write(self, message: Message):
        """Append a message of a declared topic."""
        with self._writable():
            self._writer.write(self._connections[message.topic], message.time_ns, message.data)


def _why_no_bag(path: Path) -> str:
    """Why what is at a path is not a bag and nothing else, to follow its name; '' if it is one."""
    if not path.is_dir():
        with path.open("rb") as file:
            return "" if file.read(len(MCAP_START)) == MCAP_START else "is not a bag"
    names = {entry.name for entry in path.iterdir()}
    if METADATA in names:
        try:
            names -= {METADATA, *read_metadata(path / METADATA).files}
        except RecordingError:
            return "is not a whole bag"
    return f"holds something other than a bag ({', '.join(sorted(names)[:3])})" if names else ""


def copy(recording: Recording, path, seconds: float):
    """Write the first seconds of a recording as a bag.

    Raises:
        RecordingError: `path` exists, or the recording can't be read.
    """
    with BagWriter(path) as writer:
        for topic in recording.topics.values():
            writer.add_topic(topic)
        start = None
        for message in recording.messages():
            start = message.time_ns if start is None else start
            if message.time_ns - start >= seconds * 1e9:
                break
            writer.write(message)
