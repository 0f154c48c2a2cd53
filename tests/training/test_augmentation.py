"""What augmentation does to pixels, against what the paper says that it does."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core.pictures import PictureError
from training import augmentation
from training.augmentation import Appearance, change_colours, cover, find_appearance, swap_background


class _Fixed:
    """A random generator that returns the lower or upper end of each range, and keeps the order of things."""

    def __init__(self, share, order=(0, 1, 2, 3)):
        self.share, self.order = share, order

    def uniform(self, low=0.0, high=1.0):
        return low + self.share * (high - low)

    def permutation(self, n):
        assert n == len(self.order)
        return self.order


def _grey(value, side=8):
    return np.full([side, side, 3], value, np.uint8)


@pytest.mark.parametrize("share", [0, 1])
def test_each_colour_change_has_the_papers_range(share):
    sign = 2 * share - 1
    brighter = augmentation._change_brightness(_grey(100), _Fixed(share))
    np.testing.assert_allclose(brighter, 100 + sign * 0.125 * 255, atol=0.51)
    halves = np.concatenate([_grey(80), _grey(120)])
    contrast = augmentation._change_contrast(halves, _Fixed(share))
    np.testing.assert_allclose(contrast[[0, -1], 0, 0], 100 + np.array([-20, 20]) * (0.5 + share), atol=0.51)
    red = np.zeros([4, 4, 3], np.uint8)
    red[..., 0] = 200
    turned = cv2.cvtColor(augmentation._change_hue(red, _Fixed(share)), cv2.COLOR_RGB2HSV)
    assert int(turned[0, 0, 0]) * 2 == (72 if share else 288) and turned[0, 0, 2] == 200
    pale = cv2.cvtColor(np.full([4, 4, 3], [30, 100, 180], np.uint8), cv2.COLOR_HSV2RGB)
    saturated = cv2.cvtColor(augmentation._change_saturation(pale, _Fixed(share)), cv2.COLOR_RGB2HSV)
    np.testing.assert_allclose(saturated[0, 0], [30, 100 * (0.5 + share), 180], atol=2)


def test_colours_change_in_any_order():
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    results = {change_colours(picture, _Fixed(0.9, order)).tobytes() for order in ([0, 1, 2, 3], [3, 2, 1, 0])}
    assert len(results) == 2
    first_changed = set()
    for seed in range(40):
        first_changed.add(np.random.default_rng(seed).permutation(4)[0])
        assert change_colours(picture, np.random.default_rng(seed)).shape == picture.shape
    assert first_changed == {0, 1, 2, 3}


@given(st.integers(0, 2**32), st.sampled_from([32, 192]))
@settings(max_examples=60, deadline=None)
def test_noise_covers_at_most_its_share_and_leaves_the_rest(seed, side):
    crop = _grey(77, side)
    covered = (augmentation._cover_with_noise(crop, np.random.default_rng(seed)) != 77).any(-1)
    assert covered.sum() <= 0.8 / 3 * side**2 + 1
    rows, columns = covered.any(1), covered.any(0)
    if covered.sum() > 200:  # noise hits the grey value now and then
        assert covered.sum() > 0.95 * rows.sum() * columns.sum()
    assert (crop == 77).all()


@pytest.fixture
def cutouts(tmp_path):
    """A red and a green disc on transparent ground, 100 pixels wide."""
    folder = tmp_path / "pascal_voc" / "cutouts"
    folder.mkdir(parents=True)
    for name, colour in (("red", (0, 0, 255, 255)), ("green", (0, 255, 0, 255))):
        picture = np.zeros([100, 100, 4], np.uint8)
        cv2.circle(picture, (50, 50), 49, colour, -1)
        cv2.imwrite(str(folder / f"{name}.png"), picture)
    return tmp_path


def test_cutouts_are_pasted_at_the_papers_sizes(cutouts):
    appearance = find_appearance(0.7, 0, cutouts)
    assert [p.rsplit("/", 1)[1] for p in appearance.cutouts] == ["green.png", "red.png"]
    reds = greens = noise = 0
    for seed in range(60):
        crop = cover(_grey(77, 256), np.random.default_rng(seed), appearance.cutouts)
        kinds = [(crop[..., i] > 250) & (np.delete(crop, i, -1) < 5).all(-1) for i in (0, 1)]
        reds, greens = reds + kinds[0].any(), greens + kinds[1].any()
        things = kinds[0] | kinds[1]
        changed = (crop != 77).any(-1)
        if things.mean() < 1e-3:  # a pixel of noise may be red, too
            noise += changed.any()
            continue
        n, _, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
        assert n - 1 <= 7
        assert stats[1:, cv2.CC_STAT_AREA].sum() <= 7 * (0.8 * 101) ** 2
        assert (changed & ~things).sum() < 0.35 * changed.sum() + 60  # soft edges
    assert reds > 10 and greens > 10 and 15 < noise < 45


def test_without_cutouts_shapes_are_drawn():
    changed = [(cover(_grey(77, 128), np.random.default_rng(s)) != 77).any(-1).mean() for s in range(40)]
    assert 0.02 < np.mean(changed) < 0.5


def test_a_damaged_cutout_is_named(cutouts):
    (cutouts / "pascal_voc" / "cutouts" / "red.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="red.png is damaged"):
        for seed in range(20):
            cover(_grey(77, 64), np.random.default_rng(seed), find_appearance(1, 0, cutouts).cutouts)


def test_the_background_is_swapped_and_the_person_stays(tmp_path):
    folder = tmp_path / "inria_holidays" / "non_person"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.jpg"), np.full([600, 800, 3], (0, 0, 240), np.uint8))
    appearance = find_appearance(0, 1, tmp_path)
    crop = np.random.default_rng(0).integers(0, 200, (64, 64, 3), np.uint8)
    mask = np.zeros([64, 64], np.uint8)
    mask[20:40, 10:30] = 255
    mask[40:50, 10:30] = 128
    swapped = swap_background(crop, mask, np.random.default_rng(0), appearance.backgrounds)
    np.testing.assert_array_equal(swapped[mask == 255], crop[mask == 255])
    np.testing.assert_allclose(swapped[mask == 0], np.tile([240, 0, 0], ((mask == 0).sum(), 1)), atol=3)
    half = (crop[mask == 128].astype(float) + [240, 0, 0]) / 2
    np.testing.assert_allclose(swapped[mask == 128], half, atol=4)


def test_backgrounds_fall_back_on_the_free_photographs_or_are_missed(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="There are no backgrounds in .*--background-aug-prob=0"):
        find_appearance(0, 0.7, tmp_path)
    photographs = tmp_path / "cache" / "metrabs" / "backgrounds" / "package"
    photographs.mkdir(parents=True)
    cv2.imwrite(str(photographs / "b.png"), _grey(5))
    assert find_appearance(0, 0.7, tmp_path).backgrounds == (str(photographs / "b.png"),)
    assert find_appearance(0.5, 0, tmp_path) == Appearance(0.5, 0.0, (), ())
