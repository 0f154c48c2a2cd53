"""Videos of people who are rectangles, and an exported model that finds them: an oracle for the video command.

A red and a blue rectangle are two people, 1700 mm tall, all of whose joints are at one depth; where a joint is in the
rectangle depends on its name alone. The score is the brightness of the colour.
"""

import numpy as np
import tensorflow as tf

from metrabs_core.combined import UNKNOWN_INTRINSIC_MATRIX, CombinedModel
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix

PERSON_HEIGHT = 1700.0  # mm
FISHEYE_DEPTH = 77.0  # mm
UNCERTAINTY = 42.0  # mm
_NO_EXTRINSICS = np.eye(4, dtype=np.float32)
_HEIGHTS = {"head": 0.06, "neck": 0.17, "sho": 0.2, "elb": 0.37, "hip": 0.5, "wri": 0.52, "kne": 0.74, "ank": 0.95}
# Joints in the rectangle, 0..1: from the top down by the name, left and right of the middle by the side.
FRACTIONS = np.float32(
    [
        [
            {"l": 0.7, "r": 0.3}.get(name[0], 0.5) if name not in ("pelv", "neck", "nose") else 0.5,
            next((height for part, height in _HEIGHTS.items() if part in name), 0.99 if "toe" in name else 0.45),
        ]
        for name in NATIVE.joint_names
    ]
)


def expected_poses2d(box) -> np.ndarray:
    """Joints in the image, [34, 2] px, of the person in a box (left, top, width, height)."""
    return np.asarray(box[:2]) + FRACTIONS * np.asarray(box[2:4])


def expected_poses3d(box, intrinsic_matrix, distortion_coeffs=(0,), distortion_model="") -> np.ndarray:
    """Joints [34, 3] mm; one millimetre further away for each unit of the distortion coefficients' sum, and
    further away in a fisheye picture."""
    matrix = np.asarray(intrinsic_matrix, np.float64)
    depth = PERSON_HEIGHT * matrix[1, 1] / box[3] + np.sum(distortion_coeffs)
    depth += FISHEYE_DEPTH * (distortion_model == "fisheye")
    homogeneous = np.concatenate([expected_poses2d(box), np.ones([NATIVE.n_joints, 1])], axis=1)
    return depth * homogeneous @ np.linalg.inv(matrix).T


def picture(red=None, blue=None, size=(160, 120), scores=(0.9, 0.9)) -> np.ndarray:
    """RGB image with a red and a blue rectangle, each (left, top, width, height) in whole pixels, or absent."""
    image = np.full([size[1], size[0], 3], 12, np.uint8)
    for channel, box, score in ((0, red, scores[0]), (2, blue, scores[1])):
        if box is not None:
            left, top, width, height = box
            image[top : top + height, left : left + width, channel] = round(255 * score)
    return image


class RectangleModel(tf.Module):
    """Has what the video command asks of an exported model.

    Args:
        seconds: that each image takes at least.
    """

    def __init__(self, seconds=0.0):
        super().__init__()
        self.crop_model = tf.Module()
        self._seconds = seconds
        self.joint_names = tf.Variable(NATIVE.joint_names, trainable=False)
        self.joint_edges = tf.Variable(NATIVE.edges, trainable=False)
        known = {name: SKELETONS[name] for name in (NATIVE.name, "smpl_24")}
        self.per_skeleton_joint_names = {k: tf.Variable(s.joint_names, trainable=False) for k, s in known.items()}
        self.per_skeleton_edges = {k: tf.Variable(s.edges, trainable=False) for k, s in known.items()}
        self._smpl = conversion_matrix(SKELETONS["smpl_24"])

    @tf.function(input_signature=[])
    def detect_poses(self):
        return ()

    @tf.function(input_signature=CombinedModel.detect_poses_batched.input_signature)
    def detect_poses_batched(
        self,
        images,
        intrinsic_matrix=(UNKNOWN_INTRINSIC_MATRIX,),
        distortion_coeffs=((0.0,) * 5,),
        extrinsic_matrix=(_NO_EXTRINSICS,),
        world_up_vector=(0.0, -1.0, 0.0),
        default_fov_degrees=55.0,
        internal_batch_size=64,
        antialias_factor=1,
        num_aug=5,
        average_aug=True,
        skeleton="",
        detector_threshold=0.3,
        detector_nms_iou_threshold=0.7,
        max_detections=-1,
        detector_flip_aug=False,
        suppress_implausible_poses=True,
        distortion_model=("",),
    ):
        end = tf.timestamp() + self._seconds * tf.cast(tf.shape(images)[0], tf.float64)
        tf.while_loop(lambda _: tf.timestamp() < end, lambda x: [tf.linalg.matmul(x, x)], [tf.zeros([64, 64])])
        brightness = tf.cast(images, tf.float32) / 255
        boxes = tf.stack([_box_of(brightness[..., channel]) for channel in (0, 2)], axis=1)
        boxes = tf.ragged.boolean_mask(boxes, boxes[..., 4] >= detector_threshold)
        flat = boxes.values
        depth = PERSON_HEIGHT * intrinsic_matrix[0, 1, 1] / flat[:, 3] + tf.reduce_sum(distortion_coeffs)
        depth += tf.where(distortion_model[0] == "fisheye", FISHEYE_DEPTH, 0.0)
        poses2d = flat[:, tf.newaxis, :2] + FRACTIONS * flat[:, tf.newaxis, 2:4]
        rays = tf.einsum(
            "ij,njk->nik", tf.linalg.inv(intrinsic_matrix[0]), tf.transpose(_homogeneous(poses2d), [0, 2, 1])
        )
        poses3d = depth[:, tf.newaxis, tf.newaxis] * tf.transpose(rays, [0, 2, 1])
        matrix = tf.cond(skeleton == "smpl_24", lambda: tf.constant(self._smpl), lambda: tf.eye(NATIVE.n_joints))
        poses2d, poses3d = (tf.einsum("jk,nkc->njc", matrix, poses) for poses in (poses2d, poses3d))
        result = {"boxes": flat, "poses3d": poses3d, "poses2d": poses2d}
        result["uncertainties"] = tf.fill(tf.shape(poses2d)[:2], UNCERTAINTY)
        return {name: boxes.with_values(values) for name, values in result.items()}

    @tf.function(input_signature=[])
    def estimate_poses(self):
        return ()


def _box_of(brightness):
    """Boxes [n, 5] around what is bright in images [n, H, W]; their score is its brightness, 0 for none."""
    bright = brightness > 0.15
    edges = []
    for axis in (2, 1):
        present = tf.reduce_any(bright, axis=3 - axis)
        first = tf.argmax(present, axis=-1)
        edges += [first, tf.shape(present, tf.int64)[1] - tf.argmax(tf.reverse(present, [1]), axis=-1) - first]
    left, width, top, height = [tf.cast(edge, tf.float32) for edge in edges]
    score = tf.reduce_max(tf.where(bright, brightness, 0.0), axis=[1, 2])
    return tf.stack([left - 0.5, top - 0.5, width, height, score], axis=-1)


def _homogeneous(points):
    return tf.concat([points, tf.ones_like(points[..., :1])], axis=-1)


def export(path, seconds=0.0):
    """Write the model to a directory as a SavedModel."""
    tf.saved_model.save(RectangleModel(seconds), str(path))
