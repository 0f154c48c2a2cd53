"""Person detectors behind one small protocol, and the registry of their names."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from metrabs_core.errors import UserError
from metrabs_core.files import cache_folder


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


def weights_folder() -> Path:
    """Where ``metrabs-train fetch-detector`` puts weights."""
    return cache_folder() / "detectors"


def _load_nanodet(weights, input_side):
    from metrabs_core.detection.nanodet import NanoDet

    if weights:
        raise UserError("The detector nanodet comes with its weights: leave them out.")
    return NanoDet(input_side)


def _load_yolo(name):
    def load(weights, input_side):
        from metrabs_core.detection.yolo import load_yolov4

        return load_yolov4(name, Path(weights or weights_folder() / f"{name}.weights"), input_side)

    return load


class Kind(NamedTuple):
    """A kind of detector.

    Attributes:
        load: function of the path of its weights or None, and of the side of its input; imports TensorFlow.
        input_side: in pixels, if none is given.
        description: what to know when choosing.
    """

    load: Callable[[str | Path | None, int], Detector]
    input_side: int
    description: str


DEFAULT = "nanodet"
DETECTORS = {
    "nanodet": Kind(_load_nanodet, 416, "the weights are part of this package"),
    "yolov4": Kind(_load_yolo("yolov4"), 608, "finds more, much slower; the weights come by fetch-detector"),
    "yolov4-tiny": Kind(_load_yolo("yolov4-tiny"), 416, "the weights come by fetch-detector"),
}


def load_detector(name: str = DEFAULT, weights: str | Path | None = None, input_side: int | None = None) -> Detector:
    """Load a person detector. TensorFlow is imported only now.

    Args:
        name: one of DETECTORS.
        weights: file of weights in the detector's own format; None for those that come with this package or that
            ``metrabs-train fetch-detector`` downloads.
        input_side: height and width of what the network sees in pixels, a multiple of 32: larger finds smaller people
            and takes longer, as the square. None for the detector's own.

    Raises:
        UserError: no such detector, no such weights, weights that do not fit, or another input side.
    """
    input_side = checked_input_side(name, input_side)
    return DETECTORS[name].load(weights, input_side)


def checked_input_side(name: str, input_side: int | None) -> int:
    """The side of a detector's input in pixels, its own if None is given. Raises UserError as ``load_detector``."""
    if name not in DETECTORS:
        raise UserError(f"There is no detector {name!r}: choose one of {', '.join(DETECTORS)}.")
    input_side = DETECTORS[name].input_side if input_side is None else input_side
    if input_side < 32 or input_side % 32:
        raise UserError(f"The detector's input side is {input_side} pixels; it must be a multiple of 32.")
    return input_side
