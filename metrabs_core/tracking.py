"""Gives the people of successive images ids that stay with them."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

# Differences at which two positions are certainly not the same person's: across the line of sight in mm (growing while
# a person is not seen), and along it as a fraction of the distance, since that is how a single camera errs in depth.
_REACH = 600.0
_REACH_GROWTH = 1000.0  # mm per second unseen
_DEPTH_REACH = 0.4
# Sum of box overlap (0..1) and position similarity (0..1) below which two observations are not the same person.
_MIN_SIMILARITY = 0.35
# Time over which velocity is averaged, s; much longer along the line of sight, as depth is so noisy.
_VELOCITY_TIME = 0.3
_DEPTH_VELOCITY_TIME = 2.0
# Time over which a track's score is averaged, s.
_SCORE_TIME = 2.0
# A box of low score that overlaps a better one by more is taken for a second detection of the same person.
_MAX_OVERLAP = 0.5
# An image that comes after this many of the intervals before it is late: people may have changed places meanwhile.
_LATE = 2.0
# Ends a lost track where time stands still (a driver that leaves stamps at zero).
_MAX_MISSES = 100


# The detector's threshold as a fraction of the tracker's.
_WEAK = 0.7


def weak_threshold(threshold: float) -> float:
    """The threshold for a detector whose detections are tracked with another threshold: those below only prolong."""
    return _WEAK * threshold


@dataclass
class _Track:
    id: int
    score: float  # mean of the last seconds
    box: np.ndarray  # [4]: left, top, width, height, px
    box_velocity: np.ndarray  # [2], px/s
    position: np.ndarray  # [3], mm
    velocity: np.ndarray  # [3], mm/s
    last_seen: float  # s
    misses: int = 0


class Tracker:
    """Assigns people to tracks by box overlap and 3D distance to where a constant velocity would have taken them.

    A person has an id from the first image on: nothing is held back for confirmation. Ids count up from 1 and are never
    used twice.

    Detections of a score below the threshold are believed only where somebody is expected: they prolong tracks, but
    begin none, as in ByteTrack (arXiv 2110.06864). Other than there, they prolong a track only as long as its mean
    score stays above the threshold. Else a thing that has once been taken for a person would stay one.

    Attributes:
        max_age: seconds for which somebody unseen is remembered; whoever was in the last image is known in the next
            one, unless that comes late.
        threshold: score from which a detection is somebody, known or not.
    """

    def __init__(self, max_age: float = 1.5, threshold: float = 0.0):
        self.max_age = max_age
        self.threshold = threshold
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._last_stamp: float | None = None
        self._interval = np.inf  # from image to image, s; at first nobody knows it

    def update(self, boxes, poses3d, stamp_s: float) -> list[int]:
        """Take the people of the next image.

        Args:
            boxes: [n, 5] (left, top, width, height, px; score).
            poses3d: [n, J, 3], mm, camera frame.
            stamp_s: time of the image, s. A jump back in time (a bag that starts again) forgets everybody.

        Returns:
            The id of each of the n people; 0 for those of low score that match no track.
        """
        boxes, scores = np.split(np.asarray(boxes, np.float64), [4], axis=1)
        strong = scores[:, 0] >= self.threshold
        weak = ~strong & ~_overlaps(boxes, boxes[strong])
        positions = np.asarray(poses3d, np.float64).mean(axis=1)
        self._forget(stamp_s)

        ids = [0] * len(boxes)
        lost = self._tracks
        for chosen in (strong, weak):
            candidates = np.flatnonzero(chosen)
            tracks = [track for track in lost if chosen is strong or track.score >= self.threshold]
            for track, candidate in _match(tracks, boxes[candidates], positions[candidates], stamp_s):
                person = candidates[candidate]
                _move(track, boxes[person], positions[person], scores[person, 0], stamp_s)
                ids[person] = track.id
            lost = [track for track in lost if track.id not in ids]
        for track in lost:
            track.misses += 1
        for person in np.flatnonzero(strong):
            if not ids[person]:
                ids[person] = self._next_id
                place = boxes[person], np.zeros(2), positions[person], np.zeros(3)
                self._tracks.append(_Track(self._next_id, scores[person, 0], *place, stamp_s))
                self._next_id += 1
        return ids

    def concern(self, boxes, stamp_s: float) -> np.ndarray:
        """Which of n boxes [n, 5] of the next image can be somebody to ``update``, whatever their pose is: bool [n]."""
        boxes, scores = np.split(np.asarray(boxes, np.float64), [4], axis=1)
        strong = scores[:, 0] >= self.threshold
        weak = ~strong & ~_overlaps(boxes, boxes[strong])
        around = np.zeros(len(boxes), bool)
        for track in self._tracks:
            if track.score >= self.threshold:
                box = _expected_box(track, stamp_s)
                around |= intersection_over_union(np.concatenate([box[:2] - box[2:], 3 * box[2:]]), boxes) > 0
        return strong | (weak & around)

    def expected_boxes(self, ids, stamp_s: float) -> np.ndarray | None:
        """Where known people [n] are in the next image, at constant velocity: [n, 4]; None if one is forgotten then."""
        self._forget(stamp_s)
        tracks = {track.id: track for track in self._tracks}
        if not tracks.keys() >= set(ids):
            return None
        return np.reshape([_expected_box(tracks[person], stamp_s) for person in ids], [-1, 4])

    def prolong(self, ids, boxes, poses3d, stamp_s: float):
        """Take people of the next image who are known by their ids [n]; see ``update`` for the rest."""
        self._forget(stamp_s)
        positions = np.asarray(poses3d, np.float64).mean(axis=1)
        places = dict(zip(ids, zip(np.asarray(boxes, np.float64), positions)))
        for track in self._tracks:
            if track.id in places:
                _move(track, *places[track.id], track.score, stamp_s)
            else:
                track.misses += 1

    def _forget(self, stamp_s: float):
        """Forget whoever was not seen for too long, or everybody where time has jumped back."""
        elapsed = 0.0 if self._last_stamp is None else stamp_s - self._last_stamp
        self._last_stamp = stamp_s
        if elapsed < 0:
            self._tracks, self._interval = [], np.inf
            return
        is_next = elapsed <= _LATE * self._interval
        if elapsed > 0:
            self._interval = elapsed
        self._tracks = [
            track
            for track in self._tracks
            if track.misses < _MAX_MISSES
            and (stamp_s - track.last_seen <= self.max_age or (is_next and track.misses == 0))
        ]


def _match(tracks: list[_Track], boxes, positions, stamp_s: float) -> list[tuple[_Track, int]]:
    if not (tracks and len(boxes)):
        return []
    similarity = np.stack([_similarity(track, boxes, positions, stamp_s) for track in tracks])
    # Pairs below the threshold count as no pair at all, else they could push a good pair aside.
    similarity[similarity < _MIN_SIMILARITY] = 0
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return [(tracks[row], column) for row, column in zip(rows, columns) if similarity[row, column] > 0]


def _similarity(track: _Track, boxes, positions, stamp_s: float) -> np.ndarray:
    """Similarity [n], 0..2, of a track's guessed whereabouts to n observations."""
    elapsed = stamp_s - track.last_seen
    guess = track.position + track.velocity * elapsed
    across, along = _split(positions - guess, guess)
    reach = _REACH + _REACH_GROWTH * elapsed
    depth_reach = _DEPTH_REACH * max(np.linalg.norm(guess), 1.0)
    difference = np.hypot(np.linalg.norm(across, axis=-1) / reach, np.linalg.norm(along, axis=-1) / depth_reach)
    closeness = np.maximum(0, 1 - difference)

    return intersection_over_union(_expected_box(track, stamp_s), boxes) + closeness


def _expected_box(track: _Track, stamp_s: float) -> np.ndarray:
    """Where a constant velocity would have taken a track's box [4]."""
    box = track.box.copy()
    box[:2] += track.box_velocity * (stamp_s - track.last_seen)
    return box


def _split(vectors, line_of_sight) -> tuple[np.ndarray, np.ndarray]:
    """Parts of vectors [..., 3] across and along the direction to a point [3]."""
    ray = line_of_sight / max(np.linalg.norm(line_of_sight), 1.0)
    along = (vectors @ ray)[..., np.newaxis] * ray
    return vectors - along, along


def intersection_over_union(box, boxes) -> np.ndarray:
    """Intersection over union [n] of one box [4] with n boxes [n, 4]."""
    overlap = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    intersection = np.maximum(overlap, 0).prod(axis=1)
    union = box[2:].prod() + boxes[:, 2:].prod(axis=1) - intersection
    return intersection / np.maximum(union, 1e-9)


def _overlaps(boxes, others) -> np.ndarray:
    """Which of n boxes are probably second detections of somebody in other boxes: bool [n]."""
    if not len(others):
        return np.zeros(len(boxes), bool)
    return np.array([intersection_over_union(box, others).max() > _MAX_OVERLAP for box in boxes], bool)


def _move(track: _Track, box, position, score: float, stamp_s: float):
    elapsed = stamp_s - track.last_seen
    if elapsed > 0:
        track.score += (1 - np.exp(-elapsed / _SCORE_TIME)) * (score - track.score)
        gain, depth_gain = (1 - np.exp(-elapsed / time) for time in (_VELOCITY_TIME, _DEPTH_VELOCITY_TIME))
        across, along = _split((position - track.position) / elapsed - track.velocity, track.position)
        track.velocity += gain * across + depth_gain * along
        centre_shift = (box[:2] + box[2:] / 2) - (track.box[:2] + track.box[2:] / 2)
        track.box_velocity += gain * (centre_shift / elapsed - track.box_velocity)
    track.box, track.position, track.last_seen, track.misses = box, position, stamp_s, 0
