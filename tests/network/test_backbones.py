"""The grids of the backbones, by what mirrored, moved and empty pictures must do to their maps."""

import numpy as np
import pytest

from metrabs_core.network.backbones import BACKBONES, build_backbone, build_classifier_body
from metrabs_core.network.striding import with_stride

# RGB 0..1 that is zero after each family's preparation
GREY = {
    "mobilenetv3-small": 0.5,
    "efficientnet-lite0": 127 / 255,
    "resnet18": np.array([0.485, 0.456, 0.406]),
    "resnet50": np.array([123.68, 116.779, 103.939]) / 255,
    "resnet50v2": 0.5,
    "efficientnetv2-s": 128 / 255,
}


def _run(network, pictures):
    """Its map, as an array; a single call is faster than ``predict``, which makes a graph first."""
    return np.array(network(pictures.astype(np.float32), training=False))


@pytest.mark.parametrize("name", GREY)
def test_cells_are_centred(name):
    # With filters that are symmetric, a map is mirrored with the picture if the cells are where they should be: on
    # pixels 16, 48 and 80 of 97. Any other place would lack its mirror image.
    network = with_stride(build_classifier_body(name, 97), 32)
    for weight in network.weights:
        kernel = np.array(weight)
        if kernel.ndim == 4:
            weight.assign((kernel + kernel[::-1, ::-1]) / 2)
    picture = np.random.default_rng(0).uniform(size=(1, 97, 97, 3)).astype(np.float32)
    features = _run(network, picture)
    mirrored = _run(network, picture[:, ::-1, ::-1])
    assert features.shape[1:3] == (3, 3)
    tolerance = 1e-4 * np.abs(features).max()
    np.testing.assert_allclose(mirrored[:, ::-1, ::-1], features, atol=tolerance)
    assert np.abs(mirrored - features).max() > 100 * tolerance


@pytest.mark.parametrize("name", ["mobilenetv3-small", "efficientnet-lite0", "resnet18", "resnet50"])
def test_a_finer_map_contains_the_coarse_one(name, stride=8):
    # A patch on a ground that is zero inside of the network, so that borders, which differ, have nothing to show
    rng = np.random.default_rng(0)
    picture = np.ones([1, 193, 193, 3]) * GREY[name]
    picture[:, 80:113, 80:113] = rng.uniform(size=(1, 33, 33, 3))
    # cells of stride 32 are on 16, 48, ...; those of stride 8 on 4, 12, ..., so 12 pixels are cut off
    coarse = with_stride(build_classifier_body(name, 193), 32)
    fine = with_stride(build_classifier_body(name, 193 - 2 * 12), stride)
    for weight in coarse.weights:
        if "squeeze_excite" in weight.path:  # looks at the whole map, of which a finer one has more cells
            weight.assign(0 * weight)
    fine.set_weights(coarse.get_weights())
    expected = _run(coarse, picture)
    contained = _run(fine, picture[:, 12:-12, 12:-12])[:, :: 32 // stride, :: 32 // stride]
    np.testing.assert_allclose(contained, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["mobilenetv3-small", "resnet18"])
def test_weights_of_a_classifier_fit_by_order_at_every_stride(name):
    # The order is what files of weights rely on
    body = build_classifier_body(name, 64)
    paths = [weight.path for weight in body.weights]
    for stride in (4, 32):
        backbone = with_stride(body, stride)
        assert [weight.path for weight in backbone.weights] == paths
        assert backbone.output_shape[1:3] == (64 // stride, 64 // stride)


def test_impossible_backbones_are_refused():
    assert {"movenet-thunder", "efficientnet-lite0", "resnet34", "efficientnetv2-l", "resnet152"} <= set(BACKBONES)
    with pytest.raises(ValueError, match="no backbone 'vgg'; choose one of movenet-thunder-pyramid"):
        build_backbone("vgg", 256)
    with pytest.raises(ValueError, match="multiple of 32, not 100"):
        build_backbone("resnet18", 100)
    with pytest.raises(ValueError, match="4, 8, 16, 32, not 64"):
        build_backbone("resnet18", 128, 64)
