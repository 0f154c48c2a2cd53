"""What optics, sensors and encoders do to a picture, and where they move it. NumPy and OpenCV only."""

import cv2
import numpy as np

_SHIFT_PX = 1.5
_SENSOR_NOISE = (0.7, 9.0)  # smallest and largest sigma, levels of 255
_MIDDLE_GREY = 110.0
_DARKEST = 4.0  # below it, noise gets no less


def degrade(
    crop: np.ndarray, intrinsics: np.ndarray, joints2d: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a crop worse at random, as other cameras would have: the person stays the same, the pixels don't.

    In this order: a shift by up to 1.5 px along each axis (four of five crops); blur with a sigma of 0.3 to 1.2 px
    (30 %), resampling at 0.35 to 0.9 of the size (15 %) or sharpening (10 %); sensor noise (80 %) with a sigma of 0.7
    to 9 levels, coloured or grey, white or smoothed, and for half of the crops as the root of the brightness; a gain of
    0.97 to 1.03 and an offset of up to 3 levels; JPEG of quality 35 to 95 (50 %).

    Args:
        crop: uint8 [P, P, 3], RGB.
        intrinsics: float32 [3, 3] of its camera.
        joints2d: float32 [J, 2], px.
        rng: source of randomness.

    Returns:
        the three of the worse crop: the principal point and the joints are shifted as the picture is.
    """
    if rng.random() < 0.8:
        crop, intrinsics, joints2d = _shift(crop, intrinsics, joints2d, rng)
    crop = _change_sharpness(crop, rng).astype(np.float32)
    if rng.random() < 0.8:
        crop = crop + _sensor_noise(crop, rng)
    crop = crop * rng.uniform(0.97, 1.03) + rng.uniform(-3, 3)
    crop = np.rint(np.clip(crop, 0, 255)).astype(np.uint8)
    return (_compress(crop, rng) if rng.random() < 0.5 else crop), intrinsics, joints2d


def _shift(crop, intrinsics, joints2d, rng):
    shift = rng.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
    how = cv2.INTER_LINEAR if rng.random() < 0.5 else cv2.INTER_CUBIC
    matrix = np.column_stack([np.eye(2), shift])
    crop = cv2.warpAffine(crop, matrix, crop.shape[1::-1], flags=how, borderMode=cv2.BORDER_REPLICATE)
    intrinsics = intrinsics.copy()
    intrinsics[:2, 2] += shift
    return crop, intrinsics, (joints2d + shift).astype(np.float32)


def _change_sharpness(crop, rng):
    kind = rng.random()
    if kind < 0.3:
        return cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.3, 1.2))
    if kind < 0.45:
        # a size, not a factor: its rounding would move what is far from the corner
        scale = rng.uniform(0.35, 0.9)
        size = [round(scale * side) for side in crop.shape[1::-1]]
        small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    if kind < 0.55:
        return cv2.addWeighted(crop, 1.6, cv2.GaussianBlur(crop, (0, 0), 1.2), -0.6, 0)
    return crop


def _sensor_noise(crop, rng):
    """Noise to add: float32 [P, P, 3] or [P, P, 1]."""
    sigma = np.exp(rng.uniform(*np.log(_SENSOR_NOISE)))
    noise = rng.standard_normal((*crop.shape[:2], 3 if rng.random() < 0.6 else 1), np.float32)
    if rng.random() < 0.4:  # as after denoising; twice, since smoothing makes it weaker
        noise = 2 * cv2.GaussianBlur(noise, (0, 0), 0.8).reshape(noise.shape)
    grows = rng.random() < 0.5
    return noise * np.float32(sigma) * (np.sqrt(np.maximum(crop, _DARKEST) / _MIDDLE_GREY) if grows else 1)


def _compress(crop, rng):
    _, file = cv2.imencode(".jpg", crop[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))])
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])
