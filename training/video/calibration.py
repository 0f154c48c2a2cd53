"""Cameras: from the calibration files of OpenCV and ROS, or from a field of view."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from metrabs_core.errors import UserError

# The names under which calibration programs write the same things.
_MATRIX_NAMES = ("camera_matrix", "intrinsic_matrix", "cameraMatrix", "K", "k", "mtx")
_DISTORTION_NAMES = (
    "distortion_coefficients",
    "distortion_coeffs",
    "distCoeffs",
    "dist_coeffs",
    "Distortion_Coefficients",
    "D",
    "d",
    "dist",
)
_WIDTH_NAMES, _HEIGHT_NAMES = ("image_width", "width"), ("image_height", "height")
_PINHOLE_MODELS = ("", "plumb_bob", "rational_polynomial", "radtan", "pinhole", "none")


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with a lens, or an assumption about one.

    Attributes:
        fov_degrees: field of view over the longer side of the image; None where the camera is calibrated.
        intrinsic_matrix: float32 [3, 3], px; None where it follows from the field of view.
        distortion_coeffs: float32 [5, 8 or 12], OpenCV's order.
        image_size: width and height that the calibration holds for, px; None if it does not tell.
    """

    fov_degrees: float | None
    intrinsic_matrix: np.ndarray | None = None
    distortion_coeffs: np.ndarray = field(default_factory=lambda: np.zeros(5, np.float32))
    image_size: tuple[int, int] | None = None

    def intrinsics(self, width: int, height: int) -> np.ndarray:
        """Intrinsic matrix, float32 [3, 3], for images of a size.

        Raises:
            UserError: the calibration holds for images of another size.
        """
        if self.intrinsic_matrix is None:
            focal = max(width, height) / 2 / np.tan(np.radians(self.fov_degrees) / 2)
            return np.float32([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        if self.image_size not in (None, (width, height)):
            raise UserError(
                f"The calibration is of images of {self.image_size[0]}x{self.image_size[1]} pixels, but these have "
                f"{width}x{height}: calibrate the camera at this resolution."
            )
        return self.intrinsic_matrix


class _Loader(yaml.SafeLoader):
    """YAML as OpenCV writes it, with matrices that have a type of their own."""


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, True))


def read_calibration(path) -> Camera:
    """Read a camera from a calibration file.

    Args:
        path: YAML or JSON, as OpenCV's FileStorage, ROS' camera_calibration or `ros2 topic echo` of a camera_info write
            it, or with the names of the model's arguments: `intrinsic_matrix` and `distortion_coeffs`.

    Raises:
        UserError: there is no such file; it holds no calibration, or one of a lens that the model does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no calibration file {path}.")
    try:
        # "%YAML:1.0" is OpenCV's own idea of a first line.
        lines = path.read_text().splitlines()
        text = "\n".join(line for line in lines if not line.startswith("%YAML"))
        document = next((d for d in yaml.load_all(text, _Loader) if isinstance(d, dict)), None)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"The calibration file {path} is neither YAML nor JSON.") from error
    matrix = _numbers(path, document or {}, _MATRIX_NAMES)
    if matrix is None:
        raise UserError(f"The calibration file {path} has no camera matrix (looked for {', '.join(_MATRIX_NAMES)}).")
    if matrix.size != 9 or not np.isfinite(matrix).all() or matrix.ravel()[0] <= 0 or matrix.ravel()[4] <= 0:
        raise UserError(f"The camera matrix in {path} is not one: {matrix.ravel().tolist()}.")
    model = str(document.get("distortion_model", "")).lower()
    if model not in _PINHOLE_MODELS:
        raise UserError(
            f"The calibration in {path} is of a lens model {model!r}; only plumb_bob and rational_polynomial are known."
        )
    distortion = _numbers(path, document, _DISTORTION_NAMES)
    distortion = np.zeros(0, np.float32) if distortion is None else distortion.ravel()
    if len(distortion) == 14 and not distortion[12:].any():
        distortion = distortion[:12]
    if len(distortion) not in (0, 4, 5, 8, 12) or not np.isfinite(distortion).all():
        raise UserError(
            f"The calibration in {path} has {len(distortion)} distortion coefficients; 4, 5, 8 or 12 are needed "
            "(k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4)."
        )
    distortion = np.pad(distortion, [0, max(0, 5 - len(distortion))])
    return Camera(None, matrix.reshape(3, 3), distortion, _image_size(document))


def _numbers(path, document: dict, names) -> np.ndarray | None:
    value = next((document[name] for name in names if name in document), None)
    if value is None:
        return None
    if isinstance(value, dict):
        value = value.get("data")
    try:
        return np.array(value, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"The calibration file {path} holds no numbers where they should be: {value!r}.") from error


def _image_size(document: dict) -> tuple[int, int] | None:
    size = [next((document[name] for name in names if name in document), 0) for names in (_WIDTH_NAMES, _HEIGHT_NAMES)]
    return (int(size[0]), int(size[1])) if all(size) else None
