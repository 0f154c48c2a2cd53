"""Video files."""

import itertools
from pathlib import Path

import av
import numpy as np


def write_video(path: Path, frames, rate: int = 50, codec: str = "mpeg4") -> None:
    """Write frames, uint8 [h, w, 3] RGB, h and w even."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.bit_rate = "yuv420p", 20_000_000
        stream.height, stream.width = first.shape[:2]
        for frame in itertools.chain([first], frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
