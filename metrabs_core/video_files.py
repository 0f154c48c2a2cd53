"""Video files, read and written with PyAV, which brings its own codecs."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

# Of videos that are written: time stamps are whole milliseconds.
_TIME_BASE = Fraction(1, 1000)


class VideoError(ValueError):
    """A video that can't be read; the message is one sentence for the user."""


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        index: its place in the video, from 0.
        seconds: its time, counted from the first frame; always later than the frame before.
        image: uint8 [H, W, 3], RGB, turned the way up that the camera noted.
    """

    index: int
    seconds: float
    image: np.ndarray


class VideoReader:
    """A video file to be read.

    Attributes:
        path: where it lies.
        n_frames: number of frames; for some formats an estimate, 0 if nothing is known.
    """

    def __init__(self, path):
        """Look at a video.

        Raises:
            VideoError: it can't be read.
        """
        self.path = Path(path)
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                rate = float(stream.average_rate or stream.guessed_rate or 0)
                self._period = 1 / (rate or 25.0)
                self.n_frames = stream.frames or round((container.duration or 0) / av.time_base * rate)
        except (av.error.FFmpegError, IndexError) as error:
            raise VideoError(f"The video {path} can't be read ({error}).") from error

    def frames(self, start: int = 0) -> Iterator[VideoFrame]:
        """The frames from number `start` on. What can't be decoded is left out, and a warning tells about it.

        Raises:
            VideoError: the video holds no frame that can be decoded.
        """
        index, seconds, n_damaged = 0, None, 0
        with av.open(str(self.path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = None
            for frame in _decoded(container, stream):
                if frame is None:
                    n_damaged += 1
                    continue
                # Time stamps that are missing or run backwards are replaced by the frame rate.
                stated = None if frame.time is None else float(frame.time)
                first = stated if first is None else first
                elapsed = None if stated is None else stated - first
                if seconds is None:
                    seconds = 0.0
                elif elapsed is not None and elapsed > seconds:
                    seconds = elapsed
                else:
                    seconds += self._period
                if index >= start:
                    image = frame.to_ndarray(format="rgb24")
                    # The turn that the camera noted for the player, in degrees counter-clockwise.
                    quarter_turns = round(frame.rotation / 90) % 4
                    yield VideoFrame(index, seconds, np.ascontiguousarray(np.rot90(image, quarter_turns)))
                index += 1
        if not index:
            raise VideoError(f"The video {self.path} holds no frame that can be decoded.")
        if n_damaged:
            warnings.warn(f"{n_damaged} damaged frames of {self.path} were left out.", stacklevel=2)


def _decoded(container, stream) -> Iterator["av.VideoFrame | None"]:
    """All frames of a stream; None for each packet that can't be decoded."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            yield None
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            yield None


class VideoWriter:
    """Writes an H.264 video whose frames have times of their own; a context manager.

    The file is complete when the block is left; an exception inside leaves what was written until then.
    """

    def __init__(self, path, max_side: int | None = None, quality: int = 20):
        """Prepare to write.

        Args:
            path: file to write; its suffix tells the format.
            max_side: larger frames are scaled down to this many pixels on their longer side.
            quality: constant rate factor of H.264: 18 is hardly distinguishable from the source, 30 small and blurred.
        """
        self._path, self._max_side, self._quality = path, max_side, quality
        self._stream, self._last = None, -1

    def __enter__(self):
        self._container = av.open(str(self._path), "w")
        return self

    def __exit__(self, *_):
        if self._stream:
            self._container.mux(self._stream.encode())
        self._container.close()

    def write(self, image: np.ndarray, seconds: float):
        """Append a frame.

        Args:
            image: uint8 [H, W, 3], RGB. Frames of another size than the first are fitted into its size.
            seconds: time since the start of the video, later than the frame before.
        """
        if self._stream is None:
            self._add_stream(*image.shape[:2])
        frame = av.VideoFrame.from_ndarray(_fit(image, self._stream.width, self._stream.height), format="rgb24")
        self._last = max(round(seconds / _TIME_BASE), self._last + 1)
        frame.pts, frame.time_base = self._last, _TIME_BASE
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, height: int, width: int):
        scale = min(1.0, (self._max_side or max(height, width)) / max(height, width))
        options = {"crf": str(self._quality), "preset": "veryfast"}
        self._stream = self._container.add_stream("libx264", rate=30, options=options)
        self._stream.time_base = self._stream.codec_context.time_base = _TIME_BASE
        # The pixel format that every player knows wants even sizes.
        self._stream.height, self._stream.width = (2 * -(-round(side * scale) // 2) for side in (height, width))
        self._stream.pix_fmt = "yuv420p"


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The image in the middle of a black one of the given size, scaled down or up where it must be."""
    scale = min(width / image.shape[1], height / image.shape[0])
    if not 1 <= scale < 1.1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left, top = max(width - image.shape[1], 0) // 2, max(height - image.shape[0], 0) // 2
    canvas = np.zeros([height, width, 3], np.uint8)
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image[:height, :width]
    return canvas
