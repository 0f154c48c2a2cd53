"""EfficientNet-Lite0: EfficientNet without squeeze-and-excite and with ReLU6, for small devices.

The layers are those of the published checkpoint, whose weights ``training.pretrained`` can set.
"""

import keras
from keras import layers

# repeats, kernel, stride of the first, expansion, output channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build_efficientnet_lite0(images) -> keras.Model:
    """Build the network without its classifier, with random weights.

    Args:
        images: symbolic input float32 [N, H, W, 3], RGB 0..255.

    Returns:
        Model to features float32 [N, H/32, W/32, 1280].
    """
    x = layers.Rescaling(1 / 128, -127 / 128)(images)
    x = _convolve(x, "stem", 32, kernel=3, stride=2)
    block = 0
    for repeats, kernel, first_stride, expansion, channels in _STAGES:
        for repeat in range(repeats):
            name, shortcut = f"block{block}", x
            stride = first_stride if repeat == 0 else 1
            if expansion > 1:
                x = _convolve(x, f"{name}_expand", expansion * x.shape[-1])
            x = _convolve(x, f"{name}_depthwise", None, kernel=kernel, stride=stride)
            x = _convolve(x, f"{name}_project", channels, activate=False)
            if stride == 1 and shortcut.shape[-1] == channels:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
            block += 1
    x = _convolve(x, "top", 1280)
    return keras.Model(keras.utils.get_source_inputs(x), x, name="efficientnet_lite0")


def _convolve(x, name, channels, kernel=1, stride=1, activate=True):
    """Convolution (depthwise without ``channels``), batch normalization and ReLU6; padded by half a kernel."""
    if stride > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    options = {"strides": stride, "padding": "valid" if stride > 1 else "same", "use_bias": False, "name": name}
    x = layers.Conv2D(channels, kernel, **options)(x) if channels else layers.DepthwiseConv2D(kernel, **options)(x)
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activate else x
