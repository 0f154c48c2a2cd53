"""ResNet-18 and ResNet-34 (He et al. 2016), the two with basic blocks, which ``keras.applications`` does not have."""

import keras
from keras import layers

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def build_resnet(images, depth: int) -> keras.Model:
    """Build the network without its classifier, with random weights.

    Args:
        images: symbolic input float32 [N, H, W, 3], standardized RGB.
        depth: 18 or 34.

    Returns:
        Model to features float32 [N, H/32, W/32, 512].
    """
    x = _convolve(images, "stem", 64, kernel=7, stride=2)
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool")(x)
    for stage, blocks in enumerate(_BLOCKS[depth]):
        channels = 64 * 2**stage
        for block in range(blocks):
            name, shortcut = f"stage{stage}_block{block}", x
            stride = 2 if stage > 0 and block == 0 else 1
            x = _convolve(x, f"{name}_first", channels, stride=stride)
            x = _convolve(x, f"{name}_second", channels, activate=False)
            if stride > 1:
                shortcut = _convolve(shortcut, f"{name}_shortcut", channels, kernel=1, stride=stride, activate=False)
            x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, shortcut]))
    return keras.Model(keras.utils.get_source_inputs(x), x, name=f"resnet{depth}")


def _convolve(x, name, channels, kernel=3, stride=1, activate=True):
    """Convolution padded by half a kernel, batch normalization, ReLU."""
    x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    options = {"strides": stride, "use_bias": False, "kernel_initializer": "he_normal", "name": name}
    x = layers.Conv2D(channels, kernel, **options)(x)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_activation")(x) if activate else x
