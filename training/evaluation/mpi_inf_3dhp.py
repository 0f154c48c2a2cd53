"""MPI-INF-3DHP: PCK at 150 mm, AUC and MPJPE by activity and scene, test sequences TS1 to TS6."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from training.datasets import mpi_inf_3dhp
from training.datasets.annotations import report_missing
from training.evaluation import predictions
from training.evaluation.options import Options
from training.evaluation.scores import Distances, Scores
from training.metrics import align_similarity, auc, joint_distances, pck

OPTIONS = {"procrustes", "universal_skeleton"}
_IMAGE_DEPTH = 3  # TS1/imageSequence/img_000001.jpg
_JOINT_NAMES = mpi_inf_3dhp.SKELETON.joint_names
_LIMBS = (
    "neck", "rsho", "relb", "rwri", "lsho", "lelb", "lwri", "rhip", "rkne", "rank", "lhip", "lkne", "lank",
)  # fmt: skip

# Name -> the joint that poses are relative to, and the joints that count. The first is that of the evaluation code that
# came with the MeTRAbs paper; the second is the data set's own.
_CONVENTIONS = {
    "relative to the head": ("head", (*_LIMBS, "head")),
    "relative to the pelvis": ("pelv", ("htop", *_LIMBS)),
}


@dataclass(frozen=True)
class Truth:
    """The annotated people.

    Attributes:
        images: N picture names.
        joints3d: float [N, 17, 3], mm, world, metric or of normalized height.
        activities: N names.
        scenes: N names.
    """

    images: list[str]
    joints3d: np.ndarray
    activities: list[str]
    scenes: list[str]


def read_truth(data_root: Path, options: Options) -> Truth:
    """Read the test sequences' poses; pictures are not needed.

    Raises:
        UserError: sequences are missing, and that isn't allowed; a file is damaged.
    """
    found = mpi_inf_3dhp.find(data_root, "test")
    report_missing("mpi-inf-3dhp", found.missing, options.allow_missing)
    if not found.files:
        raise UserError(f"There is no test sequence in {data_root / '3dhp'}.")
    table = found.read()
    column = table.columns
    poses = column["universal3d" if options.universal_skeleton else "joints3d"].astype(np.float64)
    for number, camera in enumerate(table.cameras):
        rows = column["camera"] == number
        poses[rows] = camera.to_world(poses[rows])
    images = [predictions.image_name(path, _IMAGE_DEPTH) for path in column["image_path"]]
    return Truth(images, poses, column["activity"].tolist(), column["scene"].tolist())


def score(pred_path: Path, truth: Truth, options: Options) -> Scores:
    """Compare a file's predictions with the truth, relative to a root joint, on 14 joints.

    Raises:
        UserError: there is no such file; it is not of the right form, or not about the same pictures (``allow_missing``
            lets it lack some).
    """
    found = predictions.read(pred_path, _IMAGE_DEPTH, _JOINT_NAMES, ["coords3d_pred_world"])
    pred, rows, notes = predictions.one_per_image(found, truth.images, options.allow_missing)
    true, activities, scenes = truth.joints3d[rows], np.array(truth.activities)[rows], np.array(truth.scenes)[rows]
    groups = {a: activities == a for a in mpi_inf_3dhp.ACTIVITIES} | {s: scenes == s for s in mpi_inf_3dhp.SCENES}
    groups["all"] = np.ones(len(pred), bool)
    metrics, distances = {}, {}
    for convention, (root, joints) in _CONVENTIONS.items():
        columns = [_JOINT_NAMES.index(j) for j in joints]
        rooted = [(x - x[:, [_JOINT_NAMES.index(root)]])[:, columns] for x in (pred, true)]
        if options.procrustes:
            rooted[0] = align_similarity(*rooted)
        values = joint_distances(*rooted)
        metrics[convention] = {
            name: {g: function(values[rows]) if rows.any() else float("nan") for g, rows in groups.items()}
            for name, function in {"pck": pck, "auc": auc, "mpjpe": lambda d: float(d.mean())}.items()
        }
        distances[convention] = Distances(joints, values)
    labels = {
        "pck": "PCK@150 in %",
        "auc": "AUC in %",
        "mpjpe": "PA-MPJPE in mm" if options.procrustes else "MPJPE in mm",
    }
    return Scores(
        n_poses=len(pred),
        metrics=metrics,
        tables={
            f"MPI-INF-3DHP, 14 joints {convention}": {labels[name]: row for name, row in rows.items()}
            for convention, rows in metrics.items()
        },
        latex={
            f"{convention}: PCK by activity and scene, PCK, AUC, MPJPE": {
                **{("PCK" if name == "all" else name): value for name, value in rows["pck"].items()},
                "AUC": rows["auc"]["all"],
                "MPJPE": rows["mpjpe"]["all"],
            }
            for convention, rows in metrics.items()
        },
        distances=distances,
        notes=notes,
    )
