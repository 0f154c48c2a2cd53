"""Boxes of people who are known already, for images in which the person detector does not look.

Where somebody's box is in the next image follows from the pose in the last one: from the joints' extent, which the
detector's box exceeded by some margin when it last looked. How boxes move on the tracker knows.
"""

import numpy as np

from metrabs_core.tracking import intersection_over_union

# s from image to image, after which people may be anywhere.
_LATE = 0.7
# Grey levels by which pixels differ on average where the picture has changed: a cut, a jerk of the camera, lights.
_CHANGE = 30.0
_THUMBNAIL = 32  # pixels along the longer side
# Overlap of the box that was expected with that of the pose found in it, below which the pose has drifted away.
_MIN_OVERLAP = 0.5


class Anticipation:
    """Remembers the people of the last image, and says when the detector should look again.

    Attributes:
        people: of the last image; None before the first.
    """

    def __init__(self):
        self.people = None
        self._stamp = 0.0
        self._images_since = 0  # the detector last looked
        self._is_somebody_lost = False
        self._thumbnail = None  # of that image
        self._margins = np.zeros([0, 4])  # of each person's box around the joints, as parts of their extent

    def should_look(self, image: np.ndarray, stamp: float, interval: int) -> bool:
        """Whether the detector should look at the next image.

        It is time to, or somebody was lost in the last image, or this one comes too late, or it is unlike the one that
        the detector last looked at.

        Args:
            image: the next one, uint8 [H, W, 3].
            stamp: of it, s.
            interval: from how many images the detector looks at one.
        """
        self._images_since += 1
        is_due = self.people is None or self._is_somebody_lost or self._images_since >= interval
        if is_due or not 0 <= stamp - self._stamp <= _LATE:
            return True
        thumbnail = _thumbnail(image)
        return thumbnail.shape != self._thumbnail.shape or np.abs(thumbnail - self._thumbnail).mean() > _CHANGE

    def fit(self, boxes: np.ndarray, found: np.ndarray, poses2d: np.ndarray, image: np.ndarray) -> np.ndarray:
        """Boxes around the people of the last image, where they were found in this one.

        Args:
            boxes: [n, 4 or more], where they were expected.
            found: int [m], in which of them somebody was found.
            poses2d: [m, J, 2], px, of those.
            image: that they are in.

        Returns:
            float32 [m, 4].
        """
        start, size = _extent(poses2d, image)
        margins = self._margins[found] * np.tile(size, 2)
        low = np.maximum(start - margins[:, :2], 0)
        high = np.minimum(start + size + margins[:, 2:], image.shape[1::-1])
        fitted = np.concatenate([low, np.maximum(high - low, 1)], axis=1)
        overlaps = [intersection_over_union(a, b[np.newaxis])[0] for a, b in zip(boxes[found, :4], fitted)]
        self._is_somebody_lost = len(found) < len(boxes) or min(overlaps, default=1) < _MIN_OVERLAP
        return fitted.astype(np.float32)

    def learn(self, people, image: np.ndarray, stamp: float, was_looked_at: bool):
        """Take the ``People`` of an image, with ids; ``was_looked_at`` by the detector."""
        if was_looked_at:
            start, size = _extent(people.poses2d, image)
            end = people.boxes[:, :2] + people.boxes[:, 2:]
            self._margins = np.concatenate([(start - people.boxes[:, :2]) / size, (end - start - size) / size], axis=1)
            self._images_since, self._is_somebody_lost, self._thumbnail = 0, False, _thumbnail(image)
        else:
            self._margins = self._margins[np.isin(self.people.ids, people.ids)]
        self.people, self._stamp = people, stamp


def _extent(poses2d, image):
    """Upper left corner and size [n, 2] of what is seen of people: joints out of view count as at the border."""
    points = np.clip(poses2d, 0, np.array(image.shape[1::-1]) - 1.0)
    start, end = (np.nan_to_num(extreme.reduce(points, axis=1)) for extreme in (np.fmin, np.fmax))
    return start, np.maximum(end - start, 1.0)


def _thumbnail(image):
    step = max(1, max(image.shape[:2]) // _THUMBNAIL)
    return image[step // 2 :: step, step // 2 :: step].astype(np.float32)
