"""Prediction files as ``metrabs-train predict`` writes them: ``predictions_DATASET.npz``, one row per pose."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError

_N_NAMED = 5  # how many missing images an error names


@dataclass(frozen=True)
class Predictions:
    """What a prediction file holds.

    Attributes:
        path: the file.
        images: names of the M pictures, as ``image_name`` shortens them.
        coords: float64 [M, J, 3], mm.
        people: M numbers of people in their sequences; zeros if the file does not tell.
    """

    path: Path
    images: list[str]
    coords: np.ndarray
    people: list[int]


def image_name(path: str | Path, depth: int) -> str:
    """The last parts of a picture's path, such as TS1/img_000000.jpg: the same wherever the data set lies."""
    return "/".join(str(path).replace("\\", "/").split("/")[-depth:])


def read(path: str | Path, depth: int, joint_names: Sequence[str], arrays: Sequence[str]) -> Predictions:
    """Read a prediction file.

    Args:
        path: npz file.
        depth: how many parts of a picture's path tell the pictures of the data set apart.
        joint_names: joints to return. A file that has an array ``joint_names`` may have them in any order; in another
            file the joints must be exactly these.
        arrays: names that the poses may have in the file; the first that is there is read.

    Raises:
        UserError: there is no such file; it lacks an array, holds Python objects, has other joints, or poses that are
            not numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no prediction file {path}.")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no npz file, or damaged.")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = [name for name in arrays if name in archive.files]
            if not found or "image_path" not in archive.files:
                wanted = "image_path" if found else " or ".join(arrays)
                raise UserError(f"{path} has no array {wanted}; it has {', '.join(archive.files) or 'none'}.")
            images, coords = archive["image_path"], archive[found[0]].astype(np.float64)
            people = archive["person"].tolist() if "person" in archive.files else [0] * len(images)
            names = [str(n) for n in archive["joint_names"]] if "joint_names" in archive.files else list(joint_names)
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} is damaged: {error}.") from error
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise UserError(
            f"{path} holds pickled Python objects, which could run code and are not loaded: save the image paths as an"
            " array of strings."
        ) from error
    if coords.shape != (len(images), len(names), 3):
        raise UserError(
            f"{path}: {found[0]} is {list(coords.shape)}, but {len(images)} images and {len(names)} joints"
            f" ({' '.join(names)}) need {[len(images), len(names), 3]}."
        )
    missing = [name for name in joint_names if name not in names]
    if missing:
        raise UserError(f"{path} lacks the joints {', '.join(missing)}; it has {', '.join(names)}.")
    paths = [i.decode() if isinstance(i, bytes) else str(i) for i in images]
    broken = np.flatnonzero(~np.isfinite(coords).all((1, 2)))
    if len(broken):
        raise UserError(f"{path}: {len(broken)} poses are not finite: {some([paths[i] for i in broken])}.")
    coords = coords[:, [names.index(name) for name in joint_names]]
    return Predictions(path, [image_name(p, depth) for p in paths], coords, people)


def one_per_image(
    predictions: Predictions, images: list[str], allow_missing: bool
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Order predictions as the pictures of the data set, each of which shows one person.

    Args:
        predictions: what a file holds.
        images: names of the N pictures, unique.
        allow_missing: leave out pictures without a prediction.

    Returns:
        poses float64 [M, J, 3] in mm, which of the N pictures they are of (int [M]), and what to note.

    Raises:
        UserError: a picture has no prediction or several, or a prediction's picture is not one of them.
    """
    rows = {}
    repeated = []
    for row, image in enumerate(predictions.images):
        (repeated.append(image) if image in rows else rows.setdefault(image, row))
    missing = [image for image in images if image not in rows]
    problems = {
        "without prediction": [] if allow_missing and len(missing) < len(images) else missing,
        "predicted more than once": repeated,
        "not in the test part": sorted(rows.keys() - set(images)),
    }
    if any(problems.values()):
        lists = "; ".join(f"{len(names)} {what}: {some(names)}" for what, names in problems.items() if names)
        raise UserError(
            f"{predictions.path} has {len(predictions.images)} poses, the data set's test part {len(images)} ({lists})."
            " --allow-missing leaves out what has no prediction."
        )
    kept = np.array([i for i, image in enumerate(images) if image in rows])
    notes = (f"{len(missing)} of {len(images)} pictures have no prediction and are left out.",) if missing else ()
    return predictions.coords[[rows[images[i]] for i in kept]], kept, notes


def some(names: list[str]) -> str:
    """The first names of a long list, to put into an error."""
    rest = f" and {len(names) - _N_NAMED} more" if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + rest
