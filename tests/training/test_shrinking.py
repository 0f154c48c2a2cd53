"""Cropped-and-shrunk pictures show the same people at the same places."""

from pathlib import Path

import numpy as np
import pytest
from generated_datasets import mpii

from metrabs_core.cameras import Camera
from training import datasets
from training.datasets import shrinking
from training.datasets.example import Example
from training.datasets.named import Shrinking
from training.datasets.shrinking import shrink_example
from training.prepare import prepare


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def dot_picture(points, size):
    """A picture with soft dots, uint8 [h, w, 3]."""
    y, x = np.mgrid[: size[1], : size[0]]
    image = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 4.0**2)) for px, py in points)
    return np.repeat((255 * np.clip(image, 0, 1)).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("seed", range(4))
def test_shrinking_moves_pixels_as_it_moves_labels(seed):
    rng = np.random.default_rng(seed)
    matrix = np.array([[620, 0, 330], [0, 610, 250], [0, 0, 1]], np.float32)
    camera = Camera(matrix, [-0.25, 0.1, 0.002, -0.001, 0.01] if seed % 2 else ())
    joints3d = np.float32([[0, 0, 0], [300, 200, 100], [-250, 350, -80]]) + [rng.uniform(-900, 900), -100, 3500]
    joints2d = camera.project(joints3d)
    low, high = joints2d.min(0) - 60, joints2d.max(0) + 60
    example = Example(Path("x"), np.array([*low, *(high - low)], np.float32), joints2d, np.ones(3, bool), camera,
                      joints3d.astype(np.float32))  # fmt: skip
    for j, point in enumerate(joints2d):
        image, new = shrink_example(example, dot_picture([point], (640, 480)), Shrinking())
        light = (image[..., 0] / 255.0) ** 2.2
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        centre = np.array([(light * x).sum(), (light * y).sum()]) / light.sum()
        np.testing.assert_allclose(centre, new.joints2d[j], atol=0.15)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(new.joints3d, axis=0), axis=-1),
        np.linalg.norm(np.diff(joints3d, axis=0), axis=-1),
        rtol=1e-5,
    )
    # the person fills 384 px of the new picture, or less if the old one had less; the box's centre is on the axis
    assert max(new.box[2:]) <= 385
    np.testing.assert_allclose(new.box[:2] + new.box[2:] / 2, new.camera.intrinsic_matrix[:2, 2], atol=3)
    # what augmentation can show is there: a circle around the box that is a third larger than its diagonal
    inside = min(*(new.box[:2] + new.box[2:] / 2), *(np.array(image.shape[1::-1]) - new.box[:2] - new.box[2:] / 2))
    assert inside >= 0.9 * max(new.box[2:]) / 2


def test_shrinking_reduces_large_pictures_without_aliasing():
    stripes = np.zeros([1600, 1600, 3], np.uint8)
    stripes[:, ::2] = 255
    camera = Camera(np.array([[1500, 0, 800], [0, 1500, 800], [0, 0, 1]], np.float32))
    point = np.float32([[0, 0, 3000]])
    example = Example(
        Path("x"), np.float32([100, 100, 1400, 1400]), camera.project(point), np.ones(1, bool), camera, point
    )
    image, new = shrink_example(example, stripes, Shrinking())
    middle = image[50:-50, 50:-50, 0].astype(float)
    # half of the light is 255 * 0.5 ** (1 / 2.2)
    assert abs(middle.mean() - 186) < 3
    assert middle.std() < 12
    assert max(image.shape) < 450


def test_many_people_of_one_folder_are_shrunk_in_parts(tmp_path, monkeypatch):
    mpii.generate(tmp_path, n_pictures=9)
    monkeypatch.setattr(shrinking, "_PEOPLE_PER_PART", 4)
    report = prepare("mpii-yolo", tmp_path)
    assert not report.skipped
    folder = tmp_path / "mpii-yolo_downscaled/train/mpii/images"
    parts = sorted(path.name for path in folder.glob("*.npz"))
    examples = datasets.read("mpii-yolo", "train", tmp_path).examples
    assert len(parts) == -(-len(examples) // 4) > 2
    assert len({e.image_path for e in examples}) == len(examples)
    # a data root that was moved is as good as before
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mpii", "mpii-yolo_downscaled"):
        (tmp_path / name).rename(moved / name)
    dates = {path: path.stat().st_mtime_ns for path in (moved / "mpii-yolo_downscaled").rglob("*.jpg")}
    prepare("mpii-yolo", moved)
    assert dates == {path: path.stat().st_mtime_ns for path in dates}
