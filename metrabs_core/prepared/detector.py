"""The person detector in NumPy: ``metrabs_core.detection.single_shot`` with NanoDet, for one image."""

from collections.abc import Callable

import cv2
import numpy as np

from metrabs_core import rules


class PreparedDetector:
    """Finds people in an image.

    Args:
        network: answers as ``metrabs_core.detection.nanodet.NanoDet.look_at``, by names.
        input_side: longer side of what the network sees, pixels.
        background: RGB of what is beside the image.
        multiple: of pixels.
        max_iou: of two boxes that overlap more than this only the better one stays.
    """

    def __init__(self, network: Callable, input_side: int, background, multiple: int, max_iou: float):
        self._network, self._input_side, self._background = network, input_side, np.float32(background)
        self._multiple, self._max_iou = multiple, max_iou

    def __call__(self, image, threshold, nms_iou_threshold, max_detections, flip_aug) -> np.ndarray:
        """Boxes of people: float32 [n, 5], left, top, width, height in pixels, score; best first.

        Arguments are those of ``metrabs_core.detection.Detector``, of one image.
        """
        boxes, scores = self._candidates(image, threshold)
        if flip_aug:
            mirrored, mirrored_scores = self._candidates(image[:, ::-1], threshold)
            mirrored[:, [0, 2]] = 1 - mirrored[:, [2, 0]]
            boxes, scores = np.concatenate([boxes, mirrored]), np.concatenate([scores, mirrored_scores])
        best = self._best(boxes, scores, nms_iou_threshold)
        # the borders of the image are half a pixel outside the centres of its outermost pixels
        height, width = image.shape[:2]
        sides = np.clip(boxes[best], 0, 1) * [width, height, width, height] - 0.5
        sides[:, 2:] -= sides[:, :2]
        found = np.column_stack([sides, scores[best]]).astype(np.float32)
        return found[: max_detections if max_detections >= 1 else rules.MAX_BOXES]

    def _candidates(self, image, threshold):
        """Boxes float64 [m, 4], left, top, right, bottom as fractions of the image, and their scores [m]."""
        height, width = image.shape[:2]
        scale = self._input_side / max(height, width)
        size = np.maximum(np.rint(np.array([height, width]) * scale), 1).astype(int)
        padded = -size % self._multiple + size
        picture = np.zeros([1, *padded, 3], np.float32)
        picture[0, : size[0], : size[1]] = _resized(image, size) - self._background
        answer = self._network(pictures=picture)
        boxes, cells, scores = (answer[name][0] for name in ("boxes", "cells", "scores"))
        # nobody is in the padding
        chosen = (scores > threshold) & (cells < size).all(axis=1)
        return (boxes[chosen] / np.tile(size, 2))[:, [1, 0, 3, 2]], scores[chosen]

    def _best(self, boxes, scores, nms_iou_threshold) -> np.ndarray:
        """Indices of the boxes that remain, best first."""
        if not len(boxes):
            return np.zeros(0, int)
        corners_and_sizes = np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        limit = min(float(nms_iou_threshold), self._max_iou)
        return np.array(cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), scores.tolist(), 0.0, limit), int).reshape(-1)


def _resized(image, size):
    """The image at another size [height, width], float32: see ``metrabs_core.detection.single_shot.resize``."""
    height, width = (int(length) for length in size)
    is_averaged = max(image.shape[0] / height, image.shape[1] / width) > rules.MAX_INTERPOLATED
    image = np.ascontiguousarray(image) if is_averaged else image.astype(np.float32)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if is_averaged else cv2.INTER_LINEAR)
