"""The fallback against a brute-force oracle, and against the real message_filters where that is installed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo

from metrabs_ros import message_filters_fallback as fallback


class Source:
    """Stands where a subscriber stands: passes on the messages that it is given."""

    def __init__(self):
        self.callbacks = []

    def registerCallback(self, callback, *args):
        self.callbacks.append((callback, args))

    def send(self, stamp_ms: int):
        message = CameraInfo()
        message.header.stamp.sec, message.header.stamp.nanosec = stamp_ms // 1000, stamp_ms % 1000 * 10**6
        for callback, args in self.callbacks:
            callback(message, *args)


def pairs(synchronizer_type, events, *args) -> list[tuple[int, int]]:
    """Stamps (ms) of the pairs that come out when (source, stamp) events go in."""
    sources = [Source(), Source()]
    result = []
    synchronizer_type(sources, *args).registerCallback(lambda *messages: result.append(tuple(map(stamp_ms, messages))))
    for index, stamp in events:
        sources[index].send(stamp)
    return result


def stamp_ms(message) -> int:
    return message.header.stamp.sec * 1000 + message.header.stamp.nanosec // 10**6


def test_equal_stamps_pair_whatever_the_order():
    stamps = [1000 + 33 * i for i in range(30)]
    events = [(index, stamp) for stamp in stamps for index in (0, 1)]
    # Late by up to four messages.
    events.sort(key=lambda event: event[1] + random.Random(event[1] + event[0]).uniform(0, 130))
    assert sorted(pairs(fallback.TimeSynchronizer, events, 10)) == [(stamp, stamp) for stamp in stamps]


def test_a_stamp_without_counterpart_holds_nothing_up():
    events = [(0, 1000), (0, 1033), (1, 1033), (1, 1066), (0, 1099), (1, 1099)]
    assert pairs(fallback.TimeSynchronizer, events, 10) == [(1033, 1033), (1099, 1099)]


def test_the_queue_forgets_the_oldest():
    events = [*((0, 1000 + i) for i in range(5)), (1, 1000), (1, 1004)]
    assert pairs(fallback.TimeSynchronizer, events, 3) == [(1004, 1004)]


def test_approximate_pairs_are_the_nearest_within_the_slop():
    events = [(0, 1000), (0, 1010), (1, 1012), (1, 1025), (0, 1050), (1, 1500)]
    assert pairs(fallback.ApproximateTimeSynchronizer, events, 10, 0.02) == [(1010, 1012)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 400)), max_size=60), st.sampled_from([0.0, 0.015, 0.1]))
def test_no_message_goes_out_twice_nor_with_a_partner_beyond_the_slop(events, slop):
    events = list(dict.fromkeys(events))
    result = pairs(fallback.ApproximateTimeSynchronizer, events, 8, slop)
    assert all(abs(a - b) <= slop * 1000 for a, b in result)
    for index in (0, 1):
        stamps = [pair[index] for pair in result]
        assert len(stamps) == len(set(stamps))


def test_steady_streams_pair_as_with_the_real_package():
    message_filters = pytest.importorskip("message_filters")
    rng = random.Random(1)
    events = []
    for i in range(200):
        events += [(0, 1000 + 33 * i), (1, 1000 + 33 * i + rng.randint(-5, 5))]
    for name, args in (("ApproximateTimeSynchronizer", (10, 0.02)), ("TimeSynchronizer", (10,))):
        real = pairs(getattr(message_filters, name), events, *args)
        assert pairs(getattr(fallback, name), events, *args) == real
        assert real
