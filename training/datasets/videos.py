"""Pictures from videos."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av

from training.datasets.picture_files import jpeg_exists, write_image
from training.datasets.preparation import Preparation

# Of a JPEG of quality 95, for estimates.
_BYTES_PER_PIXEL = 0.2


@dataclass(frozen=True)
class Frames:
    """Frames of a video that are wanted as JPEG files.

    Attributes:
        video: the file.
        paths: where each wanted frame goes, by its number from zero.
    """

    video: Path
    paths: dict[int, Path]

    def lacking(self, check: Callable[[Path], bool] = jpeg_exists) -> dict[int, Path]:
        """The frames that are not there yet, or are damaged."""
        return {number: path for number, path in self.paths.items() if not check(path)}


def write_all_frames(preparation: Preparation, videos: list[Frames]) -> None:
    """Write the frames that aren't there yet of all videos, in parallel, if the disk has room for them."""
    todo = [frames for frames in videos if frames.lacking(Path.is_file)]
    pixels = sum(len(frames.lacking(Path.is_file)) * _n_pixels(frames.video) for frames in todo)
    preparation.need_space("Pictures from videos", pixels * _BYTES_PER_PIXEL)
    written = preparation.run("videos", write_frames, videos)
    preparation.done.append(f"{sum(n for n in written if n)} pictures from {len(videos)} videos")


def _n_pixels(video: Path) -> int:
    """Pixels of a frame; 0 if the video can't be read, which is said when its frames are wanted."""
    try:
        with av.open(str(video)) as container:
            return container.streams.video[0].width * container.streams.video[0].height
    except (av.FFmpegError, IndexError):
        return 0


def write_frames(frames: Frames) -> tuple[int, list[str]]:
    """Write the frames that aren't there yet.

    Returns:
        the number of pictures written; sentences about what of the video couldn't be read.
    """
    lacking = frames.lacking()
    written = 0
    if not lacking:
        return 0, []
    last = max(lacking)
    try:
        with av.open(str(frames.video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for number, frame in enumerate(container.decode(stream)):
                if number in lacking:
                    write_image(lacking.pop(number), frame.to_ndarray(format="rgb24"))
                    written += 1
                if number == last:
                    break
    except (av.FFmpegError, IndexError) as error:
        reason = getattr(error, "strerror", None) or error
        return written, [f"The video {frames.video} is damaged, {len(lacking)} of its frames are missing: {reason}."]
    if lacking:
        return written, [f"The video {frames.video} ends before {len(lacking)} of its frames, from {min(lacking)} on."]
    return written, []
