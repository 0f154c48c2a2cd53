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

        to the corrected pose float32 [N, J, 3], metres, about its mean.
    """
    points, coords3d = layers.Input([n_joints, 2]), layers.Input([n_joints, 3])
    spread, focal = layers.Input([n_joints]), layers.Input([1])
    seen = ops.cast(ops.all(ops.abs(points) < 0.5 - _BORDER, axis=-1), "float32")
    about_mean = coords3d - ops.mean(coords3d, axis=1, keepdims=True)
    parts = [4 * points * seen[..., None], 3 * about_mean]
    parts = [layers.Flatten()(part) for part in parts]
    x = layers.Concatenate()([*parts, seen, 5 * spread, 1 / focal])
    x = layers.Dense(channels, name="depth_in")(x)
    for i in range(_N_BLOCKS):
        shortcut = x
        x = layers.ReLU()(layers.LayerNormalization(name=f"depth{i}_norm")(x))
        x = layers.ReLU()(layers.Dense(channels, name=f"depth{i}_wide")(x))
        x = layers.Dense(channels, name=f"depth{i}_add")(x)
        x = layers.Add()([x, shortcut])
    x = layers.ReLU()(layers.LayerNormalization(name="depth_norm")(x))
    change = layers.Dense(3 * n_joints, kernel_initializer="zeros", name="depth_out")(x)
    return keras.Model(
        [points, coords3d, spread, focal], about_mean + layers.Reshape([n_joints, 3])(change), name="depth_stage"
    )
