"""Stand-in for the package message_filters where it is not installed (ROS 2 from PyPI lacks it).

It has the synchronizers, as far as the node uses them, with the same names and arguments.
"""

import threading


class ApproximateTimeSynchronizer:
    """Calls back with one message of each subscriber whose stamps lie within `slop` seconds of each other.

    A message goes out at most once, with the nearest partners; the `queue_size` newest messages of each subscriber wait
    for theirs.
    """

    def __init__(self, fs, queue_size, slop):
        self._queue_size = queue_size
        self._slop_ns = round(slop * 1e9)
        self._queues = [{} for _ in fs]  # stamp in ns -> message
        self._callbacks = []
        self._lock = threading.Lock()
        for index, subscriber in enumerate(fs):
            subscriber.registerCallback(self._add, index)

    def registerCallback(self, callback, *args):
        """Call `callback(message1, message2, ..., *args)` for each set of messages."""
        self._callbacks.append((callback, args))

    def _add(self, message, index):
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        with self._lock:
            queue = self._queues[index]
            queue[stamp] = message
            while len(queue) > self._queue_size:
                del queue[min(queue)]
            if not all(self._queues):
                return
            stamps = [min(queue, key=lambda other: abs(other - stamp)) for queue in self._queues]
            if max(stamps) - min(stamps) > self._slop_ns:
                return
            messages = [queue.pop(chosen) for queue, chosen in zip(self._queues, stamps)]
        for callback, args in self._callbacks:
            callback(*messages, *args)


class TimeSynchronizer(ApproximateTimeSynchronizer):
    """The same for messages with exactly equal stamps."""

    def __init__(self, fs, queue_size):
        super().__init__(fs, queue_size, slop=0.0)
