"""3DPW (von Marcard et al., ECCV 2018), as the official archives unpack.

::

    3dpw/sequenceFiles/train/courtyard_arguing_00.pkl      and validation, test: see ``read_sequence``
    3dpw/imageFiles/courtyard_arguing_00/image_00000.jpg
"""

from pathlib import Path

import boxlib
import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.skeletons import SKELETONS
from training.datasets.annotations import Annotations, look_for_images
from training.datasets.named import NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.restricted_pickle import load_pickle
from training.datasets.table import Table, TableBuilder

SKELETON = SKELETONS["smpl_24"]
FOLDERS = {"train": ("train",), "val": ("validation",), "test": ("train", "validation", "test")}

DOWNLOAD = """3DPW is for non-commercial research, after accepting its licence: https://virtualhumans.mpi-inf.mpg.de/3DPW
Unpack imageFiles.zip and sequenceFiles.zip so that there are
  3dpw/sequenceFiles/train/*.pkl, validation/*.pkl, test/*.pkl
  3dpw/imageFiles/courtyard_arguing_00/image_00000.jpg ..."""


def find(root: Path, split: str) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train" and "val": of the official parts; "test": all sequences, as in the paper, which trains on none
            of them. ``scene`` is the official part, ``activity`` the sequence, ``person`` its actor.
    """
    files, missing = [], []
    for folder in FOLDERS[split]:
        found = sorted((root / "3dpw/sequenceFiles" / folder).glob("*.pkl"))
        files += found
        missing += [] if found else [f"3dpw/sequenceFiles/{folder}/*.pkl"]
    return Annotations(SKELETON, files, lambda: _read(root, files), missing)


def read_sequence(path: Path) -> dict:
    """One sequence's annotation; nothing in the file is run.

    Returns:
        dict of ``sequence`` (name), ``cam_intrinsics`` float64 [3, 3], ``cam_poses`` [frames, 4, 4] world to camera in
        metres, and lists by person: ``jointPositions`` [frames, 24, 3] in metres, world; ``poses2d``
        [frames, 3, 18], x, y and confidence of detected joints, zeros where the person wasn't seen; ``campose_valid``
        bool [frames].

    Raises:
        UserError: the file is something else, or would run code.
    """
    content = load_pickle(path)
    try:
        return {
            "sequence": str(content["sequence"]),
            "cam_intrinsics": np.float64(content["cam_intrinsics"]).reshape(3, 3),
            "cam_poses": np.float64(content["cam_poses"]).reshape(-1, 4, 4),
            "jointPositions": [np.float64(person).reshape(-1, 24, 3) for person in content["jointPositions"]],
            "poses2d": [np.float64(person) for person in content["poses2d"]],
            "campose_valid": [np.ravel(person).astype(bool) for person in content["campose_valid"]],
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(f"{path} is no sequence of 3DPW: {error!r}.") from error


def _read(root: Path, paths: list[Path]) -> Table:
    table = TableBuilder(root, SKELETON.n_joints)
    for path in paths:
        sequence = read_sequence(path)
        people = zip(sequence["jointPositions"], sequence["poses2d"], sequence["campose_valid"])
        people = list(people)
        for frame, pose in enumerate(sequence["cam_poses"]):
            extrinsics = pose.copy()
            extrinsics[:3, 3] *= 1000
            camera = Camera(sequence["cam_intrinsics"], extrinsic_matrix=extrinsics)
            for person, (joints, detected, valid) in enumerate(people):
                if frame >= len(joints) or not valid[frame] or not detected[frame].any():
                    continue
                joints3d = camera.to_camera(1000 * joints[frame])
                table.add(
                    [f"3dpw/imageFiles/{sequence['sequence']}/image_{frame:05d}.jpg"],
                    boxlib.expand(boxlib.bb_of_points(camera.project(joints3d)), 1.15),
                    camera,
                    joints3d[None],
                    activity=sequence["sequence"],
                    scene=path.parent.name,
                    person=person,
                )
    return table.build()


def prepare(preparation: Preparation) -> None:
    """Check that the files are complete: nothing else has to be done before evaluation.

    Args:
        preparation: the run.

    Raises:
        UserError: official files are missing.
    """
    root = preparation.root
    found = find(root, "test")
    missing = found.missing + (look_for_images(found.read())[1] if found.files else [])
    preparation.require("3DPW", missing, DOWNLOAD, is_empty=not found.files)
    preparation.done.append(f"{len(found.files)} sequences were there")


DATASETS = {
    "3dpw": NamedDataset(
        prepare, find, ("train", "val", "test"), Shrinking(), shrunk_parts=("train", "val"), protocol="threedpw"
    )
}
