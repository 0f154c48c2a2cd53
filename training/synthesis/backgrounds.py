"""What stands behind the people: photographs, rooms with textured floors and walls, and plain clutter.

Photographs are optional: any folder of pictures, such as ``assets.py`` fetches. So are textures of real floors and
walls, see ``furniture.py``. Everything else is procedural.
"""

import warnings
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.pictures import PictureError, pictures_below, read_picture

_POOL = 96  # textures of each kind


class Backgrounds:
    """Photographs (if any) and procedural textures.

    Args:
        folder: folder that is searched for pictures, with its sub-folders, or None.
        part: "train", "val" (every fifth photograph), or "all".
        textures: "wall" or "ground" -> pictures of real ones, uint8 [h, w, 3] RGB; may be empty.
    """

    def __init__(self, folder: Path | None, part: str = "all", textures: dict[str, list[np.ndarray]] | None = None):
        self._textures = textures or {}
        paths = pictures_below(Path(folder)) if folder else []
        if part != "all":
            paths = [p for i, p in enumerate(paths) if (i % 5 == 0) == (part == "val")]
        self.paths = paths
        self._cache: dict[Path, np.ndarray] = {}
        self._pool: dict[tuple[str, int], np.ndarray] = {}

    def photograph(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """A random part of a random photograph, mirrored half of the time; uint8 [height, width, 3] RGB."""
        path = self.paths[rng.integers(len(self.paths))]
        mirrored, zoom, x, y = rng.random() < 0.5, rng.uniform(1.0, 2.6), rng.random(), rng.random()
        if path not in self._cache:
            try:
                image = read_picture(path)
            except PictureError as error:
                warnings.warn(f"{error} A grey wall is taken instead.", stacklevel=2)
                image = np.full([64, 64, 3], 127, np.uint8)
            scale = min(1.0, 800 / max(image.shape[:2]))
            self._cache[path] = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = self._cache[path]
        fit = min(image.shape[1] / width, image.shape[0] / height) / zoom
        w, h = max(8, int(width * fit)), max(8, int(height * fit))
        left, top = int(x * (image.shape[1] - w)), int(y * (image.shape[0] - h))
        part = cv2.resize(image[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_LINEAR)
        return np.ascontiguousarray(part[:, ::-1]) if mirrored else part

    def texture(self, rng: np.random.Generator, kind: str = "wall") -> np.ndarray:
        """One of a fixed pool of textures, made when first asked for.

        Args:
            rng: random generator that chooses.
            kind: "wall" (floors, walls, pictures), "ground" (of the open air) or "view" (photographs).

        Returns:
            uint8 [h, w, 3] RGB; the same array each time that the same texture is drawn.
        """
        real = self._textures.get(kind)
        if real and rng.random() < 0.55:
            return real[rng.integers(len(real))]
        number = int(rng.integers(_POOL))
        if (kind, number) not in self._pool:
            own = np.random.default_rng([number, len(kind)])
            if kind == "view" and self.paths:
                self._pool[kind, number] = self.photograph(own, 384, 192)
            else:
                self._pool[kind, number] = self._ground(own) if kind == "ground" else self._wall(own)
        return self._pool[kind, number]

    def _wall(self, rng: np.random.Generator, side: int = 160) -> np.ndarray:
        kind = rng.random()
        if self.paths and kind < 0.08:
            return self.photograph(rng, side, side)
        base = _random_colour(rng)
        other = np.clip(base * rng.uniform(0.6, 1.4) + rng.normal(0, 0.05, 3), 0, 1)
        noise = _noise(rng, side, rng.choice([2, 4, 8, 32]))
        if kind < 0.45:  # plaster, concrete, carpet
            mix = noise
        elif kind < 0.66:  # tiles
            n = rng.integers(2, 9)
            grid = np.arange(side) * n % side < max(1, side // 40) * n
            mix = np.maximum(grid[:, None], grid[None]) * 1.0 + 0.3 * noise
        elif kind < 0.82:  # boards
            n = rng.integers(3, 10)
            tone = rng.random(n)[np.arange(side) * n // side]
            mix = tone[:, None] * 0.6 + 0.4 * _noise(rng, side, 4, stretch=16)
        elif kind < 0.92:  # bricks
            n = 8
            row = np.arange(side) * n // side
            shift = (row % 2) * (side // n)
            x = (np.arange(side)[None] + shift[:, None]) % (2 * side // n)
            y = np.arange(side) % (side // n)
            mix = np.maximum(x < 3, (y < 3)[:, None]) * 0.8 + 0.3 * noise
        else:  # stripes, checks
            n = rng.integers(2, 10)
            a = np.arange(side) * n // side % 2
            mix = (a[:, None] ^ a[None]) * 0.7 + 0.3 * noise if rng.random() < 0.5 else np.tile(a, (side, 1)) * 0.7
        picture = base + (other - base) * np.clip(mix, 0, 1.3)[..., None]
        return (np.clip(picture, 0, 1) * 255).astype(np.uint8)

    def _ground(self, rng: np.random.Generator, side: int = 192) -> np.ndarray:
        """Grass, sand, snow, asphalt, gravel, paving."""
        if rng.random() < 0.2:
            return self._wall(rng, side)
        tones = [(0.25, 0.36, 0.12), (0.45, 0.47, 0.2), (0.72, 0.62, 0.45), (0.92, 0.93, 0.96), (0.33, 0.33, 0.34),
                 (0.5, 0.47, 0.44), (0.62, 0.6, 0.57), (0.4, 0.3, 0.22)]  # fmt: skip
        base = np.clip(np.array(tones[rng.integers(len(tones))]) * rng.normal(1, 0.12, 3), 0, 1)
        mix = 0.5 * _noise(rng, side, 4) + 0.5 * _noise(rng, side, 64)
        contrast = rng.uniform(0.1, 0.8)
        picture = base * (1 + contrast * (mix[..., None] - 0.5) * rng.normal(1, 0.1, 3))
        if rng.random() < 0.3:  # slabs
            n = rng.integers(1, 5)
            line = np.arange(side) * n % side < n * max(2, side // 100)
            picture[line[:, None] | line[None]] *= rng.uniform(0.6, 0.9)
        return (np.clip(picture, 0, 1) * 255).astype(np.uint8)

    def sky(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """Clear, cloudy or grey sky, or a photograph; uint8 [height, width, 3] RGB."""
        if self.paths and rng.random() < 0.4:
            return self.photograph(rng, width, height)
        tones = ((0.35, 0.55, 0.9), (0.75, 0.8, 0.88), (0.9, 0.9, 0.9), (0.55, 0.6, 0.68))
        top = np.array(tones[rng.integers(4)])
        bottom = np.clip(0.5 * top + 0.5 * rng.uniform(0.7, 1.0), 0, 1)
        picture = top + (bottom - top) * np.linspace(0, 1, height)[:, None, None] + np.zeros([1, width, 1])
        if rng.random() < 0.5:
            clouds = cv2.resize(_noise(rng, 128, 4).astype(np.float32), (width, height))[..., None]
            picture = picture + (0.95 - picture) * np.clip((clouds - 0.45) * rng.uniform(1, 5), 0, 1)
        return (np.clip(picture, 0, 1) * 255).astype(np.uint8)

    def clutter(self, rng: np.random.Generator, width: int, height: int) -> np.ndarray:
        """Gradients, blobs and rectangles: a background that means nothing; uint8 [height, width, 3] RGB."""
        corners = np.stack([_random_colour(rng) for _ in range(4)]).reshape(2, 2, 3).astype(np.float32)
        picture = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
        noise = cv2.resize(_noise(rng, 256, rng.choice([4, 8, 16])).astype(np.float32), (width, height))
        picture = np.clip((picture + 0.25 * (noise[..., None] - 0.5)) * 255, 0, 255).astype(np.uint8)
        for _ in range(rng.integers(0, 25)):
            colour = tuple(int(255 * c) for c in _random_colour(rng))
            x, y = int(rng.integers(width)), int(rng.integers(height))
            w, h = (int(v) for v in rng.integers(8, 220, 2))
            kind = rng.random()
            if kind < 0.5:
                cv2.rectangle(picture, (x, y), (x + w, y + h), colour, -1)
            elif kind < 0.75:
                cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1)
            else:
                cv2.line(picture, (x, y), (x + w - 110, y + 3 * h - 330), colour, int(rng.integers(1, 14)))
        sigma = rng.uniform(0, 4)
        return cv2.GaussianBlur(picture, (0, 0), sigma) if sigma > 0.5 else picture


def _random_colour(rng: np.random.Generator) -> np.ndarray:
    """A mostly muted colour, float [3] in 0..1."""
    value = rng.uniform(0.1, 0.95)
    return np.clip(value * (1 + rng.normal(0, rng.choice([0.03, 0.08, 0.25]), 3)), 0, 1)


def _noise(rng: np.random.Generator, side: int, cells: int, stretch: int = 1) -> np.ndarray:
    """Smooth noise of several octaves, float [side, side] in 0..1."""
    total = np.zeros([side, side], np.float32)
    amplitude, norm = 1.0, 0.0
    while cells <= side // 2 and amplitude > 0.05:
        values = rng.random((max(2, cells // stretch), cells)).astype(np.float32)
        total += amplitude * cv2.resize(values, (side, side), interpolation=cv2.INTER_CUBIC)
        norm += amplitude
        amplitude, cells = amplitude * 0.6, cells * 2
    return np.clip(total / norm, 0, 1)
