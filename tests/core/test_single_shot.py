"""What single-shot detectors have in common, with a network whose boxes are given."""

import numpy as np
import tensorflow as tf

from metrabs_core.detection.single_shot import SingleShotDetector


class GivenBoxes(SingleShotDetector):
    """Sees the same boxes (top, left, bottom, right, fractions of the image) in every image."""

    def __init__(self, boxes, scores):
        super().__init__()
        self.boxes, self.scores = boxes, scores

    def _candidates(self, images):
        n = tf.shape(images)[0]
        return tf.tile(tf.constant([self.boxes]), [n, 1, 1]), tf.tile(tf.constant([self.scores]), [n, 1])


def detect(detector, size=(40, 60)):
    images = tf.zeros([1, *size, 3], tf.uint8)
    return detector(images, 0.3, 0.7, -1, False)[0].numpy()


def test_boxes_end_at_the_borders_of_the_image():
    """Left and top borders lie at -0.5 px, right and bottom ones at width - 0.5 and height - 0.5."""
    boxes = [[-0.2, -0.1, 0.5, 1.3], [0.25, 0.5, 0.75, 0.75], [0.9, 0.9, 1.5, 1.01]]
    found = detect(GivenBoxes(boxes, [0.9, 0.8, 0.7]))
    left, top, width, height, score = found.T
    np.testing.assert_allclose(score, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(left, [-0.5, 29.5, 53.5], atol=1e-4)
    np.testing.assert_allclose(top, [-0.5, 9.5, 35.5], atol=1e-4)
    np.testing.assert_allclose(left + width, [59.5, 44.5, 59.5], atol=1e-4)
    np.testing.assert_allclose(top + height, [19.5, 29.5, 39.5], atol=1e-4)
