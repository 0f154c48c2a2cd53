"""The folder of a training run: where its files are, and which settings it was begun with."""

import json
from dataclasses import asdict
from pathlib import Path

from metrabs_core import models
from metrabs_core.errors import UserError
from metrabs_core.files import write_json
from training.config import TrainingConfig

# Settings that may be changed when a run is resumed
_MAY_CHANGE = {"learning_rate", "head_learning_rate", "validation", "data_root", "checkpoint_steps", "workers"}


class RunFolder:
    """Paths of a training run's files.

    Args:
        path: the folder; made if missing.

    Raises:
        UserError: it can't be made.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"The folder {path} can't be made: {error.strerror}.") from error
        self.checkpoint = self.path / "checkpoint.npz"
        self.model = self.path / "model"
        self._settings = self.path / "settings.json"

    def begun_with(self, config: TrainingConfig) -> dict:
        """The settings of a run that was begun in this folder; empty for a new one.

        Raises:
            UserError: it was begun with settings that mean another training.
        """
        if not self._settings.exists():
            return {}
        try:
            begun = json.loads(self._settings.read_text())
        except ValueError as error:
            raise UserError(f"{self._settings} is damaged: choose another --logdir.") from error
        settings = json.loads(json.dumps(asdict(config)))
        changed = [n for n in settings if n not in _MAY_CHANGE and begun.get(n, settings[n]) != settings[n]]
        if changed:
            raise UserError(
                f"{self.path} holds a run with another {' and '.join(changed)}; choose another --logdir, or give the"
                " same flags to go on."
            )
        return begun

    def write_settings(self, config: TrainingConfig, started_from: str) -> None:
        """Keep the settings of a run, and where its weights come from."""
        write_json(self._settings, {**asdict(config), "started_from": started_from})


def model_folder(path: str | Path) -> Path:
    """The folder of a crop model: the one given or named, or ``model`` in the folder of a training run."""
    folder = models.locate(path)
    return folder / "model" if (folder / "model" / "model_card.json").is_file() else folder
