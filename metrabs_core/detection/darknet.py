"""Networks of the Darknet framework as Keras models, with the numbers of its ``.weights`` files.

There are the layers that YOLOv4 (arXiv 2004.10934) is made of, for inference: batch normalization is folded into the
convolution before it.
"""

from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from metrabs_core.errors import UserError

_BATCH_NORM_EPSILON = 1e-5
_ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: ops.leaky_relu(x, negative_slope=0.1),
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
}


class Section(NamedTuple):
    """A layer with the names that Darknet's ``.cfg`` files give it and its options; the first one is the input."""

    kind: str
    options: dict[str, Any]


def read_network(sections, weights_path, input_size=None):
    """Build a network and fill it with the numbers of a ``.weights`` file.

    Args:
        sections: list of Section.
        weights_path: file in Darknet's format: int32 major, minor, revision and int64 images seen (int32 before version
            0.2), then float32 numbers of each convolution in turn: biases, with batch normalization also scales, means
            and variances, then kernels [filters, channels, height, width].
        input_size: height and width of the pictures, if not those of the first section.

    Returns:
        keras.Model from float32 [n, height, width, 3], RGB in 0..1, to the boxes of all yolo sections, each by rows,
        columns and anchors: float32 [n, boxes, 5 + classes]: centre x and y, width and height as fractions of the
        picture, the probability of an object, and the probability of each class if there is an object.

    Raises:
        UserError: a file that holds no weights or more or fewer than the network has.
    """
    weights = _Weights(Path(weights_path))
    network = _Builder(sections, weights, input_size).build()
    weights.check_end()
    return network


class _Weights:
    """The numbers of a weights file, to be taken one array after the other."""

    def __init__(self, path):
        with path.open("rb") as file:
            version = np.fromfile(file, "<i4", 3)
            if len(version) < 3 or version.min() < 0 or version.max() >= 1000:
                raise UserError(f"{path} is no Darknet weights file: it does not begin with a version number.")
            file.seek(8 if 10 * version[0] + version[1] >= 2 else 4, 1)
            self._numbers = np.fromfile(file, "<f4")
        self._path, self._n_taken = path, 0

    def take(self, *shape):
        """The next numbers; zeros beyond the end of the file, which ``check_end`` reports."""
        size = int(np.prod(shape))
        numbers = self._numbers[self._n_taken : self._n_taken + size]
        self._n_taken += size
        return np.pad(numbers, [0, size - len(numbers)]).reshape(shape).astype(np.float64)

    def check_end(self):
        n_held, n_needed = len(self._numbers), self._n_taken
        if n_held != n_needed:
            raise UserError(
                f"{self._path} is too {'short' if n_held < n_needed else 'long'}: it holds {n_held} numbers, but the "
                f"network has {n_needed}. Either it was not downloaded to its end or it belongs to another network."
            )


class _Builder:
    """Goes through the sections and keeps the output of each, to which later ones refer."""

    def __init__(self, sections, weights, input_size):
        net, *self._sections = sections
        self._weights = weights
        self._input_size = tuple(input_size or (net.options["height"], net.options["width"]))
        self._outputs, self._found = [], []

    def build(self):
        inputs = x = keras.Input([*self._input_size, 3])
        for kind, options in self._sections:
            x = getattr(self, f"_{kind}")(options, x)
            self._outputs.append(x)
        return keras.Model(inputs, layers.Concatenate(axis=1)(self._found) if len(self._found) > 1 else self._found[0])

    def _convolutional(self, options, x):
        n_filters, size, stride = options["filters"], options["size"], options["stride"]
        bias, scale = self._weights.take(n_filters), 1.0
        if options.get("batch_normalize"):
            gamma, mean, variance = self._weights.take(3, n_filters)
            scale = gamma / np.sqrt(np.maximum(variance, 0.0) + _BATCH_NORM_EPSILON)
            bias = bias - mean * scale
        kernel = self._weights.take(n_filters, x.shape[-1], size, size).transpose(2, 3, 1, 0) * scale
        padding = size // 2 if options.get("pad") else 0
        if padding and stride > 1:
            # alike on both sides, which TensorFlow's "same" is not
            x = layers.ZeroPadding2D(padding, data_format="channels_last")(x)
        is_same = stride == 1 and size == 2 * padding + 1
        convolution = layers.Conv2D(
            n_filters, size, stride, "same" if is_same else "valid", data_format="channels_last"
        )
        x = convolution(x)
        convolution.set_weights([kernel, bias])
        return _ACTIVATIONS[options["activation"]](x)

    def _maxpool(self, options, x):
        return layers.MaxPooling2D(options["size"], options["stride"], "same", data_format="channels_last")(x)

    def _route(self, options, x):
        joined = [self._outputs[layer] for layer in options["layers"]]
        if "groups" in options:
            joined = [ops.split(part, options["groups"], axis=-1)[options["group_id"]] for part in joined]
        return layers.Concatenate(axis=-1)(joined) if len(joined) > 1 else joined[0]

    def _shortcut(self, options, x):
        return x + self._outputs[options["from"]]

    def _upsample(self, options, x):
        return layers.UpSampling2D(options["stride"], data_format="channels_last")(x)

    def _yolo(self, options, x):
        anchors = np.float32(options["anchors"])[options["mask"]]
        _, height, width, _ = x.shape
        numbers = ops.reshape(x, [-1, height, width, len(anchors), 5 + options["classes"]])
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        cells = np.stack([columns, rows], axis=-1)[:, :, np.newaxis].astype(np.float32)
        stretch = options["scale_x_y"]
        shifts = stretch * ops.sigmoid(numbers[..., :2]) - (stretch - 1.0) / 2.0
        centers = (shifts + cells) / np.array([width, height], np.float32)
        input_height, input_width = self._input_size
        sizes = ops.exp(numbers[..., 2:4]) * (anchors / np.array([input_width, input_height], np.float32))
        decoded = ops.concatenate([centers, sizes, ops.sigmoid(numbers[..., 4:])], axis=-1)
        self._found.append(ops.reshape(decoded, [-1, height * width * len(anchors), 5 + options["classes"]]))
        return x
