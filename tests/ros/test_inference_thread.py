import threading
from concurrent.futures import CancelledError

import pytest

from metrabs_ros.inference_thread import InferenceThread

TIMEOUT = 120  # s


class SlowWork:
    """Work that takes as long as the test wants."""

    def __init__(self):
        self.done = []
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def __call__(self, frames):
        self.begun.release()
        assert self.go_on.acquire(timeout=TIMEOUT)
        self.done += frames.values()


@pytest.fixture
def work():
    return SlowWork()


@pytest.fixture
def thread(work):
    thread = InferenceThread(work)
    yield thread
    for _ in range(20):
        work.go_on.release()
    assert thread.stop(TIMEOUT)


def test_the_newest_frame_wins(thread, work):
    assert not thread.offer("camera", 1)
    assert work.begun.acquire(timeout=TIMEOUT)
    assert [thread.offer("camera", frame) for frame in (2, 3, 4)] == [False, True, True]
    for _ in range(2):
        work.go_on.release()
    thread.request(lambda: None).result(TIMEOUT)
    assert work.begun.acquire(timeout=TIMEOUT)
    thread.request(lambda: None).result(TIMEOUT)
    assert work.done == [1, 4]


def test_each_camera_has_its_own_newest_frame_and_what_waits_goes_together(work):
    rounds = []
    thread = InferenceThread(lambda frames: (rounds.append(frames), work(frames)))
    thread.offer("front", 1)
    assert work.begun.acquire(timeout=TIMEOUT)
    offers = [("rear", 2), ("front", 3), ("rear", 4), ("front", 5)]
    assert [thread.offer(*offer) for offer in offers] == [False, False, True, True]
    for _ in range(2):
        work.go_on.release()
    assert work.begun.acquire(timeout=TIMEOUT)
    assert thread.stop(TIMEOUT)
    assert rounds == [{"front": 1}, {"rear": 4, "front": 5}]


def test_requests_run_in_turn_with_frames_and_are_never_lost(thread, work):
    thread.offer("camera", 1)
    assert work.begun.acquire(timeout=TIMEOUT)
    futures = [thread.request(lambda i=i: (i, list(work.done), threading.current_thread().name)) for i in range(3)]
    thread.offer("camera", 2)
    for _ in range(2):
        work.go_on.release()
    results = [future.result(TIMEOUT) for future in futures]
    # The frame that waits comes after the first request, not after all.
    assert [(i, done) for i, done, _ in results] == [(0, [1]), (1, [1, 2]), (2, [1, 2])]
    assert {name for *_, name in results} == {"inference"}


def test_an_exception_goes_to_who_asked_and_the_thread_lives(thread):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        thread.request(fail).result(TIMEOUT)
    assert thread.request(lambda: 5).result(TIMEOUT) == 5


def test_cleared_frames_are_forgotten(thread, work):
    thread.offer("camera", 1)
    assert work.begun.acquire(timeout=TIMEOUT)
    thread.offer("camera", 2)
    thread.clear()
    work.go_on.release()
    thread.request(lambda: None).result(TIMEOUT)
    thread.request(lambda: None).result(TIMEOUT)
    assert work.done == [1]


def test_stop_cancels_what_has_not_begun(thread, work):
    thread.offer("camera", 1)
    assert work.begun.acquire(timeout=TIMEOUT)
    waiting = thread.request(lambda: None)
    thread.offer("camera", 2)
    assert not thread.stop(timeout=0.01), "work that has begun can't be stopped"
    with pytest.raises(CancelledError):
        waiting.result(TIMEOUT)
    with pytest.raises(CancelledError):
        thread.request(lambda: None).result(TIMEOUT)
    work.go_on.release()
    assert thread.stop(TIMEOUT)
    assert work.done == [1]
