"""Crop models as the models for full images use them: frozen out of Keras, or out of an exported model."""

import numpy as np
import tensorflow as tf

from metrabs_core.combined import constant, describe_skeletons
from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton

WEIGHTS_DTYPES = ("float16", "float32")
# Margin and largest roll of test-time augmentation.
_AUTHORS_CROPPING = (1.0, 25.0)
_CROPS = tf.TensorSpec([None, None, None, 3], tf.float32, "crops")
_INTRINSICS = tf.TensorSpec([None, 3, 3], tf.float32, "intrinsics")


class _CropModel(tf.Module):
    """A crop model as the models for full images use it, and as it is exported.

    Args:
        network: function of crops float32 [N, P, P, 3] and intrinsics float32 [N, 3, 3] that returns the dict of
            ``estimate``.
        skeleton: the joints that it predicts.
        crop_side: P, pixels.
        bone_lengths: mean length in millimetres of each of the skeleton's edges; None if unknown.
        crop_margin, max_roll_degrees: see ``metrabs_core.network.crop_model.CropModelConfig``.

    Attributes:
        skeleton, crop_side, bone_lengths, crop_margin, max_roll_degrees: as above.
        joint_names, joint_edges, per_skeleton_joint_names, per_skeleton_edges: as for the models for full images.
        input_resolution, skeleton_name, mean_bone_lengths, cropping: crop_side, skeleton's name, bone_lengths, and
            margin and roll as variables, which an exported model keeps; unknown bone lengths are empty.
        crop_model: the model itself.
    """

    def __init__(self, network, skeleton, crop_side, bone_lengths, crop_margin, max_roll_degrees):
        super().__init__(name="crop_model")
        self.skeleton, self.crop_side = skeleton, crop_side
        self.crop_margin, self.max_roll_degrees = crop_margin, max_roll_degrees
        self.bone_lengths = None if bone_lengths is None else np.float32(bone_lengths)
        # in a closure, so that its variables do not become part of an exported model
        self._network = network
        describe_skeletons(self, skeleton)
        self.input_resolution = constant(crop_side)
        self.skeleton_name = constant(skeleton.name)
        self.mean_bone_lengths = constant(np.float32([] if bone_lengths is None else bone_lengths))
        self.cropping = constant(np.float32([crop_margin, max_roll_degrees]))
        self.crop_model = self

    @tf.function(autograph=False, input_signature=[_CROPS, _INTRINSICS])
    def estimate(self, crops, intrinsics):
        """Poses in crops, with their uncertainty.

        Args:
            crops: float32 [N, P, P, 3], RGB in 0..1.
            intrinsics: float32 [N, 3, 3], of each crop's camera; integer coordinates are pixel centres.

        Returns:
            dict of ``poses3d`` float32 [N, J, 3], millimetres, crop camera frame, and ``uncertainty`` float32 [N, J],
            millimetres, one sigma.
        """
        shape = [None, self.crop_side, self.crop_side, 3]
        message = f"crops: must have shape [N, {self.crop_side}, {self.crop_side}, 3]; theirs is"
        is_right = tf.reduce_all(tf.shape(crops)[1:] == shape[1:])
        with tf.control_dependencies([tf.raw_ops.Assert(condition=is_right, data=[message, tf.shape(crops)])]):
            crops = tf.ensure_shape(tf.identity(crops), shape)
        prediction = self._network(crops, intrinsics)
        return {name: prediction[name] for name in ("poses3d", "uncertainty")}

    @tf.function(autograph=False, input_signature=[_CROPS, _INTRINSICS])
    def __call__(self, crops, intrinsics):
        """The first release's method: as ``estimate``, but poses3d [N, J, 3] alone."""
        return self.estimate(crops, intrinsics)["poses3d"]

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float16, "image"),
            tf.TensorSpec([None, 3, 3], tf.float32, "intrinsic_matrix"),
        ],
    )
    def predict_multi(self, image, intrinsic_matrix):
        """The later releases' method: as ``__call__``, with float16 crops."""
        return self.estimate(tf.cast(image, tf.float32), intrinsic_matrix)["poses3d"]


class FrozenCropModel(_CropModel):
    """A Keras crop model with its weights as constants of the graph: a quarter faster on CPUs than with variables.

    Args:
        crop_model: ``metrabs_core.network.crop_model.CropModel``.
        weights_dtype: "float32", or "float16" to store the weights in half the space. Computation is float32.

    Raises:
        UserError: another ``weights_dtype``.
    """

    def __init__(self, crop_model, weights_dtype="float32"):
        if weights_dtype not in WEIGHTS_DTYPES:
            raise UserError(f"weights_dtype is {weights_dtype!r}; it must be one of {', '.join(WEIGHTS_DTYPES)}.")
        weights = [
            [variable.numpy().astype(weights_dtype) for variable in variables]
            for variables in (crop_model.trainable_variables, crop_model.non_trainable_variables)
        ]

        def network(crops, intrinsics):
            constants = [[tf.cast(tf.constant(array), tf.float32) for array in arrays] for arrays in weights]
            return crop_model.stateless_call(*constants, [crops, intrinsics], training=False)[0]

        config = crop_model.config
        super().__init__(
            network,
            crop_model.skeleton,
            crop_model.crop_side,
            crop_model.bone_lengths,
            config.crop_margin,
            config.max_roll_degrees,
        )


class SavedCropModel(_CropModel):
    """A crop model out of a SavedModel that ``export`` has written.

    Args:
        module: what ``tf.saved_model.load`` returned, or its ``crop_model``.
    """

    def __init__(self, module):
        self._module = module  # its constants must stay alive and be exported again
        skeleton = Skeleton(
            module.skeleton_name.numpy().decode(),
            tuple(read_names(module.joint_names)),
            tuple(map(tuple, module.joint_edges.numpy().tolist())),
        )
        bone_lengths = module.mean_bone_lengths.numpy()
        crop_side = int(module.input_resolution.numpy())
        # models that were exported earlier have no such variable
        cropping = module.cropping.numpy().tolist() if hasattr(module, "cropping") else _AUTHORS_CROPPING
        super().__init__(module.estimate, skeleton, crop_side, bone_lengths if len(bone_lengths) else None, *cropping)


def read_names(variable):
    """The names in a variable of an exported model, list of str."""
    return [name.decode() for name in variable.numpy()]
