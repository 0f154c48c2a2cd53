"""What cameras do to pictures: lenses, corners that get less light, blur, exposure, noise."""

import cv2
import numpy as np

from training.synthesis.renderer import SUPERSAMPLING, metric_depth
from training.synthesis.views import View

_GRAIN = np.random.default_rng(3).normal(0, 24, (512, 512)).round().clip(-127, 127).astype(np.int8)


def _add_noise(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Sensor noise of a standard deviation of 1 to 10, the same in all channels or in each its own."""
    height, width = image.shape[:2]
    source = _GRAIN if max(height, width) <= 500 else np.tile(_GRAIN, (2, 2))
    planes = []
    for _ in range(3 if rng.random() < 0.4 else 1):
        top, left = rng.integers(0, len(source) - np.minimum([height, width], len(source) - 12))
        planes.append(source[top : top + height, left : left + width])
    grain = cv2.merge(planes * (3 // len(planes)))
    return cv2.addWeighted(image, 1.0, grain, rng.uniform(1, 10) / 24, 0, dtype=cv2.CV_8U)


def degrade(rng: np.random.Generator, image: np.ndarray, people: np.ndarray) -> tuple[np.ndarray, int]:
    """What cameras do to pictures: blur, motion, exposure, white balance, noise; and a JPEG quality."""
    # The camera meters the light, on people and all, not quite right, before its white balance errs as well.
    wanted = np.clip(rng.normal(110, 20), 55, 170)
    metered = float(image.mean())
    if people.any() and rng.random() < 0.8:
        metered = 0.65 * metered + 0.35 * float(image[people].mean())
    gain = np.clip(wanted / max(8.0, metered), 0.6, 2.5) * np.exp(rng.normal(0, 0.05, 3))
    gamma = np.exp(rng.normal(-0.1, 0.18))
    table = np.arange(256, dtype=np.float32)[:, None] / 255
    table = np.clip(table**gamma * gain, 0, 1)
    if rng.random() < 0.5:  # contrast
        table = np.clip((table - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.normal(0, 0.04), 0, 1)
    image = cv2.LUT(image.astype(np.uint8), (table * 255).astype(np.uint8)[None])
    kind = rng.random()
    if kind < 0.35:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.35, 1.1))
    elif kind < 0.45:
        length, angle = int(rng.integers(3, 7)), rng.uniform(0, 180)
        kernel = np.zeros([length, length], np.float32)
        kernel[length // 2] = 1
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1)
        kernel = cv2.warpAffine(kernel, turn, (length, length))
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    elif kind < 0.55:
        soft = cv2.GaussianBlur(image, (0, 0), 1.5)
        image = cv2.addWeighted(image, 1.7, soft, -0.7, 0)
    if rng.random() < 0.5:
        image = _add_noise(rng, image)
    if rng.random() < 0.03:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return image, int(rng.integers(45, 97))


def pinhole_canvas(view: View) -> tuple[np.ndarray, int, int, np.ndarray | None]:
    """The pinhole picture to render for a camera with lens distortion, and how to warp it.

    Returns:
        Intrinsics, width and height of the pinhole picture, and float32 [height, width, 2], where each pixel of the
        distorted picture lies in it (None without distortion).
    """
    if view.is_pinhole:
        return view.intrinsic_matrix, view.width, view.height, None
    step = 8
    xs, ys = np.arange(-step, view.width + 2 * step, step), np.arange(-step, view.height + 2 * step, step)
    grid = np.stack(np.meshgrid(xs, ys), -1).astype(np.float64)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-9)
    rays = cv2.undistortPoints(grid.reshape(-1, 1, 2), view.intrinsic_matrix, view.distortion_coeffs, criteria=criteria)
    focal = view.intrinsic_matrix[[0, 1], [0, 1]]
    pixels = rays.reshape(*grid.shape) * focal
    low = np.floor(pixels[1:-1, 1:-1].reshape(-1, 2).min(0)) - 2
    high = np.ceil(pixels[1:-1, 1:-1].reshape(-1, 2).max(0)) + 2
    size = np.minimum(high - low + 2, 2.2 * max(view.width, view.height)).astype(int) // 4 * 4  # see SUPERSAMPLING
    centre = -low
    intrinsics = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1.0]])
    coarse = (pixels + centre).astype(np.float32)
    x, y = np.meshgrid(np.arange(view.width), np.arange(view.height))
    lookup = [((v + step) / step).astype(np.float32) for v in (x, y)]
    fine = cv2.remap(coarse, lookup[0], lookup[1], cv2.INTER_CUBIC)
    return intrinsics, int(size[0]), int(size[1]), fine


def ambient_occlusion(depth: np.ndarray, width: int, height: int, focal: float) -> np.ndarray:
    """Light that corners and folds keep, from how far a place lies behind its neighbourhood in the depth buffer.

    The idea is Luft, Colditz and Deussen's ("Image enhancement by unsharp masking the depth buffer", 2006).

    Args:
        depth: float32, depth buffer, 1 where nothing is.
        width, height: of the picture, pixels.
        focal: of the picture, pixels.

    Returns:
        uint8 [height, width], 255 for all light.
    """
    small = cv2.resize(depth, (width // 2, height // 2), interpolation=cv2.INTER_NEAREST)
    covered = (small < 1).astype(np.float32)
    metres = metric_depth(small) * covered
    near = max(float(metres.sum() / max(covered.sum(), 1)), 0.5)
    sigma = (0, 0), float(np.clip(0.03 * focal / near, 0.7, 8))
    around = cv2.GaussianBlur(metres, *sigma) / (cv2.GaussianBlur(covered, *sigma) + 1e-6)
    behind = metres - around
    darkness = np.clip(behind * 5, 0, 1) * (behind < 0.45)
    light = (255 - 125 * darkness).astype(np.uint8)
    return cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)


def nearest_sample(pixels: np.ndarray) -> np.ndarray:
    """Indices of the samples that lie nearest pixels' centres."""
    return np.round((pixels + 0.5) * SUPERSAMPLING - 0.5).astype(int)
