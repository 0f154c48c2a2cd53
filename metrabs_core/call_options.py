"""Arguments of the models' methods, each described once: name, type, default and meaning.

To add an option is a line in one of the lists at the end; all methods that take that list have it then, with its
default and its place in their docstrings, and hand it to the function that uses it.
"""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from metrabs_core.cameras import DEFAULT_FOV_DEGREES, UNKNOWN_INTRINSIC_MATRIX

_NO_DISTORTION = (0.0,) * 5
_IDENTITY = tuple(map(tuple, np.eye(4, dtype=np.float32).tolist()))
_REQUIRED = inspect.Parameter.empty


class Argument(NamedTuple):
    """An argument of a method for one image, and of that for several.

    Attributes:
        name: of the argument.
        spec: what one image needs.
        text: what it means, for docstrings.
        default: value for one image.
        batched: what several images need, if it is something else.
        to_batch: makes that out of what one image needs; None where it is the same.
        batched_name: if another.
    """

    name: str
    spec: tf.TypeSpec
    text: str
    default: Any = _REQUIRED
    batched: tf.TypeSpec | None = None
    to_batch: Callable | None = None
    batched_name: str | None = None

    def of_batch(self) -> "Argument":
        """The same for several images: one for each, or one for all."""
        if self.batched is None:
            return self
        default = self.default if self.default is _REQUIRED else (self.default,)
        return Argument(self.batched_name or self.name, self.batched, self.text, default)


def batched_method(arguments: list[Argument]):
    """Decorator: makes a ``tf.function`` for several images out of ``function(self, call)``.

    Args:
        arguments: of the method for one image; ``call`` has their values for several as attributes.
    """

    def decorate(function):
        return _tf_function(
            [argument.of_batch() for argument in arguments],
            lambda self, values: function(self, SimpleNamespace(**values)),
            function.__name__,
            function.__doc__,
        )

    return decorate


def single_method(name: str, batched: str, arguments: list[Argument], doc: str):
    """Make the ``tf.function`` for one image out of the method for several.

    Args:
        name: of the method.
        batched: name of the method for several images; its results are ragged.
        arguments: as for ``batched_method``.
        doc: its docstring, without the arguments.
    """

    def call(self, values):
        batch = {
            argument.of_batch().name: argument.to_batch(values[argument.name])
            if argument.to_batch
            else values[argument.name]
            for argument in arguments
        }
        return tf.nest.map_structure(lambda ragged: ragged.values, getattr(self, batched)(**batch))

    return _tf_function(arguments, call, name, doc)


def _tf_function(arguments, call, name, doc):
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(a.name, kind, default=a.default) for a in arguments]
    signature = inspect.Signature([inspect.Parameter("self", kind), *parameters])

    def method(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        return call(values.pop("self"), values)

    method.__name__ = method.__qualname__ = name
    method.__signature__ = signature
    method.__doc__ = _with_arguments(doc, arguments)
    return tf.function(method, autograph=False, input_signature=[_named(a.spec, a.name) for a in arguments])


def _named(spec, name):
    """A spec with the argument's name, which TensorFlow's messages say; ragged ones have none."""
    return tf.TensorSpec(spec.shape, spec.dtype, name) if isinstance(spec, tf.TensorSpec) else spec


def _with_arguments(doc, arguments):
    before, returns, after = inspect.cleandoc(doc).partition("Returns:")
    lines = [f"    {argument.name}: {argument.text}" for argument in arguments]
    return "\n".join([before.rstrip(), "", "Args:", *lines, "", returns + after]).rstrip() + "\n"


def _in_front(value):
    return value[tf.newaxis]


def _as_row(distortion_coeffs):
    """Distortion coefficients of one camera, float32 [m], [1, m] or [m, 1] -> [1, m]."""
    size = tf.size(distortion_coeffs)
    message = "distortion_coeffs: must be a list of 4 to 12 coefficients; their shape is"
    with require(tf.reduce_max(tf.shape(distortion_coeffs)) == size, message, tf.shape(distortion_coeffs)):
        return tf.reshape(distortion_coeffs, [1, -1])


def _as_ragged(boxes):
    return tf.RaggedTensor.from_row_lengths(boxes, tf.shape(boxes, tf.int64)[:1])


def require(condition, message, *values):
    """Context whose nodes are computed only after a check, which ends the call with message and values if it fails."""
    # the node itself: tf.debugging.Assert makes a conditional of it, with two functions
    return tf.control_dependencies([tf.raw_ops.Assert(condition=condition, data=[message, *values], summarize=16)])


def _spec(shape, dtype=tf.float32):
    return tf.TensorSpec(shape, dtype)


def _option(name, dtype, default, text):
    return Argument(name, _spec([], dtype), text, default)


IMAGE = Argument(
    "image",
    _spec([None, None, 3], tf.uint8),
    "uint8 [H, W, 3], RGB; of several images, which have one size, [N, H, W, 3].",
    batched=_spec([None, None, None, 3], tf.uint8),
    to_batch=_in_front,
    batched_name="images",
)
BOXES = Argument(
    "boxes",
    _spec([None, None]),
    "float32 [n, 4 or more], left, top, width, height in pixels, what follows is ignored; of several images, ragged.",
    batched=tf.RaggedTensorSpec([None, None, None], tf.float32, ragged_rank=1),
    to_batch=_as_ragged,
)
CAMERA = [
    Argument(
        "intrinsic_matrix",
        _spec([3, 3]),
        "float32 [3, 3]; unknown by default, then made from ``default_fov_degrees``. Of several images [N or 1, 3, 3].",
        UNKNOWN_INTRINSIC_MATRIX,
        _spec([None, 3, 3]),
        _in_front,
    ),
    Argument(
        "distortion_coeffs",
        _spec(None),  # a row or a column is what OpenCV's calibration gives
        "float32 [5 to 12], or one row or column of them, in OpenCV's order; [4] of a fisheye lens. Of several images"
        " [N or 1, 4 to 12].",
        _NO_DISTORTION,
        _spec([None, None]),
        _as_row,
    ),
    Argument(
        "extrinsic_matrix",
        _spec([4, 4]),
        "float32 [4, 4], from world to camera space, mm. Results are in world space. Of several images [N or 1, 4, 4].",
        _IDENTITY,
        _spec([None, 4, 4]),
        _in_front,
    ),
    Argument(
        "world_up_vector",
        _spec([3]),
        "float32 [3], up in world space; crops are upright with regard to it.",
        (0.0, -1.0, 0.0),
    ),
    _option(
        "default_fov_degrees",
        tf.float32,
        DEFAULT_FOV_DEGREES,
        "field of view over the longer side of the image where the intrinsics are unknown.",
    ),
]
POSES = [
    _option("internal_batch_size", tf.int32, 64, "at most this many crops go through the network at once."),
    _option("antialias_factor", tf.int32, 1, "crops are drawn this many times larger and averaged down."),
    _option(
        "num_aug",
        tf.int32,
        5,
        "number of augmented crops per person (test-time augmentation); 1 is the plain crop, 2 add its mirror image.",
    ),
    _option("average_aug", tf.bool, True, "return one pose of all augmentations, or each one's."),
    _option(
        "skeleton",
        tf.string,
        "",
        "name of the skeleton wanted (see ``per_skeleton_joint_names``); '' for the model's own.",
    ),
]
DETECTION_OF_BOXES = [
    _option("detector_threshold", tf.float32, 0.3, "people of lower score are left out."),
    _option("detector_nms_iou_threshold", tf.float32, 0.7, "of two boxes that overlap more, only the better stays."),
    _option("max_detections", tf.int32, -1, "at most this many people, those of highest score; -1 means no limit."),
    _option("detector_flip_aug", tf.bool, False, "detect in the mirrored image too."),
]
SUPPRESSION = _option(
    "suppress_implausible_poses",
    tf.bool,
    True,
    "drop poses that no person can have and second poses of the same person.",
)
DETECTION = [*DETECTION_OF_BOXES, SUPPRESSION]
# Newer than the released models: last, so that those models' arguments keep their places.
NEWER = [
    Argument(
        "distortion_model",
        _spec([], tf.string),
        "'' for OpenCV's lens model, 'fisheye' for OpenCV's fisheye model; the names that ROS has for them are known,"
        " too. Of several images [N or 1].",
        "",
        _spec([None], tf.string),
        _in_front,
    ),
]

_FIRST_INTRINSICS = _spec(None)
_FIRST_INTRINSICS_TEXT = (
    "float32 [3, 3], or empty: a field of view of 50 degrees over the longer side is assumed. Of several images"
    " [N, 3, 3], one matrix for all, or empty."
)
# The first release's methods have names and defaults of their own.
FIRST_RELEASE_INTRINSICS = Argument("intrinsics", _FIRST_INTRINSICS, _FIRST_INTRINSICS_TEXT)
FIRST_RELEASE_OPTIONAL_INTRINSICS = FIRST_RELEASE_INTRINSICS._replace(default=())
FIRST_RELEASE_POSES = [POSES[0], POSES[2]._replace(name="n_aug")]
FIRST_RELEASE_DETECTION = [
    DETECTION[0]._replace(default=0.5),
    DETECTION[1]._replace(default=0.4),
    DETECTION[3],
]
