"""The files inside of a rosbag2 recording: MCAP and sqlite3, plain or compressed with zstd.

rosbags reads them, too, but refuses a file because of one topic that it does not understand, does not see what SQLite
has not merged yet (`-wal`), and takes a `#` in a path for a part of a URI. So it serves the types and the writing only.
"""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

from backports import zstd
from mcap.reader import NonSeekingReader, SeekingReader

from metrabs_ros.bags.recording import Message, RecordingError

MCAP_START, _SQLITE_START, ZSTD_START = b"\x89MCAP0\r\n", b"SQLite format 3\0", b"\x28\xb5\x2f\xfd"
# What rosbag2 calls the languages in which it writes definitions; everything else is another system's.
_DEFINITION_LANGUAGES = ("ros2msg", "ros2idl")


class StoredTopic(NamedTuple):
    """What one file says about a topic; '' where it says nothing.

    Attributes:
        name: of the topic.
        type: of its messages.
        encoding: of its messages: "cdr", or something that is not ROS 2's.
        definition: of the type.
        type_hash: of the type.
        qos: offered profiles, as YAML.
        count: number of messages in the file.
    """

    name: str
    type: str
    encoding: str
    definition: str
    type_hash: str
    qos: str
    count: int


class Storage(NamedTuple):
    """An open file.

    Attributes:
        topics: in it; a name may occur more than once.
        messages: gives those of the topics with the given names, in order of time.
    """

    topics: list[StoredTopic]
    messages: Callable[[Collection[str]], Iterator[Message]]


@contextmanager
def open_storage(path: Path) -> Iterator[Storage]:
    """Open one file. What the libraries raise for damaged ones, at once or while reading, can be anything."""
    with _decompressed(path) as plain:
        start = _start(plain)
        if start.startswith(MCAP_START):
            yield _open_mcap(plain)
        elif start.startswith(_SQLITE_START):
            with _sqlite(plain) as connection:
                yield _read_sqlite(connection)
        else:
            raise ValueError("neither MCAP nor sqlite3")


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(len(_SQLITE_START))


@contextmanager
def _decompressed(path: Path) -> Iterator[Path]:
    """The file itself, or a temporary copy of what it holds compressed."""
    if not _start(path).startswith(ZSTD_START):
        yield path
        return
    with TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with zstd.open(path, "rb") as source, plain.open("wb") as target:
            shutil.copyfileobj(source, target)
        yield plain


# MCAP


def _open_mcap(path: Path) -> Storage:
    with path.open("rb") as file:
        summary = SeekingReader(file).get_summary()
    statistics = summary and summary.statistics
    is_listed = (
        statistics is not None
        and len(summary.channels) == statistics.channel_count
        and {channel.schema_id for channel in summary.channels.values()} <= {0, *summary.schemas}
    )
    if is_listed:
        schemas, channels, counts = summary.schemas, summary.channels, statistics.channel_message_counts
    else:
        schemas, channels, counts = _list_mcap(path)
    is_indexed = is_listed and bool(summary.chunk_indexes)

    def messages(topics):
        with path.open("rb") as file:
            # Without an index, messages come in the order in which they were recorded: sorting them takes all memory.
            reader = SeekingReader(file, True) if is_indexed else NonSeekingReader(file, True)
            for _, channel, message in reader.iter_messages(topics, log_time_order=is_indexed):
                yield Message(channel.topic, message.log_time, message.data)

    def describe(channel):
        schema = schemas.get(channel.schema_id)
        is_known = schema is not None and schema.encoding in _DEFINITION_LANGUAGES
        return StoredTopic(
            channel.topic,
            schema.name if schema else "",
            channel.message_encoding,
            schema.data.decode() if is_known else "",
            channel.metadata.get("topic_type_hash", ""),
            channel.metadata.get("offered_qos_profiles", ""),
            counts.get(channel.id, 0),
        )

    return Storage([describe(channel) for channel in channels.values()], messages)


def _list_mcap(path: Path) -> tuple[dict, dict, Counter]:
    """Schemas and channels by id, and numbers of messages by channel, of a file that does not list them at its end."""
    schemas, channels, counts = {}, {}, Counter()
    with path.open("rb") as file:
        for schema, channel, _ in NonSeekingReader(file, True).iter_messages(log_time_order=False):
            schemas[channel.schema_id] = schema
            channels[channel.id] = channel
            counts[channel.id] += 1
    return schemas, channels, counts


# sqlite3


@contextmanager
def _sqlite(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database without changing anything beside it.

    Raises:
        RecordingError: it was not closed, and can't be read as it lies there.
    """
    # What a recorder that was killed leaves: messages that are not in the database yet.
    beside = [Path(f"{path}{ending}") for ending in ("-wal", "-journal")]
    unmerged = [file for file in beside if file.exists() and file.stat().st_size]
    mode = "mode=ro" if unmerged else "immutable=1"
    index = Path(f"{path}-shm")
    with ExitStack() as stack:
        if unmerged and not index.exists():
            stack.callback(index.unlink, missing_ok=True)  # SQLite makes it and leaves it there
        connection = stack.enter_context(
            closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?{mode}", uri=True))
        )
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("SELECT count(*) FROM sqlite_master")
        except sqlite3.OperationalError as error:
            if not unmerged:
                raise
            raise RecordingError(
                f"The bag {path} was not closed, and SQLite can't read {unmerged[0].name} where it is ({error}). Copy "
                "both to a folder that can be written, and open the copy once with: sqlite3 COPY.db3 .tables"
            ) from error
        yield connection


def _read_sqlite(connection: sqlite3.Connection) -> Storage:
    topics = [dict(row) for row in connection.execute("SELECT * FROM topics")]
    counts = dict(connection.execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id").fetchall())
    definitions = {}
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'message_definitions'").fetchone():
        for row in connection.execute("SELECT * FROM message_definitions"):
            if row["encoding"] in _DEFINITION_LANGUAGES:
                definitions[row["topic_type"]] = row["encoded_message_definition"]
    names = {topic["id"]: topic["name"] for topic in topics}

    def messages(wanted):
        ids = [topic_id for topic_id, name in names.items() if name in wanted]
        places = ",".join("?" * len(ids))
        for topic_id, time_ns, data in connection.execute(
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({places}) ORDER BY timestamp, id", ids
        ):
            yield Message(names[topic_id], time_ns, data)

    def describe(topic):
        return StoredTopic(
            topic["name"],
            topic["type"],
            topic["serialization_format"],
            definitions.get(topic["type"], ""),
            topic.get("type_description_hash", ""),
            topic.get("offered_qos_profiles", ""),
            counts.get(topic["id"], 0),
        )

    return Storage([describe(topic) for topic in topics], messages)
