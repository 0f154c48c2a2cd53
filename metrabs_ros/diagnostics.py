"""What the node says about itself on /diagnostics."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from metrabs_ros.camera_input import Problem

# Images since the last processed one from which an idle second is no matter of when images come.
_LONG_IDLE = 2


@dataclass(frozen=True)
class Report:
    """Counts of frames since the start, and rates and times since the report before.

    Attributes:
        totals: events since the start.
        window: events since the last report.
        skipped: skipped frames since the start by reason.
        idle_streak: images received since one was last processed.
        rate: processed frames per second.
        latency: median time from an image's stamp to its result, s.
        processing: median time from an image's arrival to its result, s.
        inference: median time in the model, s.
        persons: median number of people in an image.
    """

    totals: Counter
    window: Counter
    skipped: Counter
    idle_streak: int
    rate: float
    latency: float
    processing: float
    inference: float
    persons: float


class Statistics:
    """Counts frames on their way through the node. Safe to use from any thread."""

    def __init__(self):
        self._lock = threading.Lock()
        self._totals = Counter()
        self._skipped = Counter()
        self._idle_streak = 0
        self._start_window()

    def begin(self):
        """Forget what came before the node was activated, except for the totals."""
        with self._lock:
            self._idle_streak = 0
            self._start_window()

    def _start_window(self):
        self._window_start = time.monotonic()
        self._window = Counter()
        self._samples = []

    def _count(self, event: str):
        self._totals[event] += 1
        self._window[event] += 1

    def count_received(self):
        """Count an image that arrived."""
        with self._lock:
            self._count("received")
            self._idle_streak += 1

    def count_accepted(self, overtaken: bool):
        """Count an image that has a camera and is in the mailbox, perhaps in the place of another."""
        with self._lock:
            self._count("accepted")
            if overtaken:
                self._count("overtaken")

    def count_left_out(self):
        """Count an image that has a camera, and was left out as images come more often than is wanted."""
        with self._lock:
            self._count("accepted")
            self._count("left_out")
            self._idle_streak = max(self._idle_streak - 1, 0)

    def count_skipped(self, reason: str):
        """Count a frame that could not be processed."""
        with self._lock:
            self._count("skipped")
            self._skipped[reason] += 1

    def count_processed(self, latency: float, processing: float, inference: float, persons: int):
        """Count a processed frame, with the quantities that `Report` names."""
        with self._lock:
            self._count("processed")
            self._idle_streak = 0
            self._samples.append((latency, processing, inference, persons))

    def report(self) -> Report:
        """What happened since the last report."""
        with self._lock:
            seconds = max(time.monotonic() - self._window_start, 1e-9)
            medians = np.median(self._samples, axis=0).tolist() if self._samples else [0.0] * 4
            rate = self._window["processed"] / seconds
            report = Report(self._totals.copy(), self._window, self._skipped.copy(), self._idle_streak, rate, *medians)
            self._start_window()
        return report


def status_message(
    name: str, state: str, report: Report, problem: Problem | None, facts: dict[str, str]
) -> DiagnosticStatus:
    """A report as a message.

    Args:
        name: name of the status.
        state: state of the node's life cycle.
        report: the numbers.
        problem: what keeps images from arriving or being processed, if anything does.
        facts: further keys and values (model, device, topics).
    """
    window = report.window
    level = DiagnosticStatus.OK
    message = f"{report.rate:.1f} frames/s, {1000 * report.processing:.0f} ms from an image's arrival to its result."
    if state != "active":
        message = f"The node is {state}."
    elif problem:
        level = DiagnosticStatus.ERROR if problem.is_error else DiagnosticStatus.WARN
        message = problem.message
    elif window["skipped"]:
        level = DiagnosticStatus.WARN if window["processed"] else DiagnosticStatus.ERROR
        message = f"{window['skipped']} frames could not be processed in the last second."
    elif not window["received"]:
        level, message = DiagnosticStatus.WARN, "No images arrive."
    elif not window["processed"] and report.idle_streak >= _LONG_IDLE:
        level, message = DiagnosticStatus.WARN, "Images arrive, but none was processed in the last second."

    values = {
        "state": state,
        **facts,
        "received": report.totals["received"],
        "without_camera_info": report.totals["received"] - report.totals["accepted"],
        "dropped_for_newer": report.totals["overtaken"],
        "left_out_for_rate": report.totals["left_out"],
        "skipped": report.totals["skipped"],
        **{f"skipped_{reason}": count for reason, count in sorted(report.skipped.items())},
        "processed": report.totals["processed"],
        "rate_hz": f"{report.rate:.2f}",
        "latency_ms": f"{1000 * report.latency:.1f}",
        "processing_ms": f"{1000 * report.processing:.1f}",
        "inference_ms": f"{1000 * report.inference:.1f}",
        "persons": f"{report.persons:g}",
    }
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        hardware_id=facts.get("device", ""),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )
