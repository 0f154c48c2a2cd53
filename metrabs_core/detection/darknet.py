"""Networks of the Darknet framework as Keras models: a ``.cfg`` file (layers) and a ``.weights`` file (their numbers).

Read are the layers that object detectors of the YOLO family up to YOLOv4 (arXiv 2004.10934) are made of, for inference:
batch normalization is folded into the convolution before it, and options that only matter in training are skipped.
"""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops

_BATCH_NORM_EPSILON = 1e-5
_ACTIVATIONS = {
    "linear": lambda x: x,
    "leaky": lambda x: ops.leaky_relu(x, negative_slope=0.1),
    "logistic": ops.sigmoid,
    "mish": lambda x: x * ops.tanh(ops.softplus(x)),
    "relu": ops.relu,
}
# Options of layers of each kind. Any other could change what the layer does and is refused, but those of training.
_OPTIONS = {
    "convolutional": {"batch_normalize", "filters", "size", "stride", "pad", "padding", "groups", "activation"},
    "maxpool": {"size", "stride", "padding"},
    "route": {"layers", "groups", "group_id"},
    "shortcut": {"from", "activation"},
    "upsample": {"stride"},
    "yolo": {"mask", "anchors", "classes", "num", "scale_x_y", "new_coords"},
}
_OPTIONS_WITHOUT_EFFECT = {
    *("stopbackward", "learning_rate", "jitter", "random", "resize", "ignore_thresh", "truth_thresh", "iou_thresh"),
    *("iou_loss", "iou_thresh_kind", "cls_normalizer", "iou_normalizer", "obj_normalizer", "delta_normalizer"),
    *("max_delta", "label_smooth_eps", "max", "focal_loss", "objectness_smooth", "counters_per_class", "show_details"),
    *("nms_kind", "beta_nms"),  # which of the boxes found are kept is not decided by the network
}


class Section(NamedTuple):
    """A section of a ``.cfg`` file: ``[kind]`` and its lines ``name=value``."""

    kind: str
    options: dict[str, str]

    def number(self, name, default=None, dtype=int):
        """The value of an option; ValueError where it is no number, or missing without a default."""
        if default is not None and name not in self.options:
            return default
        values = self.numbers(name, dtype)
        if len(values) > 1:
            raise ValueError(f"[{self.kind}] {name}={self.options[name]}: one number is needed.")
        return values[0]

    def numbers(self, name, dtype=int):
        """The comma-separated values of an option; ValueError where there are none or they are no numbers."""
        text = self.options.get(name, "")
        try:
            values = [dtype(part) for part in text.split(",") if part.strip()]
        except ValueError:
            values = []
        if not values:
            raise ValueError(f"[{self.kind}] {name}={text}: a number is needed.")
        return values


def parse_cfg(text):
    """Split the text of a ``.cfg`` file into Sections.

    Raises:
        ValueError: a line that is no section, option or comment, or a file that does not begin with [net].
    """
    sections = []
    for line_number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].split(";")[0].strip()
        name, equals, value = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            sections.append(Section(line[1:-1].strip(), {}))
        elif equals and sections:
            sections[-1].options[name.strip()] = value.strip()
        elif line:
            raise ValueError(f"Line {line_number} of the Darknet cfg is no section, option or comment: {line[:60]!r}.")
    if not sections or sections[0].kind not in ("net", "network"):
        raise ValueError("This is no Darknet cfg: it does not begin with a section [net].")
    return sections


def read_network(sections, weights_path, input_size=None):
    """Build a network and fill it with the numbers of a ``.weights`` file.

    Args:
        sections: list of Section, see ``parse_cfg``.
        weights_path: file in Darknet's format: int32 major, minor, revision and int64 images seen (int32 before version
            0.2), then float32 numbers of each convolution in turn: biases, with batch normalization also scales, means
            and variances, then kernels [filters, channels, height, width].
        input_size: height and width of the pictures, if not those of the [net] section.

    Returns:
        keras.Model from float32 [n, height, width, 3], RGB in 0..1, to the boxes of all [yolo] sections, each by rows,
        columns and anchors: float32 [n, boxes, 5 + classes]: centre x and y, width and height as fractions of the
        picture, the probability of an object, and the probability of each class if there is an object.

    Raises:
        FileNotFoundError: there is no weights file.
        ValueError: a layer, option or activation that is not known here; a file that holds no weights or more or fewer
            than the network has.
    """
    weights = _Weights(Path(weights_path))
    network = _Builder(sections, weights, input_size).build()
    weights.check_end()
    return network


class _Weights:
    """The numbers of a weights file, to be taken one array after the other."""

    def __init__(self, path):
        if not path.is_file():
            raise FileNotFoundError(f"There is no Darknet weights file {path}.")
        with path.open("rb") as file:
            version = np.fromfile(file, "<i4", 3)
            if len(version) < 3 or version.min() < 0 or version.max() >= 1000:
                raise ValueError(f"{path} is no Darknet weights file: it does not begin with a version number.")
            file.seek(8 if 10 * version[0] + version[1] >= 2 else 4, 1)
            self._numbers = np.fromfile(file, "<f4")
        self._path, self._n_taken = path, 0

    def take(self, *shape):
        """The next numbers; zeros beyond the end of the file, which ``check_end`` tells."""
        size = int(np.prod(shape))
        numbers = self._numbers[self._n_taken : self._n_taken + size]
        self._n_taken += size
        return np.pad(numbers, [0, size - len(numbers)]).reshape(shape).astype(np.float64)

    def check_end(self):
        n_held, n_needed = len(self._numbers), self._n_taken
        if n_held != n_needed:
            raise ValueError(
                f"{self._path} is too {'short' if n_held < n_needed else 'long'}: it holds {n_held} numbers, but the "
                f"network has {n_needed}. Either it was not downloaded to its end or it belongs to another network."
            )


class _Builder:
    """Goes through the sections and keeps the output of each, to which later ones refer."""

    def __init__(self, sections, weights, input_size):
        net, *self._sections = sections
        self._weights = weights
        self._input_size = tuple(input_size or (net.number("height"), net.number("width")))
        self._n_channels = net.number("channels", 3)
        self._outputs, self._found = [], []

    def build(self):
        inputs = x = keras.Input([*self._input_size, self._n_channels])
        for index, section in enumerate(self._sections):
            try:
                _check_options(section)
                x = getattr(self, f"_{section.kind}")(section, x)
            except ValueError as error:
                raise ValueError(f"Darknet cfg, layer {index} [{section.kind}]: {error}") from error
            self._outputs.append(x)
        if not self._found:
            raise ValueError("The Darknet cfg has no [yolo] section, so it is no detector that can be read here.")
        return keras.Model(inputs, layers.Concatenate(axis=1)(self._found) if len(self._found) > 1 else self._found[0])

    def _convolutional(self, section, x):
        n_filters, size, stride = [section.number(name, 1) for name in ("filters", "size", "stride")]
        groups, n_channels = section.number("groups", 1), x.shape[-1]
        padding = size // 2 if section.number("pad", 0) else section.number("padding", 0)
        bias, scale = self._weights.take(n_filters), 1.0
        if section.number("batch_normalize", 0):
            gamma, mean, variance = self._weights.take(3, n_filters)
            scale = gamma / np.sqrt(np.maximum(variance, 0.0) + _BATCH_NORM_EPSILON)
            bias = bias - mean * scale
        kernel = self._weights.take(n_filters, n_channels // groups, size, size).transpose(2, 3, 1, 0) * scale

        is_same = stride == 1 and size == 2 * padding + 1
        if padding and not is_same:
            # alike on both sides, which TensorFlow's "same" is not where the stride is 2
            x = layers.ZeroPadding2D(padding, data_format="channels_last")(x)
        convolution = layers.Conv2D(
            n_filters, size, stride, "same" if is_same else "valid", data_format="channels_last", groups=groups
        )
        x = convolution(x)
        convolution.set_weights([kernel, bias])
        return _activate(x, section.options.get("activation", "logistic"))

    def _maxpool(self, section, x):
        stride = section.number("stride", 1)
        size = section.number("size", stride)
        padding = section.number("padding", size - 1)
        before = padding // 2
        pads = []
        for length in x.shape[1:3]:
            n_windows = (length + padding - size) // stride + 1
            pads.append((before, max(0, (n_windows - 1) * stride + size - before - length)))
        if any(sum(pad) for pad in pads):
            x = ops.pad(x, [(0, 0), *pads, (0, 0)], constant_values=-np.inf)
        return layers.MaxPooling2D(size, stride, "valid", data_format="channels_last")(x)

    def _route(self, section, x):
        joined = [self._output(layer) for layer in section.numbers("layers")]
        groups, group = section.number("groups", 1), section.number("group_id", 0)
        if not 0 <= group < groups or any(part.shape[-1] % groups for part in joined):
            raise ValueError(
                f"there is no group {group} of {groups} in {[part.shape[-1] for part in joined]} channels."
            )
        if groups > 1:
            joined = [ops.split(part, groups, axis=-1)[group] for part in joined]
        if len({part.shape[1:3] for part in joined}) > 1:
            sizes = ", ".join("x".join(map(str, part.shape[1:3])) for part in joined)
            raise ValueError(f"maps of different sizes are joined ({sizes}); is the input size a multiple of 32?")
        return layers.Concatenate(axis=-1)(joined) if len(joined) > 1 else joined[0]

    def _shortcut(self, section, x):
        for layer in section.numbers("from"):
            other = self._output(layer)
            if other.shape != x.shape:
                raise ValueError(f"maps of different shapes are added: {x.shape[1:]} and {other.shape[1:]}.")
            x = x + other
        return _activate(x, section.options.get("activation", "linear"))

    def _upsample(self, section, x):
        return layers.UpSampling2D(section.number("stride", 2), data_format="channels_last")(x)

    def _yolo(self, section, x):
        if section.number("new_coords", 0):
            raise ValueError("new_coords=1 (Scaled-YOLOv4, YOLOv7) is not supported; YOLOv3 and YOLOv4 do without.")
        anchors = np.reshape(section.numbers("anchors", float), [-1, 2]).astype(np.float32)
        anchors = anchors[section.numbers("mask")] if "mask" in section.options else anchors
        _, height, width, n_channels = x.shape
        n_numbers = 5 + section.number("classes", 20)
        if n_channels != len(anchors) * n_numbers:
            raise ValueError(
                f"{len(anchors)} anchors with {n_numbers} numbers each do not make the {n_channels} channels before it."
            )
        numbers = ops.reshape(x, [-1, height, width, len(anchors), n_numbers])
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        cells = np.stack([columns, rows], axis=-1)[:, :, np.newaxis].astype(np.float32)
        stretch = section.number("scale_x_y", 1.0, float)
        shifts = stretch * ops.sigmoid(numbers[..., :2]) - (stretch - 1.0) / 2.0
        centers = (shifts + cells) / np.array([width, height], np.float32)
        input_height, input_width = self._input_size
        sizes = ops.exp(numbers[..., 2:4]) * (anchors / np.array([input_width, input_height], np.float32))
        decoded = ops.concatenate([centers, sizes, ops.sigmoid(numbers[..., 4:])], axis=-1)
        self._found.append(ops.reshape(decoded, [-1, height * width * len(anchors), n_numbers]))
        return x

    def _output(self, layer):
        index = layer if layer >= 0 else len(self._outputs) + layer
        if not 0 <= index < len(self._outputs):
            raise ValueError(f"it refers to layer {layer}, which does not come before it.")
        return self._outputs[index]


def _check_options(section):
    if section.kind not in _OPTIONS:
        raise ValueError(f"such layers are not known; known are {', '.join(_OPTIONS)}.")
    known = _OPTIONS[section.kind] | _OPTIONS_WITHOUT_EFFECT
    for name in section.options:
        if name not in known:
            raise ValueError(f"the option {name} is not known; known are {', '.join(sorted(_OPTIONS[section.kind]))}.")


def _activate(x, name):
    if name not in _ACTIVATIONS:
        raise ValueError(f"the activation {name} is not known; known are {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name](x)
