"""MuCo-3DHP (Mehta et al., 3DV 2018): pictures composed of four people of MPI-INF-3DHP each.

As the official MATLAB script leaves it, beside MPI-INF-3DHP with all frames (``prepare mpi-inf-3dhp --all-frames``)::

    muco/sampled_dataset_info.mat          MATLAB 7.3: composite_info {composites, 4}: {[subject sequence camera frame]}
    muco/unaugmented_set_001/000001.jpg    or 00/0000/000001.jpg

and what ``metrabs-train prepare muco`` makes of that::

    muco/composite_frame_origins.npy         int32 [composites, 4 people, subject sequence camera frame]
    muco/visible_people/0000.npz             of 500 composites each: the people's visible boxes, mask of all of them
    muco/detections.npz                      people that the detector finds
"""

from functools import partial
from pathlib import Path

import boxlib
import cv2
import h5py
import numpy as np
import rlemasklib
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.pictures import PictureError, read_picture
from metrabs_core.skeletons import Skeleton
from training.datasets import mpi_inf_3dhp, mupots
from training.datasets.annotations import Annotations
from training.datasets.detections import FILE_NAME, detect_people, match_boxes, read_detections
from training.datasets.mpi_inf_3dhp import JOINTS_28, Sequence, person_component, read_cameras, read_poses
from training.datasets.named import Hips, NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder

_CHAINS = (
    "htop-head-neck-lcla-lsho-lelb-lwri-lhan neck-rcla-rsho-relb-rwri-rhan "
    "neck-spi4-spi3-spi2-spin-pelv-lhip-lkne-lank-lfoo-ltoe pelv-rhip-rkne-rank-rfoo-rtoe"
)
SKELETON_28 = Skeleton(
    "muco_28",
    JOINTS_28,
    tuple(
        (JOINTS_28.index(a), JOINTS_28.index(b))
        for chain in _CHAINS.split()
        for a, b in zip(chain.split("-"), chain.split("-")[1:])
    ),
)
_PELVIS = JOINTS_28.index("pelv")
ORIGINS_NAME, PEOPLE_FOLDER = "composite_frame_origins.npy", "visible_people"
_CHUNK = 500
_PERSON_THRESHOLD, _CHAIR_THRESHOLD = 100, 32
_MIN_SCORE = 0.1

DOWNLOAD = """MuCo-3DHP is composed from MPI-INF-3DHP, for non-commercial research:
http://gvv.mpi-inf.mpg.de/projects/SingleShotMultiPerson
Prepare MPI-INF-3DHP with all frames (metrabs-train prepare mpi-inf-3dhp --all-frames), run the MATLAB script of the
official muco-3dhp.zip on it without augmentation (unaugmented_set_001), and put the result into $DATA_ROOT/muco:
  muco/sampled_dataset_info.mat, muco/unaugmented_set_001/000001.jpg ..."""


def find(root: Path, split: str, n_composites: int | None = None, like_mupots: bool = False) -> Annotations:
    """Look for the files of a part: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train": the people of the composites whom the detector finds, with its boxes; the mask is that of all
            people and things in the picture. "val", "test": those of MuPoTS-3D.
        n_composites: only the first ones; None for all.
        like_mupots: only the 17 joints of MuPoTS-3D.
    """
    if split != "train":
        return mupots.find(root, split)
    folder = root / "muco"
    names = [folder / ORIGINS_NAME, folder / FILE_NAME]
    missing = [str(path.relative_to(root)) for path in names if not path.is_file()]
    chunks = sorted((folder / PEOPLE_FOLDER).glob("*.npz"))
    if n_composites is not None:
        chunks = [path for path in chunks if int(path.stem) * _CHUNK < n_composites]
    if not chunks:
        missing.append(f"muco/{PEOPLE_FOLDER}/*.npz")
    skeleton = mpi_inf_3dhp.SKELETON if like_mupots else SKELETON_28
    sequences, lacking = mpi_inf_3dhp.find_sequences(root / "3dhp", range(1, 9))
    files = [*names, *chunks, *(path for sequence in sequences for path in sequence.labels)]
    return Annotations(
        skeleton,
        [] if missing else files,
        lambda: _read(root, chunks, sequences, skeleton, n_composites),
        missing + lacking,
    )


def image_path(root: Path, composite: int) -> str:
    """Path of a composite (counted from zero), relative to the root, in whichever folder layout it is."""
    name = f"{composite + 1:06d}.jpg"
    flat, nested = (f"muco/unaugmented_set_001/{place}" for place in (name, f"{name[:2]}/{name[:4]}/{name}"))
    return nested if (root / nested).is_file() else flat


def _read(root: Path, chunks: list[Path], sequences: list[Sequence], skeleton: Skeleton, n_composites) -> Table:
    origins = np.load(root / "muco" / ORIGINS_NAME, allow_pickle=False)
    detections = read_detections(root / "muco" / FILE_NAME)
    chosen: dict[tuple, list] = {}
    for path in chunks:
        for composite, boxes, mask in _read_chunk(path):
            if n_composites is None or composite < n_composites:
                for person, origin in enumerate(origins[composite]):
                    entry = (composite, person, int(origin[3]), boxes[person], mask)
                    chosen.setdefault(tuple(origin[:3].tolist()), []).append(entry)
    joints = [JOINTS_28.index(name) for name in skeleton.joint_names]
    people, by_key = {}, {}
    for sequence in sequences:
        keys = [key for key in chosen if key[:2] == (sequence.subject, sequence.number)]
        if not keys:
            continue
        poses, cameras = read_poses(sequence.labels[0]), read_cameras(sequence.labels[1])
        for key in keys:
            if key[2] not in cameras or key[2] >= len(poses):
                raise UserError(f"{ORIGINS_NAME} names camera {key[2]}, which {sequence.path} doesn't have.")
            camera, size = cameras[key[2]]
            metric, universal = poses[key[2]]
            entries = [entry for entry in chosen[key] if entry[2] < len(metric)]
            frames = [entry[2] for entry in entries]
            whole = np.float32([0, 0, *size])
            for entry, points, pose, univ in zip(
                entries, camera.project(metric[frames]), metric[frames], universal[frames]
            ):
                around_joints = boxlib.expand(boxlib.intersection(boxlib.bb_of_points(points), whole), 1.05)
                box = boxlib.intersection_vertical(np.float32(entry[3]), np.float32(around_joints))
                poses32 = pose[joints].astype(np.float32), univ[joints].astype(np.float32)
                people.setdefault(entry[0], []).append((key, box, entry[1], *poses32, entry[4]))
            by_key[key] = camera
    matched: dict[tuple, list] = {}
    for composite, group in people.items():
        path = image_path(root, composite)
        found = detections.get(path.removeprefix("muco/"), np.zeros([0, 5], np.float32))
        found = found[found[:, 4] > _MIN_SCORE]
        for i, j in match_boxes(np.array([person[1] for person in group]), found):
            key, box, *labels = group[i]
            if boxlib.area(found[j, :4]) < 2 * boxlib.area(box):
                matched.setdefault(key, []).append((path, found[j, :4], *labels))
    table = TableBuilder(root, skeleton.n_joints)
    for key, rows in matched.items():
        paths, boxes, numbers, metric, universal, masks = zip(*rows)
        table.add(list(paths), boxes, by_key[key], metric, universal, masks=masks, person=np.array(numbers))
    return table.build()


def _read_chunk(path: Path):
    """Yield the number, the people's visible boxes [4, 4] and the mask of each composite in a file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            numbers, boxes, size = archive["composite"].tolist(), archive["boxes"], archive["size"].tolist()
            data, ends = archive["mask_bytes"].tobytes(), np.cumsum(archive["mask_length"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f"{path} is damaged: remove it and run metrabs-train prepare muco again.") from error
    for number, box, start, end in zip(numbers, boxes, [0, *ends[:-1]], ends):
        yield number, box, {"size": size, "counts": data[start:end]}


def prepare(preparation: Preparation, n_composites: int | None = None) -> None:
    """Find out of which frames the composites are, what of each person is visible, and whom the detector finds.

    Args:
        preparation: the run.
        n_composites: only the first ones; None for all.

    Raises:
        UserError: official files are missing.
    """
    root, folder = preparation.root, preparation.root / "muco"
    missing = []
    if not (folder / ORIGINS_NAME).is_file() and not (folder / "sampled_dataset_info.mat").is_file():
        missing.append("muco/sampled_dataset_info.mat")
    if not (folder / "unaugmented_set_001").is_dir():
        missing.append("muco/unaugmented_set_001")
    sequences, lacking = mpi_inf_3dhp.find_sequences(root / "3dhp", range(1, 9))
    preparation.require("MuCo-3DHP", missing + lacking, DOWNLOAD, is_empty=bool(missing) or not sequences)
    origins = _write_origins(folder)
    known = {(sequence.subject, sequence.number) for sequence in sequences}
    usable = [
        number
        for number, people in enumerate(origins[:n_composites])
        if all((person[0], person[1]) in known for person in people.tolist())
        and (root / image_path(root, number)).is_file()
    ]
    n_lacking = len(origins[:n_composites]) - len(usable)
    if n_lacking:
        preparation.done.append(f"{n_lacking} composites have no picture, or are of sequences that are missing")
    chunks: dict[int, list[int]] = {}
    for number in usable:
        chunks.setdefault(number // _CHUNK, []).append(number)
    todo = {}
    for chunk, numbers in chunks.items():
        path = folder / PEOPLE_FOLDER / f"{chunk:04d}.npz"
        if not path.is_file() or [number for number, *_ in _read_chunk(path)] != numbers:
            todo[path] = numbers
    depths, boxes = _depths_and_boxes(sequences, origins, [number for numbers in todo.values() for number in numbers])
    tasks = [(root, path, n, origins[n], depths[n], boxes[n]) for path, n in todo.items()]
    written = preparation.run("visible people", _write_chunk, tasks)
    preparation.done.append(f"visible people of {sum(n for n in written if n)} composites")
    detect_people(preparation, folder, [image_path(root, number).removeprefix("muco/") for number in usable])


def _write_origins(folder: Path) -> np.ndarray:
    """Which frames each composite is made of: int32 [composites, 4, 4], subject, sequence, camera and frame."""
    path = folder / ORIGINS_NAME
    if path.is_file():
        return np.load(path, allow_pickle=False)
    source = folder / "sampled_dataset_info.mat"
    try:
        with h5py.File(source, "r") as file:
            cells = file["composite_info"][:].T  # MATLAB's rows are HDF5's columns
            origins = np.zeros([*cells.shape, 4], np.int32)
            for place in tqdm(np.ndindex(*cells.shape), "origins", total=cells.size):
                inner = file[cells[place]]
                values = file[inner[0, 0]] if inner.dtype == h5py.ref_dtype else inner
                origins[place] = values[:].ravel()
        if (origins < (1, 1, 0, 0)).any() or (origins[..., :3] > (8, 2, 13)).any():
            raise UserError("subjects are from 1 to 8, sequences 1 and 2, cameras from 0 to 13")
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{source} is damaged or does not say what MuCo-3DHP is composed of: {error}.") from error
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, origins)
    return origins


def _depths_and_boxes(sequences: list[Sequence], origins: np.ndarray, wanted: list[int]):
    """Pelvis depth [composites, 4] and box around the joints [composites, 4, 4] of the people of some composites."""
    depths, boxes = np.zeros(origins.shape[:2], np.float32), np.zeros([*origins.shape[:2], 4], np.float32)
    is_wanted = np.zeros(len(origins), bool)
    is_wanted[wanted] = True
    for sequence in sequences:
        here = is_wanted[:, None] & (origins[..., :2] == (sequence.subject, sequence.number)).all(-1)
        if not here.any():
            continue
        poses, cameras = read_poses(sequence.labels[0]), read_cameras(sequence.labels[1])
        for number in np.unique(origins[here][:, 2]).tolist():
            rows = np.nonzero(here & (origins[..., 2] == number))
            metric = poses[number][0][np.minimum(origins[rows][:, 3], len(poses[number][0]) - 1)]
            depths[rows] = metric[:, _PELVIS, 2]
            boxes[rows] = [
                boxlib.expand(boxlib.bb_of_points(points), 1.05) for points in cameras[number][0].project(metric)
            ]
    return depths, boxes


def _write_chunk(task) -> tuple[int, list[str]]:
    """Write the visible boxes and masks of some composites."""
    root, path, numbers, *columns = task
    boxes, masks, done, problems, size = [], [], [], [], (0, 0)
    for number, origins, depths, person_boxes in zip(numbers, *columns):
        try:
            visible, mask = _visible_people(root, origins.tolist(), depths, person_boxes)
        except PictureError as error:
            problems.append(f"composite {number + 1}: {error}")
            continue
        boxes.append(visible)
        masks.append(rlemasklib.encode(mask)["counts"])
        done.append(number)
        size = mask.shape
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            composite=np.array(done, np.int64),
            boxes=np.array(boxes, np.float32).reshape(-1, 4, 4),
            size=np.array(size),
            mask_bytes=np.frombuffer(b"".join(masks), np.uint8),
            mask_length=np.array([len(mask) for mask in masks], np.int64),
        )
    return len(done), problems


def _visible_people(root: Path, origins: list, depths: np.ndarray, person_boxes: np.ndarray):
    """Boxes [4, 4] of what is visible of each person, and the mask uint8 [h, w] of all people and their chairs."""
    person_masks, chair_masks = [], []
    for (subject, number, camera, frame), box in zip(origins, person_boxes):
        sequence = Sequence(root / "3dhp", subject, number)
        foreground = read_picture(sequence.image(camera, frame, "FGmasks"))[..., 0] > _PERSON_THRESHOLD
        person_masks.append(person_component(foreground, box))
        is_chair = read_picture(sequence.image(camera, frame, "ChairMasks"))[..., 0] < _CHAIR_THRESHOLD
        chair_masks.append(_largest_component(is_chair))
    boxes = np.zeros([len(origins), 4], np.float32)
    everything = np.zeros_like(person_masks[0])
    for person in np.argsort(depths):  # who is near hides who is far
        boxes[person] = boxlib.bb_of_mask(person_masks[person] & (1 - everything))
        everything |= person_masks[person] | chair_masks[person]
    return boxes, everything


def _largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask: uint8 [h, w], zeros and ones."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if len(stats) < 2:
        return np.zeros(mask.shape, np.uint8)
    return (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)


DATASETS = {
    "muco": NamedDataset(prepare, find, ("train",), Shrinking(), hips=Hips.MPI_INF_3DHP),
    # the first 150,000 composites with the joints of MuPoTS-3D, and MuPoTS-3D for validation and test
    "muco-17-150k": NamedDataset(
        partial(prepare, n_composites=150_000),
        partial(find, n_composites=150_000, like_mupots=True),
        ("train", "val", "test"),
        Shrinking(),
        hips=Hips.MPI_INF_3DHP,
        protocol="mupots",
        adjust_colours=mupots.adjust_colours,
        detected_people=mupots.detected_people,
    ),
}
