"""The encoder of MediaPipe's BlazePose landmark network as a Keras backbone.

The architecture was read off ``pose_landmark_full.tflite`` of the mediapipe wheel (Apache-2.0), whose weights
``training.pretrained`` can set into it: a MobileNetV2-like stack for people in crops, with batch normalization already
folded into the convolutions. Taps: 144 and 288 channels at stride 32, and 288 channels at stride 64; for a pyramid
also 88 channels at stride 16.
"""

import keras
from keras import layers, ops

from metrabs_core.errors import UserError
from metrabs_core.network.striding import STRIDES

# kernel, stride, expanded channels, output channels; residual where the stride is 1 and the channels stay
_BLOCKS = (
    (3, 2, 64, 24),
    (3, 1, 144, 24),
    (5, 2, 144, 32),
    (5, 1, 192, 32),
    (3, 2, 192, 64),
    (3, 1, 384, 64),
    (3, 1, 384, 64),
    (5, 1, 384, 88),
    (5, 1, 528, 88),
    (5, 1, 528, 88),
    (5, 2, 528, 144),
    (5, 1, 864, 144),
    (5, 1, 864, 144),
    (5, 1, 864, 144),
)
_N_COARSE_BLOCKS = 4
_LAST_FINE_BLOCK = 9  # at stride 16


def build_blazepose(crop_side: int, stride: int = 32, pyramid: bool = False) -> keras.Model:
    """Build the encoder with random weights.

    The last strided convolution is padded so that cell i of the maps is centred on pixel ``i * stride + stride // 2``
    (centred striding; the original is centred on ``i * stride``). Of a pyramid, this holds for the map of stride 16;
    the map of stride 32 keeps its place beside it.

    Args:
        crop_side: side P of the square crops, in pixels, a multiple of 64.
        stride: 32, 16, 8 or 4. Below 32 the last strided convolutions become dilated ones (atrous), same weights. A
            pyramid has 16, and dilates nothing.
        pyramid: also return the last map of stride 16.

    Returns:
        Model from RGB crops float32 [N, P, P, 3] in 0..1 to features float32 [N, P/stride, P/stride, 720]; of a
        pyramid, to [N, P/32, P/32, 720] and [N, P/16, P/16, 88]. The weights are the same for all of them.

    Raises:
        UserError: the side or the stride is not possible.
    """
    if crop_side % 64:
        raise UserError(f"The BlazePose encoder needs a crop side that is a multiple of 64, not {crop_side}.")
    if stride not in STRIDES:
        raise UserError(f"Backbones have strides 4, 8, 16 and 32, not {stride}.")
    if pyramid and stride != 16:
        raise UserError(f"BlazePose's pyramid has a stride of 16, not {stride}.")
    crops = layers.Input([crop_side, crop_side, 3], name="crops")
    fine, finest, dilation = _encode(crops, stride, dilates=not pyramid)
    wide = _widen(fine, dilation)
    # Twice as coarse for a view of the whole person, then back to the resolution of the other maps
    coarse = _join_phases(_coarsen(_split_phases(wide, dilation)), dilation)
    features = layers.Concatenate()([fine, wide, coarse])
    return keras.Model(crops, [features, finest] if pyramid else features, name="blazepose")


def _encode(crops, stride: int, dilates: bool):
    """The stack of blocks.

    Returns its last map (144 channels), its last one of stride 16 if nothing is dilated (88 channels), and the dilation
    of the convolutions to come.
    """
    x = layers.ReLU(6.0)(layers.Conv2D(24, 3, strides=2, name="stem")(layers.ZeroPadding2D(1)(crops)))
    x = layers.ReLU(6.0)(_depthwise(x, 3, name="stem_depthwise"))
    x = layers.Conv2D(16, 1, name="stem_project")(x)
    reached, dilation = 2, 1
    for i, (kernel, block_stride, expanded, channels) in enumerate(_BLOCKS):
        atrous = block_stride == 2 and reached == stride and dilates
        shortcut = x
        x = layers.ReLU(6.0)(layers.Conv2D(expanded, 1, name=f"block{i}_expand")(x))
        x = _depthwise(
            x,
            kernel,
            stride=1 if atrous else block_stride,
            dilation=dilation,
            centred=block_stride == 2 and reached * 2 == stride,
            name=f"block{i}_depthwise",
        )
        x = layers.Conv2D(channels, 1, name=f"block{i}_project")(layers.ReLU(6.0)(x))
        if block_stride == 1 and shortcut.shape[-1] == channels:
            x = layers.Add()([x, shortcut])
        if atrous:
            dilation *= 2
        else:
            reached *= block_stride
        if i == _LAST_FINE_BLOCK:
            finest = x
    return x, finest, dilation


def _widen(x, dilation: int):
    """Two convolutions in a row, which see far: 288 channels."""
    x = layers.ReLU(6.0)(layers.Conv2D(864, 1, name="wide_expand")(x))
    x = layers.ReLU(6.0)(_depthwise(x, 3, dilation=dilation, name="wide_depthwise0"))
    x = layers.ReLU(6.0)(_depthwise(x, 3, dilation=dilation, name="wide_depthwise1"))
    return layers.ReLU(6.0)(layers.Conv2D(288, 1, name="wide_project")(x))


def _coarsen(x):
    """Blocks at half the resolution, enlarged again: 288 channels."""
    pooled = layers.MaxPool2D(2)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, strides=2, name="coarse0_depthwise")(x))
    x = layers.Conv2D(288, 1, name="coarse0_project")(x)
    x = layers.ReLU(6.0)(layers.Add()([x, pooled]))
    for i in range(1, _N_COARSE_BLOCKS + 1):
        shortcut = x
        x = layers.ReLU(6.0)(_depthwise(x, 3, name=f"coarse{i}_depthwise"))
        x = layers.Conv2D(288, 1, name=f"coarse{i}_project")(x)
        x = layers.ReLU(6.0)(layers.Add()([x, shortcut]))
    return layers.UpSampling2D(2, interpolation="bilinear")(x)


def _depthwise(x, kernel, name, stride=1, dilation=1, centred=False):
    """Depthwise convolution with explicit, symmetric padding.

    ``centred`` moves the receptive fields of a strided convolution by one input cell, to the cell's lower right.
    """
    reach = dilation * (kernel // 2)
    if stride == 1:
        return layers.DepthwiseConv2D(kernel, dilation_rate=dilation, padding="same", name=name)(x)
    before, after = (reach - 1, reach) if centred else (reach, reach)
    x = layers.ZeroPadding2D(((before, after), (before, after)))(x)
    return layers.DepthwiseConv2D(kernel, strides=stride, name=name)(x)


def _split_phases(x, dilation: int):
    """Map [N, H, W, C] to the ``dilation**2`` maps [.., H/dilation, W/dilation, C] of every ``dilation``-th cell.

    Each of them is a map of stride 32, so that what follows is the same network at every stride.
    """
    if dilation == 1:
        return x
    height, width, channels = x.shape[1:]
    x = ops.reshape(x, [-1, height // dilation, dilation, width // dilation, dilation, channels])
    return ops.reshape(ops.transpose(x, [0, 2, 4, 1, 3, 5]), [-1, height // dilation, width // dilation, channels])


def _join_phases(x, dilation: int):
    """Inverse of ``_split_phases``."""
    if dilation == 1:
        return x
    height, width, channels = x.shape[1:]
    x = ops.transpose(ops.reshape(x, [-1, dilation, dilation, height, width, channels]), [0, 3, 1, 4, 2, 5])
    return ops.reshape(x, [-1, height * dilation, width * dilation, channels])
