import keras
import numpy as np
import pytest
import scipy.special
from keras import ops

from metrabs_core.errors import UserError
from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir
from metrabs_core.skeletons import NATIVE


def _inputs(side, n=2):
    rng = np.random.default_rng(0)
    intrinsics = np.array([[[300, 0, side / 2], [0, 300, side / 2], [0, 0, 1]]], np.float32)
    return [rng.uniform(size=(n, side, side, 3)).astype(np.float32), np.repeat(intrinsics, n, 0)]


@pytest.mark.parametrize("scale_recovery", ["metrabs", "metro", "bone-lengths"])
def test_outputs_have_the_documented_shapes(scale_recovery):
    lengths = [300.0] * 33 if scale_recovery == "bone-lengths" else None
    model = CropModel(backbone="movenet-lightning", crop_side=128, scale_recovery=scale_recovery, bone_lengths=lengths)
    out = model(_inputs(128))
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes == {"poses3d": (2, 34, 3), "uncertainty": (2, 34), "points2d": (2, 34, 2), "coords3d": (2, 34, 3)}
    assert all(np.isfinite(ops.convert_to_numpy(value)).all() for value in out.values())


def test_weights_survive_the_folder_and_the_stride_can_change(tmp_path):
    model = CropModel(backbone="movenet-lightning", crop_side=128, head_channels=32)
    save_weights_dir(model, tmp_path / "model", {"name": "test"}, dtype="float32")
    inputs = _inputs(128)
    loaded = load_weights_dir(tmp_path / "model")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(inputs)["poses3d"]), ops.convert_to_numpy(model(inputs)["poses3d"]), atol=1e-2
    )
    finer = load_weights_dir(tmp_path / "model", stride=16)
    assert finer.backbone.output_shape[1:3] == (8, 8)
    assert finer.config.train_stride == 32


def test_a_pyramid_has_heatmaps_of_stride_16_and_survives_the_folder(tmp_path):
    model = CropModel(backbone="movenet-lightning-pyramid", crop_side=128, stride=16, train_stride=16, head_channels=32)
    inputs = _inputs(128)
    expected = model(inputs)
    assert model.neck.output_shape[1:] == (8, 8, 32)
    assert expected["poses3d"].shape == (2, 34, 3)
    save_weights_dir(model, tmp_path, {}, dtype="float32")
    for name, value in load_weights_dir(tmp_path)(inputs).items():
        np.testing.assert_allclose(ops.convert_to_numpy(value), ops.convert_to_numpy(expected[name]), atol=1e-2)
    with pytest.raises(ValueError, match="has several maps: set head_channels"):
        CropModel(backbone="movenet-lightning-pyramid", crop_side=128, stride=16)


def test_both_maps_of_a_pyramid_count():
    model = CropModel(backbone="movenet-lightning-pyramid", crop_side=128, stride=16, train_stride=16, head_channels=32)
    rng = np.random.default_rng(0)
    coarse, fine = (rng.normal(size=(1, *m.shape[1:])).astype(np.float32) for m in model.backbone.outputs[:2])
    expected = ops.convert_to_numpy(model.neck([coarse, fine]))
    for changed in ([2 * coarse, fine], [coarse, 2 * fine]):
        assert np.abs(ops.convert_to_numpy(model.neck(changed)) - expected).max() > 0.1


def _with_overview():
    keras.utils.set_random_seed(0)
    return CropModel(
        backbone="movenet-lightning-pyramid",
        crop_side=64,
        stride=16,
        train_stride=16,
        head_channels=16,
        overview_channels=24,
    )


def test_the_overview_adds_what_rows_columns_and_depths_have_for_a_joint_each():
    model, rng = _with_overview(), np.random.default_rng(1)
    cells, bins, joints = 4, 8, 34
    coarse = rng.normal(size=(2, *model.backbone.outputs[0].shape[1:])).astype(np.float32) * 5
    added = {name: ops.convert_to_numpy(value) for name, value in model.overview(coarse).items()}
    dense = {layer.name: layer for layer in model.overview.layers if isinstance(layer, keras.layers.Dense)}
    seen = keras.Model(model.overview.input, dense["overview_columns"].input)(coarse)
    # the same sum, cell by cell, in float64
    parts = {
        name: (np.float64(seen) @ np.float64(layer.kernel) + np.float64(layer.bias))
        for name, layer in dense.items()
        if name != "overview_join"
    }
    columns, rows = (parts[f"overview_{n}"].reshape(2, cells, joints) for n in ("columns", "rows"))
    columns2d, rows2d = (parts[f"overview_{n}"].reshape(2, cells, joints) for n in ("columns2d", "rows2d"))
    depths = parts["overview_depths"].reshape(2, joints, bins)
    for n, i, j in np.ndindex(2, cells, cells):
        volume = rows[n, i][:, None] + columns[n, j][:, None] + depths[n]
        np.testing.assert_allclose(added["volumes"][n, i, j], volume, atol=1e-5)
        np.testing.assert_allclose(added["planes"][n, i, j], rows2d[n, i] + columns2d[n, j], atol=1e-5)
    assert np.abs(added["volumes"]).max() > 1e-4


def test_what_the_overview_says_counts_in_both_heads():
    model = _with_overview()
    names = {"columns": 3, "rows": 1, "depths": 6, "columns2d": 0, "rows2d": 2}  # the cell to point to
    for name, cell in names.items():
        layer = model.overview.get_layer(f"overview_{name}")
        layer.kernel.assign(ops.zeros_like(layer.kernel))
        bias = np.zeros([34, 8] if name == "depths" else [4, 34], np.float32)
        bias[(slice(None), cell) if name == "depths" else cell] = 50
        layer.bias.assign(bias.ravel())
    model.fine.kernel.assign(ops.zeros_like(model.fine.kernel))
    out = {name: ops.convert_to_numpy(value) for name, value in model(_inputs(64)).items()}
    # the 2D heatmaps are four times as fine; those of a cell at the border are largest at the border itself
    np.testing.assert_allclose(out["points2d"], np.broadcast_to([3.5, 2 * 16 + 7.5], (2, 34, 2)), atol=0.1)
    at = np.array([3 * 16 + 7.5, 16 + 7.5, 6 / 7 * 64]) * 2200 / 64
    np.testing.assert_allclose(out["coords3d"], np.broadcast_to(at, (2, 34, 3)), atol=1)


def test_an_overview_survives_the_folder_and_needs_the_stride_of_training(tmp_path):
    model = _with_overview()
    save_weights_dir(model, tmp_path, {}, dtype="float32")
    loaded = load_weights_dir(tmp_path)
    for a, b in zip(loaded.overview.get_weights(), model.overview.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="stride must be that of training, 32; it is 16"):
        CropModel(backbone="movenet-lightning", crop_side=64, stride=16, train_stride=32, overview_channels=8)


def test_the_fine_map_says_where_in_the_image_a_joint_is():
    model = CropModel(backbone="movenet-lightning-pyramid", crop_side=64, stride=16, train_stride=16, head_channels=16)
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, *m.shape[1:])).astype(np.float32) for m in model.backbone.outputs]
    model.head.kernel.assign(ops.zeros_like(model.head.kernel))  # the coarse map is flat
    kernel = rng.normal(size=model.fine.kernel.shape).astype(np.float32)
    model.fine.kernel.assign(kernel)
    heat = np.exp(np.float64(maps[2]) @ kernel[0, 0])  # [N, rows, columns, J], cells of 4 pixels
    heat /= heat.sum((1, 2), keepdims=True)
    pixels = 4 * np.arange(16) + 1.5
    expected = np.stack([np.einsum("nijk,j->nk", heat, pixels), np.einsum("nijk,i->nk", heat, pixels)], axis=-1)
    learning = model.read_maps(maps, _inputs(64)[1], training=True)
    assert np.ptp(expected) > 20
    np.testing.assert_allclose(ops.convert_to_numpy(learning["points2d"]), expected, atol=1e-2)

    # in use, it is near a peak: its own, or the wrist's of a hand; joints of the trunk have none. How unsure it is,
    # the whole map says
    out = model.read_maps(maps, _inputs(64)[1])
    found = ops.convert_to_numpy(out["points2d"])
    peaks = np.stack(np.unravel_index(heat.reshape(2, 256, 34).argmax(1), [16, 16])[::-1], axis=-1)
    moved = []
    for joint, peak, at_most in (("lelb", "lelb", 4), ("nose", "nose", 4), ("rhan", "rwri", 8), ("ltoe", "lank", 8)):
        joint, peak = NATIVE.index(joint), NATIVE.index(peak)
        assert np.abs(found[:, joint] - (4 * peaks[:, peak] + 1.5)).max() <= at_most
        moved.append(np.abs(expected[:, joint] - (4 * peaks[:, peak] + 1.5)).max())
    assert max(moved) > 10
    trunk = [NATIVE.index(name) for name in ("pelv", "neck", "spi2", "htop")]
    np.testing.assert_allclose(found[:, trunk], expected[:, trunk], atol=1e-2)
    np.testing.assert_allclose(out["uncertainty"], learning["uncertainty"], rtol=1e-5)


def test_the_depth_stage_is_given_what_the_heads_say_and_the_mean_of_all_three_counts():
    plain = CropModel(backbone="movenet-lightning", crop_side=64, head_channels=16)
    model = CropModel(plain.config, depth_channels=8)
    for name in ("backbone", "neck", "head"):
        getattr(model, name).set_weights(getattr(plain, name).get_weights())
    crops, intrinsics = _inputs(64)
    heads, given = plain([crops, intrinsics]), []
    lifted = np.random.default_rng(0).normal(size=[2, 34, 3]).astype(np.float32)
    lifted -= lifted.mean(axis=1, keepdims=True)
    model.depth_stage = lambda inputs: given.append(inputs) or (inputs[1] + [0.0, 0.0, 0.25], lifted)
    out = model([crops, intrinsics])
    (points, coords3d, spread, focal), *_ = [[np.array(array) for array in inputs] for inputs in given]
    np.testing.assert_allclose(points * 64 + 31.5, heads["points2d"], atol=1e-3)
    np.testing.assert_allclose(coords3d * 1000, heads["coords3d"], atol=0.1)
    maps = ops.convert_to_numpy(plain.head(plain.neck(plain.backbone(crops))))
    np.testing.assert_allclose(spread * 1000, _spreads(maps[..., : 34 * 8].reshape(*maps.shape[:3], 34, 8)), rtol=1e-4)
    np.testing.assert_allclose(focal, np.full([2, 1], 300 / 64), rtol=1e-6)
    said = np.array(heads["coords3d"])
    about_mean = said - said.mean(1, keepdims=True)
    extent = [np.linalg.norm(poses[..., :2], axis=(1, 2)) for poses in (about_mean, lifted)]
    as_large = lifted * (extent[0] / extent[1])[:, np.newaxis, np.newaxis]
    np.testing.assert_allclose(out["coords3d"], (about_mean + said + [0, 0, 250] + as_large) / 3, atol=0.1)


def _spreads(logits):
    """Standard deviation in space of heatmaps [n, rows, columns, J(, depths)], mm: [n, J]. Rows are 2200 mm in all."""
    spreads = np.zeros([len(logits), logits.shape[3]])
    for index in np.ndindex(spreads.shape):
        heatmap = scipy.special.softmax(logits[index[0], :, :, index[1]].astype(np.float64))
        places = np.stack(np.meshgrid(*(np.linspace(0, 2200, n) for n in heatmap.shape), indexing="ij"), axis=-1)
        middle = (heatmap[..., np.newaxis] * places).sum(tuple(range(heatmap.ndim)))
        spreads[index] = np.sqrt((heatmap * ((places - middle) ** 2).sum(axis=-1)).sum())
    return spreads


def test_a_joint_is_uncertain_where_either_of_its_heatmaps_is_wide():
    model = CropModel(backbone="movenet-lightning", crop_side=64)
    crops, intrinsics = _inputs(64)
    for scale in (0.01, 30.0):  # wide ones and narrow ones
        model.head.set_weights(
            [scale * np.random.default_rng(0).normal(size=w.shape) for w in model.head.get_weights()]
        )
        maps = ops.convert_to_numpy(model.head(model.backbone(crops)))
        volumes, planes = maps[..., : 34 * 8].reshape(*maps.shape[:3], 34, 8), maps[..., 34 * 8 :]
        expected = np.hypot(_spreads(volumes), _spreads(planes))
        np.testing.assert_allclose(model([crops, intrinsics])["uncertainty"], expected, rtol=1e-3, atol=0.5)


@pytest.mark.parametrize("scale_recovery", ["metro", "bone-lengths"])
def test_an_overview_without_a_2d_head(scale_recovery):
    model = CropModel(backbone="movenet-lightning", crop_side=64, scale_recovery=scale_recovery, overview_channels=8)
    assert model(_inputs(64))["coords3d"].shape == (2, 34, 3)


def test_each_joint_has_its_own_uncertainty_scale():
    scales = list(np.linspace(0.1, 2, 34))
    model, scaled = (
        CropModel(backbone="movenet-lightning", crop_side=64),
        CropModel(backbone="movenet-lightning", crop_side=64, uncertainty_scale=scales),
    )
    scaled.set_weights(model.get_weights())
    plain, calibrated = (ops.convert_to_numpy(m(_inputs(64))["uncertainty"]) for m in (model, scaled))
    np.testing.assert_allclose(calibrated, plain * scales, rtol=1e-5)


def test_every_weight_of_a_backbone_with_statistics_survives_at_every_stride(tmp_path):
    model = CropModel(backbone="mobilenetv3-small", crop_side=64, stride=8)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    save_weights_dir(model, tmp_path, {}, dtype="float32")
    assert len(model.weights) > 200
    for stride in (8, 32):
        loaded = load_weights_dir(tmp_path, stride=stride)
        for saved, weight in zip(model.weights, loaded.weights, strict=True):
            assert saved.path.split("/")[1:] == weight.path.split("/")[1:]
            np.testing.assert_array_equal(ops.convert_to_numpy(saved), ops.convert_to_numpy(weight))


def test_more_than_a_thousand_weights_keep_their_order(tmp_path):
    save_weights_dir(CropModel(backbone="movenet-lightning", crop_side=64), tmp_path, {}, dtype="float32")
    model = load_weights_dir(tmp_path)
    with np.load(tmp_path / "weights.npz") as archive:
        arrays = {str(int(name) + 990): archive[name] for name in archive.files}
    np.savez(tmp_path / "weights.npz", **arrays)  # numbered from 990 on, over the thousand
    for a, b in zip(load_weights_dir(tmp_path).weights, model.weights, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


def test_training_starts_with_flat_heatmaps_even_on_large_features():
    keras.utils.set_random_seed(0)
    model = CropModel(backbone="movenet-lightning", crop_side=64, stride=16)
    loud = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(4, 4, 4, 1280)).astype(np.float32) * 20)
    points2d, coords3d, *_ = model._read_heads(model.head(loud), overview=None, fine=None)
    assert np.abs(ops.convert_to_numpy(points2d) - 32).max() < 12  # the map reaches to 24
    assert np.abs(ops.convert_to_numpy(coords3d)[..., 2] - 1100).max() < 300


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="has no model_card.json"):
        load_weights_dir(tmp_path)
    with pytest.raises(ValueError, match="choose one of metrabs, metro"):
        CropModel(backbone="movenet-lightning", scale_recovery="magic")
    with pytest.raises(ValueError, match="no backbone 'vgg'"):
        CropModel(backbone="vgg")
    save_weights_dir(CropModel(backbone="movenet-lightning", crop_side=128, head_channels=16), tmp_path, {})
    with pytest.raises(ValueError, match="do not fit the network"):
        load_weights_dir(tmp_path, head_channels=24)
