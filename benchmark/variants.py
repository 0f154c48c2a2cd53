"""One option against the other, in turns, so that the ratio holds whatever else the machine does."""

import itertools

import numpy as np
import tensorflow as tf

from benchmark import models
from benchmark.people import camera_matrix
from benchmark.report import Table
from benchmark.rounds import medians
from metrabs_core.cameras import Camera
from metrabs_core.detection import load_detector
from metrabs_core.pipeline import PersonPipeline, PipelineSettings, View, step_together

_IMAGES = 6  # a multiple of all intervals
_DISTORTION = (0.1, -0.05, 0.001, 0.002, 0.01)


def measure(people, quick: bool) -> dict:
    """Median milliseconds of each variant, by what is compared."""
    image, boxes = people.frame(4)
    accurate, fast = models.prepared(boxes), models.prepared(boxes, "fast")
    large, large_boxes = people.frame(4, 1920, 1080)
    detectors = {"NanoDet": load_detector(), "YOLOv4-tiny": models.yolov4("yolov4-tiny")}

    def detect_in_graph(detector):
        images = tf.constant(image[np.newaxis])
        arguments = [tf.constant(value) for value in (0.3, 0.7, -1, False)]
        return lambda: detector(images, *arguments).values.numpy()

    comparisons = {
        "model, 4 people": {"accurate": _frame(accurate, image), "fast": _frame(fast, image)},
        "fast, 4 people": {
            "prepared": _frame(fast, image),
            "whole, by TensorFlow": _frame(
                models.whole(boxes, detectors["NanoDet"], *models.packaged_crop_model(name="fast")), image
            ),
        },
        "detector_interval, {} images of 2 people, accurate": {str(n): _video(accurate, image, n) for n in (1, 2, 3)},
        "detector_interval, {} images of 2 people, fast": {str(n): _video(fast, image, n) for n in (1, 2, 3)},
        "detector alone": {
            "NanoDet": lambda: accurate.detect_boxes(image),
            "NanoDet, mirrored image too": lambda: accurate.detect_boxes(image, detector_flip_aug=True),
            **{f"{name}, by TensorFlow": detect_in_graph(detector) for name, detector in detectors.items()},
        },
        "crops per person, 4 people": {str(n): _frame(accurate, image, num_aug=n) for n in (1, 5)},
        "lens distortion, 4 people": {
            "none": _frame(accurate, image),
            "5 coefficients": _frame(accurate, image, distortion_coeffs=_DISTORTION),
        },
        "antialias_factor, 4 people": {str(n): _frame(accurate, image, antialias_factor=n) for n in (1, 2)},
        "image, 4 people": {
            "768x576": _frame(accurate, image),
            "1920x1080": _frame(models.prepared(large_boxes), large),
        },
        "cameras, 2 people each, fast": _cameras(models.prepared(people.frame(2)[1], "fast"), people.frame(2)[0]),
    }
    n_rounds = 3 if quick else 25
    return {name.format(_IMAGES): medians(runs, n_rounds, name) for name, runs in comparisons.items()}


def _frame(model, image, **options):
    """A function that finds everybody in an image."""
    matrix = camera_matrix(*image.shape[1::-1])

    def run():
        boxes = np.asarray(model.detect_boxes(image)["boxes"])
        poses = model.detect_poses_in_boxes(image, boxes, **{"intrinsic_matrix": matrix, "num_aug": 1, **options})
        return np.asarray(poses["poses3d"])

    return run


def _video(model, image, interval: int):
    """A function that takes the image as the camera's next ones."""
    settings = PipelineSettings(detector_interval=interval, max_detections=2, suppress_implausible_poses=False)
    camera, stamps = Camera(camera_matrix(*image.shape[1::-1])), itertools.count()
    pipeline = PersonPipeline(model, settings)
    return lambda: [pipeline.step(image, camera, 0.04 * next(stamps)) for _ in range(_IMAGES)]


def tables(numbers: dict) -> list[Table]:
    """Milliseconds, and how many times the first one's."""
    rows = []
    for name, times in numbers.items():
        first = next(iter(times.values()))
        rows += [[name, variant, f"{time:.1f}", f"{time / first:.2f}"] for variant, time in times.items()]
    note = "Medians. YOLOv4-tiny sees 416 x 416 pixels, with weights of zeros, which do for the time."
    return [Table("Variants, taken in turns", ["what", "variant", "ms", "times the first"], rows, note)]


def _cameras(model, image) -> dict:
    """A step of one camera, and of two that wait together, or are taken one after the other."""
    settings = PipelineSettings(suppress_implausible_poses=False)
    camera = Camera(camera_matrix(*image.shape[1::-1]))
    pipelines = [PersonPipeline(model, settings) for _ in range(2)]
    clock = itertools.count()

    def step(*groups):
        def run():
            stamp = next(clock) / 10
            for group in groups:
                step_together([View(pipeline, image, camera, stamp) for pipeline in group])

        return run

    return {"1": step(pipelines[:1]), "2 together": step(pipelines), "2 in turn": step(pipelines[:1], pipelines[1:])}
