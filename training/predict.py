"""Predict the poses of a data set's test part: ``metrabs-train predict``.

    metrabs-train predict --dataset=h36m --checkpoint-dir=runs/h36m --stride-test=4

Every person is seen in one plain crop around their box. The result, ``predictions_DATASET.npz`` in the folder of the
training run, is what ``metrabs-train evaluate`` reads. An interrupted command resumes.
"""

import argparse
import hashlib
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
from keras import ops

from metrabs_core.network import scale_recovery
from metrabs_core.network.crop_model import SCALE_RECOVERIES, CropModel, load_weights_dir
from metrabs_core.skeletons import conversion_matrix
from training import datasets
from training.crop_batches import CropSettings, plain_batches
from training.datasets.atomic_files import written_atomically
from training.datasets.colours import adjust_colours
from training.evaluation import mupots
from training.examples import look_at_box, select_joints

# An interruption costs the work on this many people at most
_PEOPLE_PER_PIECE = 2048


def add_arguments(parser) -> None:
    """Add the command's arguments to an ``argparse`` parser."""
    parser.add_argument("--dataset", required=True, help="name of a data set, or a folder in our own format")
    parser.add_argument("--data-root", help="folder of the data sets (default: $DATA_ROOT)")
    parser.add_argument(
        "--checkpoint-dir",
        "--logdir",
        required=True,
        help="folder of a training run, or of a crop model (weights and card)",
    )
    parser.add_argument("--pred-path", help="file to write (default: predictions_DATASET.npz in that folder)")
    parser.add_argument("--stride-test", type=int, help="pixels between heatmap cells (default: as in training)")
    parser.add_argument(
        "--scale-recovery", choices=SCALE_RECOVERIES, help="for 2.5D models: whose bones (default: as in training)"
    )
    parser.add_argument(
        "--universal-skeleton",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="store poses of normalized height as the truth",
    )
    parser.add_argument(
        "--gt-boxes",
        action="store_true",
        help="mupots: crop around the annotated people, not (as the protocol wants) around detected ones",
    )
    parser.add_argument("--batch-size-test", type=int, default=32, help="crops per call of the network")
    parser.add_argument("--workers", type=int, default=max(1, os.cpu_count() // 2), help="processes that make crops")
    parser.add_argument("--allow-missing", action="store_true", help="go on without pictures that are missing")


def run(args) -> None:
    """Predict and write the file."""
    folder = model_folder(args.checkpoint_dir)
    overrides = {"stride": args.stride_test, "scale_recovery": args.scale_recovery}
    model = load_weights_dir(folder, **{name: value for name, value in overrides.items() if value is not None})
    is_named = args.dataset in datasets.READERS
    root = datasets.data_root_folder(args.data_root) if is_named else Path(args.dataset).parent
    if args.dataset in ("mupots", "muco-17-150k") and not args.gt_boxes:
        dataset = mupots.people_to_predict(root)
    else:
        dataset = datasets.read(args.dataset, "test", args.data_root, args.allow_missing)
    name = args.dataset if is_named else dataset.name
    path = Path(args.pred_path or Path(args.checkpoint_dir) / f"predictions_{name}.npz")
    if path.suffix != ".npz":
        raise ValueError(f"--pred-path is {path}; it must end in .npz.")
    weights = hashlib.sha256((folder / "weights.npz").read_bytes()).hexdigest()
    poses = _predict_in_pieces(
        model, dataset, args.batch_size_test, args.workers, path.with_suffix(".partial"), f"{weights} {overrides}"
    )
    poses = conversion_matrix(dataset.skeleton, model.skeleton) @ poses
    save(path, dataset, poses, root, args.universal_skeleton)
    print(f"{path}: {len(poses)} poses of {dataset.name} in {len({e.image_path for e in dataset.examples})} pictures")


def model_folder(path: str | Path) -> Path:
    """The folder of a crop model; a training run leaves it in its folder ``model``."""
    folder = Path(path)
    return folder / "model" if (folder / "model" / "model_card.json").is_file() else folder


def _predict_in_pieces(model, dataset, batch_size, workers, folder: Path, what: str) -> np.ndarray:
    """Poses float32 [n, J, 3] mm in the camera frame; finished pieces are taken from the folder, which is removed."""
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
    for poses, _ in _predict_batches(model, examples[start:], batch_size, workers, dataset.name):
        waiting.append(poses)
        if sum(map(len, waiting)) >= _PEOPLE_PER_PIECE:
            pieces.append(np.concatenate(waiting))
            waiting = []
            done = folder / f"{key}_{len(pieces) - 1:04d}.npy"
            with written_atomically(done) as temporary, temporary.open("wb") as file:
                np.save(file, pieces[-1])
    shutil.rmtree(folder)
    return np.concatenate([*pieces, *waiting])


def predict_poses(model: CropModel, examples: list, batch_size: int = 32, workers: int = 0):
    """Run a crop model on plain crops around the people's boxes.

    Args:
        model: the crop model.
        examples: people, with the model's joints.
        batch_size: crops per call of the network.
        workers: processes that make crops; 0 to make them in this one.

    Returns:
        poses float32 [n, J, 3] mm in the camera frame of the picture (relative to an arbitrary origin for ``metro``),
        and uncertainty float32 [n, J] mm.

    Raises:
        OSError: a picture can't be read.
        ValueError: ``bone-lengths-true`` or ``true-root-depth``, and the truth is not known.
    """
    return tuple(np.concatenate(column) for column in zip(*_predict_batches(model, examples, batch_size, workers)))


def _predict_batches(model, examples, batch_size, workers, dataset_name=""):
    settings = CropSettings(model.skeleton, model.crop_side)
    start = 0
    for (crops, intrinsics), labels in plain_batches(examples, settings, batch_size, workers, progress="crops"):
        people = examples[start : start + len(crops)]
        crops = np.stack([adjust_colours(dataset_name, e.image_path, crop) for e, crop in zip(people, crops)])
        out = model.predict_on_batch([crops.astype(np.float32) / 255, intrinsics])
        poses = _with_truth(model, out, intrinsics, labels)
        rotations = np.stack([look_at_box(e.camera, e.box, model.crop_side)[0] for e in people])
        yield (poses @ rotations).astype(np.float32), np.asarray(out["uncertainty"])
        start += len(crops)


def _with_truth(model, out, intrinsics, labels):
    """Poses in the crop camera's frame; two ways of scale recovery need to be told the truth."""
    if model.scale_recovery not in ("bone-lengths-true", "true-root-depth"):
        return np.asarray(out["poses3d"])
    if not labels["valid3d"].all():
        raise ValueError(f"--scale-recovery={model.scale_recovery} needs the true 3D position of every joint.")
    true, coords3d = labels["joints3d"], np.asarray(out["coords3d"])
    if model.scale_recovery == "bone-lengths-true":
        lengths = np.stack([np.linalg.norm(true[:, a] - true[:, b], axis=-1) for a, b in model.skeleton.edges], axis=1)
        poses = model.reconstruct_from_bones(out["points2d"], coords3d, intrinsics, lengths)
    else:
        root = model.skeleton.index("pelv")
        depths = coords3d[..., 2] - coords3d[:, [root], 2] + true[:, [root], 2]
        poses = scale_recovery.back_project(scale_recovery.normalize(out["points2d"], intrinsics), depths[..., None])
    return ops.convert_to_numpy(poses)


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
    with written_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
