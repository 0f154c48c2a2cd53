"""Cameras: from the calibration files of OpenCV and ROS, or from a field of view."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from metrabs_core.cameras import Camera
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


@dataclass(frozen=True)
class VideoCamera:
    """The camera of a video, or an assumption about one.

    Attributes:
        fov_degrees: field of view over the longer side of the image; None where the camera is calibrated.
        calibrated: the calibrated camera, or None.
        image_size: width and height of the images that were calibrated, px; None if the file does not say.
    """

    fov_degrees: float | None = None
    calibrated: Camera | None = None
    image_size: tuple[int, int] | None = None

    def of_images(self, width: int, height: int) -> Camera:
        """The camera of images of a size.

        Raises:
            UserError: the calibration holds for images of another size.
        """
        if self.calibrated is None:
            return Camera.from_fov(self.fov_degrees, width, height)
        if self.image_size not in (None, (width, height)):
            raise UserError(
                f"The calibration is of images of {self.image_size[0]}x{self.image_size[1]} pixels, but these have "
                f"{width}x{height}: calibrate the camera at this resolution."
            )
        return self.calibrated

    @property
    def lens(self) -> dict:
        """``distortion_coeffs`` and ``distortion_model``, as `metrabs_core.cameras.Camera` has them."""
        camera = self.calibrated or Camera(np.eye(3))
        return {"distortion_coeffs": camera.distortion_coeffs, "distortion_model": camera.distortion_model}


class _Loader(yaml.SafeLoader):
    """YAML as OpenCV writes it, with matrices that have a type of their own."""


_Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", lambda loader, node: loader.construct_mapping(node, True))


def read_calibration(path) -> VideoCamera:
    """Read a camera from a calibration file.

    Args:
        path: YAML or JSON, as OpenCV's FileStorage, ROS' camera_calibration or `ros2 topic echo` of a camera_info write
            it, or with the names of the model's arguments: `intrinsic_matrix`, `distortion_coeffs` and
            `distortion_model`. A fisheye lens needs the name of its model.

    Raises:
        UserError: there is no such file, or it holds no calibration, or one of a lens that is not known.
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
    distortion = _numbers(path, document, _DISTORTION_NAMES)
    distortion = np.zeros(0) if distortion is None else distortion.ravel()
    # the second is what OpenCV's sample program for calibration writes
    model = document.get("distortion_model") or ("fisheye" if document.get("fisheye_model") else "")
    if len(distortion) not in (0, 4, 5, 8, 12, 14):
        raise UserError(
            f"The calibration in {path} has {len(distortion)} distortion coefficients; 4, 5, 8 or 12 are needed "
            "(k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4), or, of a fisheye lens, 4 (k1 k2 k3 k4)."
        )
    try:
        camera = Camera(matrix.reshape(3, 3) if matrix.size == 9 else matrix, distortion, model)
    except UserError as error:
        raise UserError(f"The calibration in {path} can't be used: {error}") from error
    return VideoCamera(calibrated=camera, image_size=_image_size(document))


def _numbers(path, document: dict, names) -> np.ndarray | None:
    value = next((document[name] for name in names if name in document), None)
    if value is None:
        return None
    if isinstance(value, dict):
        value = value.get("data")
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"The calibration file {path} holds no numbers where they should be: {value!r}.") from error


def _image_size(document: dict) -> tuple[int, int] | None:
    size = [next((document[name] for name in names if name in document), 0) for names in (_WIDTH_NAMES, _HEIGHT_NAMES)]
    return (int(size[0]), int(size[1])) if all(size) else None
