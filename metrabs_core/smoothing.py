"""Poses of tracked people, smoothed over time, and how fast they move: the One-Euro filter.

An exponential mean over time whose cutoff frequency rises with speed: still people do not tremble, and moving ones are
hardly late (Casiez, Roussel and Vogel, "1 Euro Filter", CHI 2012). Each joint has one cutoff for its three coordinates,
so that the result does not depend on the axes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Smoothing:
    """How much is smoothed.

    Attributes:
        min_cutoff: of joints at rest, Hz.
        beta: by how much the cutoff rises with speed, Hz per mm/s.
    """

    min_cutoff: float
    beta: float

    def lag(self, speed: float) -> float:
        """By how many seconds a joint at a constant speed, mm/s, comes late."""
        return _time_constant(self.min_cutoff + self.beta * speed)

    def gain(self, velocity, elapsed):
        """Weight of points against the smoothed ones before [n, J, 1], of velocities [n, J, 3] and times [n, 1, 1]."""
        speed = np.linalg.norm(velocity, axis=-1, keepdims=True)
        # Where time stands still (a driver that leaves stamps at zero) nothing can be smoothed.
        return np.where(elapsed > 0, _gain(self.min_cutoff + self.beta * speed, elapsed), 1)


SMOOTHINGS = {"off": None, "light": Smoothing(0.1, 0.001), "strong": Smoothing(0.05, 0.0005)}
# Cutoff frequency of velocities, Hz, and how long somebody has to be seen before they are told, s.
_VELOCITY_CUTOFF = 0.3
_VELOCITY_AGE = 0.5


@dataclass
class _Track:
    first: float  # stamp, s
    last: float  # stamp, s
    raw: np.ndarray  # [J, 3], mm, as they came last
    smooth: np.ndarray  # [J, 3], mm
    velocity: np.ndarray  # [J, 3], mm/s, a mean that begins at zero
    weight: float  # what the weights of that mean add up to


class PoseFilter:
    """Smooths points of people, whose ids tell them apart from image to image."""

    def __init__(self):
        self._tracks: dict[int, _Track] = {}
        self._stamp = -np.inf

    def update(self, ids, points, stamp: float, smoothing: Smoothing | None, max_age: float):
        """Take the people of the next image.

        Args:
            ids: [n].
            points: [n, J, 3], mm, in a frame that stands still.
            stamp: time of the image, s. A jump back in time (a bag that starts again) forgets everybody.
            smoothing: None to leave the points as they are.
            max_age: seconds for which somebody unseen is remembered.

        Returns:
            Points float64 [n, J, 3], mm, and their velocities [n, J, 3], mm/s: NaN for whoever has been seen for less
            than half a second.
        """
        points, ids = np.asarray(points, np.float64), np.asarray(ids).tolist()
        if stamp < self._stamp:
            self._tracks.clear()
        self._stamp = stamp
        others = {i: t for i, t in self._tracks.items() if stamp - t.last <= max_age and i not in ids}
        if not ids:
            self._tracks = others
            return points, np.full_like(points, np.nan)
        tracks = [self._known(person, pose, stamp) for person, pose in zip(ids, points)]
        elapsed = np.array([stamp - track.last for track in tracks])[:, np.newaxis, np.newaxis]
        raw, smooth, velocity = (np.stack([getattr(t, name) for t in tracks]) for name in ("raw", "smooth", "velocity"))
        weight = np.array([track.weight for track in tracks])[:, np.newaxis, np.newaxis]
        gain = _gain(_VELOCITY_CUTOFF, elapsed)
        velocity = velocity + gain * ((points - raw) / np.maximum(elapsed, 1e-9) - velocity)
        weight = weight + gain * (1 - weight)
        smooth = points if smoothing is None else smooth + smoothing.gain(velocity, elapsed) * (points - smooth)
        arrays = zip(points, smooth, velocity, weight[:, 0, 0].tolist())
        self._tracks = others | {i: _Track(t.first, stamp, *a) for i, t, a in zip(ids, tracks, arrays)}
        is_known = np.array([stamp - track.first >= _VELOCITY_AGE for track in tracks])[:, np.newaxis, np.newaxis]
        return smooth, np.where(is_known, velocity / np.maximum(weight, 1e-9), np.nan)

    def _known(self, person: int, points, stamp: float) -> _Track:
        """What is known of a person; of somebody new, or with other points than before: nothing."""
        track = self._tracks.get(person)
        if track is None or track.raw.shape != points.shape:
            return _Track(stamp, stamp, points, points, np.zeros_like(points), 0.0)
        return track


def _time_constant(cutoff):
    return 1 / (2 * np.pi * cutoff)


def _gain(cutoff, elapsed):
    """Weight of the newest value in an exponential mean over time; 0 where no time has passed."""
    return elapsed / (elapsed + _time_constant(cutoff))
