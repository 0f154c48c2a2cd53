import numpy as np
import pytest
from keras import ops

from metrabs_core.network.crop_model import CropModel, load_weights_dir, save_weights_dir


def _inputs(side, n=2):
    rng = np.random.default_rng(0)
    intrinsics = np.array([[[300, 0, side / 2], [0, 300, side / 2], [0, 0, 1]]], np.float32)
    return [rng.uniform(size=(n, side, side, 3)).astype(np.float32), np.repeat(intrinsics, n, 0)]


@pytest.mark.parametrize("scale_recovery", ["metrabs", "metro", "bone-lengths"])
def test_outputs_have_the_documented_shapes(scale_recovery):
    lengths = [300.0] * 33 if scale_recovery == "bone-lengths" else None
    model = CropModel(crop_side=128, scale_recovery=scale_recovery, bone_lengths=lengths)
    out = model(_inputs(128))
    shapes = {name: tuple(value.shape) for name, value in out.items()}
    assert shapes == {"poses3d": (2, 34, 3), "uncertainty": (2, 34), "points2d": (2, 34, 2), "coords3d": (2, 34, 3)}
    assert all(np.isfinite(ops.convert_to_numpy(value)).all() for value in out.values())


def test_weights_survive_the_folder_and_the_stride_can_change(tmp_path):
    model = CropModel(crop_side=128, head_channels=32)
    save_weights_dir(model, tmp_path / "model", {"name": "test"}, dtype="float32")
    inputs = _inputs(128)
    loaded = load_weights_dir(tmp_path / "model")
    np.testing.assert_allclose(
        ops.convert_to_numpy(loaded(inputs)["poses3d"]), ops.convert_to_numpy(model(inputs)["poses3d"]), atol=1e-2
    )
    finer = load_weights_dir(tmp_path / "model", stride=16)
    assert finer.backbone.output_shape[1:3] == (8, 8)
    assert finer.train_stride == 32


def test_errors_say_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no model_card.json"):
        load_weights_dir(tmp_path)
    with pytest.raises(ValueError, match="must be one of metrabs, metro"):
        CropModel(scale_recovery="magic")
    with pytest.raises(ValueError, match="no backbone 'vgg'"):
        CropModel(backbone="vgg")
    save_weights_dir(CropModel(crop_side=128, head_channels=16), tmp_path, {})
    with pytest.raises(ValueError, match="do not fit the network"):
        load_weights_dir(tmp_path, head_channels=24)
