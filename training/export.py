"""A trained crop model as a SavedModel: by itself, behind full images and boxes, or with a person detector, too."""

from dataclasses import replace
from pathlib import Path

from metrabs_core import packaging
from metrabs_core.combined import CombinedModel, MultipersonModel
from metrabs_core.detection import load_detector
from metrabs_core.model_card import ModelCard
from training.run_folder import model_folder

KINDS = ("crop_model", "multiperson", "combined")


def export(
    kind: str,
    source: str | Path,
    target: str | Path,
    stride: int | None = None,
    weights_dtype: str | None = None,
    detector: tuple | None = None,
) -> str:
    """Write a SavedModel.

    Args:
        kind: "crop_model", or "multiperson" with the methods of ``metrabs_core.combined.MultipersonModel``, or
            "combined" with those of ``CombinedModel``.
        source: folder of a training run, of a crop model, or of an exported model.
        target: folder to write; must not exist yet.
        stride: pixels between heatmap cells; None for that of training.
        weights_dtype: one of ``metrabs_core.packaging.WEIGHTS_DTYPES``; None for float32.
        detector: of a combined model, arguments of ``metrabs_core.detection.load_detector``.

    Returns:
        one line about what was written.

    Raises:
        UserError: there is no such model or detector, its poses are only relative, or the target exists.
    """
    person_detector = load_detector(*detector) if kind == "combined" else None
    model, card = packaging.load_crop_model(model_folder(source), weights_dtype, stride)
    if kind != "crop_model":
        packaging.check_absolute(card)
    if kind == "multiperson":
        model = MultipersonModel(model)
    elif kind == "combined":
        model, card = CombinedModel(model, person_detector), replace(card, detector=detector[0])
    packaging.export(model, target, card)
    return _summary(Path(target))


def _summary(path: Path) -> str:
    card = ModelCard.read(path)
    megabytes = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
    details = [card.skeleton, f"crops of {card.crop_side} px", f"{card.weights_dtype} weights"]
    if card.detector:
        details.append(f"detector {card.detector}")
    return f"{path}: {card.kind.replace('_', ' ')}, {', '.join(details)}, {megabytes:.1f} MB"
