"""Batches of training crops, made by worker processes ahead of the network. NumPy and OpenCV only.

What batch n holds depends on the seed and on n alone: not on the number of workers, nor on where a run was interrupted.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from training.augmentation import Appearance
from training.datasets import Example
from training.examples import make_crop

LABELS = ("joints3d", "joints2d", "valid3d", "valid2d")


@dataclass(frozen=True)
class CropSettings:
    """What all crops have in common: arguments of ``make_crop``.

    Attributes:
        skeleton: names of the joints.
        crop_side: P, pixels.
        appearance: what augmentation does to pixels.
        universal_skeleton: 3D labels of normalized height.
    """

    skeleton: Skeleton
    crop_side: int
    appearance: Appearance | None = None
    universal_skeleton: bool = False


class CropBatches:
    """Augmented training crops, in a random order, without end.

    Args:
        examples: people with 3D labels; each comes once before any comes again.
        examples2d: people whose 2D labels are used; may be empty.
        settings: of the crops.
        batch_size: of ``examples`` per batch.
        batch_size_2d: of ``examples2d`` per batch, which follow the others.
        seed: of order and augmentation.
        part: (i, n): this process makes the i-th of n equal parts of each batch.
        augment: change crops at random; else only their order is random.

    Raises:
        UserError: a batch can't be divided into that many parts.
    """

    def __init__(
        self,
        examples: list[Example],
        examples2d: list[Example],
        settings: CropSettings,
        batch_size: int,
        batch_size_2d: int,
        seed: int,
        part: tuple[int, int] = (0, 1),
        augment: bool = True,
    ):
        self.settings, self.seed, self.part, self.augment = settings, seed, part, augment
        self.sources = [(examples, batch_size)] + ([(examples2d, batch_size_2d)] if examples2d else [])
        for _, size in self.sources:
            if size < 1 or size % part[1]:
                raise UserError(f"A batch of {size} crops can't be divided among {part[1]} processes.")
        self.error: Exception | None = None
        self.latest = None
        self._pool = None
        self._closed = False
        self._orders = {}

    def examples_of(self, step: int) -> list[tuple[Example, tuple[int, ...] | None]]:
        """People of this process in batch ``step``, each with the seed of their augmentation (None for none)."""
        chosen = []
        index, n_parts = self.part
        for source, (examples, size) in enumerate(self.sources):
            share = size // n_parts
            first = step * size + index * share
            for k in range(first, first + share):
                lap, position = divmod(k, len(examples))
                seed = (self.seed, source, k) if self.augment else None
                chosen.append((examples[self._order(source, lap)[position]], seed))
        return chosen

    def _order(self, source, lap):
        n = len(self.sources[source][0])
        last, order = self._orders.get(source, (None, None))
        if last != lap:
            order = np.random.default_rng([self.seed, source, lap, n]).permutation(n)
            self._orders[source] = lap, order
        return order

    def start(self, workers: int) -> None:
        """Start the worker processes; they end with this process, however it ends.

        Args:
            workers: number of processes; 0 to make crops in this one.
        """
        if workers:
            context = multiprocessing.get_context("spawn")  # a fork would copy a TensorFlow that is running
            self._pool = ProcessPoolExecutor(workers, context, _start_worker, (self.settings,))
            self._ahead = 2 * workers + 2

    def close(self) -> None:
        """End the worker processes and all streams."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def raise_error(self) -> None:
        """Raise what ended a stream, if one ended for another reason than that it was closed."""
        if self.error is not None:
            raise self.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def stream(
        self, step: int, examples_of: Callable[[int], list] | None = None, make: Callable | None = None
    ) -> Iterator[tuple]:
        """Yield the batches from ``step`` on, as ``keras.Model.fit`` takes them.

        Args:
            step: number of the first batch.
            examples_of: gives the people of a batch in place of the method of that name.
            make: function of a module that makes batches of them, in place of ``make_rows``.

        Yields:
            (crops uint8 [N, P, P, 3], intrinsics float32 [N, 3, 3]) and a dict of ``LABELS``, see ``make_crop``. If a
            batch can't be made, the stream ends and the reason is in ``error``: exceptions would reach the caller of
            ``fit`` as another engine's, if at all.
        """
        examples_of, make = examples_of or self.examples_of, make or make_rows
        try:
            pending = deque()
            while not self._closed:
                if self._pool is None:
                    rows = make(examples_of(step), self.settings)
                    step += 1
                else:
                    with _killed_workers_told():
                        while len(pending) < self._ahead:
                            pending.append(self._pool.submit(_make, make, examples_of(step)))
                            step += 1
                        rows = pending.popleft().result()
                self.latest = as_batch(rows)
                yield self.latest
        except Exception as error:
            if not self._closed:
                self.error = error


def plain_batches(
    examples: list[Example], settings: CropSettings, batch_size: int, workers: int = 0, progress: str = ""
) -> Iterator[tuple]:
    """Yield the crops of all examples, in order, without augmentation.

    Args:
        examples: people.
        settings: of the crops.
        batch_size: people per batch; the last one may be smaller.
        workers: processes that make crops; 0 to make them in this one.
        progress: title of a progress bar; empty for none.

    Yields:
        what ``CropBatches.stream`` yields.

    Raises:
        UserError: a picture can't be read.
    """
    tasks = [[(e, None) for e in examples[i : i + batch_size]] for i in range(0, len(examples), batch_size)]
    with tqdm(total=len(examples), desc=progress, unit="crop", disable=None if progress else True) as bar:
        if not workers:
            for task in tasks:
                yield as_batch(make_rows(task, settings))
                bar.update(len(task))
            return
        context = multiprocessing.get_context("spawn")
        with _killed_workers_told(), ProcessPoolExecutor(workers, context, _start_worker, (settings,)) as pool:
            pending = deque()
            for task in tasks:
                pending.append((len(task), pool.submit(_make, make_rows, task)))
                if len(pending) > 2 * workers:
                    count, rows = pending.popleft()
                    yield as_batch(rows.result())
                    bar.update(count)
            for count, rows in pending:
                yield as_batch(rows.result())
                bar.update(count)


@contextmanager
def _killed_workers_told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise UserError(
            "A process that makes crops was killed, perhaps because memory ran out: try fewer --workers."
        ) from error


def make_rows(task: list, settings: CropSettings) -> list[np.ndarray]:
    """Make crops in this process.

    Args:
        task: examples, each with the seed of its augmentation or None for the plain crop.
        settings: of the crops.

    Returns:
        what ``make_crop`` returns, stacked.
    """
    rows = []
    for example, seed in task:
        rng = None if seed is None else np.random.default_rng(seed)
        s = settings
        rows.append(make_crop(example, s.skeleton, s.crop_side, rng, s.appearance, s.universal_skeleton))
    return [np.stack(column) for column in zip(*rows)]


def as_batch(rows: list[np.ndarray]) -> tuple:
    """Inputs and labels as ``keras.Model.fit`` takes them, of what ``make_rows`` returns."""
    crops, intrinsics, *labels = rows
    return (crops, intrinsics), dict(zip(LABELS, labels))


_settings: CropSettings | None = None


def _start_worker(settings):
    global _settings
    _settings = settings
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training process, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """A killed training process can't end its workers, and they would wait for work forever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _make(make, task):
    return make(task, _settings)
