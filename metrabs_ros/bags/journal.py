"""The people found by a job that may be interrupted at any moment."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np

from metrabs_core.pipeline import People
from metrabs_core.skeletons import Skeleton
from metrabs_ros.bags.recording import RecordingError


class PredictionJournal:
    """A file with the people of each image, to be opened as a context manager.

    The first line says what job it is; a file of another job is begun anew. The people of each image follow as the
    length and checksum of a NumPy archive, and the archive; a last one that was cut off is overwritten.
    """

    _HEAD = struct.Struct("<II")

    def __init__(self, path: Path, job: dict, skeleton: Skeleton):
        """Prepare to open.

        Args:
            path: of the file.
            job: all that the people depend on, as JSON.
            skeleton: theirs.
        """
        self._path, self._skeleton = path, skeleton
        self._job = json.dumps(job).encode() + b"\n"
        self._found: dict[int, People] = {}

    def __enter__(self):
        try:
            self._file = open(self._path, "r+b" if self._path.exists() else "w+b")
        except OSError as error:
            raise self._unwritable(error) from error
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
        try:
            self._file.write(self._HEAD.pack(len(data), zlib.crc32(data)) + data)
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RecordingError:
        return RecordingError(f"{self._path}, which keeps what was found, can't be written ({error.strerror}).")
