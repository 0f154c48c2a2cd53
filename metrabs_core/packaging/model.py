"""A loaded model."""

import functools

import numpy as np

from metrabs_core.combined import CombinedModel, MultipersonModel
from metrabs_core.packaging.arguments import checked_method, only_trace
from metrabs_core.packaging.crop_model import read_names
from metrabs_core.process import find_gpus

_WARM_UP_PEOPLE = (4, 3, 2, 1)
_METHODS = (
    "detect_poses",
    "detect_poses_batched",
    "detect_boxes",
    "detect_boxes_batched",
    "detect_poses_in_boxes",
    "detect_poses_in_boxes_batched",
    "estimate_poses",
    "estimate_poses_batched",
    "predict_single_image",
    "predict_multi_image",
)


class Model:
    """A loaded model.

    It has the methods of ``CombinedModel`` (or, without a detector, of ``MultipersonModel``), which accept NumPy arrays
    and lists as well as tensors and raise a UserError that names the argument where one has a wrong shape or type.

    Attributes:
        joint_names: names of the joints of the model's own skeleton.
        joint_edges: int array [n_edges, 2], the bones of the model's own skeleton.
        per_skeleton_joint_names: dict of skeleton name to joint names.
        per_skeleton_edges: dict of skeleton name to int array [n_edges, 2].
        crop_model: the crop model, callable on crops and intrinsics; see ``metrabs_core.packaging.FrozenCropModel``.
        gpus: names of the GPUs that it runs on; none for the processor.
        has_detector: whether there are ``detect_poses`` and ``detect_poses_batched``.
        card: the model card, a dict.
    """

    def __init__(self, module, card):
        self._module = module
        self.card = card.as_dict()
        self.crop_model, self.gpus = module.crop_model, find_gpus()
        self.has_detector = hasattr(module, "detect_poses")
        self.joint_names = read_names(module.joint_names)
        self.joint_edges = module.joint_edges.numpy()
        self.per_skeleton_joint_names = {k: read_names(v) for k, v in module.per_skeleton_joint_names.items()}
        self.per_skeleton_edges = {k: v.numpy() for k, v in module.per_skeleton_edges.items()}
        declared = CombinedModel if self.has_detector else MultipersonModel
        for name in _METHODS:
            if hasattr(module, name):
                find_trace = functools.partial(only_trace, getattr(module, name))
                setattr(self, name, checked_method(getattr(declared, name), find_trace))

    def warm_up(self, image_size):
        """Run once for images of a size [height, width], with 4, 3, 2 and 1 people, so that later calls start fast."""
        height, width = image_size
        image = np.zeros([height, width, 3], np.uint8)
        for n_people in _WARM_UP_PEOPLE:
            if self.has_detector:
                # every box is a detection
                options = {"detector_threshold": 0.0, "max_detections": n_people}
                self.detect_poses(image, num_aug=1, **options)
            else:
                boxes = np.tile(np.array([[0, 0, width, height]], np.float32), [n_people, 1])
                self.estimate_poses(image, boxes, num_aug=1)
