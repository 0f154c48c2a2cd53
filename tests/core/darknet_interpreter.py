"""Darknet files without the code under test: writes them, and runs them layer by layer in PyTorch, as an oracle.

Nothing is folded or sliced away: batch normalization is computed as the framework does, boxes cell by cell.
"""

import numpy as np
import torch
import torch.nn.functional as F

ACTIVATIONS = {
    "mish": lambda x: x * torch.tanh(torch.log1p(torch.exp(x))),
    "linear": lambda x: x,
    "leaky": lambda x: torch.where(x > 0, x, 0.1 * x),
}


def as_cfg(sections):
    """[(kind, options)] with options as text, as a ``.cfg`` file has them."""

    def text(value):
        return ",".join(map(text, value)) if isinstance(value, list | tuple) else str(value)

    return [(kind, {name: text(value) for name, value in options.items()}) for kind, options in sections]


def _numbers(text):
    return [float(part) for part in text.split(",")]


def parameter_shapes(sections):
    """Shapes of all arrays of the weights file, in its order, as (name, shape)."""
    channels, shapes, before = [], [], 3
    for index, (kind, options) in enumerate(sections[1:]):
        if kind == "convolutional":
            n, size = [int(options[name]) for name in ("filters", "size")]
            shapes.append(("bias", (n,)))
            if options.get("batch_normalize") == "1":
                shapes += [("scale", (n,)), ("mean", (n,)), ("variance", (n,))]
            shapes.append(("kernel", (n, before, size, size)))
            before = n
        elif kind == "route":
            layers = [int(number) for number in _numbers(options["layers"])]
            before = sum(channels[number if number >= 0 else index + number] for number in layers)
            before //= int(options.get("groups", 1))
        channels.append(before)
    return shapes


def random_arrays(sections, seed=0):
    """One float32 array for each of ``parameter_shapes``, such that activations neither vanish nor explode."""
    rng = np.random.default_rng(seed)
    draw = {
        "bias": lambda shape: rng.normal(0, 0.3, shape),
        "scale": lambda shape: rng.uniform(0.5, 1.5, shape),
        "mean": lambda shape: rng.normal(0, 0.3, shape),
        "variance": lambda shape: rng.uniform(0.2, 2.0, shape),
        "kernel": lambda shape: rng.normal(0, 0.9 / np.sqrt(np.prod(shape[1:])), shape),
    }
    return [np.float32(draw[name](shape)) for name, shape in parameter_shapes(sections)]


def write_weights(path, arrays, version=(0, 2, 5)):
    """A weights file in Darknet's format."""
    seen = np.array([32_032_000], "<i8" if version[0] * 10 + version[1] >= 2 else "<i4")
    numbers = np.concatenate([array.ravel() for array in arrays]).astype("<f4")
    path.write_bytes(np.array(version, "<i4").tobytes() + seen.tobytes() + numbers.tobytes())


def run(sections, arrays, pictures):
    """Boxes of all [yolo] sections in pictures [n, H, W, 3] in 0..1: float64 [n, boxes, 5 + classes]."""
    arrays = iter(torch.tensor(array, dtype=torch.float64) for array in arrays)
    x = torch.tensor(pictures, dtype=torch.float64).permute(0, 3, 1, 2)
    input_height, input_width = x.shape[2:]
    outputs, found = [], []
    for index, (kind, options) in enumerate(sections[1:]):
        stride, size = int(options.get("stride", 1)), int(options.get("size", options.get("stride", 1)))
        if kind == "convolutional":
            bias = next(arrays)
            norm = [next(arrays) for _ in range(3)] if options.get("batch_normalize") == "1" else None
            padding = size // 2 if options.get("pad") == "1" else 0
            x = F.conv2d(x, next(arrays), stride=stride, padding=padding)
            if norm:
                scale, mean, variance = norm
                x = F.batch_norm(x, mean, variance, scale, eps=1e-5)
            x = ACTIVATIONS[options["activation"]](x + bias[:, None, None])
        elif kind == "maxpool":
            padding = size - 1
            bottomless = F.pad(x, [padding // 2, padding, padding // 2, padding], value=-np.inf)
            windows = F.max_pool2d(bottomless, size, stride)
            height, width = [(length + padding - size) // stride + 1 for length in x.shape[2:]]
            x = windows[:, :, :height, :width]
        elif kind == "route":
            layers = [int(number) for number in _numbers(options["layers"])]
            groups, group = int(options.get("groups", 1)), int(options.get("group_id", 0))
            parts = [outputs[number if number >= 0 else index + number] for number in layers]
            x = torch.cat([part.chunk(groups, dim=1)[group] for part in parts], dim=1)
        elif kind == "shortcut":
            x = x + outputs[index + int(options["from"])]
        elif kind == "upsample":
            x = x.repeat_interleave(stride, dim=2).repeat_interleave(stride, dim=3)
        elif kind == "yolo":
            anchors = np.reshape(_numbers(options["anchors"]), [-1, 2])[np.int64(_numbers(options["mask"]))]
            found.append(_boxes(x.numpy(), anchors, float(options["scale_x_y"]), input_height, input_width))
        outputs.append(x)
    return np.concatenate(found, axis=1)


def _boxes(maps, anchors, stretch, input_height, input_width):
    n, n_channels, height, width = maps.shape
    maps = maps.reshape(n, len(anchors), n_channels // len(anchors), height, width)
    sigmoid = 1 / (1 + np.exp(-maps))
    boxes = []
    for row in range(height):
        for column in range(width):
            for i, anchor in enumerate(anchors):
                number, probability = maps[:, i, :, row, column], sigmoid[:, i, :, row, column]
                x = (column + probability[:, 0] * stretch - (stretch - 1) / 2) / width
                y = (row + probability[:, 1] * stretch - (stretch - 1) / 2) / height
                w = np.exp(number[:, 2]) * anchor[0] / input_width
                h = np.exp(number[:, 3]) * anchor[1] / input_height
                boxes.append(np.column_stack([x, y, w, h, probability[:, 4:]]))
    return np.stack(boxes, axis=1)
