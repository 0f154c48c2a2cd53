"""The Keras encoder against the original network, run by LiteRT."""

import keras
import numpy as np
import pytest
import skimage.data
import skimage.transform

from metrabs_core.network import blazepose
from metrabs_core.network.blazepose import build_blazepose
from training import pretrained


@pytest.fixture(scope="module")
def photograph():
    return skimage.transform.resize(skimage.data.astronaut(), (256, 256)).astype(np.float32)


def _run(network, pictures):
    """Its maps, as arrays; a single call is faster than ``predict``, which makes a graph first."""
    maps = network(pictures.astype(np.float32), training=False)
    return [np.array(m) for m in maps] if isinstance(maps, list) else np.array(maps)


def _interpret(crop, tensor_names):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(
        str(pretrained.fetch_blazepose_tflite()),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], crop[None])
    interpreter.invoke()
    details = {t["name"]: t["index"] for t in interpreter.get_tensor_details()}
    return [next(interpreter.get_tensor(i) for n, i in details.items() if n.endswith(name)) for name in tensor_names]


@pytest.fixture
def uncentred(monkeypatch):
    """Builds networks on the original's grid: ours samples between its cells, from one of the strided layers on."""
    depthwise = blazepose._depthwise
    monkeypatch.setattr(blazepose, "_depthwise", lambda *args, centred=False, **others: depthwise(*args, **others))


def test_features_equal_the_original_up_to_its_uncentred_grid(uncentred, photograph):
    encoder, pyramid = build_blazepose(256), build_blazepose(256, 16, pyramid=True)
    pretrained.load_blazepose_weights(encoder)
    pretrained.load_blazepose_weights(pyramid)
    ours = _run(encoder, photograph[None])
    same, finest = _run(pyramid, photograph[None])
    middle, fine, coarse = _interpret(photograph, ["model/add_5/add", "model/add_8/add", "model/add_16/add"])
    np.testing.assert_allclose(ours[..., :144], fine, atol=2e-3)
    upsampled = keras.ops.convert_to_numpy(keras.layers.UpSampling2D(2, interpolation="bilinear")(coarse))
    np.testing.assert_allclose(ours[..., 432:], upsampled, atol=2e-3)
    np.testing.assert_allclose(same, ours, atol=1e-5)
    np.testing.assert_allclose(finest, middle, atol=2e-3)


def _patch_on_black():
    """Random weights have no biases, so black is like the padding, and a patch far from the borders knows none."""
    crop = np.zeros([1, 256, 256, 3], np.float32)
    crop[:, 112:145, 112:145] = np.random.default_rng(0).uniform(size=(33, 33, 3))
    return crop


def test_cells_of_a_pyramid_are_centred(request):
    centred = build_blazepose(256, 16, pyramid=True)
    request.getfixturevalue("uncentred")
    original = build_blazepose(256, 16, pyramid=True)
    centred.set_weights(original.get_weights())
    # cell i of the original is at pixel 16i, and ours at 16i + 8; the map of stride 32 keeps its place beside it
    crop = _patch_on_black()
    moved = _run(centred, np.roll(crop, (8, 8), (1, 2)))
    for ours, expected in zip(moved, _run(original, crop), strict=True):
        np.testing.assert_allclose(ours, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("stride", [16, 4])
def test_a_finer_map_contains_the_coarse_one(stride):
    crop = _patch_on_black()
    coarse, finer = build_blazepose(256), build_blazepose(256, stride)
    finer.set_weights(coarse.get_weights())
    # cell i of stride 32 is at pixel 32i+16, and cell j of the finer one at stride*j + stride/2
    moved = np.roll(crop, (stride // 2 - 16,) * 2, (1, 2))
    expected = _run(coarse, crop)
    contained = _run(finer, moved)[:, :: 32 // stride, :: 32 // stride]
    np.testing.assert_allclose(contained, expected, atol=2e-3 * expected.max())


def test_impossible_sizes_are_refused():
    with pytest.raises(ValueError, match="4, 8, 16 and 32, not 2"):
        build_blazepose(256, stride=2)
    with pytest.raises(ValueError, match="multiple of 64, not 160"):
        build_blazepose(160)
    with pytest.raises(ValueError, match="pyramid has a stride of 16, not 32"):
        build_blazepose(256, pyramid=True)
