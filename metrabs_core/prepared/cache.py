"""Where prepared models are kept, and how they get there: at installation, or by the first start."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import metrabs_core
from metrabs_core import detection, models
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_folder, cache_folder, write_json
from metrabs_core.model_card import FILE_NAME
from metrabs_core.prepared.model import CONTENT, CROP_MODEL, DETECTOR, PreparedModel
from metrabs_core.process import find_gpus

_HASHES = "hashes.json"
_REFUSED = 3  # exit code of the script, whose last words then say why
_SCRIPT = f"""
import sys
from metrabs_core.errors import UserError
from metrabs_core.prepared import prepare
try:
    prepare(sys.argv[1])
except UserError as error:
    print(error, end="", file=sys.stderr)
    sys.exit({_REFUSED})
"""
# Of the package: the networks, and how files are made of them.
_SOURCES = ("network/*.py", "detection/*.*", "packaging/*.py", "prepared/conversion.py", "skeletons.py")
_N_KEPT = 4  # the one that was not loaded for longest makes room for another


def load_prepared(path=None, detector_input_side=None):
    """As ``metrabs_core.load``, for who needs ``detect_poses`` or both halves of it above all.

    A model that is made of weights comes out of the cache folder, where it is put at the first time.

    Returns:
        PreparedModel; a whole ``metrabs_core.packaging.Model`` where TensorFlow has a GPU, or there is an exported
        model, or the cache folder can't be used.

    Raises:
        UserError: as ``metrabs_core.load``.
    """

    def load_whole():
        return metrabs_core.load(path, None, detector_input_side)

    directory = models.locate(path)
    is_made_of_weights = (directory / FILE_NAME).is_file() and not (directory / "saved_model.pb").is_file()
    if not is_made_of_weights or find_gpus():
        return load_whole()
    input_side = detection.checked_input_side(detection.DEFAULT, detector_input_side)
    folder = _folder(directory)
    for _ in range(2):  # what is damaged is made anew, once
        if not (folder.is_dir() or _prepare_in_another_process(directory)):
            break
        try:
            _check(folder)
            model = PreparedModel(folder, input_side, load_whole)
            os.utime(folder)  # tells when it was used
            return model
        except (OSError, ValueError, KeyError, RuntimeError):
            shutil.rmtree(folder, ignore_errors=True)
    return load_whole()


def prepare(path=None) -> None:
    """Put a model that is made of weights into the cache folder, unless it is there. This needs TensorFlow.

    Raises:
        UserError: there is no such model.
        OSError: the cache folder can't be written to.
    """
    directory = models.locate(path)
    folder = _folder(directory)
    if folder.is_dir():
        return
    from metrabs_core.prepared.conversion import convert

    try:
        with atomic_folder(folder) as temporary:
            write_json(temporary / CONTENT, convert(directory, temporary))
            write_json(temporary / _HASHES, {name: _hash(temporary / name) for name in (CONTENT, CROP_MODEL, DETECTOR)})
    except OSError:
        if not folder.is_dir():  # or another process was faster
            raise
    folders = sorted(folder.parent.glob("[0-9a-f]*"), key=lambda path: path.stat().st_mtime)
    for old in folders[:-_N_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def _prepare_in_another_process(directory: Path) -> bool:
    """Whether that worked. This process would keep the memory that it takes.

    Raises:
        UserError: as ``metrabs_core.load``.
    """
    logging.getLogger(__name__).warning("The model %s is being prepared, once: later starts are faster.", directory)
    search_path = os.pathsep.join(filter(None, [str(Path(metrabs_core.__file__).parents[1]), *sys.path]))
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(directory.absolute())],
        env={**os.environ, "PYTHONPATH": search_path},
        check=False,
        capture_output=True,
        text=True,
    )
    if result.returncode == _REFUSED:
        raise UserError(result.stderr.splitlines()[-1])
    return result.returncode == 0


def _folder(directory: Path) -> Path:
    """Where a model belongs; it depends on all that the files there are made of."""
    package = Path(metrabs_core.__file__).parent
    files = [*directory.glob("*"), *(file for pattern in _SOURCES for file in package.glob(pattern))]
    key = hashlib.sha256()
    for file in sorted(file for file in files if file.is_file()):
        key.update(file.name.encode() + _hash(file).encode())
    return cache_folder() / "prepared" / key.hexdigest()[:24]


def _check(folder: Path) -> None:
    """Raise OSError or ValueError if something in the folder is missing or damaged."""
    for name, digest in json.loads((folder / _HASHES).read_text()).items():
        if _hash(folder / name) != digest:
            raise ValueError(f"{folder / name} is damaged.")


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
