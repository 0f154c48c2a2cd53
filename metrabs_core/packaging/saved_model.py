"""SavedModels: written with their card, and read."""

from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_folder
from metrabs_core.model_card import FILE_NAME, ModelCard


def export(model, path, card):
    """Write a model as a SavedModel that loads without this package, with its card beside it.

    Args:
        model: a FrozenCropModel, MultipersonModel or CombinedModel.
        path: directory to create. It appears only once everything is written.
        card: ModelCard of the crop model, to which what is exported is added.

    Raises:
        UserError: there is something at the path.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"{path} exists already: remove it or choose another place for the model.")
    crop_model = model.crop_model
    card = replace(card, kind=model.name, skeleton=crop_model.skeleton.name, crop_side=crop_model.crop_side)
    with atomic_folder(path) as temporary:
        tf.saved_model.save(model, str(temporary))
        card.write(temporary)


def load_saved_model(directory):
    """What TensorFlow makes of a directory, and its ModelCard, which is empty if there is none.

    Raises:
        UserError: it is no SavedModel.
    """
    try:
        module = tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise UserError(f"{directory} is not a model that TensorFlow can load: {error}") from error
    return module, ModelCard.read(directory) if (directory / FILE_NAME).is_file() else ModelCard()
