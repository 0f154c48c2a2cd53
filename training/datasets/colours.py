"""Colour adjustment of some data sets' pictures, as in the paper's experiments."""

import cv2
import numpy as np

_GAMMA = 0.67
_TABLE = (np.linspace(0, 1, 256) ** _GAMMA * 255).astype(np.uint8)
# The mean a* and b* of OpenCV's 8-bit Lab that are moved to grey (128), more in bright pixels, and how strongly.
_MEAN_A, _MEAN_B, _STRENGTH = 110, 145, 1.1


def brighten(image: np.ndarray) -> np.ndarray:
    """Gamma 0.67, for the dark pictures of MPI-INF-3DHP's and MuPoTS-3D's studio: uint8 [h, w, 3] to the same."""
    return cv2.LUT(image, _TABLE)


def adjust_3dhp_colours(image: np.ndarray) -> np.ndarray:
    """Brighten and take the green tint off pictures of MPI-INF-3DHP's studio: uint8 [h, w, 3] RGB to the same."""
    lab = cv2.cvtColor(brighten(image), cv2.COLOR_RGB2LAB).astype(np.float32)
    light = lab[..., :1] / 255 * _STRENGTH
    lab[..., 1:] -= light * np.array([_MEAN_A - 128, _MEAN_B - 128], np.float32)
    return cv2.cvtColor(np.clip(lab, 0, 255).astype(np.uint8), cv2.COLOR_LAB2RGB)
