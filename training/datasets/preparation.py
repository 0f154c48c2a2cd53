"""What the preparation of every data set needs: checks, space, parallel work that goes on past damaged files."""

import multiprocessing
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
from tqdm import tqdm

from metrabs_core.errors import UserError


class Preparation:
    """One run of ``metrabs-train prepare``; as a context, it ends its processes.

    Args:
        root: data root.
        workers: processes; with one, the work is done in this process.
        allow_missing: continue without what is missing.
        all_frames: of MPI-INF-3DHP, write every frame, as the script needs them that composes MuCo-3DHP.

    Attributes:
        skipped: damaged files that were left out, one sentence each.
        done: what was made, one line each.
    """

    def __init__(self, root: Path, workers: int = 1, allow_missing: bool = False, all_frames: bool = False):
        self.root, self.workers, self.allow_missing = Path(root), workers, allow_missing
        self.all_frames = all_frames
        self.skipped: list[str] = []
        self.done: list[str] = []
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def require(self, name: str, missing: list[str], instructions: str, is_empty: bool = False) -> None:
        """Stop if official files are missing, with what to download and where to put it.

        Args:
            name: of the data set.
            missing: what is missing, one line each.
            instructions: what to download and where to put it.
            is_empty: there is nothing to go on with.

        Raises:
            UserError: something is missing, and that isn't allowed; or everything is.
        """
        if not missing:
            return
        listed = "\n  ".join(missing)
        if is_empty or not self.allow_missing:
            way_out = "" if is_empty else " (--allow-missing goes on with the rest)"
            raise UserError(f"{name} is not complete in {self.root}{way_out}. Missing:\n  {listed}\n\n{instructions}")
        print(f"Left out of {name} is what is missing:\n  {listed}", flush=True)

    def need_space(self, what: str, n_bytes: float) -> None:
        """Say how much disk space some work takes, and stop if there is less.

        Raises:
            UserError: the disk has too little space.
        """
        if not n_bytes:
            return
        free = shutil.disk_usage(self.root).free
        print(f"{what}: about {n_bytes / 1e9:.1f} GB; {free / 1e9:.1f} GB are free.", flush=True)
        if n_bytes > free:
            raise UserError(
                f"{what} takes about {n_bytes / 1e9:.1f} GB, but only {free / 1e9:.1f} GB are free on the disk of "
                f"{self.root}. A link in its place can lead to another disk."
            )

    def run(self, what: str, function: Callable, tasks: Sequence) -> list:
        """Do a function's work on every task, in parallel.

        Args:
            what: name for the progress bar.
            function: of a module's top level; gives ``(result, sentences about damaged files)``. If it raises an
                OSError or UserError, the whole task is skipped.
            tasks: its arguments, one each.

        Returns:
            list of the results, None for skipped tasks.
        """
        results = []
        for result, problems in tqdm(self._map(function, tasks), what, total=len(tasks), disable=not len(tasks)):
            for problem in problems:
                tqdm.write(f"skipped: {problem}", file=sys.stderr)
            self.skipped += problems
            results.append(result)
        return results

    def _map(self, function: Callable, tasks: Sequence) -> Iterator:
        work = _Guarded(function)
        if self.workers <= 1 or len(tasks) <= 1:
            yield from map(work, tasks)
            return
        if self._pool is None:
            # TensorFlow, if it is loaded here, doesn't survive a fork; and as there are as many processes as cores,
            # OpenCV's threads would only be in each other's way
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, context, cv2.setNumThreads, (1,))
        yield from self._pool.map(work, tasks)


class _Guarded:
    """A function whose errors about files become sentences."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, task):
        try:
            return self.function(task)
        except (UserError, OSError) as error:
            return None, [str(error)]
