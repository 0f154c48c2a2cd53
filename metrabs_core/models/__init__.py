"""The packaged models: each folder here is one, with its weights and its card, and has its name."""

from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.model_card import FILE_NAME

DEFAULT = "accurate"
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the packaged models."""
    return sorted(card.parent.name for card in _FOLDER.glob(f"*/{FILE_NAME}"))


def locate(model: str | Path | None = None) -> Path:
    """The folder of a model.

    Args:
        model: name of a packaged model, or the path of any; None or empty for the packaged default.

    Raises:
        UserError: it is neither.
    """
    model = str(model or DEFAULT)
    if model in names():
        return _FOLDER / model
    if Path(model).is_dir():
        return Path(model)
    raise UserError(f"There is no model at {model}: no such folder, and the packaged models are {', '.join(names())}.")
