"""The Keras encoder against the original network, run by LiteRT."""

import keras
import numpy as np
import pytest
import skimage.data
import skimage.transform

from metrabs_core.network.blazepose import build_blazepose
from training import pretrained


@pytest.fixture(scope="module")
def encoder():
    model = build_blazepose(256)
    pretrained.load_blazepose_weights(model)
    return model


@pytest.fixture(scope="module")
def photograph():
    return skimage.transform.resize(skimage.data.astronaut(), (256, 256)).astype(np.float32)


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


def test_features_equal_the_original_up_to_its_uncentred_grid(encoder, photograph):
    # Our last stage samples between the original's cells. Without that shift both must agree.
    uncentred = keras.models.clone_model(encoder, clone_function=_pad_symmetrically)
    uncentred.set_weights(encoder.get_weights())
    ours = uncentred.predict(photograph[None], verbose=0)
    fine, coarse = _interpret(photograph, ["model/add_8/add", "model/add_16/add"])
    np.testing.assert_allclose(ours[..., :144], fine, atol=2e-3)
    upsampled = keras.ops.convert_to_numpy(keras.layers.UpSampling2D(2, interpolation="bilinear")(coarse))
    np.testing.assert_allclose(ours[..., 432:], upsampled, atol=2e-3)


def _pad_symmetrically(layer):
    if isinstance(layer, keras.layers.ZeroPadding2D) and layer.padding == ((1, 2), (1, 2)):
        return keras.layers.ZeroPadding2D(2)
    return layer.__class__.from_config(layer.get_config())


def test_smaller_strides_refine_the_same_grid(encoder, photograph):
    # With the same weights, cell (i, j) at stride 32 sees what the cells around it see at stride 16: move the picture
    # by the distance between the cell centres, and the features agree away from the border.
    finer = build_blazepose(256, stride=16)
    finer.set_weights(encoder.get_weights())
    moved = np.roll(photograph, (-8, -8), (0, 1))  # centre of a stride-16 cell: 16j+8; of a stride-32 cell: 32i+16
    at_32 = encoder.predict(photograph[None], verbose=0)[0, ..., :144]
    at_16 = finer.predict(moved[None], verbose=0)[0, ::2, ::2, :144]
    inner = np.s_[3:5, 3:5]
    difference = np.abs(at_32[inner] - at_16[inner]).mean() / np.abs(at_32[inner]).mean()
    elsewhere = np.abs(at_32[3:5, 3:5] - at_16[2:4, 2:4]).mean() / np.abs(at_32[inner]).mean()
    assert difference < 0.5 * elsewhere
    assert finer.output_shape[1:] == (16, 16, 720)


def test_impossible_stride_is_refused():
    with pytest.raises(ValueError, match="8, 16 and 32, not 4"):
        build_blazepose(256, stride=4)
