"""The packaged models with known boxes instead of those that a detector finds."""

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from metrabs_core import models
from metrabs_core.combined import CombinedModel
from metrabs_core.detection import load_detector
from metrabs_core.packaging import Model, load_crop_model
from metrabs_core.prepared import load_prepared
from training.fetch_detector import RELEASED


def packaged_crop_model(weights_dtype: str = "float32", name: str = models.DEFAULT):
    """A packaged model's crop model and card."""
    return load_crop_model(name, weights_dtype)


class KnownPeople(tf.Module):
    """Stands in for a detector: as many of the given boxes as ``max_detections`` says.

    Args:
        boxes: float32 [n, 4]; all of them where ``max_detections`` is below 1.
        detector: runs before, its result is thrown away; None for nothing.
    """

    def __init__(self, boxes, detector=None):
        super().__init__(name="known_people")
        self._boxes = tf.pad(boxes, [[0, 0], [0, 1]], constant_values=1.0)
        self._detector = detector

    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        """Boxes of the first image: see ``metrabs_core.detection.Detector``."""
        boxes = self._boxes[: tf.where(max_detections < 1, len(self._boxes), max_detections)]
        if self._detector:
            found = self._detector(images, threshold, nms_iou_threshold, max_detections, flip_aug)
            # nothing, but TensorFlow must run the detector to know
            boxes += tf.cast(tf.shape(found.values)[0] < 0, tf.float32)
        return tf.RaggedTensor.from_row_lengths(boxes, tf.shape(boxes, tf.int64)[:1])


class PreparedKnownPeople:
    """A prepared model that finds as many of the given boxes as ``max_detections`` says, after its detector has looked.

    Args:
        model: ``metrabs_core.prepared.PreparedModel``.
        boxes: float32 [n, 4]; all of them where ``max_detections`` is below 1.
    """

    def __init__(self, model, boxes):
        self._model = model
        self._boxes = np.pad(boxes, [(0, 0), (0, 1)], constant_values=1).astype(np.float32)

    def __getattr__(self, name):
        return getattr(self._model, name)

    def detect_boxes(self, image, max_detections=-1, **options):
        """See ``metrabs_core.prepared.PreparedModel``."""
        self._model.detect_boxes(image, max_detections=max_detections, **options)
        return {"boxes": self._boxes[: None if max_detections < 1 else max_detections]}


def yolov4(name: str):
    """YOLOv4 or YOLOv4-tiny with weights of zeros, which do for the time; all that it finds has a score of 0.25."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "zeros.weights"
        path.write_bytes(np.array([0, 2, 5], "<i4").tobytes() + bytes(RELEASED[name].size - 12))
        return load_detector(name, path)


def whole(boxes, detector, crop_model, card) -> Model:
    """Everything, with ``max_detections`` of the known boxes instead of those that the detector finds."""
    return Model(CombinedModel(crop_model, KnownPeople(boxes, detector)), card)


def prepared(boxes, name: str = models.DEFAULT) -> PreparedKnownPeople:
    """A packaged model as the pipeline runs it on a processor, with the known boxes."""
    return PreparedKnownPeople(load_prepared(name), boxes)
