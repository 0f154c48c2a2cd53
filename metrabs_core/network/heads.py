"""The parts of the crop model between backbone and heatmaps."""

import keras
import numpy as np
from keras import layers

N_DEPTH_BINS = 8
# A backbone's heatmaps times this, as logits, have about the width that a joint's place is uncertain by.
_SHARPNESS = 1.5
# Of `peak_windows`: sides of the crop, and which joint of the same side is next to a joint
_SHARP, _BROAD = 0.07, 0.15
_NEXT_TO = {"han": "wri", "toe": "ank", "hee": "ank"}


def build_neck(maps: list, channels: int) -> keras.Model:
    """Mix the backbone's channels, then look around each cell once.

    Maps [P/32, P/32, C] and [P/16, P/16, D] become one [P/16, P/16, channels]; a single map keeps its size.
    """
    maps = [layers.Input(m.shape[1:]) for m in maps]
    mixed = [layers.Conv2D(channels, 1, use_bias=False, name=f"mix{i or ''}")(m) for i, m in enumerate(maps)]
    if len(mixed) > 1:
        mixed = [layers.Add()([layers.UpSampling2D(2, interpolation="bilinear")(mixed[0]), mixed[1]])]
    x = shortcut = layers.ReLU(6.0)(layers.BatchNormalization(name="mix_norm")(mixed[0]))
    x = layers.DepthwiseConv2D(5, padding="same", use_bias=False, name="look")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="look_norm")(x))
    x = layers.Conv2D(channels, 1, use_bias=False, name="join")(x)
    x = layers.ReLU(6.0)(layers.Add()([layers.BatchNormalization(name="join_norm")(x), shortcut]))
    return keras.Model(maps if len(maps) > 1 else maps[0], x, name="neck")


def build_overview(features, channels: int, cells: int, n_joints: int, has_planes: bool) -> keras.Model:
    """A branch that sees the whole crop at once, and adds one term per row, column and depth to the heatmaps.

    A convolution treats all places alike, but where a hidden joint is, and how deep, depends on the crop as a whole.
    Returns a model to what is added to the logits: ``volumes`` [N, cells, cells, J, bins] and, for a 2D head,
    ``planes`` [N, cells, cells, J].
    """
    seen = layers.Input(features.shape[1:])
    x = layers.Conv2D(max(1, channels // 8), 1, use_bias=False, name="overview_mix")(seen)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="overview_mix_norm")(x))
    x = layers.Dense(channels, use_bias=False, name="overview_join")(layers.Flatten()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="overview_join_norm")(x))

    def logits(name, *shape):
        size = int(np.prod(shape))
        dense = layers.Dense(size, kernel_initializer=flat(), name=f"overview_{name}", dtype="float32")
        return layers.Reshape(shape, dtype="float32")(dense(x))

    columns, rows = logits("columns", 1, cells, n_joints, 1), logits("rows", cells, 1, n_joints, 1)
    outputs = {"volumes": columns + rows + logits("depths", 1, 1, n_joints, N_DEPTH_BINS)}
    if has_planes:
        outputs["planes"] = logits("columns2d", 1, cells, n_joints) + logits("rows2d", cells, 1, n_joints)
    return keras.Model(seen, outputs, name="overview")


def build_fine_head(maps, joint_names: tuple, heatmap_joints: tuple) -> layers.Conv2D:
    """1x1 convolution from the finest map to logits [N, H, W, J].

    A joint whose heatmap the backbone has starts from that one, so sharpened that it is about as wide as a joint is
    uncertain; the others start flat.
    """
    kernel = np.random.default_rng(0).normal(0, 0.001, [maps.shape[-1], len(joint_names)])
    for j, name in enumerate(joint_names):
        for same in _same_joints(name, heatmap_joints):
            kernel[heatmap_joints.index(same), j] += _SHARPNESS
    head = layers.Conv2D(len(joint_names), 1, use_bias=False, name="fine", dtype="float32")
    head.build(maps.shape)
    head.kernel.assign(kernel[None, None])
    return head


def peak_windows(joint_names: tuple, heatmap_joints: tuple, cells: int) -> tuple[list[int], list[int]]:
    """Where in its fine heatmap each joint is looked for.

    Where the backbone has a heatmap of the joint, that is around the highest peak. Hands and feet are near the peak of
    the wrist or ankle: they have no such heatmap, and would be taken for those of the other side. All other joints are
    looked for in the whole crop.

    Args:
        joint_names: names of the joints.
        heatmap_joints: names of those that the backbone has heatmaps of.
        cells: heatmap cells of a crop, along a side.

    Returns:
        ``radii`` and ``peaks_of`` as ``heatmaps.peak_coordinates`` takes them.
    """
    radii, peaks_of = [], []
    for j, name in enumerate(joint_names):
        next_to = _NEXT_TO.get(name[1:])
        is_sharp = bool(_same_joints(name, heatmap_joints))
        has_neighbour = not is_sharp and next_to and name[0] + next_to in joint_names
        radii.append(round((_SHARP if is_sharp else _BROAD if has_neighbour else 1) * cells))
        peaks_of.append(joint_names.index(name[0] + next_to) if has_neighbour else j)
    return radii, peaks_of


def _same_joints(name: str, heatmap_joints: tuple) -> list[str]:
    # annotators' hips are close to those of the skeleton
    return [same for same in (name, f"{name}_coco") if same in heatmap_joints]


def flat() -> keras.initializers.Initializer:
    """Small weights, so that training starts with flat heatmaps whatever the size of the backbone's features.

    In peaked ones, soft-argmax has hardly a gradient.
    """
    return keras.initializers.RandomNormal(stddev=0.001)
