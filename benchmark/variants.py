"""One option against the other, in turns, so that the ratio holds whatever else the machine does."""

import itertools

import numpy as np
import tensorflow as tf

import metrabs_core
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
    height, width = image.shape[:2]
    crop_model, card = models.packaged_crop_model()
    half, _ = models.packaged_crop_model("float16")
    nanodet, tiny = load_detector(), models.yolov4("yolov4-tiny")
    model = models.whole(boxes, nanodet, crop_model, card)
    with_half = models.whole(boxes, nanodet, half, card)
    with_tiny = models.whole(boxes, tiny, crop_model, card)
    fast = models.whole(boxes, nanodet, *models.packaged_crop_model(name="fast"))
    images, large = tf.constant(image[np.newaxis]), people.frame(4, 1920, 1080)[0]
    usual = {"intrinsic_matrix": camera_matrix(width, height), "num_aug": 1, "max_detections": 4}
    default = [tf.constant(value) for value in (0.3, 0.7, -1, False)]
    mirrored = [*default[:-1], tf.constant(True)]

    def detect(detector, arguments):
        return lambda: detector(images, *arguments).values.numpy()

    def frame(model=model, image=image, **options):
        return lambda: model.detect_poses(image, **{**usual, **options})["poses3d"].numpy()

    def video(model, interval):
        settings = PipelineSettings(detector_interval=interval, max_detections=2, suppress_implausible_poses=False)
        pipeline, camera, stamps = (
            PersonPipeline(model, settings),
            Camera(camera_matrix(width, height)),
            itertools.count(),
        )
        return lambda: [pipeline.step(image, camera, 0.04 * next(stamps)) for _ in range(_IMAGES)]

    comparisons = {
        "model, 4 people": {"accurate": frame(), "fast": frame(fast)},
        f"detector_interval, {_IMAGES} images of 2 people, accurate": {str(n): video(model, n) for n in (1, 2, 3)},
        f"detector_interval, {_IMAGES} images of 2 people, fast": {str(n): video(fast, n) for n in (1, 2, 3)},
        "detector alone": {
            "NanoDet": detect(nanodet, default),
            "NanoDet, mirrored image too": detect(nanodet, mirrored),
            "YOLOv4-tiny": detect(tiny, default),
        },
        "detector, 4 people": {"NanoDet": frame(), "YOLOv4-tiny": frame(with_tiny)},
        "crops per person, 4 people": {"1": frame(), "5": frame(num_aug=5)},
        "lens distortion, 4 people": {"none": frame(), "5 coefficients": frame(distortion_coeffs=_DISTORTION)},
        "antialias_factor, 4 people": {"1": frame(), "2": frame(antialias_factor=2)},
        "weights, 4 people": {"float32": frame(), "float16": frame(with_half)},
        "image, 4 people": {
            "768x576": frame(),
            "1920x1080": frame(image=large, intrinsic_matrix=camera_matrix(1920, 1080)),
        },
    }
    comparisons["cameras, 2 people each, fast model"] = _cameras(people.frame(2)[0])
    n_rounds = 3 if quick else 25
    return {name: medians(contestants, n_rounds, name) for name, contestants in comparisons.items()}


def tables(numbers: dict) -> list[Table]:
    """Milliseconds, and how many times the first one's."""
    rows = []
    for name, times in numbers.items():
        first = next(iter(times.values()))
        rows += [[name, variant, f"{time:.1f}", f"{time / first:.2f}"] for variant, time in times.items()]
    note = "Medians. YOLOv4-tiny sees 416 x 416 pixels, with weights of zeros, which do for the time."
    return [Table("Variants, taken in turns", ["what", "variant", "ms", "times the first"], rows, note)]


def _cameras(image) -> dict:
    """A step of one camera, and of two that wait together, or are taken one after the other."""
    settings = PipelineSettings(detector_threshold=0.0, max_detections=2, suppress_implausible_poses=False)
    model = metrabs_core.load("fast")
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
