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

from metrabs_core.combined import CombinedModel, MultipersonModel, constant, describe_skeletons
from metrabs_core.detection import load_detector
from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton

WEIGHTS_DTYPES = ("float16", "float32")
PACKAGED_MODEL_DIR = Path(__file__).parent / "model"
_CARD = "model_card.json"
# Scale recoveries that find absolute poses from a crop alone
_ABSOLUTE = ("metrabs", "bone-lengths")
_WARM_UP_PEOPLE = (4, 3, 2, 1)
_CROPS = tf.TensorSpec([None, None, None, 3], tf.float32, "crops")
_INTRINSICS = tf.TensorSpec([None, 3, 3], tf.float32, "intrinsics")
_METHODS = (
    "detect_poses",
    "detect_poses_batched",
    "estimate_poses",
    "estimate_poses_batched",
    "predict_single_image",
    "predict_multi_image",
)


class _CropModel(tf.Module):
    """A crop model as the models for full images use it, and as it is exported.

    Args:
        network: function of crops float32 [N, P, P, 3] and intrinsics float32 [N, 3, 3] that returns the dict of
            ``estimate``.
        skeleton: the joints that it predicts.
        crop_side: P, pixels.
        bone_lengths: mean length in millimetres of each of the skeleton's edges; None if unknown.

    Attributes:
        skeleton, crop_side, bone_lengths: as above.
        joint_names, joint_edges, per_skeleton_joint_names, per_skeleton_edges: as for the models for full images.
        input_resolution, skeleton_name, mean_bone_lengths: crop_side, skeleton's name and bone_lengths as variables,
            which an exported model keeps; unknown bone lengths are empty.
        crop_model: the model itself.
    """

    def __init__(self, network, skeleton, crop_side, bone_lengths):
        super().__init__(name="crop_model")
        self.skeleton, self.crop_side = skeleton, crop_side
        self.bone_lengths = None if bone_lengths is None else np.float32(bone_lengths)
        # in a closure, so that its variables do not become part of an exported model
        self._network = network
        describe_skeletons(self, skeleton)
        self.input_resolution = constant(crop_side)
        self.skeleton_name = constant(skeleton.name)
        self.mean_bone_lengths = constant(np.float32([] if bone_lengths is None else bone_lengths))
        self.crop_model = self

    @tf.function(autograph=False, input_signature=[_CROPS, _INTRINSICS])
    def estimate(self, crops, intrinsics):
        """Poses in crops, with their uncertainty.

        Args:
            crops: float32 [N, P, P, 3], RGB in 0..1.
            intrinsics: float32 [N, 3, 3], of each crop's camera; integer coordinates are pixel centres.

        Returns:
            dict of ``poses3d`` float32 [N, J, 3], millimetres, crop camera frame, and ``uncertainty`` float32 [N, J],
            millimetres, one sigma.
        """
        shape = [None, self.crop_side, self.crop_side, 3]
        message = f"crops: must have shape [N, {self.crop_side}, {self.crop_side}, 3]; theirs is"
        is_right = tf.reduce_all(tf.shape(crops)[1:] == shape[1:])
        with tf.control_dependencies([tf.raw_ops.Assert(condition=is_right, data=[message, tf.shape(crops)])]):
            crops = tf.ensure_shape(tf.identity(crops), shape)
        prediction = self._network(crops, intrinsics)
        return {name: prediction[name] for name in ("poses3d", "uncertainty")}

    @tf.function(autograph=False, input_signature=[_CROPS, _INTRINSICS])
    def __call__(self, crops, intrinsics):
        """The first release's method: as ``estimate``, but poses3d [N, J, 3] alone."""
        return self.estimate(crops, intrinsics)["poses3d"]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float16, "image"),
            tf.TensorSpec([None, 3, 3], tf.float32, "intrinsic_matrix"),
        ],
    )
    def predict_multi(self, image, intrinsic_matrix):
        """The later releases' method: as ``__call__``, with float16 crops."""
        return self.estimate(tf.cast(image, tf.float32), intrinsic_matrix)["poses3d"]


class FrozenCropModel(_CropModel):
    """A Keras crop model with its weights as constants of the graph: a quarter faster on CPUs than with variables.

    Args:
        crop_model: ``metrabs_core.network.crop_model.CropModel``.
        weights_dtype: "float32", or "float16" to store the weights in half the space. Computation is float32.

    Raises:
        ValueError: another ``weights_dtype``.
    """

    def __init__(self, crop_model, weights_dtype="float32"):
        if weights_dtype not in WEIGHTS_DTYPES:
            raise ValueError(f"weights_dtype is {weights_dtype!r}; it must be one of {', '.join(WEIGHTS_DTYPES)}.")
        weights = [
            [variable.numpy().astype(weights_dtype) for variable in variables]
            for variables in (crop_model.trainable_variables, crop_model.non_trainable_variables)
        ]

        def network(crops, intrinsics):
            constants = [[tf.cast(tf.constant(array), tf.float32) for array in arrays] for arrays in weights]
            return crop_model.stateless_call(*constants, [crops, intrinsics], training=False)[0]

        super().__init__(network, crop_model.skeleton, crop_model.crop_side, crop_model.bone_lengths)


class SavedCropModel(_CropModel):
    """A crop model out of a SavedModel that ``export`` wrote.

    Args:
        module: what ``tf.saved_model.load`` returned, or its ``crop_model``.
    """

    def __init__(self, module):
        self._module = module  # its constants must stay alive and be exported again
        skeleton = Skeleton(
            module.skeleton_name.numpy().decode(),
            tuple(_strings(module.joint_names)),
            tuple(map(tuple, module.joint_edges.numpy().tolist())),
        )
        bone_lengths = module.mean_bone_lengths.numpy()
        crop_side = int(module.input_resolution.numpy())
        super().__init__(module.estimate, skeleton, crop_side, bone_lengths if len(bone_lengths) else None)


def export(model, path, model_card):
    """Write a model as a SavedModel that loads without this package, with its card beside it.

    Args:
        model: a FrozenCropModel, MultipersonModel or CombinedModel.
        path: directory to create; it must not exist. It appears only once everything is written.
        model_card: what to tell about the model, written as ``model_card.json``. ``kind`` ("crop_model",
            "multiperson" or "combined"), ``skeleton`` and ``crop_side`` are added.

    Raises:
        FileExistsError: there is something at the path.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already: remove it or choose another place for the model.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    crop_model = model.crop_model
    card = {
        **model_card,
        "kind": model.name,
        "skeleton": crop_model.skeleton.name,
        "crop_side": crop_model.crop_side,
    }
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
        FileNotFoundError: the path, or the packaged weights are missing.
        ValueError: there is no model at the path.
    """
    directory = PACKAGED_MODEL_DIR if path is None else Path(path)
    if path is None and not (directory / _CARD).is_file():
        raise FileNotFoundError(
            f"The packaged model is missing in {directory}: install the package again or give the path of a model."
        )
    if _is_saved_model(directory):
        module, card = _load_saved_model(directory)
        if not (hasattr(module, "detect_poses") or hasattr(module, "estimate_poses")):
            raise ValueError(
                f"{directory} holds a SavedModel, but none of full images: it has neither detect_poses nor "
                "estimate_poses. If it is a crop model, use metrabs-train build-multiperson or build-combined."
            )
    else:
        crop_model, card = load_crop_model(directory)
        check_absolute(card)
        module = CombinedModel(crop_model, load_detector())
    model = Model(module, card)
    if warm_up_image_size is not None:
        model.warm_up(warm_up_image_size)
    return model


def load_crop_model(path, weights_dtype=None, stride=None):
    """Load a crop model to put into a model for full images, or to export.

    Args:
        path: a folder with the weights and card of a crop model, or an exported model of any kind.
        weights_dtype: "float16" or "float32", how the weights will be exported; None for float32. An exported model
            keeps what it has.
        stride: pixels between heatmap cells, if not those of the card; an exported model keeps what it has.

    Returns:
        The crop model and the model card, a dict.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: there is no model at the path, or a dtype or stride was given for an exported one.
    """
    directory = Path(path)
    if not _is_saved_model(directory):
        from metrabs_core.network.crop_model import load_weights_dir

        keras_model = load_weights_dir(directory, **({} if stride is None else {"stride": stride}))
        weights_dtype = weights_dtype or "float32"
        card = {**_read_card(directory), "crop_model": keras_model.get_config(), "weights_dtype": weights_dtype}
        return FrozenCropModel(keras_model, weights_dtype), card
    if weights_dtype or stride:
        raise ValueError(
            f"{directory} is exported already: weights dtype and stride can be chosen only for a folder of weights."
        )
    module, card = _load_saved_model(directory)
    module = getattr(module, "crop_model", None)
    if not hasattr(module, "estimate"):
        raise ValueError(f"{directory} holds a SavedModel, but no crop model that metrabs-train exported.")
    return SavedCropModel(module), card


def check_absolute(card):
    """Raise ValueError if the crop model of a card gives poses without a place in space, useless in full images."""
    scale_recovery = card.get("crop_model", {}).get("scale_recovery", "metrabs")
    if scale_recovery not in _ABSOLUTE:
        raise ValueError(
            f"The crop model's scale recovery is {scale_recovery!r}, so its poses have no place in space: full images "
            f"need a crop model with {' or '.join(_ABSOLUTE)}."
        )


def _is_saved_model(directory):
    """Whether a directory holds a SavedModel and not weights; an error if neither."""
    if not directory.exists():
        raise FileNotFoundError(f"There is no model at {directory}: no such directory.")
    if (directory / "saved_model.pb").is_file():
        return True
    if (directory / _CARD).is_file():
        return False
    raise ValueError(f"{directory} is not a model: it has neither saved_model.pb nor {_CARD}.")


def _read_card(directory):
    card = directory / _CARD
    return json.loads(card.read_text()) if card.is_file() else {}


def _load_saved_model(directory):
    try:
        module = tf.saved_model.load(str(directory))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ValueError(f"{directory} is not a model that TensorFlow can load: {error}") from error
    return module, _read_card(directory)


class Model:
    """A loaded model.

    It has the methods of ``CombinedModel`` (or, without a detector, of ``MultipersonModel``), which accept NumPy arrays
    and lists as well as tensors and raise a ValueError that names the argument where one has a wrong shape or type.

    Attributes:
        joint_names: names of the joints of the model's own skeleton.
        joint_edges: int array [n_edges, 2], the bones of the model's own skeleton.
        per_skeleton_joint_names: dict of skeleton name to joint names.
        per_skeleton_edges: dict of skeleton name to int array [n_edges, 2].
        crop_model: the crop model, callable on crops and intrinsics; see ``metrabs_core.packaging.FrozenCropModel``.
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
    """The names in a variable of an exported model."""
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
    defaults = {
        name: _convert(name, parameter.default, specs[name])
        for name, parameter in signature.parameters.items()
        if parameter.default is not parameter.empty
    }
    # the only trace, called with tensors alone: looking for it and converting the defaults would take a millisecond
    trace = functools.cache(lambda: _only_trace(function))

    @functools.wraps(python_function)
    def method(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        arguments = {name: _convert(name, value, specs[name]) for name, value in arguments.items()}
        concrete, known = trace()
        if not known.issuperset(arguments):
            unknown = ", ".join(sorted(set(arguments) - known))
            raise UserError(f"{unknown}: this model was exported by a version that did not have it; export it again.")
        try:
            return concrete(**{name: value for name, value in {**defaults, **arguments}.items() if name in known})
        except tf.errors.InvalidArgumentError as error:
            sentence = re.search(r"assertion failed: ((\[.*?\] ?)+)", error.message)
            if sentence is None:
                raise
            raise ValueError(re.sub(r"[\[\]]", "", sentence[1]).strip() + ".") from error

    method.__signature__ = signature
    return method


def _only_trace(function):
    """The concrete function of a ``tf.function`` with an input signature, or of one that was loaded, and the names of
    its arguments: models that were exported earlier lack the newer ones."""
    loaded = getattr(function, "concrete_functions", None)
    concrete = loaded[0] if loaded else function.get_concrete_function()
    return concrete, set(concrete.function_type.parameters)


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
        if value.ragged_rank == 2:  # what tf.ragged.constant makes of nested lists
            value = value.with_values(value.values.to_tensor())
        value = tf.cast(value, tf.float32).with_row_splits_dtype(tf.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: must be one array of shape [n, 4] per image, or a ragged tensor.") from error
    if value.ragged_rank != 1 or value.shape.rank != 3:
        raise ValueError(f"{name}: must have shape [n_images, (n_boxes), 4]; got {value.shape}.")
    return value


def _shape(array):
    if isinstance(array, tf.TensorSpec) and array.shape.rank is None:
        return "of any size"
    return "[" + ", ".join("any" if size is None else str(size) for size in array.shape) + "]"
