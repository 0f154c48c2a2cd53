"""A stage after the heads that corrects a pose, above all its depths, by how people pose.

An image shows little of depth, and heads that have learned from renderings are too cautious with real people: their
poses come out too flat. Which depths go with which joints in the image depends mostly on the pose, so this stage can
learn it from millions of poses without pictures (see ``training.simulated_heads``).
"""

import keras
from keras import layers, ops

# A joint closer to the crop's border than this fraction of its side counts as unseen.
_BORDER = 0.04
_N_BLOCKS = 3
# Lifted poses are at least this large, unless nothing was learned; in the unit of the poses, millimetres or metres.
_SMALLEST = 1e-4


def build_depth_stage(n_joints: int, channels: int) -> keras.Model:
    """Build the stage with random weights; it begins by changing nothing.

    Args:
        n_joints: J.
        channels: width of its layers.

    Returns:
        Model of a list of

        - points float32 [N, J, 2]: joints in the image, in sides of the crop, about its middle;
        - coords3d float32 [N, J, 3]: the 3D head's pose, metres, up to a translation;
        - spread float32 [N, J]: of the joints' volumetric heatmaps, metres;
        - focal float32 [N, 1]: focal length in sides of the crop;

        to a list of two poses float32 [N, J, 3], metres, about their mean: the 3D head's corrected, and one lifted from
        the joints in the image alone, without the 3D head's errors.
    """
    points, coords3d = layers.Input([n_joints, 2]), layers.Input([n_joints, 3])
    spread, focal = layers.Input([n_joints]), layers.Input([1])
    seen = ops.cast(ops.all(ops.abs(points) < 0.5 - _BORDER, axis=-1), "float32")
    about_mean = coords3d - ops.mean(coords3d, axis=1, keepdims=True)
    in_image, in_space = (layers.Flatten()(part) for part in (4 * points * seen[..., None], 3 * about_mean))
    everything = layers.Concatenate()([in_image, in_space, seen, 5 * spread, 1 / focal])
    corrected = about_mean + _poses_of(everything, n_joints, channels, "depth")
    lifted = _poses_of(layers.Concatenate()([in_image, seen, 1 / focal]), n_joints, channels, "lift")
    return keras.Model([points, coords3d, spread, focal], [corrected, lifted], name="depth_stage")


def combine(coords3d, corrected, lifted):
    """The mean of what the 3D head says and of both poses of the stage, float32 [N, J, 3] each, about its mean.

    The stage has learned from simulated errors, the heads from rendered people, and one of the three has never seen the
    head's depths. Their errors with real people are different ones, and in the mean they cancel in part. How large a
    person is, joints in the image don't tell, so the lifted pose is made as large as the head's. As long as a stage has
    not learned to lift poses, the head's counts in their place.
    """
    about_mean = coords3d - ops.mean(coords3d, axis=1, keepdims=True)
    size = _size_in_image(lifted)
    lifted = ops.where(size > _SMALLEST, lifted * (_size_in_image(about_mean) / size), about_mean)
    return (about_mean + corrected + lifted) / 3


def _poses_of(x, n_joints: int, channels: int, name: str):
    x = layers.Dense(channels, name=f"{name}_in")(x)
    for i in range(_N_BLOCKS):
        shortcut = x
        x = layers.ReLU()(layers.LayerNormalization(name=f"{name}{i}_norm")(x))
        x = layers.ReLU()(layers.Dense(channels, name=f"{name}{i}_wide")(x))
        x = layers.Dense(channels, name=f"{name}{i}_add")(x)
        x = layers.Add()([x, shortcut])
    x = layers.ReLU()(layers.LayerNormalization(name=f"{name}_norm")(x))
    return layers.Reshape([n_joints, 3])(layers.Dense(3 * n_joints, kernel_initializer="zeros", name=f"{name}_out")(x))


def _size_in_image(poses):
    """Extent [N, 1, 1] of poses about their mean, across the line of sight."""
    # the square root of zero has no gradient
    return ops.sqrt(ops.maximum(ops.sum(ops.square(poses[..., :2]), axis=(1, 2), keepdims=True), _SMALLEST**2))
