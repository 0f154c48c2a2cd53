"""Darknet's files as Keras models, against an interpreter in PyTorch that shares no code with them."""

import darknet_interpreter
import numpy as np
import pytest

from metrabs_core.detection import darknet, yolov4

ARCHITECTURES = {"yolov4": yolov4.yolov4, "yolov4-tiny": yolov4.yolov4_tiny}
# Of the files that the Darknet project has published: what the weights files hold, and their convolutions.
OFFICIAL_FILE_SIZES = {"yolov4": 257_717_640, "yolov4-tiny": 24_251_276}
OFFICIAL_CONVOLUTIONS = {"yolov4": 110, "yolov4-tiny": 21}

# Layers and options that the two do not have; written as carelessly as people do.
ODD_CFG = """
# a comment
[network]
width=45
height = 39
channels=3

[convolutional]
filters=6
size=3
stride=2
pad=1
activation=relu
[maxpool]
size=3
stride=2
[convolutional]   ; grouped
batch_normalize=1
filters=6
groups=3
size=5
padding=1
stride=1
activation=mish
[maxpool]
stride=1
size=2
[convolutional]
filters=6
size=1
activation=logistic
[shortcut]
from=-2
activation=leaky
[route]
layers=-1, 3
groups=3
group_id=2
[upsample]
stride=3
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=2,0
anchors=3,4, 5,6, 7.5,8
classes=2
num=3
scale_x_y=1.3
"""


def narrowed(sections, divisor=8, n_classes=3):
    """The same network with fewer filters and classes."""
    narrow = []
    for (kind, options), (following, _) in zip(sections, [*sections[1:], (None, None)]):
        options = dict(options)
        if following == "yolo":
            options["filters"] = str(3 * (5 + n_classes))
        elif kind == "convolutional":
            options["filters"] = str(int(options["filters"]) // divisor)
        elif kind == "yolo":
            options["classes"] = str(n_classes)
        narrow.append((kind, options))
    return narrow


def written(tmp_path, text, **changes):
    """Weights file for a cfg: (path, arrays)."""
    sections = darknet_interpreter.read_sections(text)
    arrays = darknet_interpreter.random_arrays(sections)
    path = tmp_path / "net.weights"
    darknet_interpreter.write_weights(path, arrays, **changes)
    return path, arrays


def assert_as_interpreted(text, path, arrays, pictures, input_size=None):
    network = darknet.read_network(darknet.parse_cfg(text), path, input_size)
    expected = darknet_interpreter.run(darknet_interpreter.read_sections(text), arrays, pictures)
    assert np.std(expected[..., 4:]) > 0.01  # not all the same
    np.testing.assert_allclose(network(pictures), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_yolov4_is_what_an_interpreter_of_the_layers_computes(name, tmp_path):
    text = darknet_interpreter.write_sections(narrowed(ARCHITECTURES[name]()))
    path, arrays = written(tmp_path, text)
    pictures = np.random.default_rng(1).random([2, 64, 96, 3], np.float32)
    assert_as_interpreted(text, path, arrays, pictures, input_size=(64, 96))


def test_other_layers_and_options_are_what_the_interpreter_computes(tmp_path):
    path, arrays = written(tmp_path, ODD_CFG)
    pictures = np.random.default_rng(2).random([1, 39, 45, 3], np.float32)
    assert_as_interpreted(ODD_CFG, path, arrays, pictures)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_official_weights_files_fit(name):
    sections = darknet_interpreter.read_sections(darknet_interpreter.write_sections(ARCHITECTURES[name]()))
    shapes = darknet_interpreter.parameter_shapes(sections)
    header = 3 * 4 + 8
    assert header + 4 * sum(int(np.prod(shape)) for _, shape in shapes) == OFFICIAL_FILE_SIZES[name]
    assert sum(kind == "convolutional" for kind, _ in sections) == OFFICIAL_CONVOLUTIONS[name]


SMALL_CFG = """
[net]
width=64
height=64
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=mish
[convolutional]
filters=6
size=1
activation=linear
[yolo]
mask=0
anchors=10,20
classes=1
num=1
"""
N_NUMBERS = 4 * (4 + 3 * 9) + 6 * (1 + 4)


def test_files_of_darknet_before_version_0_2_count_images_in_four_bytes(tmp_path):
    new, _ = written(tmp_path, SMALL_CFG)
    new_network = darknet.read_network(darknet.parse_cfg(SMALL_CFG), new)
    old, _ = written(tmp_path, SMALL_CFG, version=(0, 1, 0))
    old_network = darknet.read_network(darknet.parse_cfg(SMALL_CFG), old)
    for a, b in zip(new_network.get_weights(), old_network.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n_extra, word", [(-1, "short"), (1, "long")])
def test_weights_of_another_length_are_told(n_extra, word, tmp_path):
    path, _ = written(tmp_path, SMALL_CFG)
    content = path.read_bytes()
    path.write_bytes(content[: 4 * n_extra] if n_extra < 0 else content + b"0000")
    with pytest.raises(ValueError, match=f"net.weights is too {word}: it holds {N_NUMBERS + n_extra} .* {N_NUMBERS}"):
        darknet.read_network(darknet.parse_cfg(SMALL_CFG), path)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html><body>Not Found</body></html>", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_what_is_no_weights_file_is_told(content, tmp_path):
    (tmp_path / "net.weights").write_bytes(content)
    with pytest.raises(ValueError, match="no Darknet weights file"):
        darknet.read_network(darknet.parse_cfg(SMALL_CFG), tmp_path / "net.weights")
    with pytest.raises(FileNotFoundError, match="no Darknet weights file .*nowhere"):
        darknet.read_network(darknet.parse_cfg(SMALL_CFG), tmp_path / "nowhere")


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("[yolo]", "[region]", r"layer 2 \[region\]: such layers are not known; known are convolutional, "),
        ("=mish", "=swish", r"layer 0 \[convolutional\]: the activation swish is not known; known are linear, "),
        ("pad=1", "dilation=2", "the option dilation is not known"),
        ("classes=1", "classes=1\nnew_coords=1", "new_coords=1 .* not supported"),
        ("classes=1", "classes=80", "1 anchors with 85 numbers each do not make the 6 channels before it"),
        ("size=1", "size=one", "size=one: a number is needed"),
        ("size=1", "size=1,2", "size=1,2: one number is needed"),
        ("[yolo]", "[route]\nlayers=2\n[yolo]", "refers to layer 2, which does not come before it"),
        ("[yolo]", "[route]\nlayers=-1\ngroups=2\ngroup_id=2\n[yolo]", "no group 2 of 2"),
        ("[yolo]", "[shortcut]\nfrom=-2\n[yolo]", r"different shapes are added: \(32, 32, 6\) and \(32, 32, 4\)"),
        ("[yolo]", "[maxpool]\nsize=2\nstride=2\n[route]\nlayers=-1,-2\n[yolo]", "16x16, 32x32.*multiple of 32"),
        ("[net]", "[convolutional]", r"does not begin with a section \[net\]"),
        ("[net]", "net", "Line 2 of the Darknet cfg is no section, option or comment: 'net'"),
        (SMALL_CFG[SMALL_CFG.index("[yolo]") :], "", r"has no \[yolo\] section"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(old, new, sentence, tmp_path):
    path, _ = written(tmp_path, SMALL_CFG)
    with pytest.raises(ValueError, match=sentence):
        darknet.read_network(darknet.parse_cfg(SMALL_CFG.replace(old, new)), path)
