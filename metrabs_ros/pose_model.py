"""A loaded model as the node uses it: NumPy in and out, names as text."""

import os

import numpy as np

import metrabs_core
from metrabs_msgs.msg import Skeleton
from metrabs_ros.person_messages import skeleton_message

_WARM_UP_SIZE = (480, 640)  # height, width


class PoseModel:
    """An exported model, loaded.

    Attributes:
        device: where it runs, for people to read.
    """

    def __init__(self, path: str):
        """Load a model.

        Args:
            path: directory of an exported model; '' for the packaged one.

        Raises:
            Exception: as `metrabs_core.load`, with a message of one sentence.
        """
        # TensorFlow would otherwise take all memory of a GPU that others need, too. It reads this once, when it starts.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._model = metrabs_core.load(path or None)
        self.device = _device_name()

    def check_skeleton(self, name: str):
        """Raise ValueError if the model does not have the joint convention `name`; '' is the model's own."""
        known = sorted(filter(None, self._model.per_skeleton_joint_names))
        if name and name not in known:
            raise ValueError(f"The model has no skeleton {name!r}; it has {', '.join(known)}, and '' for all joints.")

    def skeleton_message(self, name: str) -> Skeleton:
        """Joint names and bones of the joint convention `name`; '' is the model's own."""
        if name:
            joint_names, edges = self._model.per_skeleton_joint_names[name], self._model.per_skeleton_edges[name]
        else:
            joint_names, edges = self._model.joint_names, self._model.joint_edges
        names = [joint.decode() if isinstance(joint, bytes) else str(joint) for joint in np.asarray(joint_names)]
        return skeleton_message(name or f"native_{len(names)}", names, np.asarray(edges).tolist())

    def detect_poses(self, image: np.ndarray, camera: dict, options: dict) -> dict[str, np.ndarray]:
        """The model's `detect_poses` of an RGB image; `camera` and `options` are further arguments of it."""
        return _to_numpy(self._model.detect_poses(image, **camera, **options))

    def estimate_poses(
        self, image: np.ndarray, boxes: np.ndarray, camera: dict, options: dict
    ) -> dict[str, np.ndarray]:
        """The model's `estimate_poses` of an RGB image and boxes [n, 4]; `camera` and `options` as above."""
        return _to_numpy(self._model.estimate_poses(image, boxes, **camera, **options))

    def warm_up(self):
        """Run everything once, so that the first image takes no longer than the others."""
        image = np.zeros([*_WARM_UP_SIZE, 3], np.uint8)
        camera = {"default_fov_degrees": 55.0}
        self.detect_poses(image, camera, {})
        self.estimate_poses(image, np.array([[100, 100, 100, 300]], np.float32), camera, {})


def _to_numpy(prediction) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in prediction.items()}


def _device_name() -> str:
    import tensorflow as tf  # only now: it takes seconds, and a node that only waits to be configured needs none of it

    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return ", ".join(tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus)
