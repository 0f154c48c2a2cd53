"""Models on disk: crop models frozen out of Keras, export as SavedModel, loading."""

from metrabs_core.packaging.crop_model import WEIGHTS_DTYPES, FrozenCropModel, SavedCropModel
from metrabs_core.packaging.loading import check_absolute, load, load_crop_model
from metrabs_core.packaging.model import Model
from metrabs_core.packaging.saved_model import export

__all__ = [
    "WEIGHTS_DTYPES",
    "FrozenCropModel",
    "Model",
    "SavedCropModel",
    "check_absolute",
    "export",
    "load",
    "load_crop_model",
]
