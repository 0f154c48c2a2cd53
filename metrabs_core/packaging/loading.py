"""Models by name or path."""

from dataclasses import replace

from metrabs_core import models
from metrabs_core.combined import CombinedModel
from metrabs_core.detection import load_detector
from metrabs_core.errors import UserError
from metrabs_core.model_card import FILE_NAME, ModelCard
from metrabs_core.packaging.crop_model import FrozenCropModel, SavedCropModel
from metrabs_core.packaging.model import Model
from metrabs_core.packaging.saved_model import load_saved_model


def load(path=None, warm_up_image_size=None, detector_input_side=None):
    """Load a model.

    Args:
        path: name of a packaged model (see ``metrabs_core.models``), an exported model directory, or a folder with the
            weights and card of a crop model. Packaged ones and crop models are combined with the default person
            detector. None for the packaged default model.
        warm_up_image_size: height and width of the images to come, to make the first call as fast as the later ones.
        detector_input_side: side of what the person detector sees in pixels, a multiple of 32: larger finds smaller
            people and takes longer. None for its own. An exported model keeps what it has.

    Returns:
        Model, with the methods of CombinedModel or, if it was exported without a detector, of MultipersonModel.

    Raises:
        UserError: there is no such model, or its detector is part of it and an input side was given.
    """
    directory = models.locate(path)
    if not is_saved_model(directory):
        crop_model, card = load_crop_model(directory)
        check_absolute(card)
        loaded = Model(CombinedModel(crop_model, load_detector(input_side=detector_input_side)), card)
    elif detector_input_side:
        raise UserError(f"{directory} is exported already: the detector's input side is chosen by build-combined.")
    else:
        loaded = _load_exported(directory)
    if warm_up_image_size is not None:
        loaded.warm_up(warm_up_image_size)
    return loaded


def _load_exported(directory):
    module, card = load_saved_model(directory)
    if not (hasattr(module, "detect_poses") or hasattr(module, "estimate_poses")):
        raise UserError(
            f"{directory} holds a SavedModel, but none of full images: it has neither detect_poses nor estimate_poses. "
            "If it is a crop model, use metrabs-train build-multiperson or build-combined."
        )
    return Model(module, card)


def load_crop_model(path, weights_dtype=None, stride=None):
    """Load a crop model to put into a model for full images, or to export.

    Args:
        path: a folder with the weights and card of a crop model, or an exported model of any kind, or the name of a
            packaged model.
        weights_dtype: "float16" or "float32", how the weights will be exported; None for float32. An exported model
            keeps what it has.
        stride: pixels between heatmap cells, if not those of the card; an exported model keeps what it has.

    Returns:
        The crop model and its ModelCard.

    Raises:
        UserError: there is no model at the path, or a dtype or stride was given for an exported one.
    """
    directory = models.locate(path)
    if not is_saved_model(directory):
        from metrabs_core.network.crop_model import load_weights_dir

        keras_model = load_weights_dir(directory, **({} if stride is None else {"stride": stride}))
        weights_dtype = weights_dtype or "float32"
        card = replace(ModelCard.read(directory), crop_model=keras_model.get_config(), weights_dtype=weights_dtype)
        return FrozenCropModel(keras_model, weights_dtype), card
    if weights_dtype or stride:
        raise UserError(
            f"{directory} is exported already: weights dtype and stride can be chosen only for a folder of weights."
        )
    module, card = load_saved_model(directory)
    module = getattr(module, "crop_model", None)
    if not hasattr(module, "estimate"):
        raise UserError(f"{directory} holds a SavedModel, but no crop model that metrabs-train exported.")
    return SavedCropModel(module), card


def check_absolute(card):
    """Raise UserError if the crop model of a card gives poses without a place in space, useless in full images."""
    from metrabs_core.network.scale_recovery import SCALE_RECOVERIES, find_scale_recovery

    recovery = find_scale_recovery(card.crop_model.get("scale_recovery", "metrabs"))
    if not recovery.is_absolute:
        absolute = [other.name for other in SCALE_RECOVERIES.values() if other.is_absolute]
        raise UserError(
            f"The crop model's scale recovery is {recovery.name!r}, so its poses have no place in space: full images "
            f"need a crop model with {' or '.join(absolute)}."
        )


def is_saved_model(directory):
    """Whether a directory holds a SavedModel and not weights; an error if neither."""
    if (directory / "saved_model.pb").is_file():
        return True
    if (directory / FILE_NAME).is_file():
        return False
    raise UserError(f"{directory} is not a model: it has neither saved_model.pb nor {FILE_NAME}.")
