"""The state of an interrupted training run."""

import os
import zipfile
from pathlib import Path

import numpy as np
from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file


class Checkpoint:
    """The state of a run in one file, replaced at once, so that it is whole however the process ends.

    Args:
        path: the file.

    Raises:
        UserError: there is one, and it is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self.stage, self.step = 0, 0
        if path.exists():
            try:
                with np.load(path) as archive:
                    self.stage, self.step = int(archive["stage"]), int(archive["step"])
            except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
                raise UserError(f"The checkpoint {path} is damaged: remove it to train from the beginning.") from error

    def exists(self) -> bool:
        """Whether there is one."""
        return self.path.exists()

    def save(self, stage: int, step: int, variables: list) -> None:
        """Write variables, after ``step`` steps of a stage."""
        arrays = {f"v{i}": np.asarray(ops.convert_to_numpy(v)) for i, v in enumerate(variables)}
        with atomic_file(self.path) as temporary, open(temporary, "wb") as file:
            np.savez(file, stage=stage, step=step, **arrays)
            file.flush()
            os.fsync(file.fileno())
        self.stage, self.step = stage, step

    def restore(self, variables: list) -> None:
        """Set variables to what was saved.

        Raises:
            UserError: they are others than those that were saved.
        """
        with np.load(self.path) as archive:
            if len(archive.files) != len(variables) + 2:
                raise UserError(f"{self.path} holds the state of another model; choose another --logdir.")
            for i, variable in enumerate(variables):
                variable.assign(archive[f"v{i}"])
