"""The card that lies beside every model: what it is, how it was made, how good it is."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path

from metrabs_core.errors import UserError
from metrabs_core.files import write_json

FILE_NAME = "model_card.json"


@dataclass(frozen=True)
class ModelCard:
    """The entries of a card that programs read, and the rest.

    Attributes:
        crop_model: configuration of the crop model, by which it can be built again.
        weights_dtype: how weights are stored.
        kind: of an exported model: "crop_model", "multiperson" or "combined".
        skeleton: name of an exported model's own skeleton.
        crop_side: of an exported model, pixels.
        detector: name of an exported model's person detector.
        about: everything else by its name: origin, training, results.
    """

    crop_model: dict = field(default_factory=dict)
    weights_dtype: str | None = None
    kind: str | None = None
    skeleton: str | None = None
    crop_side: int | None = None
    detector: str | None = None
    about: dict = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "ModelCard":
        """The card of a model's folder.

        Raises:
            UserError: there is none, or it is damaged.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise UserError(f"{folder} is no crop model: it has no {FILE_NAME}.")
        try:
            content = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"The model card {path} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"The model card {path} is damaged: it holds no names and values.")
        known = {name: content.pop(name) for name in _KNOWN if name in content}
        return cls(**known, about=content)

    def write(self, folder: Path) -> None:
        """Write the card into a model's folder."""
        write_json(Path(folder) / FILE_NAME, self.as_dict(), indent=2)

    def as_dict(self) -> dict:
        """The content of the file."""
        return self.about | {name: getattr(self, name) for name in _KNOWN if getattr(self, name)}


_KNOWN = tuple(field.name for field in fields(ModelCard) if field.name != "about")
