"""The crop model: backbone, heatmap heads and scale recovery in one Keras model."""

import json
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from metrabs_core.network import heatmaps, scale_recovery
from metrabs_core.network.backbones import build_backbone, find_backbone
from metrabs_core.skeletons import SKELETONS, Skeleton

SCALE_RECOVERIES = ("metrabs", "metro", "bone-lengths", "bone-lengths-true", "true-root-depth")
_N_DEPTH_BINS = 8
_SHARPNESS = 1.5


class CropModel(keras.Model):
    """Pose of the person in a crop.

    Called on ``[crops, intrinsics]``: crops float32 [N, P, P, 3], RGB in 0..1, and intrinsics float32 [N, 3, 3] of each
    crop's camera. Returns a dict:

    - ``poses3d``: float32 [N, J, 3], millimetres, crop camera frame (relative to an arbitrary origin for ``metro``);
    - ``uncertainty``: float32 [N, J], millimetres: one sigma, from the spread of the joint's volumetric heatmap;
    - ``points2d``: float32 [N, J, 2], the 2D head, pixels of the crop;
    - ``coords3d``: float32 [N, J, 3], the 3D head, millimetres up to a translation.

    Args:
        backbone: name of a backbone, see ``metrabs_core.network.backbones``.
        skeleton: joints to predict, by the name of a skeleton.
        crop_side: P, side of the square crops in pixels.
        stride: pixels between heatmap cells; may be smaller at test time than in training, with the same weights.
        train_stride: stride of training, which sets the margin within which joints count as in view.
        scale_recovery: one of ``SCALE_RECOVERIES``.
        weak_perspective: how MeTRAbs finds the reference point.
        head_channels: width of a neck between backbone and heads; 0 for the paper's plain 1x1 convolution. A backbone
            of two maps needs a neck.
        overview_channels: width of a branch that sees the whole crop at once, and adds to the heatmaps what each of
            their rows, columns and depths as a whole has for it; 0 for none. With it, the stride is that of training.
        box_size_mm: side of the cube that the volumetric heatmap spans.
        bone_lengths: means of the training set in millimetres, one per edge of the skeleton: what ``bone-lengths``
            makes bones match, and what the plausibility of a pose is judged by.
        uncertainty_scale: factor from the heatmap's spread to the root mean square error on validation data; one for
            all joints, or one each.
    """

    def __init__(
        self,
        backbone: str = "blazepose",
        skeleton: str = "native_34",
        crop_side: int = 256,
        stride: int = 32,
        train_stride: int = 32,
        scale_recovery: str = "metrabs",
        weak_perspective: bool = True,
        head_channels: int = 0,
        overview_channels: int = 0,
        box_size_mm: float = 2200.0,
        bone_lengths: list[float] | None = None,
        uncertainty_scale: float | list[float] = 1.0,
        **kwargs,
    ):
        if scale_recovery not in SCALE_RECOVERIES:
            raise ValueError(f"scale_recovery is {scale_recovery!r}; it must be one of {', '.join(SCALE_RECOVERIES)}.")
        # intrinsics must keep their precision under mixed precision; the layers cast what they get by themselves
        super().__init__(autocast=False, **kwargs)
        self.config = {
            "backbone": backbone,
            "skeleton": skeleton,
            "crop_side": crop_side,
            "stride": stride,
            "train_stride": train_stride,
            "scale_recovery": scale_recovery,
            "weak_perspective": weak_perspective,
            "head_channels": head_channels,
            "overview_channels": overview_channels,
            "box_size_mm": box_size_mm,
            "bone_lengths": bone_lengths,
            "uncertainty_scale": uncertainty_scale,
        }
        self.skeleton: Skeleton = SKELETONS[skeleton]
        self.crop_side = crop_side
        self.stride = stride
        self.train_stride = train_stride
        self.scale_recovery = scale_recovery
        self.weak_perspective = weak_perspective
        self.box_size_mm = box_size_mm
        self.bone_lengths = bone_lengths
        self.uncertainty_scale = uncertainty_scale
        self.backbone = build_backbone(backbone, crop_side, stride)
        self._first_cell = find_backbone(backbone).first_cell
        if len(self.backbone.outputs) > 1 and not head_channels:
            raise ValueError(f"The backbone {backbone} gives several maps: set head_channels, the width of their neck.")
        self.neck = _build_neck(self.backbone.outputs[:2], head_channels) if head_channels else None
        self.has_2d_head = scale_recovery == "metrabs"
        n_maps = self.skeleton.n_joints * (_N_DEPTH_BINS + int(self.has_2d_head))
        if overview_channels and stride != train_stride:
            raise ValueError(f"With an overview, the stride must be that of training, {train_stride}; it is {stride}.")
        # Small weights, so that training starts with flat heatmaps whatever the size of the backbone's features: in
        # peaked ones, soft-argmax has hardly a gradient.
        self.head = layers.Conv2D(n_maps, 1, kernel_initializer=_flat(), name="head", dtype="float32")
        self.overview = None
        if overview_channels:
            self.overview = _build_overview(
                self.backbone.outputs[0],
                overview_channels,
                crop_side // stride,
                self.skeleton.n_joints,
                self.has_2d_head,
            )
        self.fine = None
        self.enlarge = layers.UpSampling2D(4, interpolation="bilinear", dtype="float32")
        if self.has_2d_head and len(self.backbone.outputs) > 2:
            self.fine = _build_fine_head(
                self.backbone.outputs[2], self.skeleton.joint_names, find_backbone(backbone).heatmap_joints
            )
        self.build()

    def build(self, input_shape=None):
        """Create the weights of the head; the rest has its own."""
        features = (self.neck or self.backbone).output
        if not self.head.built:
            self.head.build(features.shape)
        self.built = True

    def get_config(self):
        """Arguments to build the same model with."""
        return dict(self.config)

    def call(self, inputs, training=False):
        """Compute poses; see the class for shapes."""
        crops, intrinsics = inputs
        maps = self.backbone(crops, training=training)
        return self.read_maps(maps if isinstance(maps, list | tuple) else [maps], intrinsics, training=training)

    def read_maps(self, maps, intrinsics, training=False):
        """Poses from the list of the backbone's maps, instead of crops; see the class for the rest."""
        features = (
            maps[0] if self.neck is None else self.neck(maps[:2] if len(maps) > 1 else maps[0], training=training)
        )
        overview = None if self.overview is None else self.overview(maps[0], training=training)
        fine = None if self.fine is None else self.fine(maps[2])
        points2d, coords3d, uncertainty = self._read_heads(self.head(features), overview, fine)
        return {
            "poses3d": self._recover_scale(points2d, coords3d, intrinsics),
            "uncertainty": uncertainty,
            "points2d": points2d,
            "coords3d": coords3d,
        }

    def _read_heads(self, maps, overview, fine):
        n_joints = self.skeleton.n_joints
        height, width = maps.shape[1:3]
        volumes = maps[..., : n_joints * _N_DEPTH_BINS]
        volumes = ops.reshape(volumes, [-1, height, width, n_joints, _N_DEPTH_BINS])
        if overview is not None:
            volumes = volumes + overview["volumes"]
        coords, deviations = heatmaps.soft_argmax(volumes, (2, 1, 4))
        spread = ops.sqrt(ops.sum(ops.square(deviations), axis=-1))
        uncertainty = np.multiply(self.uncertainty_scale, self.box_size_mm).astype("float32") * spread
        grid = self.crop_side, self.stride, self._first_cell(self.stride)
        coords3d = heatmaps.to_metric(coords, *grid, self.box_size_mm)
        if not self.has_2d_head:
            return heatmaps.to_pixels(coords[..., :2], *grid), coords3d, uncertainty
        planes = maps[..., n_joints * _N_DEPTH_BINS :]
        if overview is not None:
            planes = planes + overview["planes"]
        if fine is not None:
            # the coarse map says whose joint it is and where about, the fine one where exactly
            factor = fine.shape[1] // height
            grid = self.crop_side, self.stride // factor, self._first_cell(self.stride // factor)
            planes = self.enlarge(planes) + fine
        points, _ = heatmaps.soft_argmax(planes, (2, 1))
        return heatmaps.to_pixels(points, *grid), coords3d, uncertainty

    def _recover_scale(self, points2d, coords3d, intrinsics):
        if self.scale_recovery == "metrabs":
            return scale_recovery.reconstruct_absolute(
                points2d, coords3d, intrinsics, self.crop_side, self.train_stride, self.weak_perspective
            )
        if self.scale_recovery == "bone-lengths" and self.bone_lengths is not None:
            return self.reconstruct_from_bones(points2d, coords3d, intrinsics, self.bone_lengths)
        return coords3d

    def reconstruct_from_bones(self, points2d, coords3d, intrinsics, bone_lengths):
        """2.5D: absolute poses float32 [N, J, 3] mm by target bone lengths float32 [E] or [N, E] mm."""
        normalized = scale_recovery.normalize(points2d, intrinsics)
        depths = coords3d[..., 2] - coords3d[:, :1, 2]
        lengths = ops.convert_to_tensor(bone_lengths, "float32")
        root = scale_recovery.root_depth_from_bones(normalized, depths, self.skeleton.edges, lengths)
        return scale_recovery.back_project(normalized, (depths + root[:, None])[..., None])


def _build_neck(maps: list, channels: int) -> keras.Model:
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


def _build_overview(features, channels: int, cells: int, n_joints: int, has_planes: bool) -> keras.Model:
    """What each row, column and depth of the heatmaps has for it, seen from the whole crop.

    A convolution sees the same everywhere but for what reaches it from the borders; where a joint is that something
    hides, or how deep, is rather a matter of the whole. Gives what to add to the logits: ``volumes`` [N, cells, cells,
    J, bins] and, for a 2D head, ``planes`` [N, cells, cells, J].
    """
    seen = layers.Input(features.shape[1:])
    x = layers.Conv2D(max(1, channels // 8), 1, use_bias=False, name="overview_mix")(seen)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="overview_mix_norm")(x))
    x = layers.Dense(channels, use_bias=False, name="overview_join")(layers.Flatten()(x))
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="overview_join_norm")(x))

    def logits(name, *shape):
        size = int(np.prod(shape))
        dense = layers.Dense(size, kernel_initializer=_flat(), name=f"overview_{name}", dtype="float32")
        return layers.Reshape(shape, dtype="float32")(dense(x))

    columns, rows = logits("columns", 1, cells, n_joints, 1), logits("rows", cells, 1, n_joints, 1)
    outputs = {"volumes": columns + rows + logits("depths", 1, 1, n_joints, _N_DEPTH_BINS)}
    if has_planes:
        outputs["planes"] = logits("columns2d", 1, cells, n_joints) + logits("rows2d", cells, 1, n_joints)
    return keras.Model(seen, outputs, name="overview")


def _build_fine_head(maps, joint_names: tuple, heatmap_joints: tuple) -> layers.Conv2D:
    """1x1 convolution from the finest map to logits [N, H, W, J].

    A joint whose heatmap the backbone has starts from that one, so sharpened that it is about as wide as a joint is
    uncertain; the others start flat.
    """
    kernel = np.random.default_rng(0).normal(0, 0.001, [maps.shape[-1], len(joint_names)])
    for j, name in enumerate(joint_names):
        for same in (name, f"{name}_coco"):  # annotators' hips are close to those of the skeleton
            if same in heatmap_joints:
                kernel[heatmap_joints.index(same), j] += _SHARPNESS
    head = layers.Conv2D(len(joint_names), 1, use_bias=False, name="fine", dtype="float32")
    head.build(maps.shape)
    head.kernel.assign(kernel[None, None])
    return head


def _flat():
    return keras.initializers.RandomNormal(stddev=0.001)


def save_weights_dir(model: CropModel, path: str | Path, card: dict, dtype: str = "float16") -> None:
    """Write a crop model as ``weights.npz`` and ``model_card.json`` into a folder, each by rename.

    Args:
        model: the model.
        path: folder, created if needed.
        card: what to tell about the model; its key ``crop_model`` is set to the model's configuration.
        dtype: how weights are stored; computation is float32 all the same.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    arrays = {f"{i:03d}": ops.convert_to_numpy(w).astype(dtype) for i, w in enumerate(model.weights)}
    temporary = path / "weights.tmp.npz"
    np.savez_compressed(temporary, **arrays)
    temporary.rename(path / "weights.npz")
    card = {**card, "crop_model": model.get_config(), "weights_dtype": dtype}
    temporary = path / "model_card.tmp.json"
    temporary.write_text(json.dumps(card, indent=2) + "\n")
    temporary.rename(path / "model_card.json")


def load_weights_dir(path: str | Path, **overrides) -> CropModel:
    """Read a crop model that ``save_weights_dir`` wrote.

    Args:
        path: the folder.
        overrides: arguments of ``CropModel`` to change, such as ``stride`` for a finer grid at test time.

    Raises:
        FileNotFoundError: the folder lacks one of its two files.
        ValueError: the weights do not fit the configuration in the card.
    """
    path = Path(path)
    for name in ("model_card.json", "weights.npz"):
        if not (path / name).is_file():
            raise FileNotFoundError(f"{path} is no crop model: it has no {name}.")
    card = json.loads((path / "model_card.json").read_text())
    model = CropModel(**{**card["crop_model"], **overrides})
    with np.load(path / "weights.npz", allow_pickle=False) as archive:
        arrays = [archive[name].astype(np.float32) for name in sorted(archive.files, key=int)]
    if [a.shape for a in arrays] != [tuple(w.shape) for w in model.weights]:
        raise ValueError(f"The weights in {path} do not fit the network that its model_card.json describes.")
    for variable, array in zip(model.weights, arrays):
        variable.assign(array)
    return model
