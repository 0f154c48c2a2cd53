"""A contestant of the comparison with peers in a process of its own, which does a turn whenever it is told to.

Both sides of the pipe are here. What runs in the other process needs nothing but Python, since that may be the Python
of another environment.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

_ROOT = Path(__file__).parents[1]


class Contestant(NamedTuple):
    """What takes part.

    Attributes:
        name: who it is.
        detector: when it looks for people in the whole image.
        people: how many are in its image.
        step: does the next image and returns how many people it has found.
        images: how many make a turn.
    """

    name: str
    detector: str
    people: int
    step: Callable[[], int]
    images: int = 1


def serve(contestants: Sequence[Contestant]) -> None:
    """In the other process: announce the contestants, then take turns until the pipe is closed."""
    # what libraries print must not come between the answers
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    announced = []
    for contestant in contestants:
        found = [contestant.step() for _ in range(3)][-1]
        name, detector, people, *_ = contestant
        announced.append({"name": name, "detector": detector, "people": people, "found": found})
    print(json.dumps(announced), file=answers)
    for line in sys.stdin:
        contestant = contestants[int(line)]
        start, start_cpu = time.perf_counter(), _cpu_seconds()
        for _ in range(contestant.images):
            contestant.step()
        seconds = time.perf_counter() - start, _cpu_seconds() - start_cpu
        print(json.dumps([value / contestant.images for value in seconds]), file=answers)


def _cpu_seconds() -> float:
    """Of all threads of this process, for itself and in the system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class PeerProcess:
    """The other process, on one processor core.

    One core, because MediaPipe computes in one thread and offers no choice; libraries that choose the number of their
    threads by themselves choose one there.

    Args:
        command: that calls ``serve``.
        log: where what it writes to stderr goes.

    Attributes:
        contestants: what it has announced: list of dicts of ``name``, ``detector``, ``people`` and ``found``.

    Raises:
        RuntimeError: it has ended without announcing anything; with the last line that it wrote to stderr.
    """

    def __init__(self, command: Sequence[str], log: Path):
        self._log = log
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})  # of this thread, from which the process inherits it
        try:
            with log.open("w") as errors:
                self._process = subprocess.Popen(
                    command, cwd=_ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                )
        finally:
            os.sched_setaffinity(0, cores)
        try:
            self.contestants = self._read()
        except BaseException:
            self.close()
            raise

    def turn(self, index: int) -> tuple[float, float]:
        """Let a contestant take its turn: seconds, and seconds of processor time, for each image."""
        self._process.stdin.write(f"{index}\n")
        self._process.stdin.flush()
        seconds, cpu_seconds = self._read()
        return seconds, cpu_seconds

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            said = self._log.read_text().strip().splitlines()
            raise RuntimeError(said[-1] if said else f"its process ended with {self._process.wait()}")
        return json.loads(line)

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
