"""Person detectors behind one small protocol."""

from typing import Protocol


class Detector(Protocol):
    """What the combined model asks of a person detector; a ``tf.Module``, so that it can be exported."""

    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        """Find people.

        Args:
            images: uint8 [n, H, W, 3], RGB.
            threshold: float32 [], boxes of lower score are left out.
            nms_iou_threshold: float32 [], of two boxes that overlap more than this the better one stays.
            max_detections: int32 [], at most this many boxes per image, the best ones; below 1 means no limit.
            flip_aug: bool [], look at the mirrored images too.

        Returns:
            tf.RaggedTensor float32 [n, None, 5]: left, top, width, height in pixels, score in 0..1; best first.
        """
