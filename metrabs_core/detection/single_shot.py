"""What detectors of one network pass have in common: looking at the mirrored pictures too, choosing among the boxes."""

import tensorflow as tf

from metrabs_core import rules


class SingleShotDetector(tf.Module):
    """A detector (see ``metrabs_core.detection.Detector``); a subclass has its network.

    That is a method ``_candidates(images)``: uint8 [n, H, W, 3], n > 0 -> boxes float32 [n, m, 4] (top, left, bottom,
    right as fractions of the image, 0 and 1 are its borders) and scores float32 [n, m] (below 0: never a detection).

    Attributes:
        max_iou: of two boxes that overlap more than this only the better one stays, whatever a caller's threshold is.
    """

    max_iou = 1.0

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, "images"),
            tf.TensorSpec([], tf.float32, "threshold"),
            tf.TensorSpec([], tf.float32, "nms_iou_threshold"),
            tf.TensorSpec([], tf.int32, "max_detections"),
            tf.TensorSpec([], tf.bool, "flip_aug"),
        ],
    )
    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        """Find people: see ``metrabs_core.detection.Detector``."""
        n_images = tf.shape(images)[0]
        # an empty batch stops the convolutions: give them something to do and drop it below
        images = tf.cond(n_images == 0, lambda: tf.zeros([1, 1, 1, 3], tf.uint8), lambda: images)
        # one pass for both, so that the graph has the network once
        both = tf.cond(flip_aug, lambda: tf.concat([images, tf.reverse(images, axis=[2])], axis=0), lambda: images)
        boxes, scores = self._candidates(both)
        boxes, scores = tf.cond(flip_aug, lambda: _join_mirrored(boxes, scores), lambda: (boxes, scores))
        limit = tf.where(max_detections < 1, rules.MAX_BOXES, max_detections)
        found = tf.image.combined_non_max_suppression(
            boxes[:n_images, :, tf.newaxis],
            scores[:n_images, :, tf.newaxis],
            max_output_size_per_class=limit,
            max_total_size=limit,
            iou_threshold=tf.minimum(nms_iou_threshold, self.max_iou),
            score_threshold=threshold,
            clip_boxes=True,
        )
        top, left, bottom, right = tf.unstack(found.nmsed_boxes, axis=-1)
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        # the borders of the image are half a pixel outside the centres of its outermost pixels
        result = [left * width - 0.5, top * height - 0.5, (right - left) * width, (bottom - top) * height]
        detections = tf.stack([*result, found.nmsed_scores], axis=-1)
        return tf.RaggedTensor.from_tensor(detections, lengths=found.valid_detections)


def resize(images, size):
    """Images of another size: interpolated, or averaged over areas where they are shrunk to less than half.

    Args:
        images: uint8 [n, H, W, 3].
        size: int32 [2], height and width.

    Returns:
        float32 [n, height, width, 3], 0..255.
    """
    shrinking = tf.reduce_max(tf.shape(images)[1:3] / size)
    return tf.cond(
        shrinking > rules.MAX_INTERPOLATED,
        lambda: tf.raw_ops.ResizeArea(images=images, size=size),
        lambda: tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=True),
    )


def _join_mirrored(boxes, scores):
    """Candidates of n images and of the same n mirrored, [2 n, m, ...] -> [n, 2 m, ...], all as in the images."""
    boxes, mirrored = tf.split(boxes, 2)
    top, left, bottom, right = tf.unstack(mirrored, axis=-1)
    mirrored_back = tf.stack([top, 1.0 - right, bottom, 1.0 - left], axis=-1)
    return tf.concat([boxes, mirrored_back], axis=1), tf.concat(tf.split(scores, 2), axis=1)
