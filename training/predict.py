"""Poses of a data set's test part, in pieces that outlive an interruption, as a file for the protocols."""

import hashlib
import os
import shutil
import warnings
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from metrabs_core.network.crop_model import load_weights_dir
from metrabs_core.skeletons import conversion_matrix
from training import datasets
from training.examples import select_joints
from training.inference import predict_batches
from training.run_folder import model_folder

# An interruption costs the work on this many people at most
_PEOPLE_PER_PIECE = 2048


def predict_test_part(
    name: str,
    run: Path,
    pred_path: str | Path | None = None,
    *,
    overrides: dict,
    data_root: str | Path | None = None,
    universal_skeleton: bool = False,
    true_boxes: bool = False,
    batch_size: int = 32,
    workers: int = 0,
    allow_missing: bool = False,
) -> tuple[Path, datasets.Dataset]:
    """Predict the poses of a data set's test part and write them.

    Args:
        name: of the data set, or a folder in our own format.
        run: folder of a training run, or of a crop model.
        pred_path: file to write; None for ``predictions_DATASET.npz`` in that folder.
        overrides: arguments of the crop model to change.
        data_root: folder of the data sets; None for the environment variable DATA_ROOT.
        universal_skeleton: store poses of normalized height as the truth.
        true_boxes: crop around the annotated people, where the protocol wants detected ones.
        batch_size: crops per call of the network.
        workers: processes that make crops.
        allow_missing: continue without pictures that are missing.

    Returns:
        the file, and the people whose poses are in it.

    Raises:
        UserError: the model or the data set is missing or damaged.
    """
    folder = model_folder(run)
    model = load_weights_dir(folder, **overrides)
    named = datasets.named(name)
    root = datasets.data_root_folder(data_root) if named else Path(name).parent
    if named and named.detected_people and not true_boxes:
        dataset = named.detected_people(root)
    else:
        dataset = datasets.read(name, "test", data_root, allow_missing)
    path = Path(pred_path or run / f"predictions_{name if named else dataset.name}.npz")
    if path.suffix != ".npz":
        raise UserError(f"--pred-path is {path}; it must end in .npz.")
    if path.is_dir():
        raise UserError(f"--pred-path is {path}, which is a folder.")
    weights = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    pieces = path.with_suffix(".partial")
    colours = named.adjust_colours if named else None
    poses = _predict_in_pieces(model, dataset, colours, batch_size, workers, pieces, f"{weights} {overrides}")
    poses = conversion_matrix(dataset.skeleton, model.skeleton) @ poses
    save(path, dataset, poses, root, universal_skeleton)
    shutil.rmtree(pieces, ignore_errors=True)
    return path, dataset


def _predict_in_pieces(model, dataset, adjust_colours, batch_size, workers, folder: Path, what: str) -> np.ndarray:
    """Poses float32 [n, J, 3] mm in the camera frame; finished pieces are kept in the folder, and taken from there."""
    if not len(dataset.examples):
        warnings.warn(f"The detector found nobody in {dataset.name}.", stacklevel=2)
        return np.zeros([0, model.skeleton.n_joints, 3], np.float32)
    examples = select_joints(dataset, model.skeleton)
    places = "".join(f"{e.image_path} {e.box} {e.camera.intrinsic_matrix}" for e in examples)
    key = hashlib.sha256(f"{what} {places}".encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    while (done := folder / f"{key}_{len(pieces):04d}.npy").is_file():
        pieces.append(np.load(done, allow_pickle=False))
    start = sum(len(piece) for piece in pieces)
    if start:
        print(f"Resuming after {start} of {len(examples)} people.")
    waiting = []
    for poses, _ in predict_batches(model, examples[start:], batch_size, workers, adjust_colours):
        waiting.append(poses)
        if sum(map(len, waiting)) >= _PEOPLE_PER_PIECE:
            pieces.append(np.concatenate(waiting))
            waiting = []
            done = folder / f"{key}_{len(pieces) - 1:04d}.npy"
            with atomic_file(done) as temporary, temporary.open("wb") as file:
                np.save(file, pieces[-1])
    return np.concatenate([*pieces, *waiting])


def save(path: Path, dataset: datasets.Dataset, poses: np.ndarray, root: Path, universal_skeleton: bool) -> None:
    """Write predictions, in the order of their image paths.

    Args:
        path: npz file. Its arrays: ``image_path`` (relative to the root), ``coords3d_pred`` [n, J, 3] mm in the camera
            frame, ``coords3d_pred_world``, ``coords3d_true_world`` (NaN where unknown), ``joint_validity_mask`` [n, J],
            ``activity``, ``scene``, ``person`` and ``joint_names`` [J].
        dataset: whose people they are, in the order of the poses.
        poses: float [n, J, 3], mm, camera frame, with the joints of the data set.
        root: data root.
        universal_skeleton: store poses of normalized height as the truth, where there are such.
    """
    people = list(dataset.examples)
    image_paths = [os.path.relpath(e.image_path, root).replace(os.sep, "/") for e in people]
    order = sorted(range(len(people)), key=lambda i: (image_paths[i], people[i].person))
    people, poses = [people[i] for i in order], poses[np.array(order, int)]

    def true_world(example):
        universal = example.universal3d if universal_skeleton else None
        true = example.joints3d if universal is None else universal
        return np.full(poses.shape[1:], np.nan) if true is None else example.camera.to_world(true)

    def rows(values, dtype, *size):
        return np.array(list(values), dtype).reshape(len(people), dataset.skeleton.n_joints, *size)

    arrays = {
        "image_path": np.array([image_paths[i] for i in order], np.str_),
        "coords3d_pred": poses.astype(np.float32),
        "coords3d_pred_world": rows((e.camera.to_world(p) for e, p in zip(people, poses)), np.float32, 3),
        "coords3d_true_world": rows(map(true_world, people), np.float32, 3),
        "joint_validity_mask": rows((e.valid & (e.joints3d is not None) for e in people), bool),
        "activity": np.array([e.activity for e in people], np.str_),
        "scene": np.array([e.scene for e in people], np.str_),
        "person": np.array([e.person for e in people], np.int64),
        "joint_names": np.array(dataset.skeleton.joint_names),
    }
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
