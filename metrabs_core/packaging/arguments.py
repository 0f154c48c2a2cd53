"""Arguments of a loaded model's methods, checked and converted before the call."""

import functools
import inspect
import re

import numpy as np
import tensorflow as tf

from metrabs_core.errors import UserError


def checked_method(declared, find_trace):
    """A method of a loaded model that checks its arguments first.

    Args:
        declared: the ``tf.function`` of the class, which knows names and specs.
        find_trace: gives the function to call with tensors alone, and the names of its arguments; called at the first
            use, and an attribute of the method from then on.
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
    find_trace = functools.cache(find_trace)

    @functools.wraps(python_function)
    def method(*args, **kwargs):
        arguments = signature.bind(*args, **kwargs).arguments
        arguments = {name: _convert(name, value, specs[name]) for name, value in arguments.items()}
        trace, known = find_trace()
        if not known.issuperset(arguments):
            unknown = ", ".join(sorted(set(arguments) - known))
            raise UserError(f"{unknown}: this model was exported by a version that did not have it; export it again.")
        try:
            return trace(**{name: value for name, value in {**defaults, **arguments}.items() if name in known})
        except tf.errors.InvalidArgumentError as error:
            sentence = re.search(r"assertion failed: ((\[.*?\] ?)+)", error.message)
            if sentence is None:
                raise
            raise UserError(re.sub(r"[\[\]]", "", sentence[1]).strip() + ".") from error

    method.__signature__ = signature
    method.find_trace = find_trace
    return method


def only_trace(function):
    """The concrete function of a ``tf.function`` with an input signature, or of one that was loaded, and the names of
    its arguments: models that were exported earlier lack the newer ones.

    Calling it instead of the function saves a millisecond of looking for it and converting the defaults.
    """
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
        raise UserError(f"{name}: must be an array of shape {_shape(spec)} and type {spec.dtype.name}.") from error
    dtype = np.dtype(dtype)
    if dtype.kind not in kinds or (spec.dtype == tf.uint8 and dtype != np.uint8):
        raise UserError(f"{name}: must be of type {spec.dtype.name}; got {dtype.name}.")
    if not spec.shape.is_compatible_with(array.shape):
        raise UserError(f"{name}: must have shape {_shape(spec)}; got {_shape(array)}.")
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
        raise UserError(f"{name}: must be one array of shape [n, 4] per image, or a ragged tensor.") from error
    if value.ragged_rank != 1 or value.shape.rank != 3:
        raise UserError(f"{name}: must have shape [n_images, (n_boxes), 4]; got {value.shape}.")
    return value


def _shape(array):
    if isinstance(array, tf.TensorSpec) and array.shape.rank is None:
        return "of any size"
    return "[" + ", ".join("any" if size is None else str(size) for size in array.shape) + "]"
