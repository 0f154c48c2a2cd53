"""Frames from pictures, and reading ahead."""

import time

import cv2
import numpy as np
import pytest

from training.video.sources import open_source, read_ahead


def test_pictures_in_the_order_of_their_numbers(tmp_path):
    for number in (1, 2, 10, 9, 100):
        cv2.imwrite(str(tmp_path / f"im{number}.png"), np.full([8, 8, 3], [number, 0, 0], np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    source = open_source(str(tmp_path), 10)
    assert source.n_frames == 5
    # RGB, and so blue is the last channel
    assert [frame.image[0, 0].tolist() for frame in source.frames()] == [[0, 0, n] for n in (1, 2, 9, 10, 100)]
    assert [(frame.index, frame.seconds) for frame in source.frames(3)] == [(3, 0.3), (4, 0.4)]


def test_reading_ahead_gives_the_same_in_order_and_does_not_run_away():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 0
    time.sleep(0.2)
    assert len(made) <= 1 + 4 + 1
    assert list(ahead) == list(range(1, 50))


def test_reading_ahead_passes_on_exceptions_and_stops_when_it_is_abandoned():
    def items():
        yield 1
        raise OSError("damaged")

    ahead = read_ahead(items(), 4)
    assert next(ahead) == 1
    with pytest.raises(OSError, match="damaged"):
        next(ahead)

    closed = []

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    source = endless()
    ahead = read_ahead(source, 2)
    next(ahead)
    ahead.close()
    source.close()  # would raise if the thread still ran it
    assert closed == [True]
