"""Models on disk: freezing the crop model, export as SavedModel with a model card, loading, the packaged default."""

import functools
import inspect
import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from metrabs_core.combined import CombinedModel, MultipersonModel

PACKAGED_MODEL_DIR = Path(__file__).parent / "model"
_CARD = "model_card.json"
_WARM_UP_PEOPLE = (4, 3, 2, 1)
_METHODS = (
    "detect_poses",
    "detect_poses_batched",
    "estimate_poses",
    "estimate_poses_batched",
    "predict_single_image",
    "predict_multi_image",
)


class FrozenCropModel(tf.Module):
    """A Keras crop model with its weights as constants of the graph: a quarter faster on CPUs than with variables.

    Args:
        crop_model: Keras model, see ``metrabs_core.estimator.PoseEstimator`` for its inputs and outputs.
        weights_dtype: "float32", or "float16" to store the weights in half the space. Computation is float32.

    Raises:
        ValueError: another ``weights_dtype``.
    """

    def __init__(self, crop_model, weights_dtype="float32"):
        if weights_dtype not in ("float16", "float32"):
            raise ValueError(f"weights_dtype is {weights_dtype!r}; it must be 'float16' or 'float32'.")
        super().__init__(name="crop_model")
        self.crop_side = crop_model.crop_side
        self.skeleton = crop_model.skeleton
        self.bone_lengths = None if crop_model.bone_lengths is None else np.float32(crop_model.bone_lengths)

        weights = [
            [variable.numpy().astype(weights_dtype) for variable in variables]
            for variables in (crop_model.trainable_variables, crop_model.non_trainable_variables)
        ]

        def network(inputs):
            constants = [[tf.cast(tf.constant(array), tf.float32) for array in arrays] for arrays in weights]
            return crop_model.stateless_call(*constants, inputs, training=False)[0]

        # in a closure, so that the variables do not become part of an exported model
        self._network = network

    @tf.function(
        autograph=False,
        input_signature=[
            [
                tf.TensorSpec([None, None, None, 3], tf.float32, "crops"),
                tf.TensorSpec([None, 3, 3], tf.float32, "intrinsics"),
            ]
        ],
    )
    def __call__(self, inputs):
        """Poses in crops: see ``metrabs_core.estimator.PoseEstimator``."""
        crops, intrinsics = inputs
        crops = tf.ensure_shape(crops, [None, self.crop_side, self.crop_side, 3])
        prediction = self._network([crops, intrinsics])
        return {name: prediction[name] for name in ("poses3d", "uncertainty")}


def export(model, path, model_card):
    """Write a model as a SavedModel that loads without this package, with its card beside it.

    Args:
        model: a FrozenCropModel, MultipersonModel or CombinedModel.
        path: directory to create; it must not exist. It appears only once everything is written.
        model_card: what to tell about the model, written as ``model_card.json``. ``skeleton`` and ``crop_side`` are
            added.

    Raises:
        FileExistsError: there is something at the path.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already: remove it or choose another place for the model.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    crop_model = getattr(model, "crop_model", model)
    card = {**model_card, "skeleton": crop_model.skeleton.name, "crop_side": crop_model.crop_side}
    try:
        tf.saved_model.save(model, str(temporary))
        (temporary / _CARD).write_text(json.dumps(card, indent=2) + "\n")
        # mkdtemp makes the directory private
        temporary.chmod(0o777 & ~_umask())
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load(path=None, warm_up_image_size=None):
    """Load a model.

    Args:
        path: an exported model directory, or a folder with the weights and card of a crop model, which is then combined
            with the default person detector; None for the packaged default model.
        warm_up_image_size: height and width of the images to come, to make the first call as fast as the later ones.

    Returns:
        Model, with the methods of CombinedModel or, if it was exported without a detector, of MultipersonModel.

    Raises:
        FileNotFoundError: the path, the packaged weights or the person detector's wheel is missing.
        ValueError: there is no model at the path.
    """
    directory = PACKAGED_MODEL_DIR if path is None else Path(path)
    if path is None and not (directory / _CARD).is_file():
        raise FileNotFoundError(
            f"The packaged model is missing in {directory}: install the package again or give the path of a model."
        )
    if not directory.exists():
        raise FileNotFoundError(f"There is no model at {directory}: no such directory.")
    if (directory / "saved_model.pb").is_file():
        model = _load_saved_model(directory)
    elif (directory / _CARD).is_file():
        model = _load_weights(directory)
    else:
        raise ValueError(f"{directory} is not a model: it has neither saved_model.pb nor {_CARD}.")
    if warm_up_image_size is not None:
        model.warm_up(warm_up_image_size)
    return model


def _load_weights(directory):
    from metrabs_core.detection.ssdlite import SSDLite
    from metrabs_core.network.crop_model import load_weights_dir

    crop_model = FrozenCropModel(load_weights_dir(directory))
    module = CombinedModel(crop_model, SSDLite())
    return Model(module, json.loads((directory / _CARD).read_text()))


def _load_saved_model(directory):
    try:
        module = tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{directory} is not a model that TensorFlow can load: {error}") from error
    if not (hasattr(module, "detect_poses") or hasattr(module, "estimate_poses")):
        raise ValueError(
            f"{directory} holds a SavedModel, but none of full images: it has neither detect_poses nor estimate_poses."
        )
    card = directory / _CARD
    return Model(module, json.loads(card.read_text()) if card.is_file() else {})


class Model:
    """A loaded model.

    It has the methods of ``CombinedModel`` (or, without a detector, of ``MultipersonModel``), which accept NumPy arrays
    and lists as well as tensors and raise a ValueError that names the argument where one has a wrong shape or type.

    Attributes:
        joint_names: names of the joints of the model's own skeleton.
        joint_edges: int array [n_edges, 2], the bones of the model's own skeleton.
        per_skeleton_joint_names: dict of skeleton name to joint names.
        per_skeleton_edges: dict of skeleton name to int array [n_edges, 2].
        crop_model: callable on ``[crops, intrinsics]``, see ``metrabs_core.estimator.PoseEstimator``.
        has_detector: whether there are ``detect_poses`` and ``detect_poses_batched``.
        card: the model card, a dict.
    """

    def __init__(self, module, card):
        self._module = module
        self.card = card
        self.crop_model = module.crop_model
        self.has_detector = hasattr(module, "detect_poses")
        self.joint_names = _strings(module.joint_names)
        self.joint_edges = module.joint_edges.numpy()
        self.per_skeleton_joint_names = {k: _strings(v) for k, v in module.per_skeleton_joint_names.items()}
        self.per_skeleton_edges = {k: v.numpy() for k, v in module.per_skeleton_edges.items()}
        declared = CombinedModel if self.has_detector else MultipersonModel
        for name in _METHODS:
            if hasattr(module, name):
                setattr(self, name, _checked_method(getattr(declared, name), getattr(module, name)))

    def warm_up(self, image_size):
        """Run once for images of a size [height, width], with 4, 3, 2 and 1 people, so that later calls start fast."""
        height, width = image_size
        image = np.zeros([height, width, 3], np.uint8)
        for n_people in _WARM_UP_PEOPLE:
            if self.has_detector:
                # every box is a detection
                options = {"detector_threshold": 0.0, "max_detections": n_people}
                self.detect_poses(image, num_aug=1, **options)
            else:
                boxes = np.tile(np.array([[0, 0, width, height]], np.float32), [n_people, 1])
                self.estimate_poses(image, boxes, num_aug=1)


def _strings(variable):
    return [name.decode() for name in variable.numpy()]


def _checked_method(declared, function):
    """A method of a (loaded) module that checks its arguments first.

    Args:
        declared: the ``tf.function`` of the class, which knows names and specs.
        function: the bound function to call.
    """
    python_function = declared.python_function
    signature = inspect.signature(python_function)
    signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    specs = dict(zip(signature.parameters, declared.input_signature))

    @functools.wraps(python_function)
    def method(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        arguments = {name: _convert(name, value, specs[name]) for name, value in arguments.items()}
        try:
            return function(**arguments)
        except tf.errors.InvalidArgumentError as error:
            sentence = re.search(r"assertion failed: ((\[.*?\] ?)+)", error.message)
            if sentence is None:
                raise
            raise ValueError(re.sub(r"[\[\]]", "", sentence[1]).strip() + ".") from error

    method.__signature__ = signature
    return method


def _convert(name, value, spec):
    """A tensor of the spec's dtype and shape, or a ValueError that names the argument."""
    if isinstance(spec, tf.RaggedTensorSpec):
        return _convert_ragged(name, value)
    kinds = {tf.uint8: "u", tf.float32: "fiu", tf.int32: "iu", tf.bool: "b", tf.string: "SUO"}[spec.dtype]
    try:
        array = value if tf.is_tensor(value) else np.asarray(value)
        dtype = array.dtype.as_numpy_dtype if tf.is_tensor(value) else array.dtype
    except ValueError as error:
        raise ValueError(f"{name}: must be an array of shape {_shape(spec)} and type {spec.dtype.name}.") from error
    dtype = np.dtype(dtype)
    if dtype.kind not in kinds or (spec.dtype == tf.uint8 and dtype != np.uint8):
        raise ValueError(f"{name}: must be of type {spec.dtype.name}; got {dtype.name}.")
    if not spec.shape.is_compatible_with(array.shape):
        raise ValueError(f"{name}: must have shape {_shape(spec)}; got {_shape(array)}.")
    return tf.cast(value, spec.dtype) if tf.is_tensor(value) else tf.constant(array, spec.dtype)


def _convert_ragged(name, value):
    try:
        if not isinstance(value, tf.RaggedTensor):
            arrays = [np.asarray(part, np.float32) for part in value]
            width = max([array.shape[-1] for array in arrays if array.size], default=4)
            arrays = [array.reshape(-1, width) if array.size == 0 else array for array in arrays]
            flat = np.concatenate([np.zeros([0, width], np.float32), *arrays])
            value = tf.RaggedTensor.from_row_lengths(flat, np.array([len(a) for a in arrays], np.int64))
        value = tf.cast(value, tf.float32).with_row_splits_dtype(tf.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: must be one array of shape [n, 4] per image, or a ragged tensor.") from error
    if value.ragged_rank != 1 or value.shape.rank != 3:
        raise ValueError(f"{name}: must have shape [n_images, (n_boxes), 4]; got {value.shape}.")
    return value


def _shape(array):
    return "[" + ", ".join("any" if size is None else str(size) for size in array.shape) + "]"
