"""Sources of frames: a video file, pictures in a folder, or a webcam; and reading ahead of the network."""

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2

from metrabs_core.errors import UserError
from metrabs_core.pictures import PICTURE_SUFFIXES, each_readable, is_picture, pictures_in
from metrabs_core.videos import VIDEO_SUFFIXES, VideoFrame, VideoReader, is_video

_END = object()


class Video:
    """A video file.

    Attributes:
        name: for people to read.
        state: changes if the file does, as JSON.
        n_frames: number of frames, maybe an estimate; 0 if unknown.
    """

    def __init__(self, path: Path):
        """Look at a video. Raises VideoError if it can't be read."""
        self._reader = VideoReader(path)
        self.name, self.state, self.n_frames = str(path), _state([path]), self._reader.n_frames

    def frames(self, start: int = 0) -> Iterator[VideoFrame]:
        """The frames from number `start` on."""
        return self._reader.frames(start)


class Pictures:
    """Pictures as the frames of a video; attributes as those of `Video`."""

    def __init__(self, name: str, files: list[Path], frames_per_second: float):
        self._files, self._rate = files, frames_per_second
        self.name, self.state, self.n_frames = name, [*_state(files), frames_per_second], len(files)

    def frames(self, start: int = 0) -> Iterator[VideoFrame]:
        """The pictures from number `start` on. Those that can't be read are left out, with a warning."""
        for index, image in each_readable(self._files, start=start):
            yield VideoFrame(index, index / self._rate, image)


class Webcam:
    """A camera of this computer, whose newest frame is always the next one; attributes as those of `Video`."""

    state, n_frames = (), 0

    def __init__(self, device: int):
        """Open a camera.

        Args:
            device: its number, 0 for the first one.

        Raises:
            UserError: there is no such camera, or another program has it.
        """
        self.name = f"webcam {device}"
        self._capture = cv2.VideoCapture(device)
        if not self._capture.isOpened():
            raise UserError(f"The webcam {device} can't be opened: is it there, and does no other program use it?")
        self._newest: queue.Queue = queue.Queue(maxsize=1)
        self._stopped = threading.Event()

    def stop(self):
        """Let `frames` end."""
        self._stopped.set()

    def frames(self) -> Iterator[VideoFrame]:
        """Frames until `stop` is called or the camera gives no more; those that nobody had time for are skipped."""
        thread = threading.Thread(target=self._grab, daemon=True)
        thread.start()
        start, index = None, 0
        while (item := self._newest.get()) is not _END:
            moment, image = item
            start = moment if start is None else start
            yield VideoFrame(index, moment - start, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            index += 1
        thread.join()
        self._capture.release()

    def _grab(self):
        is_good = True
        while is_good and not self._stopped.is_set():
            is_good, image = self._capture.read()
            if is_good:
                self._offer((time.monotonic(), image))
        self._offer(_END)

    def _offer(self, item):
        """Put an item into the place of the one that waits, if one does."""
        while True:
            try:
                self._newest.put_nowait(item)
                return
            except queue.Full:
                try:
                    self._newest.get_nowait()
                except queue.Empty:
                    continue


def open_source(text: str, frames_per_second: float) -> Video | Pictures | Webcam:
    """Open what the user named.

    Args:
        text: path of a video, a picture or a folder of pictures, or the number of a webcam.
        frames_per_second: of pictures in a folder.

    Raises:
        UserError: one sentence about what is wrong.
    """
    path = Path(text)
    if text.isdecimal() and not path.exists():
        return Webcam(int(text))
    if not path.exists():
        raise UserError(f"{text} does not exist; give a video, a folder of pictures, or a webcam's number.")
    if path.is_dir():
        return Pictures(text, pictures_in(path), frames_per_second)
    if is_picture(path):
        return Pictures(text, [path], frames_per_second)
    if is_video(path):
        return Video(path)
    suffixes = " ".join(VIDEO_SUFFIXES), " ".join(PICTURE_SUFFIXES)
    raise UserError(f"{path} is neither a video ({suffixes[0]} ...) nor a picture ({suffixes[1]}).")


def read_ahead(items: Iterable, n_ahead: int) -> Iterator:
    """The same items, made in a thread that is at most `n_ahead` of them ahead; so are exceptions."""
    waiting: queue.Queue = queue.Queue(n_ahead)
    abandoned = threading.Event()

    def put(item) -> bool:
        while not abandoned.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make():
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((_END, None))
        except BaseException as error:
            put((_END, error))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        abandoned.set()
        thread.join()


def _state(files: list[Path]) -> list:
    """Paths, sizes and times of change."""
    states = [(os.fspath(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [list(state) for state in states]
