"""Opens whatever can be read as a bag."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metrabs_core.cameras import DEFAULT_FOV_DEGREES
from metrabs_core.pictures import PICTURE_SUFFIXES, is_picture, pictures_in
from metrabs_core.videos import VIDEO_SUFFIXES, is_video
from metrabs_ros.bags.media import Pictures, Video
from metrabs_ros.bags.reader import is_bag, open_bag
from metrabs_ros.bags.recording import Recording, RecordingError


@contextmanager
def open_recording(path, fov_degrees: float = DEFAULT_FOV_DEGREES) -> Iterator[Recording]:
    """Open a bag, a video, a picture or a folder of pictures.

    Args:
        path: a rosbag2 folder, a single `.mcap` or `.db3` file, a video or image file, or a folder of image files.
        fov_degrees: for videos and pictures: field of view over the longer image side that their camera_info states.

    Raises:
        UserError: there is nothing readable at `path`.
    """
    path = Path(path)
    if not os.path.exists(path):  # whatever stands in the way
        raise RecordingError(f"{path} does not exist.")
    if is_bag(path):
        with open_bag(path) as bag:
            yield bag
    elif path.is_dir():
        yield Pictures(path, pictures_in(path), fov_degrees)
    elif is_picture(path):
        yield Pictures(path, [path], fov_degrees)
    elif is_video(path):
        yield Video(path, fov_degrees)
    else:
        raise RecordingError(
            f"{path} is not a recording: give a rosbag2 folder, a .mcap file, a video ({' '.join(VIDEO_SUFFIXES)}), a "
            f"picture ({' '.join(PICTURE_SUFFIXES)}) or a folder of pictures."
        )
