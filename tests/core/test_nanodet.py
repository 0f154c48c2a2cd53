"""The default person detector on photographs of people; tests/training compares it with the original graph."""

import cv2
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from metrabs_core import detection
from metrabs_core.errors import UserError

ASTRONAUT = skimage.data.astronaut()
HER_BOX = np.array([20, 14, 342, 498])  # left, top, width, height, as one sees it


@pytest.fixture(scope="module")
def detector():
    return detection.load_detector()


def detect(detector, image, threshold=0.3, nms_iou_threshold=0.5, max_detections=-1, flip_aug=False):
    return detector(image[None], threshold, nms_iou_threshold, max_detections, flip_aug)[0].numpy()


def _two_people():
    """The astronaut twice on gray, once mirrored: the image, and the two boxes."""
    person = cv2.resize(ASTRONAUT[:, :370], (180, 249), interpolation=cv2.INTER_AREA)
    image = np.full([416, 416, 3], 120, np.uint8)
    image[10:259, 10:190], image[150:399, 225:405] = person, person[:, ::-1]
    left, top, width, height = HER_BOX * 180 / 370
    return image, np.array([[10 + left, 10 + top, width, height], [405 - left - width, 150 + top, width, height]])


def _overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:4], (others[:, :2] + others[:, 2:4]))
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    return common / (box[2] * box[3] + np.prod(others[:, 2:4], axis=-1) - common)


def test_people_are_found_where_they_are(detector):
    image, boxes = _two_people()
    found = detect(detector, image, threshold=0.4)
    assert len(found) == 2
    for box in boxes:
        assert _overlap(box, found[:, :4]).max() > 0.85


@pytest.mark.parametrize("width, height", [(512, 512), (1300, 1300), (256, 256), (1536, 1024), (512, 1024)])
def test_a_person_is_found_at_any_size_and_shape_in_pixels_of_the_image(detector, width, height):
    (found,) = detect(detector, cv2.resize(ASTRONAUT, (width, height), interpolation=cv2.INTER_AREA), threshold=0.4)
    assert _overlap(found, HER_BOX[None] * np.tile([width / 512, height / 512], 2)) > 0.85


def test_padding_beside_the_image_is_nobodys_place(detector):
    """Of people at its lower and right edges, boxes end there."""
    image = ASTRONAUT[:330, :300]
    found = detect(detector, image, threshold=0.05)
    assert len(found) and (found[:, :2] >= -0.5).all() and (found[:, 2:4] > 0).all()
    assert (found[:, :2] + found[:, 2:4] <= [299.501, 329.501]).all()
    bottom = found[0, 1] + found[0, 3]
    assert found[0, 4] > 0.5 and bottom > 315


def test_a_batch_is_the_same_as_image_by_image_and_an_empty_scene_has_nobody(detector):
    two = _two_people()[0]
    images = np.stack([two, np.full([416, 416, 3], 90, np.uint8), two[:, ::-1]])
    batched = detector(images, 0.3, 0.5, -1, False)
    assert batched[1].shape[0] == 0
    for image, found in zip(images, batched):
        np.testing.assert_allclose(found, detect(detector, image), atol=0.05)
    assert detector(images[:0], 0.3, 0.5, -1, False).shape[0] == 0


def test_looking_at_the_mirrored_image_too_makes_mirroring_irrelevant(detector):
    image = ASTRONAUT[:, :400]
    one_way = detect(detector, image, threshold=0.2, flip_aug=True)
    other_way = detect(detector, image[:, ::-1], threshold=0.2, flip_aug=True)
    other_way[:, 0] = image.shape[1] - 1 - other_way[:, 0] - other_way[:, 2]
    np.testing.assert_allclose(one_way, other_way, atol=0.5)
    assert one_way[0, 4] >= detect(detector, image, threshold=0.2)[0, 4] - 1e-5


def test_threshold_suppression_and_number_are_honoured(detector):
    image, _ = _two_people()
    loose = detect(detector, image, threshold=0.05)
    assert len(loose) > 3 and (np.diff(loose[:, 4]) <= 0).all()
    np.testing.assert_allclose(detect(detector, image, threshold=0.4), loose[loose[:, 4] >= 0.4])
    np.testing.assert_allclose(detect(detector, image, threshold=0.05, max_detections=3), loose[:3])
    for threshold in (0.3, 0.5, 0.9):  # above a half nothing changes
        apart = detect(detector, image, threshold=0.05, nms_iou_threshold=threshold)
        for i, box in enumerate(apart):
            assert _overlap(box, np.delete(apart, i, axis=0)).max(initial=0) <= min(threshold, 0.5) + 1e-5
    assert len(apart) == len(loose)


def test_a_larger_input_side_finds_smaller_people():
    image = np.full([800, 1200, 3], 120, np.uint8)
    for left, top in ((50, 60), (400, 300), (1000, 650)):
        image[top : top + 72, left : left + 60] = cv2.resize(ASTRONAUT, (60, 72), interpolation=cv2.INTER_AREA)
    n_found = [len(detect(detection.load_detector(input_side=side), image, threshold=0.4)) for side in (224, 1216)]
    assert n_found == [0, 3]


def test_fine_patterns_do_not_alias(detector):
    """Lines of a pixel are gray from afar, at any place, not people or coarser patterns."""
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.integers(0, 2, [1080, 1920, 1], np.uint8) * 255, 3, axis=-1)
    person = cv2.resize(ASTRONAUT, (700, 800), interpolation=cv2.INTER_CUBIC)
    clean = np.full([1080, 1920, 3], 127, np.uint8)
    for image in (clean, noise):
        image[200:1000, 300:1000] = person
    (expected,), (found,) = (detect(detector, image, threshold=0.4) for image in (clean, noise))
    assert _overlap(found, expected[None]) > 0.9 and abs(found[4] - expected[4]) < 0.1


def test_an_exported_detector_finds_the_same(detector, tmp_path):
    tf.saved_model.save(detector, str(tmp_path / "model"))
    arguments = [tf.constant(value) for value in (0.3, 0.5, -1, False)]
    image, _ = _two_people()
    found = tf.saved_model.load(str(tmp_path / "model"))(image[None], *arguments)[0]
    np.testing.assert_allclose(found, detect(detector, image), atol=1e-3)


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["yolov9"], "There is no detector 'yolov9': choose one of nanodet, yolov4, yolov4-tiny."),
        (["nanodet", "my.weights"], "The detector nanodet comes with its weights: leave them out."),
        (["nanodet", None, 400], "The detector's input side is 400 pixels; it must be a multiple of 32."),
        (["yolov4", None, 0], "The detector's input side is 0 pixels; it must be a multiple of 32."),
    ],
)
def test_what_cannot_be_loaded_is_reported(options, sentence):
    with pytest.raises(UserError) as raised:
        detection.load_detector(*options)
    assert str(raised.value) == sentence
