"""Centred striding and selectable output strides for any convolutional backbone (T-BIOM paper, section III-B).

A classifier's network comes with a stride of 32 and with strided convolutions whose padding puts the cells anywhere.
``with_stride`` builds the same layers anew on a grid where cell i of the output is centred on pixel
``i * stride + stride // 2``, at stride 32 or finer.
"""

import keras
from keras import layers

from metrabs_core.errors import UserError

STRIDES = (4, 8, 16, 32)


def with_stride(network: keras.Model, stride: int) -> keras.Model:
    """Build a convolutional network anew with centred cells at an output stride.

    Every strided layer is centred on the even cells of its input, except the last one, which is centred on the odd
    ones: that moves the cells by half a stride. Where the network would become coarser than ``stride``, it goes on
    with dilated convolutions instead (atrous), so that each cell sees what a cell at stride 32 would see there. The
    network's own padding layers are left out.

    Args:
        network: functional model of stride 32 on images, made of layers whose output is as large as their input apart
            from the strides (that is, with "same" or equal explicit padding) and with odd, square kernels.
        stride: pixels between cells of the output, one of ``STRIDES``.

    Returns:
        Model with new weights of the same names, shapes and order, whatever the stride.

    Raises:
        UserError: the stride is not one of ``STRIDES``.
    """
    if stride not in STRIDES:
        raise UserError(f"Backbones have strides 4, 8, 16 and 32, not {stride}.")
    original_strides = {}  # of the new network's tensors (by id): pixels between cells in the original

    def rebuild(layer, *args, **kwargs):
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if keras.utils.is_keras_tensor(x)]
        before = max(original_strides.get(id(x), 1) for x in tensors)
        if isinstance(layer, layers.ZeroPadding2D):
            return args[0]
        if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D, layers.MaxPooling2D)):
            after = before * layer.strides[0]
            output = _rebuild_sliding(layer, before, after, stride)(args[0])
        else:
            after = before
            if isinstance(layer, layers.Layer):
                layer = layer.__class__.from_config(layer.get_config())
            output = layer(*args, **kwargs)
        original_strides[id(output)] = after
        return output

    centred = keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=rebuild)
    return keras.Model(centred.inputs[0], centred.outputs[0], name=network.name)


def _rebuild_sliding(layer, before: int, after: int, stride: int):
    """The layer that slides a window, for an input and output that had the strides ``before`` and ``after``."""
    config = layer.get_config()
    pooling = isinstance(layer, layers.MaxPooling2D)
    kernel = (layer.pool_size if pooling else layer.kernel_size)[0]
    dilation = max(1, before // stride)
    strided = after > before
    # The layer that pads comes first wherever the original is strided, if only to do nothing: so the order of the
    # layers, and with it that of the weights, does not depend on the stride.
    pad = layers.Identity()
    if strided and after <= stride:
        first, last = kernel // 2 - int(after == stride), kernel // 2
        if first < 0:  # a kernel of one cell that looks at the odd cells
            pad = layers.Cropping2D(((1, 0), (1, 0)))
        elif last > 0:
            pad = layers.ZeroPadding2D(((first, last), (first, last)))
        config["padding"] = "valid"
    else:
        config |= {"strides": (1, 1), "padding": "same"}
        if not pooling and kernel > 1:
            config["dilation_rate"] = (dilation, dilation)
    rebuilt = layer.__class__.from_config(config)
    return (lambda x: rebuilt(pad(x))) if strided else rebuilt
