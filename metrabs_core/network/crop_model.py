"""The crop model: backbone, heatmap heads and scale recovery in one Keras model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.model_card import ModelCard
from metrabs_core.network import heatmaps
from metrabs_core.network.backbones import build_backbone, find_backbone
from metrabs_core.network.depth_stage import build_depth_stage, combine
from metrabs_core.network.heads import N_DEPTH_BINS, build_fine_head, build_neck, build_overview, flat, peak_windows
from metrabs_core.network.scale_recovery import find_scale_recovery
from metrabs_core.skeletons import SKELETONS, Skeleton


@dataclass(frozen=True)
class CropModelConfig:
    """What a crop model is built from; the defaults are the papers'.

    Attributes:
        backbone: name of a backbone, see ``metrabs_core.network.backbones``.
        skeleton: joints to predict, by the name of a skeleton.
        crop_side: P, side of the square crops in pixels.
        stride: pixels between heatmap cells; may be smaller at test time than in training, with the same weights.
        train_stride: stride of training, which sets the margin within which joints count as in view.
        scale_recovery: name of a scale recovery, see ``metrabs_core.network.scale_recovery``.
        weak_perspective: how MeTRAbs finds the reference point.
        head_channels: width of a neck between backbone and heads; 0 for the paper's plain 1x1 convolution. A backbone
            of several maps needs a neck.
        overview_channels: width of a branch that sees the whole crop at once, and adds one term per row, column and
            depth to the heatmaps; 0 for none. With it, the stride is that of training.
        depth_channels: width of a stage that corrects depths by how people pose; 0 for none.
        box_size_mm: side of the cube that the volumetric heatmap spans.
        bone_lengths: means of the training set in millimetres, one per edge of the skeleton: what ``bone-lengths``
            makes bones match, and what the plausibility of a pose is judged by.
        uncertainty_scale: factor from the heatmap's spread to the root mean square error on validation data; one for
            all joints, or one each.
        crop_margin: by how much crops of full images are larger than the longer side of a person's box.
        max_roll_degrees: how far test-time augmentation rolls crops either way; the authors' is the default.
    """

    backbone: str = "resnet50"
    skeleton: str = "native_34"
    crop_side: int = 256
    stride: int = 32
    train_stride: int = 32
    scale_recovery: str = "metrabs"
    weak_perspective: bool = True
    head_channels: int = 0
    overview_channels: int = 0
    depth_channels: int = 0
    box_size_mm: float = 2200.0
    bone_lengths: Sequence[float] | None = None
    uncertainty_scale: float | Sequence[float] = 1.0
    crop_margin: float = 1.0
    max_roll_degrees: float = 25.0


class CropModel(keras.Model):
    """Pose of the person in a crop.

    Called on ``[crops, intrinsics]``: crops float32 [N, P, P, 3], RGB in 0..1, and intrinsics float32 [N, 3, 3] of each
    crop's camera. Returns a dict:

    - ``poses3d``: float32 [N, J, 3], millimetres, crop camera frame (relative to an arbitrary origin for ``metro``);
    - ``uncertainty``: float32 [N, J], millimetres: one sigma, from the spreads of the joint's heatmaps, the volumetric
      and the fine one, of which each may be unsure where the other is not;
    - ``points2d``: float32 [N, J, 2], the 2D head, pixels of the crop;
    - ``coords3d``: float32 [N, J, 3], the 3D head, millimetres up to a translation.

    Args:
        config: what to build; None for the defaults.
        changes: attributes of ``CropModelConfig`` that are to differ from it.

    Attributes:
        config: what it was built from.
        skeleton: the joints.
        recovery: the scale recovery.
        crop_side, bone_lengths: as in the config.

    Raises:
        UserError: there is no such backbone or scale recovery, or they don't fit the rest.
    """

    # What has weights, by its attribute; None where a model lacks it.
    PARTS = ("backbone", "neck", "head", "overview", "fine", "depth_stage")

    def __init__(self, config: CropModelConfig | None = None, **changes):
        # intrinsics must keep their precision under mixed precision; the layers cast what they get by themselves
        super().__init__(autocast=False)
        self.config = config = replace(config or CropModelConfig(), **changes)
        self.skeleton: Skeleton = SKELETONS[config.skeleton]
        self.recovery = find_scale_recovery(config.scale_recovery)
        self.crop_side, self.bone_lengths = config.crop_side, config.bone_lengths
        self.backbone = build_backbone(config.backbone, config.crop_side, config.stride)
        maps, n_joints = self.backbone.outputs, self.skeleton.n_joints
        if len(maps) > 1 and not config.head_channels:
            raise UserError(f"{config.backbone} has several maps: set head_channels, the width of their neck.")
        if config.overview_channels and config.stride != config.train_stride:
            raise UserError(
                f"With an overview, the stride must be that of training, {config.train_stride}; it is {config.stride}."
            )
        self.neck = build_neck(maps[:2], config.head_channels) if config.head_channels else None
        n_maps = n_joints * (N_DEPTH_BINS + int(self.recovery.has_2d_head))
        self.head = layers.Conv2D(n_maps, 1, kernel_initializer=flat(), name="head", dtype="float32")
        self.overview = self.fine = None
        if config.overview_channels:
            cells = config.crop_side // config.stride
            self.overview = build_overview(
                maps[0], config.overview_channels, cells, n_joints, self.recovery.has_2d_head
            )
        if self.recovery.has_2d_head and len(maps) > 2:
            self.fine = build_fine_head(
                maps[2], self.skeleton.joint_names, find_backbone(config.backbone).heatmap_joints
            )
        self.depth_stage = build_depth_stage(n_joints, config.depth_channels) if config.depth_channels else None
        self.enlarge = layers.UpSampling2D(4, interpolation="bilinear", dtype="float32")
        self.build()

    def build(self, input_shape=None):
        """Create the weights of the head; the rest has its own."""
        features = (self.neck or self.backbone).output
        if not self.head.built:
            self.head.build(features.shape)
        self.built = True

    def get_config(self):
        """``CropModelConfig`` as a dict."""
        return asdict(self.config)

    @classmethod
    def from_config(cls, config):
        """The inverse of ``get_config``."""
        return cls(CropModelConfig(**config))

    def changed(self, **changes) -> "CropModel":
        """A model of another configuration with the same weights, such as another ``stride``."""
        model = CropModel(self.config, **changes)
        model.set_weights(self.get_weights())
        return model

    @property
    def heads(self) -> list:
        """All parts above the backbone."""
        parts = [getattr(self, name) for name in self.PARTS[1:]]
        return [part for part in parts if part is not None]

    def call(self, inputs, training=False):
        """Compute poses; see the class for shapes."""
        crops, intrinsics = inputs
        maps = self.backbone(crops, training=training)
        return self.read_maps(maps if isinstance(maps, list | tuple) else [maps], intrinsics, training=training)

    def read_maps(self, maps, intrinsics, training=False, heads_alone=False):
        """Poses from the list of the backbone's maps, instead of crops; see the class for the rest.

        Args:
            maps: of the backbone.
            intrinsics: float32 [N, 3, 3].
            training: the 2D head reads all of its heatmap, instead of around its peak.
            heads_alone: poses as the heads say, without the depth stage.
        """
        features = (
            maps[0] if self.neck is None else self.neck(maps[:2] if len(maps) > 1 else maps[0], training=training)
        )
        overview = None if self.overview is None else self.overview(maps[0], training=training)
        fine = None if self.fine is None else self.fine(maps[2])
        points2d, coords3d, spread, spread2d = self._read_heads(self.head(features), overview, fine, training)
        if self.depth_stage is not None and not heads_alone:
            middle = (self.crop_side - 1) / 2
            focal = intrinsics[:, 0, :1] / self.crop_side
            points = (points2d - middle) / self.crop_side
            corrected, lifted = self.depth_stage([points, coords3d / 1000, spread / 1000, focal])
            coords3d = combine(coords3d, 1000 * corrected, 1000 * lifted)
        scale = ops.convert_to_tensor(self.config.uncertainty_scale, "float32")
        return {
            "poses3d": self.recovery.recover(self, points2d, coords3d, intrinsics),
            "uncertainty": ops.sqrt(ops.square(spread) + ops.square(spread2d)) * scale,
            "points2d": points2d,
            "coords3d": coords3d,
        }

    def _read_heads(self, maps, overview, fine, training=False):
        config, n_joints = self.config, self.skeleton.n_joints
        first_cell = find_backbone(config.backbone).first_cell
        height, width = maps.shape[1:3]
        volumes = maps[..., : n_joints * N_DEPTH_BINS]
        volumes = ops.reshape(volumes, [-1, height, width, n_joints, N_DEPTH_BINS])
        if overview is not None:
            volumes = volumes + overview["volumes"]
        coords, deviations = heatmaps.soft_argmax(volumes, (2, 1, 4))
        spread = config.box_size_mm * ops.sqrt(ops.sum(ops.square(deviations), axis=-1))
        grid = self.crop_side, config.stride, first_cell(config.stride)
        coords3d = heatmaps.to_metric(coords, *grid, config.box_size_mm)
        if not self.recovery.has_2d_head:
            return heatmaps.to_pixels(coords[..., :2], *grid), coords3d, spread, ops.zeros_like(spread)
        planes = maps[..., n_joints * N_DEPTH_BINS :]
        if overview is not None:
            planes = planes + overview["planes"]
        if fine is not None:
            # the coarse map says whose joint it is and where about, the fine one where exactly
            factor = fine.shape[1] // height
            grid = self.crop_side, config.stride // factor, first_cell(config.stride // factor)
            planes = self.enlarge(planes) + fine
        points, deviations = heatmaps.soft_argmax(planes, (2, 1))
        if fine is not None and not training:
            joints = self.skeleton.joint_names, find_backbone(config.backbone).heatmap_joints
            points = heatmaps.peak_coordinates(planes, *peak_windows(*joints, planes.shape[1]))
        spread2d = config.box_size_mm * ops.sqrt(ops.sum(ops.square(deviations), axis=-1))
        return heatmaps.to_pixels(points, *grid), coords3d, spread, spread2d


def save_weights_dir(model: CropModel, path: str | Path, card: dict, dtype: str = "float16") -> None:
    """Write a crop model as ``weights.npz`` and ``model_card.json`` into a folder.

    Args:
        model: the model.
        path: folder, created if needed.
        card: what to tell about the model, besides its configuration.
        dtype: how weights are stored; computation is float32 all the same.
    """
    path = Path(path)
    arrays = {f"{i:03d}": ops.convert_to_numpy(w).astype(dtype) for i, w in enumerate(model.weights)}
    with atomic_file(path / "weights.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)
    ModelCard(crop_model=model.get_config(), weights_dtype=dtype, about=card).write(path)


def load_weights_dir(path: str | Path, **overrides) -> CropModel:
    """Read a crop model that ``save_weights_dir`` wrote.

    Args:
        path: the folder.
        overrides: attributes of ``CropModelConfig`` to change, such as ``stride`` for a finer grid at test time.

    Raises:
        UserError: the folder lacks one of its two files, or the weights do not fit the configuration in the card.
    """
    path = Path(path)
    model = CropModel(CropModelConfig(**ModelCard.read(path).crop_model), **overrides)
    if not (path / "weights.npz").is_file():
        raise UserError(f"{path} is no crop model: it has no weights.npz.")
    with np.load(path / "weights.npz", allow_pickle=False) as archive:
        arrays = [archive[name].astype(np.float32) for name in sorted(archive.files, key=int)]
    if [a.shape for a in arrays] != [tuple(w.shape) for w in model.weights]:
        raise UserError(f"The weights in {path} do not fit the network that its model_card.json describes.")
    for variable, array in zip(model.weights, arrays):
        variable.assign(array)
    return model
