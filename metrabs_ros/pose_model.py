"""A loaded model as the node uses it."""

import os

import numpy as np

import metrabs_core
from metrabs_msgs.msg import Skeleton
from metrabs_ros.person_messages import skeleton_message

# The network is run on an image of this size (height, width) in advance, as the first run takes much longer.
_WARM_UP_SIZE = (480, 640)


class PoseModel:
    """An exported model with a person detector, loaded and warmed up.

    Attributes:
        device: where it runs, for people to read.
    """

    def __init__(self, path: str):
        """Load a model.

        Args:
            path: directory of an exported model; '' for the packaged one.

        Raises:
            OSError, ValueError: there is no such model; the message is one sentence.
        """
        # TensorFlow would otherwise take all memory of a GPU that others need, too. It reads this when it starts.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        self._model = metrabs_core.load(path or None)
        if not self._model.has_detector:
            raise ValueError(f"The model {path} has no person detector; build a combined model of it.")
        self._model.warm_up(_WARM_UP_SIZE)
        # Not the graph of requests that bring boxes: two seconds more at every start, to save them at the first request
        self.device = _device_name()

    def check_skeleton(self, name: str):
        """Raise ValueError if the model does not have the joint convention `name`; '' is the model's own."""
        known = sorted(self._model.per_skeleton_joint_names)
        if name and name not in known:
            raise ValueError(f"The model has no skeleton {name!r}; it has {', '.join(known)}, and '' for all joints.")

    def skeleton_message(self, name: str) -> Skeleton:
        """Joint names and bones of the joint convention `name`; '' is the model's own."""
        names = self._model.per_skeleton_joint_names
        name = name or next(candidate for candidate in names if names[candidate] == self._model.joint_names)
        return skeleton_message(name, names[name], self._model.per_skeleton_edges[name])

    def detect_poses(self, image, camera: dict, options: dict) -> dict[str, np.ndarray]:
        """The model's `detect_poses` of an RGB image; `camera` and `options` are further arguments of it."""
        return _to_numpy(self._model.detect_poses(image, **camera, **options))

    def estimate_poses(
        self, image: np.ndarray, boxes: np.ndarray, camera: dict, options: dict
    ) -> dict[str, np.ndarray]:
        """The model's `estimate_poses` of an RGB image and boxes [n, 4]; `camera` and `options` as above."""
        return _to_numpy(self._model.estimate_poses(image, boxes, **camera, **options))


def _to_numpy(prediction) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in prediction.items()}


def _device_name() -> str:
    import tensorflow as tf  # only now: it takes seconds, and a node that waits to be configured does not need it

    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name) for gpu in gpus]
    return ", ".join(names) or "CPU"
