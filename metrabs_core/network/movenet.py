"""The encoders of Google's MoveNet single-pose networks, Thunder and Lightning, as Keras backbones.

The architecture was read off the networks' graphs (Apache-2.0), whose weights ``training.pretrained`` sets into it: a
MobileNetV2 with batch normalization folded into the convolutions, a feature pyramid down to stride 4, and the head for
the heatmaps of COCO's 17 joints. People in photographs have taught it where their joints are.
"""

import keras
from keras import layers

# Channels after the stem, after the first block, then of each stage: how many blocks, stride, channels; and of the
# 1x1 convolution at the end.
_STAGES = {
    "movenet-thunder": (
        56,
        32,
        ((2, 2, 40), (3, 2, 56), (4, 2, 112), (3, 1, 168), (3, 2, 280), (1, 1, 560)),
    ),
    "movenet-lightning": (
        32,
        16,
        ((2, 2, 24), (3, 2, 32), (4, 2, 64), (3, 1, 96), (3, 2, 160), (1, 1, 320)),
    ),
}
_EXPANSION = 6
_INPUT_SCALE = 255 * 0.00784302  # the original has the latter for 0..255
_LAST_CHANNELS = 1280
# Blocks whose sums the pyramid takes: at stride 4, 8 and 16.
_LATERALS = {"block_2": 24, "block_5": 32, "block_9": 64}
_COARSEST_LATERAL = 64
_PYRAMID_CHANNELS = {"16": 32, "8": 24, "4": 24}
_FINE_BLOCK = "block_12"  # the last one at stride 16
_HEATMAP_CHANNELS = 96
# COCO's joints, by our names.
HEATMAP_JOINTS = (
    *("nose", "leye", "reye", "lear", "rear", "lsho", "rsho", "lelb", "relb", "lwri", "rwri"),
    *("lhip_coco", "rhip_coco", "lkne", "rkne", "lank", "rank"),
)


def build_movenet(images, name: str) -> keras.Model:
    """Build the encoder up to its last map, on the original's grid of stride 32, with random weights.

    Args:
        images: symbolic input float32 [N, H, W, 3], RGB 0..1; sides are multiples of 32.
        name: "movenet-thunder" or "movenet-lightning".

    Returns:
        Model to features float32 [N, H/32, W/32, 1280]. Cell i of the original's grid of stride s is centred on pixel
        ``s * i + s - 1``: every strided convolution sees one more cell after than before.
    """
    maps = _encode(images, name)
    return keras.Model(keras.utils.get_source_inputs(images), maps["out"], name=name)


def build_movenet_pyramid(crop_side: int, name: str) -> keras.Model:
    """Build the encoder with its pyramid and its heatmaps, with random weights.

    The maps stay on the original's grid, as the pyramid mixes its levels. Cell i of its heatmaps stands for the pixels
    4i to 4i+3, and so cell i of a map of stride s for those from s*i on, whose middle is ``s * i + (s - 1) / 2``.

    Args:
        crop_side: side P of the square crops, pixels, a multiple of 32.
        name: "movenet-thunder" or "movenet-lightning".

    Returns:
        Model from crops float32 [N, P, P, 3], RGB 0..1, to three maps:

        - [N, P/32, P/32, 1280], the encoder's last one;
        - [N, P/16, P/16, C], the encoder's and the pyramid's at stride 16, and what the pyramid has at stride 4 as 16
          times the channels: its own 24 and the 17 heatmaps as probabilities;
        - [N, P/4, P/4, 41], logits of the heatmaps of ``HEATMAP_JOINTS``, and the pyramid's channels at stride 4.
    """
    crops = layers.Input([crop_side, crop_side, 3], name="crops")
    maps = _encode(crops, name)
    x = layers.Conv2D(_COARSEST_LATERAL, 1, name="lateral32")(maps["out"])
    levels = {}
    for (block, channels), (level, smooth_channels) in zip(reversed(_LATERALS.items()), _PYRAMID_CHANNELS.items()):
        lateral = layers.Conv2D(channels, 1, name=f"lateral{level}")(maps[block])
        x = layers.Add()([layers.UpSampling2D(2, interpolation="bilinear")(x), lateral])
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"look{level}")(x)
        x = layers.Conv2D(smooth_channels, 1, name=f"mix{level}")(x)
        x = levels[level] = layers.ReLU(name=f"pyramid{level}")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="heatmap_look")(x)
    x = layers.ReLU()(layers.Conv2D(_HEATMAP_CHANNELS, 1, name="heatmap_mix")(x))
    heatmaps = layers.Conv2D(len(HEATMAP_JOINTS), 1, name="heatmaps")(x)
    probabilities = layers.Rescaling(6.0)(layers.Activation("sigmoid")(heatmaps))  # as large as what ReLU6 gives
    fine = layers.Concatenate()(
        [maps[_FINE_BLOCK], levels["16"], _space_to_depth(levels["4"]), _space_to_depth(probabilities)]
    )
    finest = layers.Concatenate()([heatmaps, levels["4"]])
    return keras.Model(crops, [maps["out"], fine, finest], name=f"{name}-pyramid")


# Names of layers from whose outputs a pyramid's maps are cheap to compute: what to keep of a frozen one.
PYRAMID_CUTS = ("block_16_project", f"{_FINE_BLOCK}_add", "pyramid16", "pyramid4")


def _encode(images, name: str) -> dict:
    """Maps of the encoder by the name of their block."""
    stem, first, stages = _STAGES[name]
    x = layers.Rescaling(_INPUT_SCALE, -1.0, name="to_signed")(images)
    x = layers.Conv2D(stem, 3, strides=2, padding="same", name="stem")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="block_0_depthwise")(x)
    x = layers.ReLU(6.0, name="block_0_depthwise_relu")(x)
    x = layers.Conv2D(first, 1, name="block_0_project")(x)
    maps, number = {}, 0
    for blocks, stage_stride, channels in stages:
        for i in range(blocks):
            number += 1
            x = maps[f"block_{number}"] = _block(x, f"block_{number}", stage_stride if i == 0 else 1, channels)
    x = layers.Conv2D(_LAST_CHANNELS, 1, name="last")(x)
    maps["out"] = layers.ReLU(6.0, name="last_relu")(x)
    return maps


def _block(x, name: str, stride: int, channels: int):
    """Inverted residual."""
    shortcut = x
    x = layers.Conv2D(_EXPANSION * x.shape[-1], 1, name=f"{name}_expand")(x)
    x = layers.ReLU(6.0, name=f"{name}_expand_relu")(x)
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", name=f"{name}_depthwise")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(channels, 1, name=f"{name}_project")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x]) if x.shape == shortcut.shape else x


def _space_to_depth(x):
    """Map [N, H, W, C] to [N, H/4, W/4, 16 C]."""
    _, height, width, channels = x.shape
    x = layers.Reshape([height // 4, 4, width // 4, 4, channels])(x)
    return layers.Reshape([height // 4, width // 4, 16 * channels])(layers.Permute([1, 3, 2, 4, 5])(x))
