"""Backbones by name: crops float32 [N, P, P, 3], RGB 0..1, to features float32 [N, P/stride, P/stride, C].

Each takes RGB in 0..1 and prepares it inside as its pretrained weights expect it, and each but the pyramids has centred
striding (see ``metrabs_core.network.striding``) at a stride of 32 or finer with the same weights.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import applications, layers, ops

from metrabs_core.errors import UserError
from metrabs_core.network.efficientnet_lite import build_efficientnet_lite0
from metrabs_core.network.movenet import HEATMAP_JOINTS, PYRAMID_CUTS, build_movenet, build_movenet_pyramid
from metrabs_core.network.resnet import build_resnet
from metrabs_core.network.striding import STRIDES, with_stride

# The models of keras.applications, and how their weights want RGB in 0..255, if they do not see to that themselves.
APPLICATIONS = {
    "mobilenetv3-small": (applications.MobileNetV3Small, None),
    "mobilenetv3-large": (applications.MobileNetV3Large, None),
    "efficientnetv2-s": (applications.EfficientNetV2S, None),
    "efficientnetv2-m": (applications.EfficientNetV2M, None),
    "efficientnetv2-l": (applications.EfficientNetV2L, None),
    "resnet50": (applications.ResNet50, "caffe"),
    "resnet101": (applications.ResNet101, "caffe"),
    "resnet152": (applications.ResNet152, "caffe"),
    "resnet50v2": (applications.ResNet50V2, "signed"),
    "resnet101v2": (applications.ResNet101V2, "signed"),
    "resnet152v2": (applications.ResNet152V2, "signed"),
}


@dataclass(frozen=True)
class Backbone:
    """A backbone, and what the rest of a model needs to know about it.

    Attributes:
        build: function of crop side and stride that returns the Keras model.
        strides: those that it supports.
        first_cell: function of the stride that returns the pixel on which the first cell of the map is centred.
        heatmap_joints: joints whose heatmaps are the first channels of the third map, where there is one.
        cuts: names of layers from whose outputs the maps are cheap to compute; empty for the maps themselves.
    """

    build: Callable[[int, int], keras.Model]
    strides: tuple[int, ...] = STRIDES
    first_cell: Callable[[int], float] = lambda stride: stride // 2
    heatmap_joints: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()


def build_backbone(name: str, crop_side: int, stride: int = 32) -> keras.Model:
    """Build a backbone with random weights.

    Args:
        name: one of ``BACKBONES``.
        crop_side: P, pixels, a multiple of 32.
        stride: pixels between cells of the feature map: 4, 8, 16 or 32. The weights do not depend on it.

    Returns:
        Model from crops float32 [N, P, P, 3], RGB 0..1, to features float32 [N, P/stride, P/stride, C]. A pyramid has
        a list of maps instead, of strides 32, 16 and 4; 16 is the only stride it can be built with.

    Raises:
        UserError: unknown name, or a crop side or stride that the backbone can't have.
    """
    backbone = find_backbone(name)
    if crop_side % 32:
        raise UserError(f"The crop side must be a multiple of 32, not {crop_side}.")
    if stride not in backbone.strides:
        raise UserError(f"{name} has strides {', '.join(map(str, backbone.strides))}, not {stride}.")
    return backbone.build(crop_side, stride)


def find_backbone(name: str) -> Backbone:
    """The backbone of a name.

    Raises:
        UserError: there is none.
    """
    if name not in BACKBONES:
        raise UserError(f"There is no backbone {name!r}; choose one of {', '.join(BACKBONES)}.")
    return BACKBONES[name]


def build_classifier_body(name: str, side: int) -> keras.Model:
    """Build a classifier's network up to its last map, on its own grid of stride 32, with random weights.

    Args:
        name: one of ``CLASSIFIERS``.
        side: of the square input images, pixels.

    Returns:
        Model from images float32 [N, side, side, 3], RGB 0..1, to features float32 [N, side/32, side/32, C]. Its
        weights have the names and the order of those of ``build_backbone``.
    """
    return CLASSIFIERS[name](layers.Input([side, side, 3], name="crops"))


def _standardize(images, preparation: str | None):
    """RGB 0..1 as pretrained weights want it; None: 0..255."""
    if preparation == "imagenet":
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        return layers.Rescaling(list(1 / deviation), list(-mean / deviation), name="standardize")(images)
    if preparation == "caffe":  # BGR without their means, since these weights were once ported from Caffe
        x = layers.Rescaling(255.0, [-123.68, -116.779, -103.939], name="subtract_mean")(images)
        return ops.flip(x, axis=-1)
    if preparation == "signed":
        return layers.Rescaling(2.0, -1.0, name="to_signed")(images)
    return layers.Rescaling(255.0, name="to_255")(images)


def _application(build: Callable, preparation: str | None) -> Callable:
    return lambda images: build(include_top=False, weights=None, input_tensor=_standardize(images, preparation))


def _restrided(name: str) -> Backbone:
    return Backbone(lambda side, stride: with_stride(build_classifier_body(name, side), stride))


def _movenet_pyramid(name: str) -> Backbone:
    return Backbone(
        lambda side, _: build_movenet_pyramid(side, name),
        strides=(16,),
        first_cell=lambda stride: (stride - 1) / 2,
        heatmap_joints=HEATMAP_JOINTS,
        cuts=PYRAMID_CUTS,
    )


MOVENETS = ("movenet-thunder", "movenet-lightning")
# Functions of symbolic images, RGB 0..1, that build the network up to its last map, of stride 32.
CLASSIFIERS = {
    **{name: lambda images, name=name: build_movenet(images, name) for name in MOVENETS},
    "efficientnet-lite0": lambda images: build_efficientnet_lite0(_standardize(images, None)),
    "resnet18": lambda images: build_resnet(_standardize(images, "imagenet"), 18),
    "resnet34": lambda images: build_resnet(_standardize(images, "imagenet"), 34),
    **{name: _application(*how) for name, how in APPLICATIONS.items()},
}
BACKBONES = {
    **{f"{name}-pyramid": _movenet_pyramid(name) for name in MOVENETS},
    **{name: _restrided(name) for name in CLASSIFIERS},
}
