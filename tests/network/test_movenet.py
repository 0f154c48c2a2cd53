"""MoveNet's encoders against the original graphs, run operation by operation, and where their cells are."""

import base64

import numpy as np
import pytest
import skimage.data
import skimage.transform
import tensorflow as tf

from metrabs_core.network.backbones import BACKBONES, build_backbone, build_classifier_body
from metrabs_core.network.crop_model import CropModel
from metrabs_core.network.movenet import HEATMAP_JOINTS
from training import pretrained, tfjs_graph

SIDES = {"movenet-thunder": 256, "movenet-lightning": 192}
ORIGINAL = "StatefulPartitionedCall/center_net_mobile_net_v2fpn_feature_extractor/model_1"


def _photograph(side):
    return skimage.transform.resize(skimage.data.astronaut(), (side, side)).astype(np.float32)[None]


def _interpret(graph, values, wanted):
    """Values of the wanted nodes of a graph, by TensorFlow's plain operations; ``values`` are those known already."""
    relus = {"Relu": tf.nn.relu, "Relu6": tf.nn.relu6}
    for name, node in graph.nodes.items():
        if name in values or not set(node.get("input", ["nothing"])) <= {*values, *graph.weights}:
            continue
        inputs = [values[i] if i in values else graph.weights[i] for i in node["input"]]
        attributes = node.get("attr", {})
        if "Conv2" in node["op"]:
            strides = [int(i) for i in attributes["strides"]["list"]["i"]]
            padding = base64.b64decode(attributes["padding"]["s"]).decode()
            convolve = tf.nn.depthwise_conv2d if "Depthwise" in node["op"] else tf.nn.conv2d
            x = convolve(inputs[0], inputs[1], strides, padding)
            for fused in attributes.get("fused_ops", {}).get("list", {}).get("s", []):
                fused = base64.b64decode(fused).decode()
                x = tf.nn.bias_add(x, inputs[2]) if fused == "BiasAdd" else relus[fused](x)
        elif node["op"] == "AddV2":
            x = inputs[0] + inputs[1]
        elif node["op"] == "ResizeBilinear":
            x = tf.image.resize(inputs[0], inputs[1])
        else:
            continue
        values[name] = x
    return [values[name].numpy() for name in wanted]


@pytest.mark.download
@pytest.mark.parametrize("name", SIDES)
def test_maps_equal_the_original(name):
    graph, crop = tfjs_graph.read_graph(name), _photograph(SIDES[name])
    encoder = build_classifier_body(name, SIDES[name])
    pyramid = build_backbone(f"{name}-pyramid", SIDES[name], 16)
    for model, model_name in ((encoder, name), (pyramid, f"{name}-pyramid")):
        assert "Apache-2.0" in pretrained.initialize_backbone(model, model_name)
    scaled = (crop * 255 - graph.weights["StatefulPartitionedCall/Reshape"]) * np.float32(0.00784302) - 1
    nodes = ["model/out_relu/Relu6", "model/block_12_add/add", "re_lu/Relu", "re_lu_2/Relu"]
    heatmaps = "StatefulPartitionedCall/kpt_heatmap_0/conv2d_5/BiasAdd"
    wanted = [*(f"{ORIGINAL}/{node}" for node in nodes), heatmaps]
    last, block, coarse, fine, logits = _interpret(graph, {"StatefulPartitionedCall/sub_1": scaled}, wanted)

    np.testing.assert_allclose(encoder.predict(crop, verbose=0), last, atol=1e-4)
    ours = pyramid.predict(crop, verbose=0)
    np.testing.assert_allclose(ours[0], last, atol=1e-4)
    np.testing.assert_allclose(ours[1][..., : block.shape[-1] + 32], np.concatenate([block, coarse], -1), atol=1e-4)
    np.testing.assert_allclose(ours[2], np.concatenate([logits, fine], -1), atol=1e-4)
    # below each other and side by side what the cells of stride 4 within one of stride 16 have
    cell = np.concatenate([fine[0, 12:16, 20:24], 6 / (1 + np.exp(-logits[0, 12:16, 20:24]))], -1)
    found = ours[1][0, 3, 5, block.shape[-1] + 32 :]
    expected = [cell[..., :24].ravel(), cell[..., 24:].ravel()]
    np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-3)


def _patch_on_gray(side=192):
    """What the input layer makes zero is like the padding, so that a patch in the middle knows of no borders."""
    crop = np.full([1, side, side, 3], 0.5, np.float32)
    crop[:, 80:113, 80:113] = np.random.default_rng(0).uniform(size=(33, 33, 3))
    return crop


def test_cells_of_the_plain_backbone_are_centred_with_the_same_weights():
    original, centred = build_classifier_body("movenet-lightning", 192), build_backbone("movenet-lightning", 192, 32)
    for layer in original.layers:  # no biases, so that nothing but the patch is seen
        layer.set_weights([w * (w.ndim > 1) for w in layer.get_weights()])
    centred.set_weights(original.get_weights())
    # cell i of the original is at pixel 32i + 31, and ours at 32i + 16
    moved = np.roll(_patch_on_gray(), (15, 15), (1, 2))
    expected = original.predict(moved, verbose=0)
    np.testing.assert_allclose(centred.predict(_patch_on_gray(), verbose=0), expected, atol=2e-3 * expected.max())


@pytest.mark.download
def test_a_mirrored_person_is_found_at_mirrored_pixels():
    """Cells lie where the backbone says if, read there, a picture and its mirror image give the same joints."""
    name = "movenet-thunder-pyramid"
    backbone = build_backbone(name, 256, 16)
    pretrained.initialize_backbone(backbone, name)
    crop = _photograph(256)
    other_side = [HEATMAP_JOINTS.index({"l": "r", "r": "l"}.get(j[0], j[0]) + j[1:]) for j in HEATMAP_JOINTS[1:]]
    logits = backbone.predict(np.concatenate([crop, crop[:, :, ::-1]]), verbose=0)[2][..., :17]
    logits[1] = logits[1][..., [0, *other_side]]
    heat = np.exp(3 * logits - (3 * logits).max((1, 2), keepdims=True))
    column = (heat * np.arange(64)[:, None]).sum((1, 2)) / heat.sum((1, 2))
    x = 4 * column + BACKBONES[name].first_cell(4)
    seen = logits[0].max((0, 1)) > 0
    assert seen.sum() >= 5
    assert abs(np.median((x[0] + x[1])[seen]) - 255) < 0.6


@pytest.mark.download
def test_the_fine_head_starts_from_the_heatmaps():
    """With flat coarse heatmaps, joints in the image are where MoveNet's own heatmaps have their peaks."""
    model = CropModel(backbone="movenet-thunder-pyramid", crop_side=256, stride=16, train_stride=16, head_channels=16)
    pretrained.initialize_backbone(model.backbone, "movenet-thunder-pyramid")
    crop = _photograph(256)
    points = np.array(model([crop, np.eye(3, dtype=np.float32)[None]])["points2d"])[0]
    logits = model.backbone.predict(crop, verbose=0)[2][0, ..., :17]
    for joint in ("nose", "leye", "reye", "lsho", "rsho"):
        heatmap = logits[..., HEATMAP_JOINTS.index(joint)]
        peak = np.array(np.unravel_index(heatmap.argmax(), heatmap.shape))[::-1] * 4 + 1.5
        assert np.linalg.norm(points[model.skeleton.index(joint)] - peak) < 25, joint
    assert abs(points[model.skeleton.index("lhan")] - 127.5).max() < 12  # has no heatmap there: flat


def test_a_pyramid_has_one_stride():
    with pytest.raises(ValueError, match="movenet-lightning-pyramid has strides 16, not 32"):
        build_backbone("movenet-lightning-pyramid", 192, 32)
