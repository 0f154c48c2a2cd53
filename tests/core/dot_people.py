"""People of four coloured dots, and a crop model that finds them: an oracle for everything around the network.

A dot's place in the crop gives its direction, and its distance from the camera is known, so the crop model's poses are
exact in every virtual camera, however rolled, scaled, mirrored or brightened the crop is. Like a real network it tells
left from right by appearance: by the side of the body, seen from the front, that a dot is on, not by the dot's colour.
"""

import cv2
import numpy as np
import tensorflow as tf

from metrabs_core.skeletons import NATIVE

HEAD, PELVIS, LEFT, RIGHT = range(4)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 255, 255], [255, 0, 255]], np.float64)
# Every native joint lies on one of the dots.
JOINT_DOT = np.array(
    [
        {"l": LEFT, "r": RIGHT}[name[0]]
        if name[0] in "lr"
        else HEAD
        if name in ("head", "htop", "nose", "neck")
        else PELVIS
        for name in NATIVE.joint_names
    ]
)
# A person, mm, seen from the front: x to the right, y down. The person's left is on the right of the picture.
BODY = np.array([[0, -700, 0], [0, 0, 0], [350, -250, -80], [-300, -200, 60]], np.float64)
SIGMA = 12.0
DOT_RADIUS = 3.0


def person(center):
    """Dots of a person in the camera frame, mm: [4, 3]."""
    return BODY + np.array(center, np.float64)


def pose(dots):
    """The native pose of a person of dots: [..., 4, 3] -> [..., 34, 3]."""
    return dots[..., JOINT_DOT, :]


def project(points, intrinsic_matrix, distortion_coeffs, distortion_model=""):
    """Pixels [n, 2] of points [n, 3] in the camera frame, by OpenCV."""
    function = cv2.fisheye.projectPoints if distortion_model == "fisheye" else cv2.projectPoints
    points, zeros = np.reshape(points, (-1, 1, 3)), np.zeros(3)
    return function(points, zeros, zeros, np.float64(intrinsic_matrix), np.float64(distortion_coeffs))[0][:, 0]


def draw(people, intrinsic_matrix, distortion_coeffs, image_size, distortion_model=""):
    """Picture of people in the camera frame [n, 4, 3], through OpenCV's lens model: uint8 [H, W, 3]."""
    height, width = image_size
    picture = np.zeros([height, width, 3])
    y, x = np.mgrid[:height, :width]
    for dots in people:
        for (u, v), color in zip(project(dots, intrinsic_matrix, distortion_coeffs, distortion_model), COLORS):
            blob = np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * DOT_RADIUS**2))
            picture += blob[..., None] * color
    return np.round(np.minimum(picture, 255)).astype(np.uint8)


def boxes(people, intrinsic_matrix, distortion_coeffs, margin=25.0, distortion_model=""):
    """Boxes around the people in the picture: float32 [n, 4]."""
    result = []
    for dots in people:
        pixels = project(dots, intrinsic_matrix, distortion_coeffs, distortion_model)
        low, high = pixels.min(axis=0) - margin, pixels.max(axis=0) + margin
        result.append([*low, *(high - low)])
    return np.float32(result).reshape(-1, 4)


class DotCropModel(tf.Module):
    """Crop model for people of dots.

    Args:
        distances: of the four dots from the camera, mm; the same for all people.
    """

    def __init__(self, distances, crop_side=160, bone_lengths=None):
        super().__init__()
        self.crop_side, self.skeleton, self.bone_lengths = crop_side, NATIVE, bone_lengths
        self.crop_margin, self.max_roll_degrees = 1.0, 25.0
        self._distances = np.float32(distances)
        self.n_traces = 0

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32),
            tf.TensorSpec([None, 3, 3], tf.float32),
        ],
    )
    def estimate(self, crops, intrinsics):
        self.n_traces += 1
        red, green, blue = tf.unstack(crops, axis=-1)
        presence = tf.nn.relu(
            tf.stack(
                [
                    red - tf.maximum(green, blue),
                    green - tf.maximum(red, blue),
                    tf.minimum(green, blue) - red,
                    tf.minimum(red, blue) - green,
                ],
                axis=-1,
            )
        )
        along = tf.range(float(self.crop_side))
        total = tf.reduce_sum(presence, axis=[1, 2]) + 1e-6
        x = tf.einsum("nhwd,w->nd", presence, along) / total
        y = tf.einsum("nhwd,h->nd", presence, along) / total
        rays = tf.einsum("nij,ndj->ndi", tf.linalg.inv(intrinsics), tf.stack([x, y, tf.ones_like(x)], axis=-1))
        dots = rays / tf.norm(rays, axis=-1, keepdims=True) * self._distances[:, None]
        # the left hand of somebody seen from the front is on the right of the line from head to pelvis
        down, arm = dots[:, PELVIS] - dots[:, HEAD], dots[:, LEFT] - dots[:, PELVIS]
        looks_mirrored = down[:, 0] * arm[:, 1] - down[:, 1] * arm[:, 0] > 0
        swapped = tf.gather(dots, [HEAD, PELVIS, RIGHT, LEFT], axis=1)
        dots = tf.where(looks_mirrored[:, None, None], swapped, dots)
        return {"poses3d": tf.gather(dots, JOINT_DOT, axis=1), "uncertainty": tf.fill([tf.shape(x)[0], 34], SIGMA)}


class BoxDetector(tf.Module):
    """Finds given boxes with given scores in every image, by threshold and number; knows nothing of overlap."""

    def __init__(self, detections):
        super().__init__()
        self._detections = np.float32(detections)[np.argsort(-np.float32(detections)[:, 4])]

    def __call__(self, images, threshold, nms_iou_threshold, max_detections, flip_aug):
        found = tf.boolean_mask(self._detections, self._detections[:, 4] >= threshold)
        found = found[: tf.where(max_detections < 1, len(self._detections), max_detections)]
        return tf.RaggedTensor.from_tensor(tf.tile(found[None], [tf.shape(images)[0], 1, 1]))
