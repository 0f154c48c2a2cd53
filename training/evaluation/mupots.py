"""MuPoTS-3D: people matched by 2D joints, then MPJPE, PCK at 150 mm and AUC in every usual variation."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from training.datasets import mupots
from training.datasets.annotations import report_missing
from training.datasets.mpi_inf_3dhp import TEST_JOINTS
from training.evaluation import predictions
from training.evaluation.options import Options
from training.evaluation.scores import Distances, Scores
from training.metrics import auc_per_joint, joint_distances, match_people, rescale_bones

JOINT_NAMES = mupots.SKELETON.joint_names
OPTIONS: set[str] = set()
_IMAGE_DEPTH = 2  # TS1/img_000000.jpg
_MATCHED_BY = slice(1, 14)  # neck to ankles
_PARENTS = {
    "spin": "pelv", "neck": "spin", "htop": "neck", "head": "neck",
    "rsho": "neck", "relb": "rsho", "rwri": "relb", "lsho": "neck", "lelb": "lsho", "lwri": "lelb",
    "rhip": "pelv", "rkne": "rhip", "rank": "rkne", "lhip": "pelv", "lkne": "lhip", "lank": "lkne",
}  # fmt: skip
_BONES = [(JOINT_NAMES.index(joint), JOINT_NAMES.index(parent)) for joint, parent in _PARENTS.items()]
_THRESHOLD = 150  # mm, of PCK
_LABELS = {
    "mpjpe14": "MPJPE 14", "mpjpe16": "MPJPE 16", "mpjpe17": "MPJPE 17", "pck_matched": "PCK matched",
    "auc_matched": "AUC matched", "pck_all": "PCK all", "auc_all": "AUC all",
}  # fmt: skip
_JOINT_SETS = {
    "mpjpe14": list(range(14)),
    "mpjpe16": [*range(14), JOINT_NAMES.index("spin"), JOINT_NAMES.index("head")],
    "mpjpe17": list(range(17)),
}


@dataclass(frozen=True)
class Truth:
    """Annotated people, by frame.

    Attributes:
        sequences: F sequence names, one per frame; the frames of a sequence follow each other.
        images: F picture names.
        joints2d: float [F, P, 17, 2] px; NaN for people whom a frame lacks; joints as in ``JOINT_NAMES``.
        joints3d: float [F, P, 17, 3] mm, camera frame.
        universal3d: float [F, P, 17, 3] mm, camera frame, of height-normalized skeletons.
        intrinsics: float [F, 3, 3].
    """

    sequences: list[str]
    images: list[str]
    joints2d: np.ndarray
    joints3d: np.ndarray
    universal3d: np.ndarray
    intrinsics: np.ndarray


def read_truth(data_root: Path, options: Options) -> Truth:
    """Read the annotated people; pictures are not needed.

    Raises:
        UserError: sequences are missing, and that isn't allowed; a file is damaged.
    """
    found = mupots.find(data_root, "test")
    report_missing("mupots", found.missing, options.allow_missing)
    paths = [path for path in found.files if path.name == "annot.mat"]
    if not paths:
        raise UserError(f"There is no sequence in {data_root / 'mupots'}.")
    intrinsics = mupots.read_intrinsics(data_root)
    columns = {name: [] for name in ("sequences", "images", "annot2", "annot3", "univ_annot3", "intrinsics")}
    for path in paths:
        sequence, annotations = path.parent.name, mupots.read_annotations(path)
        valid = annotations["valid"]
        matrix = intrinsics.get(sequence)
        if matrix is None:
            matrix = mupots.estimate_intrinsics(
                *(annotations[name][valid].reshape(-1, size) for name, size in (("annot2", 2), ("annot3", 3)))
            )
        columns["sequences"] += [sequence] * len(valid)
        columns["images"] += [f"{sequence}/img_{frame:06d}.jpg" for frame in range(len(valid))]
        columns["intrinsics"].append(np.broadcast_to(matrix, [len(valid), 3, 3]))
        for name in ("annot2", "annot3", "univ_annot3"):
            columns[name].append(np.where(valid[..., None, None], annotations[name][:, :, TEST_JOINTS], np.nan))
    most = max(part.shape[1] for part in columns["annot2"])
    joints2d, joints3d, universal3d = (
        np.concatenate([_padded(part, most) for part in columns[name]]) for name in ("annot2", "annot3", "univ_annot3")
    )
    intrinsics = np.concatenate(columns["intrinsics"])
    return Truth(columns["sequences"], columns["images"], joints2d, joints3d, universal3d, intrinsics)


def _padded(poses, n_people):
    """[frames, people, ...] with more people, of NaN."""
    shape = [(0, 0), (0, n_people - poses.shape[1]), (0, 0), (0, 0)]
    return np.pad(poses, shape, constant_values=np.nan)


@dataclass(frozen=True)
class _Matches:
    """The M annotated people who were found, with counts per sequence (S of them).

    Attributes:
        pred: float [M, 17, 3], mm, camera frame.
        metric: the true poses of real height.
        univ: the true poses of normalized height.
        sequence: int [M], index of the sequence.
        names: of the sequences.
        n_annotated: int [S].
        n_matched: int [S].
    """

    pred: np.ndarray
    metric: np.ndarray
    univ: np.ndarray
    sequence: np.ndarray
    names: list[str]
    n_annotated: np.ndarray
    n_matched: np.ndarray

    def means(self, values: np.ndarray, n_people: np.ndarray) -> dict[str, float]:
        """Sums of values [M] by sequence, each divided by a number of people [S], and the mean over the sequences."""
        sums = np.bincount(self.sequence, values, minlength=len(self.names))
        means = np.divide(sums, n_people, out=np.full(len(sums), np.nan), where=n_people > 0)
        mean = float(np.nanmean(means)) if np.isfinite(means).any() else float("nan")
        return {**dict(zip(self.names, means.tolist())), "mean": mean}


def score(pred_path: Path, truth: Truth, options: Options) -> Scores:
    """Match a file's people to the annotated ones and compare them in all variations.

    Raises:
        UserError: there is no such file; it is not of the right form, or has pictures that are not the data set's.
    """
    found = predictions.read(pred_path, _IMAGE_DEPTH, JOINT_NAMES, ["coords3d_pred", "coords3d_pred_world"])
    matches = _match(_by_frame(found, truth.images), truth)
    metrics, distances = {}, {}
    for skeleton, relation, lengths in itertools.product(
        ("univ", "metric"), ("root-relative", "absolute"), ("rescaled", "not rescaled")
    ):
        true = getattr(matches, skeleton)
        poses = rescale_bones(matches.pred, true, _BONES) if lengths == "rescaled" else matches.pred
        values = joint_distances(poses, true, JOINT_NAMES.index("pelv") if relation == "root-relative" else None)
        variation = f"{skeleton}, {relation}, {lengths}"
        metrics[variation] = _means_by_sequence(values, matches)
        if (skeleton, lengths) == ("metric", "not rescaled"):
            distances[variation] = Distances(JOINT_NAMES, values, _JOINT_SETS["mpjpe14"])
    recall = 100 * float(matches.n_matched.sum() / max(matches.n_annotated.sum(), 1))
    pck_rows = {
        f"{relation} PCK, {people} people": metrics[f"univ, {relation}, rescaled"][key]
        for people, key in (("all", "pck_all"), ("matched", "pck_matched"))
        for relation in ("root-relative", "absolute")
    }
    relative, absolute = (metrics[f"metric, {relation}, not rescaled"] for relation in ("root-relative", "absolute"))
    return Scores(
        n_poses=len(matches.pred),
        metrics={**metrics, "recall": {"mean": recall}},
        tables={
            "MuPoTS-3D: means over the sequences (mm, %)": {
                variation: {_LABELS[name]: row["mean"] for name, row in rows.items()}
                for variation, rows in metrics.items()
            },
            "MuPoTS-3D: PCK@150 in %, normalized skeletons, bones rescaled": pck_rows,
            "MuPoTS-3D: annotated people who were found (recall in %)": {"recall": {"mean": recall}},
        },
        latex={
            **{f"normalized skeletons, bones rescaled: {title}": row for title, row in pck_rows.items()},
            "metric skeletons, matched people: MPJPE, root-relative MPJPE, PCK, root-relative PCK, recall": {
                "MPJPE": absolute["mpjpe14"]["mean"],
                "root-relative MPJPE": relative["mpjpe14"]["mean"],
                "PCK": absolute["pck_matched"]["mean"],
                "root-relative PCK": relative["pck_matched"]["mean"],
                "recall": recall,
            },
        },
        distances=distances,
    )


def _match(pred, truth):
    """Match predictions [F, people, 17, 3] by where their joints are in the picture."""
    projected = np.einsum("fij,fpkj->fpki", truth.intrinsics, pred)
    with np.errstate(invalid="ignore", divide="ignore"):
        pred2d = projected[..., :2] / projected[..., 2:]
    matches = match_people(truth.joints2d[:, :, _MATCHED_BY], pred2d[:, :, _MATCHED_BY])
    frames, people = np.nonzero(matches >= 0)
    names = list(dict.fromkeys(truth.sequences))
    sequence_of_frame = np.array([names.index(s) for s in truth.sequences])
    n_people = np.isfinite(truth.joints2d).all((2, 3)).sum(1)
    return _Matches(
        pred=pred[frames, matches[frames, people]],
        metric=truth.joints3d[frames, people],
        univ=truth.universal3d[frames, people],
        sequence=sequence_of_frame[frames],
        names=names,
        n_annotated=np.bincount(sequence_of_frame, n_people, minlength=len(names)).astype(int),
        n_matched=np.bincount(sequence_of_frame[frames], minlength=len(names)),
    )


def _means_by_sequence(distances, matches):
    """All metrics of one variation, of distances [M, 17]."""
    counted = distances[:, _JOINT_SETS["mpjpe14"]]
    correct, area = 100 * (counted < _THRESHOLD).mean(1), 100 * auc_per_joint(counted).mean(1)
    n_matched, n_annotated = matches.n_matched, matches.n_annotated
    return {
        **{name: matches.means(distances[:, joints].mean(1), n_matched) for name, joints in _JOINT_SETS.items()},
        "pck_matched": matches.means(correct, n_matched),
        "auc_matched": matches.means(area, n_matched),
        "pck_all": matches.means(correct, n_annotated),
        "auc_all": matches.means(area, n_annotated),
    }


def _by_frame(found, frame_images):
    """Predictions as float [F, most people in a frame, J, 3], NaN where a frame has fewer."""
    index = {image: frame for frame, image in enumerate(frame_images)}
    unknown = sorted(set(found.images) - index.keys())
    if unknown:
        raise UserError(f"{found.path}: {len(unknown)} images are not in MuPoTS-3D, the first is {unknown[0]}.")
    frames = np.array([index[image] for image in found.images], int)
    order = np.argsort(frames, kind="stable")
    ranks = np.empty(len(frames), int)
    counts = np.bincount(frames, minlength=len(frame_images))
    starts = np.cumsum(counts) - counts
    ranks[order] = np.arange(len(frames)) - starts[frames[order]]
    result = np.full([len(frame_images), counts.max(initial=0), *found.coords.shape[1:]], np.nan)
    result[frames, ranks] = found.coords
    return result
