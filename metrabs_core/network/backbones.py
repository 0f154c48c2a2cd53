"""Backbones by name: crops float32 [N, P, P, 3], RGB 0..1, to features float32 [N, P/stride, P/stride, C]."""

import keras

from metrabs_core.network.blazepose import build_blazepose


def build_backbone(name: str, crop_side: int, stride: int = 32) -> keras.Model:
    """Build a backbone with random weights.

    Args:
        name: one of ``BACKBONES``.
        crop_side: P, pixels.
        stride: pixels between cells of the feature map.

    Raises:
        ValueError: unknown name, or a stride that the backbone can't have.
    """
    if name not in BACKBONES:
        raise ValueError(f"There is no backbone {name!r}; choose one of {', '.join(BACKBONES)}.")
    return BACKBONES[name](crop_side, stride)


BACKBONES = {"blazepose": build_blazepose}
