"""The packaged models, and a stand-in for the authors' pipeline, as contestants of the comparison with peers.

The authors' weights may not be used here, and the time does not depend on them: the stand-in is the project's own code
with YOLOv4 and a crop model on EfficientNetV2-S at 256 pixels, as theirs.

``python -m benchmark.peer_metrabs ours|stand-in FOLDER`` is run by ``benchmark.peers``.
"""

import os
import sys
from itertools import count
from pathlib import Path

import numpy as np

from benchmark.peer_process import Contestant, serve

_INTERVALS = {1: "every image", 3: "every third image"}


def command(who: str, folder: Path) -> list[str]:
    """What to run.

    Args:
        who: "ours" or "stand-in".
        folder: with ``people_N.npy``, uint8 [H, W, 3], RGB, and ``boxes_N.npy``, float32 [N, 4].
    """
    return [sys.executable, "-m", "benchmark.peer_metrabs", who, str(folder)]


def _main(who: str, folder: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from metrabs_core.process import keep_freed_memory

    keep_freed_memory()
    images = {int(path.stem.partition("_")[2]): np.load(path) for path in sorted(folder.glob("people_*.npy"))}
    serve({"ours": _ours, "stand-in": _stand_in}[who](folder, images))


def _ours(folder: Path, images: dict[int, np.ndarray]) -> list[Contestant]:
    from metrabs_core.pipeline import PersonPipeline, PipelineSettings

    contestants = []
    for name in ("fast", "accurate"):
        model = PersonPipeline.load(name, warm_up_image_size=next(iter(images.values())).shape[:2]).model
        for interval, words in _INTERVALS.items():
            # rendered people on a pattern score low
            settings = PipelineSettings(detector_interval=interval, detector_threshold=0.25)
            for n_people, image in images.items():
                step = _step(PersonPipeline(model, settings), image)
                contestants.append(Contestant(f"`{name}`", words, n_people, step, interval))
    return contestants


def _stand_in(folder: Path, images: dict[int, np.ndarray]) -> list[Contestant]:
    from metrabs_core.process import import_tensorflow_alone

    import_tensorflow_alone()
    from benchmark import models
    from metrabs_core.model_card import ModelCard
    from metrabs_core.network.crop_model import CropModel
    from metrabs_core.packaging.crop_model import FrozenCropModel
    from metrabs_core.pipeline import PersonPipeline, PipelineSettings

    crop_model = FrozenCropModel(CropModel(backbone="efficientnetv2-s", crop_side=256))
    detector = models.yolov4("yolov4")
    # a threshold above what zeros find, and random poses
    settings = PipelineSettings(detector_threshold=0.9, suppress_implausible_poses=False)
    contestants = []
    for n_people, image in images.items():
        model = models.whole(np.load(folder / f"boxes_{n_people}.npy"), detector, crop_model, ModelCard())
        step = _step(PersonPipeline(model, settings), image)
        contestants.append(Contestant("the authors' pipeline, stand-in", _INTERVALS[1], n_people, step))
    return contestants


def _step(pipeline, image: np.ndarray):
    """A function that takes the image as the camera's next one."""
    from benchmark.people import camera_matrix
    from metrabs_core.cameras import Camera

    camera, stamps = Camera(camera_matrix(*image.shape[1::-1])), count()
    return lambda: len(pipeline.step(image, camera, 0.04 * next(stamps)))


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
