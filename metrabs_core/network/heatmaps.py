"""Heatmaps to coordinates: soft-argmax, and what its coordinates mean in pixels and millimetres."""

import numpy as np
from keras import ops

_NOTHING = 1e-30  # of a heatmap whose highest value is 1


def soft_argmax(logits, axes):
    """Expected coordinates of the softmax over some axes (integral regression; MeTRAbs paper, section III-C).

    Args:
        logits: float tensor, any rank; computed in float32 whatever it comes in.
        axes: axes over which the softmax runs jointly.

    Returns:
        Two float32 tensors without those axes and with a last axis of ``len(axes)``: the expected coordinates in the
        order of ``axes``, each from 0 (first cell) to 1 (last cell), and their standard deviations.
    """
    logits = ops.cast(logits, "float32")
    heat = ops.exp(logits - ops.max(logits, axis=axes, keepdims=True))
    heat = heat / ops.sum(heat, axis=axes, keepdims=True)
    means, deviations = [], []
    for axis in axes:
        others = tuple(a for a in axes if a != axis)
        marginal = ops.sum(heat, axis=others, keepdims=True) if others else heat
        size = heat.shape[axis]
        shape = [1] * len(heat.shape)
        shape[axis] = size
        # not ops.linspace, which puts 70 nodes into TensorFlow's graph
        cells = ops.convert_to_tensor(np.linspace(0.0, 1.0, size, dtype=np.float32).reshape(shape))
        mean = ops.sum(marginal * cells, axis=axis, keepdims=True)
        variance = ops.sum(marginal * ops.square(cells - mean), axis=axis, keepdims=True)
        means.append(ops.squeeze(mean, axes))
        deviations.append(ops.sqrt(ops.squeeze(variance, axes)))
    return ops.stack(means, axis=-1), ops.stack(deviations, axis=-1)


def peak_coordinates(logits, radii, peaks_of):
    """Expected coordinates in a window around a maximum.

    Where a heatmap has several peaks (the other arm, another person's), the expectation over the whole map lies between
    them, where no joint is. In the window, it is the place of the highest peak, to a fraction of a cell. It has no
    gradient toward the other peaks, so it is nothing to learn with.

    Args:
        logits: float tensor [N, H, W, J].
        radii: int [J], cells that each heatmap's window reaches to each side.
        peaks_of: int [J], index of the heatmap around whose maximum each one's window is.

    Returns:
        float32 [N, J, 2], x and y, each from 0 (first cell) to 1 (last cell).
    """
    logits, radii = ops.cast(logits, "float32"), np.asarray(radii, np.float32)
    # products with zeros and ones instead of `ops.argmax` and `ops.take`, which LiteRT can't do
    whose = np.eye(logits.shape[-1], dtype=np.float32)[:, list(peaks_of)]
    heat = ops.exp(logits - ops.max(logits, axis=(1, 2), keepdims=True))
    windows, centres = [], []
    for axis, other in ((1, 2), (2, 1)):
        cells = np.arange(heat.shape[axis], dtype=np.float32)[:, np.newaxis]
        highest = ops.max(heat, axis=other)  # [N, size, J]
        is_peak = ops.cast(highest >= ops.max(highest, axis=1, keepdims=True), "float32")
        centres.append(ops.matmul(ops.max(is_peak * cells, axis=1), whose))
        near = ops.abs(ops.convert_to_tensor(cells) - centres[-1][:, np.newaxis]) <= radii
        windows.append(ops.cast(near, "float32"))  # [N, size, J]
    rows, columns = windows
    in_columns = ops.sum(heat * rows[:, :, np.newaxis], axis=1) * columns
    in_rows = ops.sum(heat * columns[:, np.newaxis], axis=2) * rows
    means = []
    for mass, centre in ((in_columns, centres[1]), (in_rows, centres[0])):
        cells = np.arange(mass.shape[1], dtype=np.float32)[:, np.newaxis]
        # where there is nothing in the window, its centre
        mean = (ops.sum(mass * cells, axis=1) + _NOTHING * centre) / (ops.sum(mass, axis=1) + _NOTHING)
        means.append(mean / max(1, mass.shape[1] - 1))
    return ops.stack(means, axis=-1)


def to_pixels(coords, crop_side: int, stride: int, first_cell: float):
    """Heatmap coordinates 0..1 to pixels of the crop: cell i is at ``i * stride + first_cell``.

    Args:
        coords: float32 [..., 2], x and y.
        crop_side: P, pixels.
        stride: pixels between two cells.
        first_cell: pixel that the first cell is centred on; ``stride // 2`` for centred striding.

    Returns:
        float32 [..., 2], pixels of the crop.
    """
    last = (crop_side - 1) - (crop_side - 1) % stride
    return coords * last + first_cell


def to_metric(coords, crop_side: int, stride: int, first_cell: float, box_size_mm: float):
    """Volumetric heatmap coordinates 0..1 to millimetres in a cube of side ``box_size_mm`` around the person.

    Args:
        coords: float32 [..., 3], x, y and depth.
        crop_side: P, pixels.
        stride: pixels between two cells.
        first_cell: pixel that the first cell is centred on.
        box_size_mm: side of the cube that the crop and the depth bins span.

    Returns:
        float32 [..., 3], millimetres; meaningful up to a translation.
    """
    xy = to_pixels(coords[..., :2], crop_side, stride, first_cell) * (box_size_mm / crop_side)
    return ops.concatenate([xy, coords[..., 2:] * box_size_mm], axis=-1)
