"""Batches of mirrored pairs: each crop is followed by its mirror image. NumPy and OpenCV only."""

from collections.abc import Iterator

import numpy as np

from metrabs_core.errors import UserError
from training.crop_batches import CropBatches, CropSettings
from training.datasets import Example
from training.degradation import degrade
from training.examples import make_crop


class MirroredPairs:
    """Batches like those of ``CropBatches``, in which rows 2k and 2k + 1 are a crop and its mirror image.

    Each of both is degraded in its own way, unless crops are not augmented. A batch has as many crops as one of
    ``batches``, of half as many people.

    Args:
        batches: says who comes when, and has the worker processes.

    Attributes:
        sources: people, each kind with the number of crops per batch.
        seed: of order and augmentation.

    Raises:
        UserError: a batch has an odd number of crops.
    """

    def __init__(self, batches: CropBatches):
        self.batches, self.sources, self.seed = batches, batches.sources, batches.seed
        n_parts = batches.part[1]
        for _, size in self.sources:
            if size // n_parts % 2:
                raise UserError(
                    f"{size // n_parts} crops of a batch can't be mirrored pairs: with --pair-steps, --batch-size and"
                    " --batch-size-2d must be even" + (", for each process." if n_parts > 1 else ".")
                )

    @property
    def latest(self) -> tuple | None:
        """The batch that was made last."""
        return self.batches.latest

    def examples_of(self, step: int) -> list[tuple[Example, tuple[int, ...] | None]]:
        """People of this process in batch ``step``, each with a seed: every second one of a batch of crops."""
        return self.batches.examples_of(step // 2)[step % 2 :: 2]

    def stream(self, step: int) -> Iterator[tuple]:
        """Yield the batches from ``step`` on; see ``CropBatches.stream``."""
        return self.batches.stream(step, self.examples_of, make_pairs)

    def raise_error(self) -> None:
        """Raise what ended a stream; see ``CropBatches``."""
        self.batches.raise_error()


def make_pairs(task: list, settings: CropSettings) -> list[np.ndarray]:
    """Make mirrored pairs in this process; see ``training.crop_batches.make_rows``."""
    mirror = np.array(settings.skeleton.mirror)
    rows = []
    for example, seed in task:
        # the crops of other stages have the same seeds
        rng = None if seed is None else np.random.default_rng([*seed, 1])
        s = settings
        row = make_crop(example, s.skeleton, s.crop_side, rng, s.appearance, s.universal_skeleton)
        for crop, intrinsics, joints3d, joints2d, *valid in (row, mirrored(row, mirror)):
            if rng is not None:
                crop, intrinsics, joints2d = degrade(crop, intrinsics, joints2d, rng)
            rows.append((crop, intrinsics, joints3d, joints2d, *valid))
    return [np.stack(column) for column in zip(*rows)]


def mirrored(row: tuple, mirror: np.ndarray) -> tuple:
    """The mirror image of a crop, and the labels of the person in it, whose left is the other one's right.

    Args:
        row: what ``make_crop`` returns.
        mirror: index of each joint's counterpart on the other side, [J].
    """
    crop, intrinsics, joints3d, joints2d, valid3d, valid2d = row
    last = crop.shape[1] - 1
    intrinsics = intrinsics.copy()
    intrinsics[0, 2] = last - intrinsics[0, 2]
    joints3d = joints3d[mirror] * np.float32([-1, 1, 1])
    joints2d = joints2d[mirror] * np.float32([-1, 1]) + np.float32([last, 0])
    return np.ascontiguousarray(crop[:, ::-1]), intrinsics, joints3d, joints2d, valid3d[mirror], valid2d[mirror]
