"""Appearance augmentation of training crops: colour and occlusion (T-BIOM paper, section IV)."""

import cv2
import numpy as np


def augment_appearance(crop: np.ndarray, rng: np.random.Generator, occlusion_probability: float = 0.4) -> np.ndarray:
    """Change colours in random order and cover parts of a crop.

    Args:
        crop: uint8 [P, P, 3], RGB.
        rng: source of randomness.
        occlusion_probability: how often something covers part of the crop.

    Returns:
        uint8 [P, P, 3].
    """
    if rng.uniform() < occlusion_probability:
        crop = _cover_with_rectangle(crop, rng) if rng.uniform() < 0.5 else _cover_with_blobs(crop, rng)
    steps = [_change_hue_and_saturation, _change_brightness_and_contrast]
    for k in rng.permutation(len(steps)):
        crop = steps[k](crop, rng)
    return crop


def _change_hue_and_saturation(crop, rng):
    """Hue by up to 72 degrees, saturation by a factor of 0.5 to 1.5."""
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    turn = int(rng.uniform(-36, 36))  # OpenCV's unit is two degrees
    hsv[..., 0] = cv2.LUT(hsv[..., 0], ((np.arange(256) + turn) % 180).astype(np.uint8))
    factor = rng.uniform(0.5, 1.5)
    hsv[..., 1] = cv2.LUT(hsv[..., 1], np.clip(np.arange(256) * factor, 0, 255).astype(np.uint8))
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _change_brightness_and_contrast(crop, rng):
    """Brightness by up to 0.125, contrast around the mean by a factor of 0.5 to 1.5, as one table."""
    brightness, contrast = rng.uniform(-0.125, 0.125) * 255, rng.uniform(0.5, 1.5)
    mean = float(crop.mean())
    table = (np.arange(256) - mean) * contrast + mean + brightness
    return cv2.LUT(crop, np.clip(table, 0, 255).astype(np.uint8))


def _cover_with_rectangle(crop, rng):
    """Noise in a rectangle of up to 0.8 * 1/3 of the area, aspect 0.3 to 3.3."""
    side = crop.shape[0]
    area, aspect = rng.uniform(0, 0.8 / 3) * side * side, np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    height, width = int(np.sqrt(area * aspect)), int(np.sqrt(area / aspect))
    top, left = rng.integers(0, side, 2) - np.array([height, width]) // 2
    crop = crop.copy()
    target = crop[max(top, 0) : top + height, max(left, 0) : left + width]
    target[:] = rng.integers(0, 256, target.shape, np.uint8)
    return crop


def _cover_with_blobs(crop, rng):
    """One to five filled shapes, each of one colour or of a piece of the crop itself."""
    side = crop.shape[0]
    crop = crop.copy()
    for _ in range(rng.integers(1, 6)):
        centre, radius = rng.uniform(0, side, 2), rng.uniform(0.04, 0.16) * side
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 10)))
        reach = radius * rng.uniform(0.6, 1.4, len(angles))
        outline = centre + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
        mask = cv2.fillPoly(np.zeros([side, side], np.uint8), [outline.astype(np.int32)], 1).astype(bool)
        if rng.uniform() < 0.5:
            crop[mask] = rng.integers(0, 256, 3, np.uint8)
        else:
            crop[mask] = np.roll(crop, tuple(rng.integers(side // 4, side, 2)), (0, 1))[mask]
    return crop
