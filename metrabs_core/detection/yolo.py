"""YOLOv4 person detectors from Darknet's files of weights."""

import numpy as np
import tensorflow as tf

from metrabs_core.detection.darknet import read_network
from metrabs_core.detection.single_shot import SingleShotDetector, resize
from metrabs_core.detection.yolov4 import yolov4, yolov4_tiny
from metrabs_core.errors import UserError

_ARCHITECTURES = {"yolov4": yolov4, "yolov4-tiny": yolov4_tiny}
_PERSON = 0  # the first class of COCO
_GRAY = 127.5


def load_yolov4(name, weights_path, input_side):
    """YOLOv4 with its input of a side in pixels.

    Raises:
        UserError: there are no weights, or they do not fit.
    """
    if not weights_path.is_file():
        raise UserError(
            f"The weights of the detector {name} are not in {weights_path}. Download them with `metrabs-train "
            f"fetch-detector {name}` or from the releases of the Darknet project."
        )
    return Yolo(_ARCHITECTURES[name](), weights_path, (input_side, input_side))


class Yolo(SingleShotDetector):
    """Person detector (see ``metrabs_core.detection.Detector``).

    Images are letterboxed: shrunk or enlarged to fit into the network's input with their aspect ratio kept, the rest is
    gray.

    Args:
        sections: layers of the network, see ``darknet.read_network``; the first of its classes must be the person.
        weights_path: Darknet's ``.weights`` file.
        input_size: height and width of the network's input, multiples of 32, if not those of the first section: smaller
            is faster, larger finds smaller people.

    Raises:
        UserError: the file does not fit, see ``darknet.read_network``.
    """

    def __init__(self, sections, weights_path, input_size=None):
        super().__init__(name="yolo")
        network = read_network(sections, weights_path, input_size)
        self._input_size = network.input_shape[1:3]
        # These alone are exported, not the Keras model around them. Constants of the graph, which make the small crop
        # model faster, make a network of this size no faster, but its first call takes five times as long.
        self._weights = [variable.value for variable in network.variables]
        self._network = lambda pictures: network(pictures, training=False)

    def _candidates(self, images):
        size, before = self._letterbox(tf.shape(images)[1:3])
        found = self._network(self._picture(images, size, before))
        # from fractions of the network's input to fractions of the image, y before x
        start, extent = [tf.cast(value, tf.float32) / np.float32(self._input_size) for value in (before, size)]
        center, half_size = (found[..., 1::-1] - start) / extent, found[..., 3:1:-1] / extent / 2.0
        # never in the gray beside the image
        is_inside = tf.reduce_all((center >= 0.0) & (center <= 1.0), axis=-1)
        scores = tf.where(is_inside, found[..., 4] * found[..., 5 + _PERSON], -1.0)
        return tf.concat([center - half_size, center + half_size], axis=-1), scores

    def _picture(self, images, size, before):
        after = self._input_size - size - before
        pads = tf.concat([[[0, 0]], tf.stack([before, after], axis=-1), [[0, 0]]], axis=0)
        pictures = tf.pad(resize(images, size), pads, constant_values=_GRAY)
        return tf.ensure_shape(pictures, [None, *self._input_size, 3]) / 255.0

    def _letterbox(self, image_size):
        """Size of the image in the network's input, and how much gray is before it: int32 [2] each, vertical first."""
        image_height, image_width = tf.unstack(image_size)
        height, width = self._input_size
        is_wide = width * image_height < height * image_width
        size = tf.where(
            is_wide,
            tf.stack([image_height * width // image_width, width]),
            tf.stack([height, image_width * height // image_height]),
        )
        size = tf.maximum(size, 1)
        return size, (self._input_size - size) // 2
