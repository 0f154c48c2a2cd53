"""Which camera_info goes with which image, with the real message_filters where that is installed."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, Image

from metrabs_ros.pairing import make_pairing

QUEUE_SIZE = 5


def message(message_type, stamp_ms: int, frame_id="camera"):
    message = message_type()
    message.header.stamp.sec, message.header.stamp.nanosec = stamp_ms // 1000, stamp_ms % 1000 * 10**6
    message.header.frame_id = frame_id
    return message


def stamp_ms(message) -> int:
    return message.header.stamp.sec * 1000 + message.header.stamp.nanosec // 10**6


def pairs(mode, events, slop=0.02) -> list[tuple[int, int]]:
    """Stamps (ms) of image and camera_info that go together when ("image" or "info", stamp[, frame_id]) come in."""
    result = []
    pairing = make_pairing(mode, QUEUE_SIZE, slop, lambda *pair: result.append(tuple(map(stamp_ms, pair))))
    for kind, *arguments in events:
        if kind == "image":
            pairing.add_image(message(Image, *arguments))
        else:
            pairing.add_partner(message(CameraInfo, *arguments))
    return result


@pytest.mark.parametrize("mode", ["exact", "approximate"])
@settings(max_examples=50, deadline=None)
@given(
    lost=st.lists(st.booleans(), min_size=30, max_size=30),
    starts=st.lists(st.integers(0, 10**6), min_size=1, max_size=4),
    image_first=st.booleans(),
)
@example(lost=[False] * 29 + [True], starts=[0, 28 * 33], image_first=True)
@example(lost=[False] * 29 + [True], starts=[0, 28 * 33 + 1], image_first=True)
def test_every_image_finds_its_camera_info_wherever_time_jumps(mode, lost, starts, image_first):
    kinds = ("image", "info") if image_first else ("info", "image")
    events, expected = [], []
    for start in starts:
        for i, is_lost in enumerate(lost):
            stamp = start + 33 * i
            events += [(kind, stamp) for kind in kinds if not (is_lost and kind == "image")]
            expected += [] if is_lost else [(stamp, stamp)]
    assert pairs(mode, events) == expected


def test_a_late_message_from_before_the_jump_costs_no_more_than_an_image():
    before = [(kind, 90_000 + 33 * i) for i in range(20) for kind in ("info", "image")]
    after = [(kind, 33 * i) for i in range(10) for kind in ("info", "image")]
    late = [after[0], ("image", 90_700), *after[1:]]
    assert pairs("exact", before + late)[-9:] == [(33 * i, 33 * i) for i in range(1, 10)]


def test_the_latest_camera_info_of_the_frame_goes_with_the_image_whatever_its_stamp():
    events = [
        ("image", 100),
        ("info", 7000, "other"),
        ("image", 200),
        ("info", 0),
        ("image", 300),
        ("image", 400),
        ("info", 350),
        ("info", 351, "other"),
        ("image", 50),
        ("image", 60, "other"),
    ]
    assert pairs("latest", events) == [(300, 0), (400, 0), (50, 350), (60, 351)]
