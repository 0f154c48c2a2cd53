"""Video files, read and written with PyAV, which brings its own codecs."""

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from metrabs_core.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif"),
    *(".mts", ".m2ts", ".ts", ".3gp", ".flv", ".asf", ".ogv", ".vob"),
)
# FFmpeg's names of the formats that are taken for videos. It would also take text for a terminal's screen, and a
# playlist for the videos that it names.
_FORMATS = "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,obu,ivf,flv,asf,gif,ogg,mxf,dv,rm,wtv,nut,yuv4mpegpipe"

# Photographs in the container of MP4 (HEIF, AVIF), of which FFmpeg shows one tile.
_PHOTOGRAPHS = ("heic", "heix", "heim", "heis", "mif1", "avif")

# Of videos that are written: time stamps are whole milliseconds.
_TIME_BASE = Fraction(1, 1000)
# Larger frames libx264 does not encode, px.
_MAX_SIDE = 16384


class VideoError(UserError):
    """A video that can't be read or written; the message is one sentence for the user."""


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        index: its place in the video, from 0.
        seconds: its time, counted from the first frame; always later than the frame before.
        image: uint8 [H, W, 3], RGB, with square pixels, turned (and mirrored) the way that the camera noted.
    """

    index: int
    seconds: float
    image: np.ndarray


def is_video(path: Path) -> bool:
    """Whether a file is a video, by its content or, in case it is damaged, by its name."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    try:
        with _open(path) as container:
            return _moving_pictures(container) is not None
    except (av.error.FFmpegError, OSError, ValueError):
        return False


class VideoReader:
    """A video file to be read.

    Attributes:
        path: where it lies.
        n_frames: number of frames; for some formats an estimate, 0 if nothing is known.
    """

    def __init__(self, path):
        """Look at a video.

        Raises:
            VideoError: it can't be read, or holds no moving pictures.
        """
        self.path = Path(path)
        try:
            with _open(self.path) as container:
                stream = _moving_pictures(container)
                if stream is None:
                    found = "sound, but no pictures" if container.streams.audio else "no moving pictures"
                    raise VideoError(f"The video {path} holds {found}.")
                rate = float(stream.average_rate or stream.guessed_rate or 0)
                self._period = 1 / (rate or 25.0)
                self.n_frames = stream.frames or round((container.duration or 0) / av.time_base * rate)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"The video {path} can't be read ({error.strerror}).") from error

    def frames(self, start: int = 0) -> Iterator[VideoFrame]:
        """The frames from number `start` on. What can't be decoded is left out, and a warning tells about it.

        Raises:
            VideoError: the video holds no frame that can be decoded.
        """
        index, seconds, n_damaged = 0, None, 0
        with _open(self.path) as container:
            stream = _moving_pictures(container)
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
                    yield VideoFrame(index, seconds, _displayed(frame, stream))
                index += 1
        if not index:
            raise VideoError(f"The video {self.path} holds no frame that can be decoded.")
        if n_damaged:
            warnings.warn(f"{n_damaged} damaged frames of {self.path} were left out.", stacklevel=2)


def _open(path: Path):
    """Open a video to read. The path is absolute, since FFmpeg takes what stands before a colon for a protocol."""
    return av.open(str(path.absolute()), options={"format_whitelist": _FORMATS})


def _moving_pictures(container) -> "av.VideoStream | None":
    """The first stream of a file that is a video, not a cover picture."""
    if container.metadata.get("major_brand") in _PHOTOGRAPHS:
        return None
    covers = av.stream.Disposition.attached_pic
    return next((stream for stream in container.streams.video if not stream.disposition & covers), None)


def _displayed(frame: "av.VideoFrame", stream: "av.VideoStream") -> np.ndarray:
    """A decoded frame as a player shows it: uint8 [H, W, 3], RGB."""
    ratio = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1
    image = frame.reformat(width=max(1, round(frame.width * ratio)), format="rgb24").to_ndarray()
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is not None:
        # Takes x, y of the decoded frame to a x + c y, b x + d y of what is shown; all other angles are rounded.
        (a, b), (c, d) = np.frombuffer(side_data, np.int32).reshape(3, 3)[:2, :2].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            image, (a, d) = image.swapaxes(0, 1), (c, b)
        image = image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    return np.ascontiguousarray(image)


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
            max_side: larger frames are scaled down to this many pixels on their longer side (default: H.264's limit).
            quality: constant rate factor of H.264: 18 is hardly distinguishable from the source, 30 small and blurred.
        """
        self._path, self._max_side, self._quality = Path(path), max_side or _MAX_SIDE, quality
        self._stream, self._last = None, -1

    def __enter__(self):
        try:
            self._path.open("wb").close()  # FFmpeg would complain only about the first frame
            self._container = av.open(str(self._path.absolute()), "w")
        except OSError as error:
            raise VideoError(f"The video {self._path} can't be written ({error.strerror}).") from error
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
        scale = min(1.0, self._max_side / max(height, width))
        options = {"crf": str(self._quality), "preset": "veryfast"}
        self._stream = self._container.add_stream("libx264", rate=30, options=options)
        self._stream.time_base = self._stream.codec_context.time_base = _TIME_BASE
        # The pixel format that every player knows wants even sizes.
        self._stream.height, self._stream.width = (max(2, 2 * -(-round(side * scale) // 2)) for side in (height, width))
        self._stream.pix_fmt = "yuv420p"


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """The image in the middle of a black one of the given size, scaled down or up where it must be."""
    scale = min(width / image.shape[1], height / image.shape[0])
    if not 1 <= scale < 1.1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    left, top = max(width - image.shape[1], 0) // 2, max(height - image.shape[0], 0) // 2
    canvas = np.zeros([height, width, 3], np.uint8)
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image[:height, :width]
    return canvas
