"""MuPoTS-3D (Mehta et al., 3DV 2018).

As the official archive unpacks::

    mupots/TS1/annot.mat           annotations {frames, people}: annot2 [2, 17] px, annot3 and univ_annot3 [3, 17] mm,
                                   camera frame, isValidFrame
    mupots/TS1/img_000000.jpg      frames from zero

and what ``metrabs-train prepare mupots`` makes of that::

    mupots/camera_intrinsics.json  intrinsic matrix of each sequence
    mupots/detections.npz          people that the detector finds
"""

import json
from pathlib import Path

import boxlib
import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from training.datasets import matlab, mpi_inf_3dhp
from training.datasets.annotations import Annotations
from training.datasets.colours import brighten
from training.datasets.detections import FILE_NAME, detect_people, match_boxes, read_detections
from training.datasets.example import Dataset, Example
from training.datasets.named import Hips, NamedDataset
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder

SKELETON = mpi_inf_3dhp.SKELETON
N_SEQUENCES = 20
INTRINSICS_NAME = "camera_intrinsics.json"
_MIN_SCORE = 0.1  # of detections

DOWNLOAD = """MuPoTS-3D is for non-commercial research: http://gvv.mpi-inf.mpg.de/projects/SingleShotMultiPerson
Unpack the official MultiPersonTestSet.zip so that there are
  mupots/TS1/annot.mat, mupots/TS1/img_000000.jpg ...  (TS1 to TS20)"""


def find(root: Path, split: str) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "test": all people in frames in which their annotation is valid, with boxes around their joints; "val":
            those of them that the detector finds, with its boxes. ``scene`` is the sequence, ``person`` the column of
            the annotation.
    """
    folder = root / "mupots"
    paths = [folder / f"TS{number}/annot.mat" for number in range(1, N_SEQUENCES + 1)]
    found = [path for path in paths if path.is_file()]
    missing = [str(path.relative_to(root)) for path in paths if path not in found]
    extra = [folder / INTRINSICS_NAME] if (folder / INTRINSICS_NAME).is_file() else []
    if split == "val":
        if (folder / FILE_NAME).is_file():
            extra.append(folder / FILE_NAME)
        else:
            missing.append(f"mupots/{FILE_NAME}")
            found = []
    return Annotations(SKELETON, found + extra * bool(found), lambda: _read(root, found, split), missing)


def read_annotations(path: Path) -> dict[str, np.ndarray]:
    """The annotation of one sequence, in the order of the file's joints.

    Returns:
        dict of ``annot2`` float64 [frames, people, 17, 2], ``annot3`` and ``univ_annot3`` [frames, people, 17, 3], and
        ``valid`` bool [frames, people].

    Raises:
        UserError: the file is something else.
    """
    (cells,) = matlab.load(path, "annotations")
    fields = {"annot2": 2, "annot3": 3, "univ_annot3": 3}
    result = {name: np.zeros([*cells.shape, 17, size]) for name, size in fields.items()}
    result["valid"] = np.zeros(cells.shape, bool)
    try:
        for place, cell in np.ndenumerate(cells):
            person = matlab.scalar(cell)
            result["valid"][place] = bool(matlab.scalar(person.isValidFrame))
            for name, size in fields.items():
                values = np.float64(getattr(person, name))
                if values.size:
                    result[name][place] = values.reshape(size, 17).T
    except (AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no annotation of MuPoTS-3D: {error!r}.") from error
    return result


def estimate_intrinsics(points2d: np.ndarray, points3d: np.ndarray) -> np.ndarray:
    """The intrinsic matrix [3, 3] that projects points [n, 3] closest to pixels [n, 2] (least squares, no skew)."""
    matrix = np.eye(3)
    for axis in (0, 1):
        slope = np.stack([points3d[:, axis] / points3d[:, 2], np.ones(len(points3d))], axis=1)
        (matrix[axis, axis], matrix[axis, 2]), *_ = np.linalg.lstsq(slope, points2d[:, axis], rcond=None)
    return matrix


def read_intrinsics(root: Path) -> dict[str, np.ndarray]:
    """Prepared intrinsic matrices [3, 3], by sequence ("TS1"); empty if nothing was prepared.

    Raises:
        UserError: the file is damaged.
    """
    path = root / "mupots" / INTRINSICS_NAME
    if not path.is_file():
        return {}
    try:
        return {
            name: np.array(matrix, np.float64).reshape(3, 3) for name, matrix in json.loads(path.read_text()).items()
        }
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is damaged: remove it and run metrabs-train prepare mupots again.") from error


def _read(root: Path, paths: list[Path], split: str) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    intrinsics = read_intrinsics(root)
    detections = read_detections(root / "mupots" / FILE_NAME) if split == "val" else {}
    for path in paths:
        sequence = path.parent.name
        annotations = read_annotations(path)
        valid = annotations["valid"]
        matrix = intrinsics.get(sequence)
        if matrix is None:
            matrix = estimate_intrinsics(
                annotations["annot2"][valid].reshape(-1, 2), annotations["annot3"][valid].reshape(-1, 3)
            )
        frames, people = np.nonzero(valid)
        joints2d, metric, universal = (
            annotations[name][valid][:, mpi_inf_3dhp.TEST_JOINTS] for name in ("annot2", "annot3", "univ_annot3")
        )
        boxes = np.array([boxlib.expand(boxlib.bb_of_points(np.float32(points)), 1.1) for points in joints2d])
        rows = np.arange(len(frames))
        if split == "val":
            boxes, rows = _detected(sequence, frames, boxes, detections)
        table.add(
            [f"mupots/{sequence}/img_{frame:06d}.jpg" for frame in frames[rows]],
            boxes[rows],
            Camera(matrix),
            metric[rows],
            universal[rows],
            joints2d[rows],
            scene=sequence,
            person=people[rows],
        )
    return table.build()


def _detected(sequence: str, frames, boxes, detections) -> tuple[np.ndarray, np.ndarray]:
    """The boxes with those that were detected in their places, and the rows of the people who were."""
    boxes, rows = boxes.copy(), []
    for frame in np.unique(frames):
        here = np.flatnonzero(frames == frame)
        found = detections.get(f"{sequence}/img_{frame:06d}.jpg", np.zeros([0, 5], np.float32))
        for i, j in match_boxes(boxes[here], found):
            boxes[here[i]] = found[j, :4]
            rows.append(here[i])
    return boxes, np.array(sorted(rows), int)


def prepare(preparation: Preparation) -> None:
    """Estimate the cameras' intrinsics and find people in all frames.

    Args:
        preparation: the run.

    Raises:
        UserError: official files are missing.
    """
    root, folder = preparation.root, preparation.root / "mupots"
    found = find(root, "test")
    missing = list(found.missing)
    intrinsics, images = {}, []
    for path in [path for path in found.files if path.name == "annot.mat"]:
        annotations = read_annotations(path)
        valid = annotations["valid"]
        if valid.any():
            points = (annotations[name][valid].reshape(-1, size) for name, size in (("annot2", 2), ("annot3", 3)))
            intrinsics[path.parent.name] = estimate_intrinsics(*points).tolist()
        wanted = [f"{path.parent.name}/img_{frame:06d}.jpg" for frame in range(len(valid))]
        there = [name for name in wanted if (folder / name).is_file()]
        if len(there) < len(wanted):
            missing.append(f"{len(wanted) - len(there)} pictures of mupots/{path.parent.name}")
        images += there
    preparation.require("MuPoTS-3D", missing, DOWNLOAD, is_empty=not images)
    with atomic_file(folder / INTRINSICS_NAME) as temporary:
        temporary.write_text(json.dumps(intrinsics))
    preparation.done.append(f"intrinsics of {len(intrinsics)} sequences in {folder / INTRINSICS_NAME}")
    detect_people(preparation, folder, images)


def adjust_colours(image_path: Path, crop: np.ndarray) -> np.ndarray:
    """A crop as models see it, uint8 [h, w, 3], RGB: the first five sequences are dark."""
    return brighten(crop) if image_path.parent.name in ("TS1", "TS2", "TS3", "TS4", "TS5") else crop


def detected_people(data_root: Path) -> Dataset:
    """The people that the detector has found in the test pictures, as the protocol wants: the true boxes are not told.

    Raises:
        UserError: the data set has not been prepared; what was prepared is damaged.
    """
    path, intrinsics = data_root / "mupots" / FILE_NAME, read_intrinsics(data_root)
    if not path.is_file() or not intrinsics:
        raise UserError(f"{path.parent} has no {FILE_NAME} or no intrinsics: run metrabs-train prepare mupots.")
    cameras = {name: Camera(matrix) for name, matrix in intrinsics.items()}
    unknown = {"joints2d": np.zeros([SKELETON.n_joints, 2], np.float32), "valid": np.zeros(SKELETON.n_joints, bool)}
    examples = []
    for image, boxes in sorted(read_detections(path).items()):
        sequence = image.split("/")[0]
        if sequence not in cameras:  # nobody is annotated in it
            continue
        for person, box in enumerate(boxes[boxes[:, 4] > _MIN_SCORE]):
            examples.append(
                Example(
                    path.parent / image, box[:4], camera=cameras[sequence], scene=sequence, person=person, **unknown
                )
            )
    return Dataset("mupots", SKELETON, examples)


DATASETS = {
    "mupots": NamedDataset(
        prepare,
        find,
        ("val", "test"),
        hips=Hips.MPI_INF_3DHP,
        protocol="mupots",
        adjust_colours=adjust_colours,
        detected_people=detected_people,
    )
}
