"""Appearance augmentation of training crops: background, occlusion, colour (T-BIOM paper, section IV)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import cache_folder
from metrabs_core.pictures import PictureError, pictures_below, read_picture

# Backgrounds are kept in memory at this size: they are scenery, and a crop shows a part of one
_BACKGROUND_SIDE = 400
# The crop side that the sizes of cut-outs refer to
_REFERENCE_SIDE = 256
_OCCLUDER_SCALE = 0.8


@dataclass(frozen=True)
class Appearance:
    """What may happen to a crop's pixels.

    Attributes:
        occlude_prob: how often something is put before the person.
        background_prob: how often the background is swapped where the person's mask is known.
        cutouts: RGBA pictures of things to put before people; empty for drawn shapes.
        backgrounds: photographs without people.
    """

    occlude_prob: float = 0.7
    background_prob: float = 0.0
    cutouts: tuple[str, ...] = ()
    backgrounds: tuple[str, ...] = ()


def find_appearance(occlude_prob: float, background_prob: float, data_root: str | Path | None = None) -> Appearance:
    """Look for cut-outs and backgrounds where ``metrabs-train prepare`` leaves them.

    Cut-outs are ``pascal_voc/cutouts/*.png``. Backgrounds are the pictures of ``inria_holidays/non_person`` or, without
    them, the free photographs that ``synthesize`` uses.

    Args:
        occlude_prob: see ``Appearance``.
        background_prob: the same.
        data_root: folder that holds the data sets; None for the environment variable DATA_ROOT.

    Raises:
        UserError: backgrounds are wanted and there are none.
    """
    root = Path(data_root or os.environ.get("DATA_ROOT", "") or "/nowhere")
    cutouts = sorted(str(p) for p in (root / "pascal_voc" / "cutouts").glob("*.png")) if occlude_prob else []
    backgrounds = []
    if background_prob:
        folders = root / "inria_holidays" / "non_person", cache_folder() / "backgrounds"
        for folder in folders:
            backgrounds = backgrounds or [str(path) for path in pictures_below(folder)]
        if not backgrounds:
            raise UserError(
                f"There are no backgrounds in {folders[0]} (metrabs-train prepare) or {folders[1]} (python -m"
                " training.synthesis.assets); or use --background-aug-prob=0."
            )
    return Appearance(occlude_prob, background_prob, tuple(cutouts), tuple(backgrounds))


def change_appearance(
    crop: np.ndarray, find_mask: Callable[[], np.ndarray] | None, rng: np.random.Generator, appearance: Appearance
) -> np.ndarray:
    """Swap the background, cover a part of the person, and change the colours, each if it happens to this crop.

    Args:
        crop: uint8 [P, P, 3], RGB.
        find_mask: gives a mask uint8 [P, P], 255 where the person is; None where that is not known.
        rng: source of randomness.
        appearance: what may happen.

    Returns:
        uint8 [P, P, 3].

    Raises:
        PictureError: a background or cut-out can't be read.
    """
    if find_mask is not None and rng.uniform() < appearance.background_prob:
        crop = swap_background(crop, find_mask(), rng, appearance.backgrounds)
    if rng.uniform() < appearance.occlude_prob:
        crop = cover(crop, rng, appearance.cutouts)
    return change_colours(crop, rng)


def change_colours(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast, hue and saturation in random order.

    Args:
        crop: uint8 [P, P, 3], RGB.
        rng: source of randomness.

    Returns:
        uint8 [P, P, 3].
    """
    changes = [_change_brightness, _change_contrast, _change_hue, _change_saturation]
    for k in rng.permutation(len(changes)):
        crop = changes[k](crop, rng)
    return crop


def _change_brightness(crop, rng):
    """By up to 0.125 of the full range."""
    return _map_values(crop, np.arange(256) + 255 * rng.uniform(-0.125, 0.125))


def _change_contrast(crop, rng):
    """By a factor of 0.5 to 1.5, around the mean of each channel."""
    factor = rng.uniform(0.5, 1.5)
    mean = np.array(cv2.mean(crop)[:3])
    return _map_values(crop, (np.arange(256)[:, None] - mean) * factor + mean)


def _change_hue(crop, rng):
    """By up to 72 degrees."""
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    turned = (np.arange(256) + round(rng.uniform(-36, 36))) % 180  # OpenCV's unit is two degrees
    return cv2.cvtColor(_map_values(hsv, np.stack([turned, np.arange(256), np.arange(256)], 1)), cv2.COLOR_HSV2RGB)


def _change_saturation(crop, rng):
    """By a factor of 0.5 to 1.5."""
    hsv = cv2.cvtColor(crop, cv2.COLOR_RGB2HSV)
    scaled = np.arange(256) * rng.uniform(0.5, 1.5)
    return cv2.cvtColor(_map_values(hsv, np.stack([np.arange(256), scaled, np.arange(256)], 1)), cv2.COLOR_HSV2RGB)


def _map_values(image, table):
    """Replace value v by table[v], or table[v, channel]."""
    table = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return cv2.LUT(image, table if table.ndim == 1 else table[:, None])


def swap_background(
    crop: np.ndarray, mask: np.ndarray, rng: np.random.Generator, backgrounds: tuple[str, ...]
) -> np.ndarray:
    """Put another background behind a person.

    Args:
        crop: uint8 [P, P, 3], RGB.
        mask: uint8 [P, P], 255 where the person is.
        rng: source of randomness.
        backgrounds: pictures to choose from.

    Returns:
        uint8 [P, P, 3].

    Raises:
        PictureError: the chosen picture can't be read.
    """
    side = crop.shape[0]
    photograph = _read_background(backgrounds[rng.integers(len(backgrounds))])
    height, width = photograph.shape[:2]
    part = int(min(height, width) * rng.uniform(0.5, 1))
    top, left = rng.integers(0, height - part + 1), rng.integers(0, width - part + 1)
    background = cv2.resize(photograph[top : top + part, left : left + part], (side, side))
    if rng.uniform() < 0.5:
        background = background[:, ::-1]
    alpha = cv2.merge([mask] * 3)
    person = cv2.multiply(crop, alpha, scale=1 / 255)
    return cv2.add(person, cv2.multiply(np.ascontiguousarray(background), 255 - alpha, scale=1 / 255))


@lru_cache(maxsize=512)
def _read_background(path):
    image = read_picture(path, cv2.IMREAD_REDUCED_COLOR_2)
    scale = _BACKGROUND_SIDE / max(image.shape[:2])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def cover(crop: np.ndarray, rng: np.random.Generator, cutouts: tuple[str, ...] = ()) -> np.ndarray:
    """Put something before a person: half of the time one to seven things, else a rectangle of noise.

    Args:
        crop: uint8 [P, P, 3], RGB.
        rng: source of randomness.
        cutouts: RGBA pictures of things; empty for drawn shapes.

    Returns:
        uint8 [P, P, 3].

    Raises:
        PictureError: a cut-out can't be read.
    """
    if rng.uniform() < 0.5:
        return _cover_with_noise(crop, rng)
    crop = crop.copy()
    for _ in range(rng.integers(1, 8)):
        scale = rng.uniform(0.2, 1) * _OCCLUDER_SCALE * crop.shape[0] / _REFERENCE_SIDE
        if cutouts:
            thing = _read_cutout(cutouts[rng.integers(len(cutouts))])
            size = [max(1, round(s * scale)) for s in thing.shape[1::-1]]
            thing = cv2.resize(thing, size, interpolation=cv2.INTER_AREA)
        else:
            thing = _draw_thing(crop, rng, scale)
        _paste(crop, thing, rng.uniform(0, crop.shape[0], 2))
    return crop


def _cover_with_noise(crop, rng):
    """A rectangle of up to 0.8 * 1/3 of the area, aspect 0.3 to 3.3."""
    side = crop.shape[0]
    area = rng.uniform(0, _OCCLUDER_SCALE / 3) * side * side
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
    height, width = int(np.sqrt(area * aspect)), int(np.sqrt(area / aspect))
    top, left = rng.integers(0, side, 2) - np.array([height, width]) // 2
    crop = crop.copy()
    target = crop[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    target[:] = rng.integers(0, 256, target.shape, np.uint8)
    return crop


@lru_cache(maxsize=512)
def _read_cutout(path):
    image = read_picture(path, cv2.IMREAD_UNCHANGED)
    if image.ndim != 3 or image.shape[2] != 4:
        raise PictureError(f"The cut-out {path} is no RGBA picture.")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)


def _draw_thing(crop, rng, scale):
    """A shape of one colour or of a piece of the crop itself: uint8 [h, w, 4], RGBA, as large as scaled cut-outs."""
    side = max(4, int(rng.uniform(60, 250) * scale))
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 10)))
    reach = side / 2 * rng.uniform(0.5, 1, len(angles))
    outline = side / 2 + np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None]
    thing = np.empty([side, side, 4], np.uint8)
    if rng.uniform() < 0.5:
        thing[..., :3] = rng.integers(0, 256, 3, np.uint8)
    else:
        top, left = rng.integers(0, crop.shape[0] // 2, 2)
        piece = crop[top : top + crop.shape[0] // 2, left : left + crop.shape[0] // 2]
        thing[..., :3] = cv2.resize(piece, (side, side), interpolation=cv2.INTER_AREA)
    thing[..., 3] = cv2.fillPoly(np.zeros([side, side], np.uint8), [outline.astype(np.int32)], 255)
    return thing


def _paste(crop, thing, centre):
    """Blend an RGBA picture over a crop, in place; what leaves the crop is lost."""
    height, width = thing.shape[:2]
    left, top = np.rint(centre - np.array([width, height]) / 2).astype(int)
    target = crop[max(top, 0) : top + height, max(left, 0) : left + width]
    if top + height <= 0 or left + width <= 0 or not target.size:
        return
    thing = thing[max(-top, 0) :, max(-left, 0) :][: target.shape[0], : target.shape[1]]
    alpha = thing[..., 3:].astype(np.float32) / 255
    target[:] = np.rint(target + alpha * (thing[..., :3].astype(np.float32) - target))
