"""A model on all frames of a video, in pieces that outlive an interruption."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

import metrabs_core
from metrabs_core import models
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.pipeline import PersonPipeline, PipelineSettings
from metrabs_core.videos import VideoFrame
from training.video.calibration import VideoCamera
from training.video.poses import VideoPoses, concatenate, with_people

# A piece is written when it is complete: what an interruption can cost.
FRAMES_PER_PIECE = 48


@dataclass(frozen=True)
class Settings:
    """How people are found.

    Attributes:
        model: folder of an exported model; '' for the packaged one.
        detector: person detector to use instead of the model's, see `metrabs_core.detection.load_detector`; '' for
            none.
        crops: per person (test-time augmentation).
        skeleton: joint convention; '' for the model's own.
        detector_threshold: score from which a box counts as a person; somebody who is tracked is followed down to
            0.7 times that.
        smoothing: of poses over time, see `metrabs_core.smoothing`.
    """

    model: str = ""
    detector: str = ""
    crops: int = 5
    skeleton: str = ""
    detector_threshold: float = PipelineSettings.detector_threshold
    smoothing: str = "off"


class PoseFinder:
    """A loaded model.

    Attributes:
        settings: how it is used.
        skeleton: joints of its poses.
        state: changes if the model does.
    """

    def __init__(self, settings: Settings):
        """Load the model.

        Raises:
            UserError: there is no such model, it has no detector, or no such skeleton.
        """
        folder = models.locate(settings.model)
        if settings.detector:
            # only now: TensorFlow takes seconds, and mistakes in the arguments are reported without it
            from metrabs_core import packaging
            from metrabs_core.combined import CombinedModel
            from metrabs_core.detection import load_detector

            crop_model, card = packaging.load_crop_model(folder)
            packaging.check_absolute(card)
            model = packaging.Model(CombinedModel(crop_model, load_detector(settings.detector)), card)
        else:
            model = metrabs_core.load_prepared(settings.model or None)
        if not model.has_detector:
            raise UserError(f"The model {settings.model} has no person detector: name one with --detector-path.")
        self._pipeline = PersonPipeline(
            model,
            PipelineSettings(
                num_aug=settings.crops,
                skeleton=settings.skeleton,
                detector_threshold=settings.detector_threshold,
                smoothing=settings.smoothing,
            ),
        )
        self.settings = settings
        self.skeleton = self._pipeline.skeleton
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        states = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        self.state = hashlib.sha256(json.dumps(states).encode()).hexdigest()

    def find(
        self,
        frames: Iterator[VideoFrame],
        camera: VideoCamera,
        batch_size: int,
        on_frame: Callable[[VideoFrame], object],
    ) -> VideoPoses:
        """Find the people in frames.

        Args:
            frames: at least one.
            camera: that took them.
            batch_size: frames that go through the network together, where they have the same size.
            on_frame: is called with each frame after it has been processed.

        Returns:
            Candidates for `track`, without ids.
        """
        batches = []
        for _, same_size in groupby(frames, key=lambda frame: frame.image.shape):
            while batch := [frame for _, frame in zip(range(batch_size), same_size)]:
                batches.append(self._find_in_batch(batch, camera))
                for frame in batch:
                    on_frame(frame)
        return concatenate(batches)

    def _find_in_batch(self, batch: list[VideoFrame], camera: VideoCamera) -> VideoPoses:
        height, width = batch[0].image.shape[:2]
        of_images = camera.of_images(width, height)
        people = self._pipeline.detect_batch(np.stack([frame.image for frame in batch]), of_images)
        return with_people(
            people,
            frame_numbers=np.array([frame.index for frame in batch], np.int64),
            frame_times=np.array([frame.seconds for frame in batch], np.float64),
            image_sizes=np.tile(np.array([[width, height]], np.int32), [len(batch), 1]),
            intrinsic_matrices=np.tile(np.float32(of_images.intrinsic_matrix), [len(batch), 1, 1]),
        )

    def track(self, candidates: VideoPoses) -> VideoPoses:
        """The people of a whole video, with ids that stay with them over time, from what `find` found."""
        followed = [
            self._pipeline.follow(candidates.people_of(i, self.skeleton), candidates.frame_times[i])
            for i in range(candidates.n_frames)
        ]
        names = ("frame_numbers", "frame_times", "image_sizes", "intrinsic_matrices")
        return with_people(followed, **{name: getattr(candidates, name) for name in names})


def find_in_pieces(
    read: Callable[[int], Iterator[VideoFrame]], find: Callable[[Iterator[VideoFrame]], VideoPoses], folder: Path
) -> VideoPoses:
    """Process a video piece by piece; pieces that an interrupted call has left in the folder are taken from there.

    A piece has the same frames whether there was an interruption or not, so the result is the same, too.

    Args:
        read: gives the frames from a number on.
        find: finds the people in the frames of a piece.
        folder: where pieces are kept.

    Raises:
        UserError: there is not one frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = max((int(path.stem) + 1 for path in folder.glob("*.npz")), default=0) * FRAMES_PER_PIECE
    for number, piece in groupby(read(start), key=lambda frame: frame.index // FRAMES_PER_PIECE):
        with atomic_file(folder / f"{number:06d}.npz") as temporary:
            find(piece).save(temporary)
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise UserError("There is not one frame that can be read.")
    return concatenate([VideoPoses.load(path) for path in files])
