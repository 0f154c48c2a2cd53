"""What is left out: people too near, too far, too small or elsewhere in the image, and images that come too often."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Limits:
    """Whom to leave out of an image. Zeros are no limits.

    Attributes:
        min_distance: from the camera to the middle of a person, mm; whoever is nearer is left out.
        max_distance: the same; whoever is farther away is left out.
        region_of_interest: left, top, width, height in px; people are left out whose boxes have their middle outside.
            Where width or height is 0, it reaches to the image's edge.
        min_box_height: px; people with lower boxes are left out.
    """

    min_distance: float = 0.0
    max_distance: float = 0.0
    region_of_interest: tuple[int, int, int, int] = (0, 0, 0, 0)
    min_box_height: float = 0.0

    @property
    def are_set(self) -> bool:
        """Whether there is any limit."""
        return self.concern_boxes or self.min_distance > 0 or self.max_distance > 0

    @property
    def concern_boxes(self) -> bool:
        """Whether a box alone may tell that somebody is to be left out."""
        return any(self.region_of_interest) or self.min_box_height > 0

    def boxes_outside(self, boxes: np.ndarray) -> dict[str, np.ndarray]:
        """Which boxes [n, 4 or more] (left, top, width, height, px) are outside of each limit: bool [n] by its name."""
        start = np.array(self.region_of_interest[:2], np.float64) - 0.5  # the outer edge of the first pixel
        size = np.array([float(length or np.inf) for length in self.region_of_interest[2:]])
        middle = boxes[:, :2] + boxes[:, 2:4] / 2
        is_inside = ((middle >= start) & (middle < start + size)).all(axis=1)
        return {"region_of_interest": ~is_inside, "min_box_height": boxes[:, 3] < self.min_box_height}

    def poses_outside(self, poses3d: np.ndarray) -> dict[str, np.ndarray]:
        """Which poses [n, J, 3] (mm, camera frame) are outside of each limit: bool [n] by its name."""
        distances = np.linalg.norm(poses3d.mean(axis=1), axis=-1)
        return {
            "min_distance": distances < self.min_distance,
            "max_distance": distances > (self.max_distance or np.inf),
        }


class RateLimit:
    """Chooses among images that come more often than is wanted, so that those that stay come evenly."""

    def __init__(self):
        self._slot = -np.inf  # when the last image that was admitted was due

    def admits(self, arrival: float, max_rate: float) -> bool:
        """Whether the next image is to be processed.

        Args:
            arrival: when it came, s, by a clock that never jumps back.
            max_rate: images per second, as a mean; 0 for all.
        """
        if not max_rate:
            return True
        period = 1 / max_rate
        due = self._slot + period
        if arrival < due:
            return False
        # When it was due and not when it came, so that a rate holds that is no divisor of the camera's.
        self._slot = due if arrival < due + period else arrival
        return True
