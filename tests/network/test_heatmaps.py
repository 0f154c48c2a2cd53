import numpy as np
import pytest
from keras import ops

from metrabs_core.network import heatmaps


def test_soft_argmax_is_the_expected_coordinate():
    logits = np.random.default_rng(0).normal(size=(3, 5, 7, 4)) * 3  # [N, H, W, D]
    heat = np.exp(logits) / np.exp(logits).sum((1, 2, 3), keepdims=True)
    y, x, d = np.meshgrid(*(np.linspace(0, 1, n) for n in (5, 7, 4)), indexing="ij")
    expected = np.stack([(heat * axis).sum((1, 2, 3)) for axis in (x, y, d)], -1)
    second = np.stack([(heat * axis**2).sum((1, 2, 3)) for axis in (x, y, d)], -1)

    mean, deviation = heatmaps.soft_argmax(logits.astype(np.float32), (2, 1, 3))

    np.testing.assert_allclose(ops.convert_to_numpy(mean), expected, atol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(deviation), np.sqrt(second - expected**2), atol=1e-5)


def test_peak_coordinates_are_the_expectation_in_a_window_around_the_maximum():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5, 9, 12, 3)) * 2
    logits[0, 0, 11, 0] = logits[1, 8, 5, 1] = 9  # in a corner, and at a border
    expected, radii, peaks_of = np.empty([5, 3, 2]), [2, 2, 3], [0, 1, 1]
    for n in range(5):
        for j in range(3):
            y, x = np.unravel_index(logits[n, :, :, peaks_of[j]].argmax(), [9, 12])
            r = radii[j]
            rows, columns = np.arange(max(0, y - r), min(9, y + r + 1)), np.arange(max(0, x - r), min(12, x + r + 1))
            heat = np.exp(logits[n][np.ix_(rows, columns)][..., j])
            expected[n, j] = [(heat.sum(0) @ columns) / heat.sum() / 11, (heat.sum(1) @ rows) / heat.sum() / 8]
    found = heatmaps.peak_coordinates(logits.astype(np.float32), radii, peaks_of)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-6)


def test_of_two_peaks_the_higher_one_is_the_place():
    y, x = np.mgrid[:32, :32]
    logits = np.log(
        np.exp(-((x - 6.3) ** 2 + (y - 20) ** 2) / 4) + 0.8 * np.exp(-((x - 25) ** 2 + (y - 8) ** 2) / 4) + 1e-9
    )
    logits = logits[np.newaxis, ..., np.newaxis].astype(np.float32)
    mean, _ = heatmaps.soft_argmax(logits, (2, 1))
    assert 12 < 31 * float(mean[0, 0, 0]) < 17  # between the two, where nothing is
    np.testing.assert_allclose(31 * heatmaps.peak_coordinates(logits, [4], [0])[0, 0], [6.3, 20], atol=0.05)


def test_what_is_nowhere_near_its_neighbour_is_at_its_neighbour():
    logits = np.full([1, 16, 16, 2], -500, np.float32)
    logits[0, 3, 5, 0] = logits[0, 14, 14, 1] = 0
    found = heatmaps.peak_coordinates(logits, [1, 1], [0, 0])
    np.testing.assert_allclose(15 * ops.convert_to_numpy(found), [[[5, 3], [5, 3]]], atol=1e-4)


@pytest.mark.parametrize(("crop_side", "stride"), [(256, 32), (256, 4), (192, 16), (160, 32)])
def test_a_peak_in_a_cell_is_that_cells_centre_pixel(crop_side, stride):
    n_cells = crop_side // stride
    for cell in (0, 1, n_cells - 1):
        logits = np.zeros([1, n_cells, n_cells], np.float32)
        logits[0, 0, cell] = 100
        coords, deviation = heatmaps.soft_argmax(logits, (2, 1))
        pixels = ops.convert_to_numpy(heatmaps.to_pixels(coords, crop_side, stride, stride // 2))
        np.testing.assert_allclose(pixels, [[cell * stride + stride // 2, stride // 2]], atol=1e-3)
        assert float(ops.max(deviation)) < 1e-3


def test_metric_cube_spans_the_box_in_depth_and_the_crop_in_the_image():
    corners = np.array([[0, 0, 0], [1, 1, 1]], np.float32)
    low, high = ops.convert_to_numpy(heatmaps.to_metric(corners, 256, 32, 16, 2200.0))
    np.testing.assert_allclose(high - low, [2200 * 224 / 256, 2200 * 224 / 256, 2200], rtol=1e-6)
