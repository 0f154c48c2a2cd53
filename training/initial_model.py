"""The crop model that training begins with: a new one on a pretrained backbone, or one that was trained before."""

from pathlib import Path

from metrabs_core import models
from metrabs_core.errors import UserError
from metrabs_core.model_card import ModelCard
from metrabs_core.network.crop_model import CropModel, load_weights_dir
from training import pretrained
from training.config import TrainingConfig


def initial_model(
    config: TrainingConfig, skeleton_name: str, bone_lengths: list[float] | None, origin: str | None = None
) -> tuple[CropModel, str]:
    """Make the model to train.

    Args:
        config: what to train.
        skeleton_name: of the joints to predict.
        bone_lengths: mean lengths of the skeleton's edges in millimetres, for a new model; None if they aren't known.
        origin: where the weights came from, of a run that is about to be resumed; None for a new one.

    Returns:
        the model, and in words where its weights come from.

    Raises:
        UserError: there are no such weights, or the configuration is not possible.
    """
    if config.init:
        model, origin = _continue_from(_folder(config.init), config.model), config.init
    else:
        model = CropModel(**{"bone_lengths": bone_lengths, "skeleton": skeleton_name, **config.model})
        # a resumed run needs no pretrained weights
        origin = origin or pretrained.initialize_backbone(
            model.backbone, model.config.backbone, config.backbone_weights
        )
    if model.recovery.needs_bone_lengths and model.bone_lengths is None:
        raise UserError("No example has 3D labels for all joints, so there are no mean bone lengths.")
    if model.overview is not None and config.stride_test not in (0, model.config.stride):
        raise UserError(
            f"With an overview, the stride is that of training, {model.config.stride}: leave --stride-test out."
        )
    return model, origin


def crop_model_arguments(init: str) -> dict:
    """Arguments of the ``CropModel`` that ``--init`` names, as its card says.

    Raises:
        UserError: it is no crop model.
    """
    return ModelCard.read(_folder(init)).crop_model


def _folder(init: str) -> Path:
    return models.locate(None if init == "packaged" else init)


def _continue_from(folder: Path, overrides: dict) -> CropModel:
    """The model of a folder; an overview or depth stage that it lacks is put onto it, with random weights."""
    saved = crop_model_arguments(str(folder))
    new = [name for name in ("overview_channels", "depth_channels") if overrides.get(name) and not saved.get(name)]
    source = load_weights_dir(folder, **{**overrides, **dict.fromkeys(new, 0)})
    if not new:
        return source
    model = CropModel(source.config, **overrides)
    for part, with_weights in ((getattr(model, name), getattr(source, name)) for name in CropModel.PARTS):
        if with_weights is not None:
            part.set_weights(with_weights.get_weights())
    return model
