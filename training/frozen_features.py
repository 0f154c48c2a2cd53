"""Features of a frozen backbone, computed once, kept on disk, and used over and over to train heads on.

On a CPU the backbone is most of a step of training heads on it. A kept crop is one augmentation of one person; with a
few of each, heads learn about as much from going over them many times as from ever new ones.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.network.backbones import find_backbone
from metrabs_core.network.crop_model import CropModel
from training.crop_batches import CropBatches
from training.mirrored_pairs import MirroredPairs

_LARGEST = 127  # of int8
_BATCHES_BETWEEN_NOTES = 64  # of progress
_HEADROOM = 1.2  # for values larger than those of the first crops


class FrozenFeatures:
    """Features of a number of training crops in a folder, as batches like those of ``CropBatches``.

    Features are kept as int8, each channel in steps of a hundredth of its largest value.

    Args:
        folder: where they are or will be.
        model: whose backbone makes them.
        batches: makes the crops: the first ``count`` of them.
        count: crops to keep.
        together: number of rows that follow each other in every order; divides the batch.
    """

    def __init__(
        self, folder: Path, model: CropModel, batches: CropBatches | MirroredPairs, count: int, together: int = 1
    ):
        self.batches, self.latest, self.error = batches, None, None
        self.sources = batches.sources
        self._folder, self._together = folder, together
        self._size = sum(size for _, size in batches.sources)
        self._n_batches = max(1, count // self._size)
        network, cuts = model.backbone, find_backbone(model.config.backbone).cuts
        cut_tensors = [network.get_layer(name).output for name in cuts] or network.outputs
        self._encoder = keras.Model(network.input, cut_tensors)
        self._rest = keras.Model(cut_tensors, network.outputs) if cuts else None
        self._names = [f"map{i}" for i in range(len(cut_tensors))]
        self._scales: list[np.ndarray] = []
        self._arrays: dict[str, np.ndarray] = {}

    def compute(self, verbose: int = 1) -> None:
        """Compute what is missing in the folder; resumes where it was interrupted.

        Raises:
            UserError: there is not enough space on the disk, or a picture can't be read.
        """
        start = self._open()
        if start >= self._n_batches:
            return
        stream = self.batches.stream(start)
        with tqdm(
            total=self._n_batches * self._size,
            initial=start * self._size,
            desc="features",
            unit="crop",
            disable=not verbose,
        ) as bar:
            for number in range(start, self._n_batches):
                (crops, intrinsics), labels = self._next(stream)
                maps = self._encoder.predict_on_batch(crops.astype(np.float32) / 255)
                maps = [np.asarray(m, np.float32) for m in (maps if isinstance(maps, list) else [maps])]
                if not self._arrays:
                    self._create(maps, intrinsics, labels)
                rows = slice(number * self._size, (number + 1) * self._size)
                for name, m, scale in zip(self._names, maps, self._scales):
                    self._arrays[name][rows] = np.clip(np.rint(m / scale), -_LARGEST, _LARGEST)
                for name, values in (("intrinsics", intrinsics), *labels.items()):
                    self._arrays[name][rows] = values
                bar.update(self._size)
                if number % _BATCHES_BETWEEN_NOTES == _BATCHES_BETWEEN_NOTES - 1 or number == self._n_batches - 1:
                    self._write_progress(number + 1)

    def dequantized(self, maps: list) -> list:
        """The backbone's maps, float32, from int8 features as ``stream`` gives them."""
        maps = [ops.cast(m, "float32") * scale for m, scale in zip(maps, self._scales)]
        if self._rest is None:
            return maps
        maps = self._rest(maps, training=False)
        return maps if isinstance(maps, list | tuple) else [maps]

    def stream(self, step: int) -> Iterator[tuple]:
        """Yield the batches from ``step`` on, in a new order in every pass: ((int8 maps..., intrinsics), labels)."""
        together, per_batch = np.arange(self._together), self._size // self._together
        n = self._n_batches * per_batch
        while True:
            lap, position = divmod(step, self._n_batches)
            order = self._together * np.random.default_rng([self.batches.seed, lap]).permutation(n)
            for first in range(position * per_batch, n, per_batch):
                rows = (np.sort(order[first : first + per_batch])[:, np.newaxis] + together).ravel()
                found = {name: array[rows] for name, array in self._arrays.items()}
                inputs = (*(found.pop(name) for name in self._names), found.pop("intrinsics"))
                yield inputs, found
                step += 1

    def examples_of(self, step: int) -> list:
        """None: kept features are no pictures that might be damaged."""
        return []

    def raise_error(self) -> None:
        """Raise what ended a stream of crops; see ``CropBatches``."""
        self.batches.raise_error()

    def remove(self) -> None:
        """Free the disk."""
        self._arrays = {}
        shutil.rmtree(self._folder, ignore_errors=True)

    def _next(self, stream):
        batch = next(stream, None)
        if batch is None:
            self.batches.raise_error()
        return batch

    def _open(self) -> int:
        """Open what is there; number of batches that are complete."""
        progress = self._folder / "progress.npz"
        if not progress.exists():
            return 0
        with np.load(progress) as archive:
            done = int(archive["batches"])
            self._scales = [archive[name] for name in self._names]
        self._arrays = {path.stem: np.load(path, mmap_mode="r+") for path in self._folder.glob("*.npy")}
        return done

    def _create(self, maps: list, intrinsics: np.ndarray, labels: dict) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        n = self._n_batches * self._size
        needed = n * sum(m[0].size for m in maps)
        free = shutil.disk_usage(self._folder).free
        if needed > 0.9 * free:
            raise UserError(
                f"The features of {n} crops take {needed / 1e9:.0f} GB in {self._folder}, where {free / 1e9:.0f} GB are"
                " free: choose a smaller --keep-crops, or another --logdir."
            )
        self._scales = [np.maximum(np.abs(m).max((0, 1, 2)), 1e-3) * (_HEADROOM / _LARGEST) for m in maps]
        shapes = {name: (np.int8, m.shape[1:]) for name, m in zip(self._names, maps)}
        shapes |= {name: (v.dtype, v.shape[1:]) for name, v in (("intrinsics", intrinsics), *labels.items())}
        for name, (dtype, shape) in shapes.items():
            path = self._folder / f"{name}.npy"
            self._arrays[name] = np.lib.format.open_memmap(path, "w+", dtype, (n, *shape))

    def _write_progress(self, batches: int) -> None:
        for array in self._arrays.values():
            array.flush()
        with atomic_file(self._folder / "progress.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, batches=batches, **dict(zip(self._names, self._scales)))
