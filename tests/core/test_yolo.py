"""YOLO detectors: letterboxing, boxes in pixels, choice of boxes, on networks whose answers can be worked out."""

import cv2
import darknet_interpreter
import numpy as np
import pytest
import tensorflow as tf

from metrabs_core import detection
from metrabs_core.detection import darknet, yolo, yolov4
from metrabs_core.errors import UserError

# One convolution looks at each cell of 8 x 8 pixels. Two boxes of the cell's size, 8 and 16 pixels; two classes.
CELLS = [
    darknet.Section("net", {"width": 96, "height": 64}),
    darknet.Section("convolutional", {"filters": 14, "size": 8, "stride": 8, "activation": "linear"}),
    darknet.Section("yolo", {"mask": [0, 1], "anchors": [(8, 8), (16, 16)], "classes": 2, "scale_x_y": 1.0}),
]
RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Finds a person in red cells and something else in blue ones; redder is surer, the larger box a little less so."""
    kernel, bias = np.zeros([14, 3, 8, 8]), np.zeros(14)
    red, green, blue = 0, 1, 2
    for first, sureness in ((0, 1.0), (7, 0.9)):
        objectness, person, other = first + 4, first + 5, first + 6
        kernel[objectness, [red, blue]], kernel[objectness, green] = 20 / 64 * sureness, -20 / 64
        bias[objectness] = -10 * sureness
        kernel[person, red], kernel[person, blue] = 20 / 64 * sureness, -20 / 64
        kernel[other, blue], kernel[other, red] = 20 / 64, -20 / 64
    path = tmp_path_factory.mktemp("yolo") / "cells.weights"
    darknet_interpreter.write_weights(path, [np.float32(bias), np.float32(kernel)])
    return yolo.Yolo(CELLS, path)


def picture(height, width, *rectangles):
    """Black image with rectangles (left, top, width, height, colour)."""
    image = np.zeros([height, width, 3], np.uint8)
    for left, top, rectangle_width, rectangle_height, colour in rectangles:
        image[top : top + rectangle_height, left : left + rectangle_width] = colour
    return image


def detect(detector, image, threshold=0.5, nms_iou_threshold=0.2, max_detections=-1, flip_aug=False):
    return detector(image[None], threshold, nms_iou_threshold, max_detections, flip_aug)[0].numpy()


@pytest.mark.parametrize(
    "height, width, scale",
    [
        (64, 96, 1.0),  # as large as the network's input
        (128, 192, 2.0),
        (320, 480, 5.0),
        (128, 96, 2.0),  # gray left and right
        (96, 384, 4.0),  # gray above and below
        (16, 48, 0.5),  # enlarged
    ],
)
def test_letterboxing_keeps_aspect_ratios_and_boxes_are_in_pixels_of_the_image(detector, height, width, scale):
    # as wide and high as a cell of the network, and where one is
    cell = int(8 * scale)
    gray_left, gray_above = int((96 - width / scale) // 2), int((64 - height / scale) // 2)
    left, top = int((16 + 8 * (gray_left > 0) - gray_left % 8) * scale), int((8 - gray_above % 8) * scale)
    (found,) = detect(detector, picture(height, width, (left, top, cell, cell, RED)))
    # left - 0.5 is the border of the first red pixel, whose centre is at left
    np.testing.assert_allclose(found[:4], [left - 0.5, top - 0.5, cell, cell], atol=1e-3 * scale)
    assert found[4] == pytest.approx(1.0, abs=1e-3)


def test_gray_beside_the_image_is_not_detected(detector):
    # to this network gray is half a person
    (gray,) = {*detect(detector, np.full([64, 96, 3], 127, np.uint8), threshold=0.1)[:, 4].round(1)}
    assert gray > 0.15
    image = picture(128, 64, (32, 48, 16, 16, RED))
    assert len(detect(detector, image, threshold=0.1, nms_iou_threshold=0.01)) == 1


def test_shrinking_averages_instead_of_leaving_out_pixels(detector):
    # cells of red and black lines: all are half red, wherever the pixels are taken from
    lines = picture(512, 768)
    lines[:, ::2] = RED
    averaged = detect(detector, lines, threshold=0.1, nms_iou_threshold=0.99)
    plain = detect(detector, np.full([512, 768, 3], (128, 0, 0), np.uint8), threshold=0.1, nms_iou_threshold=0.99)
    assert len(averaged) == len(plain) > 90
    np.testing.assert_allclose(averaged[:, 4], plain[:, 4], atol=0.02)


def test_only_people_are_found(detector):
    image = picture(64, 96, (16, 8, 8, 8, RED), (48, 24, 8, 8, BLUE))
    (found,) = detect(detector, image, threshold=0.1)
    np.testing.assert_allclose(found[:2], [15.5, 7.5], atol=1e-3)


def test_of_overlapping_boxes_the_better_stays_by_the_threshold_on_iou(detector):
    image = picture(64, 96, (16, 8, 8, 8, RED))
    # the 16-pixel box around the same cell, IoU 1/4; where the image cuts it off at its top by no pixel
    both = detect(detector, image, nms_iou_threshold=0.26)
    np.testing.assert_allclose(both[:, :4], [[15.5, 7.5, 8, 8], [11.5, 3.5, 16, 16]], atol=1e-3)
    assert both[0, 4] > both[1, 4]
    np.testing.assert_array_equal(detect(detector, image, nms_iou_threshold=0.24), both[:1])


def test_threshold_and_number_are_honoured_best_first(detector):
    shades = [(16, 8, 8, 8, (255, 0, 0)), (48, 8, 8, 8, (170, 0, 0)), (48, 40, 8, 8, (140, 0, 0))]
    image = picture(64, 96, *shades)
    loose = detect(detector, image, threshold=0.3)
    assert len(loose) == 3 and (np.diff(loose[:, 4]) < 0).all()
    # of the scores: the product of both probabilities
    expected = [(1 / (1 + np.exp(-(20 * red / 255 - 10)))) / (1 + np.exp(-20 * red / 255)) for red in (255, 170, 140)]
    np.testing.assert_allclose(loose[:, 4], expected, atol=1e-4)
    np.testing.assert_array_equal(detect(detector, image, threshold=0.9), loose[loose[:, 4] > 0.9])
    np.testing.assert_array_equal(detect(detector, image, threshold=0.3, max_detections=2), loose[:2])


def test_boxes_end_at_the_border_of_the_image(detector):
    found = detect(detector, picture(64, 96, (0, 0, 8, 8, RED)), nms_iou_threshold=0.9)
    np.testing.assert_allclose(found[:, :4], [[-0.5, -0.5, 8, 8], [-0.5, -0.5, 12, 12]], atol=1e-3)


def test_a_batch_is_the_same_as_image_by_image(detector):
    images = np.stack([picture(64, 96, (16, 8, 8, 8, RED)), picture(64, 96), picture(64, 96, (8, 48, 8, 16, RED))])
    batched = detector(images, 0.5, 0.2, -1, False)
    assert [len(found) for found in batched] == [1, 0, 2]
    for image, found in zip(images, batched):
        np.testing.assert_allclose(found, detect(detector, image), atol=1e-5)
    assert detector(images[:0], 0.5, 0.2, -1, False).shape[0] == 0


def test_looking_at_the_mirrored_image_too_makes_mirroring_irrelevant(detector):
    # an odd width, so that the cells see different parts of the rectangle in the mirrored image
    width = 41
    image = picture(64, width, (11, 13, 20, 16, RED))
    one_way = detect(detector, image, threshold=0.3, nms_iou_threshold=0.99, flip_aug=True)
    other_way = detect(detector, image[:, ::-1], threshold=0.3, nms_iou_threshold=0.99, flip_aug=True)
    other_way[:, 0] = width - 1 - other_way[:, 0] - other_way[:, 2]

    def in_order(boxes):
        return boxes[np.lexsort(boxes.round(1).T)]

    assert len(one_way) > len(detect(detector, image, threshold=0.3, nms_iou_threshold=0.99))
    np.testing.assert_allclose(in_order(one_way), in_order(other_way), atol=1e-3)


def test_a_person_is_where_another_implementation_of_letterboxing_sees_one(detector):
    # a picture of no simple proportions; OpenCV resizes, the network is applied by hand
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, [123, 77, 3], np.uint8), (0, 0), 9)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    image[..., 1] //= 4
    width = 77 * 64 // 123
    resized = cv2.resize(image, (width, 64), interpolation=cv2.INTER_AREA)
    before = (96 - width) // 2
    boxed = np.full([64, 96, 3], 127.5, np.float32)
    boxed[:, before : before + width] = resized
    boxes = detector._network(boxed[None] / 255).numpy()[0]
    is_in_image = (boxes[:, 0] * 96 >= before) & (boxes[:, 0] * 96 <= before + width)
    expected = (boxes[:, 4] * boxes[:, 5])[is_in_image]
    found = detect(detector, image, threshold=0.01, nms_iou_threshold=0.999)
    np.testing.assert_allclose(found[:, 4], np.sort(expected[expected >= 0.01])[::-1][: len(found)], atol=0.02)
    assert len(found) > 10


def test_an_exported_detector_finds_the_same(detector, tmp_path):
    """That none of this package is needed for it, tests/training/test_export.py shows of a whole model."""
    image = picture(128, 192, (32, 16, 16, 16, RED))
    tf.saved_model.save(detector, str(tmp_path / "model"))
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    found = loaded(image[None], *[tf.constant(value) for value in (0.5, 0.2, -1, False)])[0]
    np.testing.assert_allclose(found, detect(detector, image), atol=1e-4)


def test_yolov4_tiny_itself_runs_on_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match="tiny.weights. Download .*`metrabs-train fetch-detector yolov4-tiny`"):
        detection.load_detector("yolov4-tiny")
    arrays = darknet_interpreter.random_arrays(darknet_interpreter.as_cfg(yolov4.yolov4_tiny()))
    path = tmp_path / "metrabs/detectors/yolov4-tiny.weights"
    path.parent.mkdir(parents=True)
    darknet_interpreter.write_weights(path, arrays)
    detector = detection.load_detector("yolov4-tiny", input_side=96)
    found = detect(detector, picture(80, 120, (30, 20, 30, 50, RED)), threshold=0.0, nms_iou_threshold=1.0)
    assert 50 < len(found) <= 135 and np.isfinite(found).all()  # 3 anchors in 6 x 6 and 3 x 3 cells
