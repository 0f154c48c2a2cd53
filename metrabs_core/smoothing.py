"""Poses of tracked people, smoothed over time, and how fast they move: the One-Euro filter.

An exponential mean over time whose cutoff frequency rises with speed: still people do not tremble, and moving ones are
hardly late (Casiez, Roussel and Vogel, "1 Euro Filter", CHI 2012). With one camera, errors are much larger along the
line of sight than across it, so a joint has one cutoff for each. Noise looks like speed, too, by an amount that follows
from how much a joint trembles, which is measured on the way: only what exceeds three times that counts as speed.
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

    def gain(self, speed, elapsed):
        """Weight of points against the smoothed ones before, of speeds [...] and times [...]."""
        # Where time stands still (a driver that leaves stamps at zero) nothing can be smoothed.
        return np.where(elapsed > 0, _gain(self.min_cutoff + self.beta * speed, elapsed), 1)


SMOOTHINGS = {"off": None, "light": Smoothing(0.25, 0.004), "strong": Smoothing(0.1, 0.0015)}
# Cutoff frequency of velocities, Hz, and how long somebody has to be seen before they are told, s.
_VELOCITY_CUTOFF = 0.3
_VELOCITY_AGE = 0.5
# Cutoff frequency of noise, Hz, and how many times the speed that it looks like a speed has to be.
_NOISE_CUTOFF = 0.1
_SIGNIFICANCE = 3.0


@dataclass
class _Track:
    first: float  # stamp, s
    last: float  # stamp, s
    raw: np.ndarray  # [J, 3], mm, as they came last
    smooth: np.ndarray  # [J, 3], mm
    change: np.ndarray  # [J, 3], mm/s, between the last two images; NaN before there are two
    velocity: np.ndarray  # [J, 3], mm/s, a mean of that, which begins at zero
    weight: float  # what the weights of that mean add up to
    noise: np.ndarray  # [2, J], variance along and across the line of sight, mm^2, a mean that begins at zero
    noise_weight: float  # the same


class PoseFilter:
    """Smooths points of people, whose ids tell them apart from image to image."""

    def __init__(self):
        self._tracks: dict[int, _Track] = {}
        self._stamp = -np.inf

    def update(self, ids, points, stamp: float, smoothing: Smoothing | None, max_age: float, origin=(0.0, 0.0, 0.0)):
        """Take the people of the next image.

        Args:
            ids: [n].
            points: [n, J, 3], mm, in a frame that stands still.
            stamp: time of the image, s. A jump back in time (a bag that starts again) forgets everybody.
            smoothing: None to leave the points as they are.
            max_age: seconds for which somebody unseen is remembered.
            origin: [3], mm, where the camera is.

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
        elapsed, weight, noise_weight = (
            np.array(values)[:, np.newaxis, np.newaxis]
            for values in zip(*((stamp - track.last, track.weight, track.noise_weight) for track in tracks))
        )
        raw, smooth, before, velocity, noise = (
            np.stack([getattr(track, name) for track in tracks])
            for name in ("raw", "smooth", "change", "velocity", "noise")
        )
        sight = points.mean(axis=1, keepdims=True) - origin
        sight /= np.maximum(np.linalg.norm(sight, axis=-1, keepdims=True), 1e-9)

        change = np.where(elapsed > 0, (points - raw) / np.maximum(elapsed, 1e-9), before)
        gain = _gain(_VELOCITY_CUTOFF, elapsed)
        velocity = velocity + gain * (np.nan_to_num(change) - velocity)
        weight = weight + gain * (1 - weight)
        # The variance of a second difference of noise is six times that of the noise.
        tremble = _squares((change - before) * elapsed, sight) / 6
        noise_gain = np.where(np.isfinite(tremble[:, :1, :1]), _gain(_NOISE_CUTOFF, elapsed), 0)
        noise = noise + noise_gain * (np.nan_to_num(tremble) - noise)
        noise_weight = noise_weight + noise_gain * (1 - noise_weight)
        if smoothing is None:
            smooth = points
        else:
            # What the mean makes of noise, whose differences it averages.
            apparent = noise / np.maximum(noise_weight, 1e-9) * (gain / np.maximum(elapsed, 1e-9)) ** 2 * 2 / (2 - gain)
            speed = np.sqrt(np.maximum(_squares(velocity, sight) - _SIGNIFICANCE**2 * apparent, 0))
            along, across = np.moveaxis(smoothing.gain(speed, elapsed)[..., np.newaxis], 1, 0)
            error = points - smooth
            part = (error * sight).sum(axis=-1, keepdims=True) * sight
            smooth = smooth + along * part + across * (error - part)
        arrays = zip(points, smooth, change, velocity, weight[:, 0, 0].tolist(), noise, noise_weight[:, 0, 0].tolist())
        self._tracks = others | {i: _Track(t.first, stamp, *a) for i, t, a in zip(ids, tracks, arrays)}
        is_known = np.array([stamp - track.first >= _VELOCITY_AGE for track in tracks])[:, np.newaxis, np.newaxis]
        return smooth, np.where(is_known, velocity / np.maximum(weight, 1e-9), np.nan)

    def _known(self, person: int, points, stamp: float) -> _Track:
        """What is known of a person; of somebody new, or with other points than before: nothing."""
        track = self._tracks.get(person)
        if track is None or track.raw.shape != points.shape:
            unknown, still = np.full_like(points, np.nan), np.zeros_like(points)
            return _Track(stamp, stamp, points, points, unknown, still, 0.0, np.zeros([2, len(points)]), 0.0)
        return track


def _squares(vectors, sight):
    """Squared lengths along and across the line of sight [n, 1, 3] of vectors [n, J, 3]: [n, 2, J]."""
    along = (vectors * sight).sum(axis=-1)
    across = vectors - along[..., np.newaxis] * sight
    return np.stack([along**2, (across**2).sum(axis=-1)], axis=1)


def _time_constant(cutoff):
    return 1 / (2 * np.pi * cutoff)


def _gain(cutoff, elapsed):
    """Weight of the newest value in an exponential mean over time; 0 where no time has passed."""
    return elapsed / (elapsed + _time_constant(cutoff))
