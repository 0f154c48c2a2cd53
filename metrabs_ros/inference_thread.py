"""The thread that runs the network: the newest frame wins, requests wait their turn."""

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future


class InferenceThread:
    """Runs frames and requests one after the other, away from the executor.

    Frames go through a mailbox with one slot for each camera: a frame that is not begun when a newer one of its camera
    comes is forgotten, so a frame never waits behind another. What waits is processed together. Requests (any function)
    are never forgotten; one of them runs between two rounds of frames.
    """

    def __init__(self, process_frames: Callable[[dict], None]):
        """Start the thread.

        Args:
            process_frames: called in the thread with the frames that wait, by camera; must not raise.
        """
        self._process_frames = process_frames
        self._frames = {}
        self._requests: deque[tuple[Future, object]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        # A daemon, since a network in the middle of its work can't be interrupted when the process is to end.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def offer(self, camera: Hashable, frame) -> bool:
        """Put a frame of a camera into the mailbox. Returns whether it took the place of another."""
        with self._changed:
            overtaken = camera in self._frames
            self._frames[camera] = frame
            self._changed.notify()
        return overtaken

    def clear(self):
        """Forget the frames in the mailbox."""
        with self._changed:
            self._frames = {}

    def request(self, function) -> Future:
        """Have `function()` run in the thread; its result or exception appears in the returned future."""
        future = Future()
        with self._changed:
            if self._stopping:
                future.cancel()
            else:
                self._requests.append((future, function))
                self._changed.notify()
        return future

    def stop(self, timeout: float) -> bool:
        """Cancel everything not begun and wait for what is. Returns whether the thread ended within `timeout` s."""
        with self._changed:
            self._stopping = True
            self._frames = {}
            for future, _ in self._requests:
                future.cancel()
            self._requests.clear()
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self):
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._requests or self._frames)
                if self._stopping:
                    return
                request = self._requests.popleft() if self._requests else None
            if request:
                _fulfil(*request)
            with self._changed:
                frames, self._frames = self._frames, {}
            if frames:
                self._process_frames(frames)


def _fulfil(future: Future, function):
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
