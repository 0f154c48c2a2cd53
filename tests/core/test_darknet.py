"""YOLOv4's layers and Darknet's files, against an interpreter in PyTorch that shares no code with them."""

import darknet_interpreter
import numpy as np
import pytest

from metrabs_core.detection import darknet, yolov4
from metrabs_core.errors import UserError

ARCHITECTURES = {"yolov4": yolov4.yolov4, "yolov4-tiny": yolov4.yolov4_tiny}
# Of the files that the Darknet project has published: what the weights files hold, and their convolutions.
OFFICIAL_FILE_SIZES = {"yolov4": 257_717_640, "yolov4-tiny": 24_251_276}
OFFICIAL_CONVOLUTIONS = {"yolov4": 110, "yolov4-tiny": 21}


def narrowed(sections, divisor=8, n_classes=3):
    """The same network with fewer filters and classes."""
    narrow = []
    for (kind, options), (following, _) in zip(sections, [*sections[1:], (None, None)]):
        options = dict(options)
        if following == "yolo":
            options["filters"] = 3 * (5 + n_classes)
        elif kind == "convolutional":
            options["filters"] //= divisor
        elif kind == "yolo":
            options["classes"] = n_classes
        narrow.append(darknet.Section(kind, options))
    return narrow


def written(tmp_path, sections, **changes):
    """Weights file for a network: (path, arrays)."""
    arrays = darknet_interpreter.random_arrays(darknet_interpreter.as_cfg(sections))
    path = tmp_path / "net.weights"
    darknet_interpreter.write_weights(path, arrays, **changes)
    return path, arrays


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_yolov4_is_what_an_interpreter_of_the_layers_computes(name, tmp_path):
    sections = narrowed(ARCHITECTURES[name]())
    path, arrays = written(tmp_path, sections)
    pictures = np.random.default_rng(1).random([2, 64, 96, 3], np.float32)
    network = darknet.read_network(sections, path, (64, 96))
    expected = darknet_interpreter.run(darknet_interpreter.as_cfg(sections), arrays, pictures)
    assert np.std(expected[..., 4:]) > 0.01  # not all the same
    np.testing.assert_allclose(network(pictures), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_official_weights_files_fit(name):
    sections = darknet_interpreter.as_cfg(ARCHITECTURES[name]())
    shapes = darknet_interpreter.parameter_shapes(sections)
    header = 3 * 4 + 8
    assert header + 4 * sum(int(np.prod(shape)) for _, shape in shapes) == OFFICIAL_FILE_SIZES[name]
    assert sum(kind == "convolutional" for kind, _ in sections) == OFFICIAL_CONVOLUTIONS[name]


SMALL = [
    darknet.Section("net", {"width": 64, "height": 64}),
    darknet.Section(
        "convolutional", {"batch_normalize": 1, "filters": 4, "size": 3, "stride": 2, "pad": 1, "activation": "mish"}
    ),
    darknet.Section("convolutional", {"filters": 6, "size": 1, "stride": 1, "activation": "linear"}),
    darknet.Section("yolo", {"mask": [0], "anchors": [(10, 20)], "classes": 1, "scale_x_y": 1.0}),
]
N_NUMBERS = 4 * (4 + 3 * 9) + 6 * (1 + 4)


def test_files_of_darknet_before_version_0_2_count_images_in_four_bytes(tmp_path):
    new, _ = written(tmp_path, SMALL)
    new_network = darknet.read_network(SMALL, new)
    old, _ = written(tmp_path, SMALL, version=(0, 1, 0))
    old_network = darknet.read_network(SMALL, old)
    for a, b in zip(new_network.get_weights(), old_network.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("n_extra, word", [(-1, "short"), (1, "long")])
def test_weights_of_another_length_are_reported(n_extra, word, tmp_path):
    path, _ = written(tmp_path, SMALL)
    content = path.read_bytes()
    path.write_bytes(content[: 4 * n_extra] if n_extra < 0 else content + b"0000")
    with pytest.raises(UserError, match=f"net.weights is too {word}: it holds {N_NUMBERS + n_extra} .* {N_NUMBERS}"):
        darknet.read_network(SMALL, path)


@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html><html><body>Not Found</body></html>", b"\x89PNG\r\n\x1a\n" * 9]
)
def test_what_is_no_weights_file_is_reported(content, tmp_path):
    (tmp_path / "net.weights").write_bytes(content)
    with pytest.raises(UserError, match="no Darknet weights file"):
        darknet.read_network(SMALL, tmp_path / "net.weights")
