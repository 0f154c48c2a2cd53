"""Human3.6M: MPJPE or PA-MPJPE by activity, subjects 9 and 11, every 64th frame of every camera."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from training.datasets import h36m
from training.datasets.annotations import report_missing
from training.evaluation import predictions
from training.evaluation.options import Options
from training.evaluation.scores import Distances, Scores
from training.metrics import align_similarity, joint_distances

ACTIVITIES = (
    "Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases", "Sitting", "SittingDown",
    "Smoking", "Photo", "Waiting", "Walking", "WalkDog", "WalkTogether",
)  # fmt: skip
OPTIONS = {"procrustes"}
_IMAGE_DEPTH = 4  # S9/Images/Directions 1.54138969/frame_000000.jpg


@dataclass(frozen=True)
class Truth:
    """The annotated people.

    Attributes:
        images: N picture names.
        joints3d: float [N, 17, 3], mm, world.
        activities: N names.
    """

    images: list[str]
    joints3d: np.ndarray
    activities: list[str]


def read_truth(data_root: Path, options: Options) -> Truth:
    """Read the test part's poses; pictures, cameras and boxes are not needed.

    Raises:
        UserError: poses are missing, and that isn't allowed; a file is damaged.
    """
    recordings, missing = h36m.find_recordings(data_root / "h36m", h36m.SUBJECTS["test"])
    there = [recording for recording in recordings if recording.poses.is_file()]
    missing += [str(r.poses.relative_to(data_root)) for r in recordings if r not in there]
    report_missing("h36m", missing, options.allow_missing)
    images, poses, activities = [], [], []
    for recording in there:
        world = h36m.read_poses(recording.poses)
        frames = range(0, len(world), h36m.FRAME_STEP["test"])
        for camera in h36m.CAMERAS:
            images += [predictions.image_name(recording.image(camera, frame), _IMAGE_DEPTH) for frame in frames]
            poses.append(world[frames])
            activities += [recording.action.split(" ")[0]] * len(frames)
    if not images:
        raise UserError(f"There is no pose of subjects 9 and 11 in {data_root / 'h36m'}.")
    return Truth(images, np.concatenate(poses), activities)


def score(pred_path: Path, truth: Truth, options: Options) -> Scores:
    """Compare a file's predictions with the truth, relative to the pelvis.

    Raises:
        UserError: there is no such file; it is not of the right form, or not about the same pictures (``allow_missing``
            lets it lack some).
    """
    joint_names = h36m.SKELETON.joint_names
    found = predictions.read(pred_path, _IMAGE_DEPTH, joint_names, ["coords3d_pred_world"])
    root = joint_names.index("pelv")
    coords, rows, notes = predictions.one_per_image(found, truth.images, options.allow_missing)
    pred, true = (x - x[:, [root]] for x in (coords, truth.joints3d[rows]))
    distances = joint_distances(align_similarity(pred, true) if options.procrustes else pred, true)
    names = np.array(truth.activities)[rows]
    means = {a: float(distances[names == a].mean()) if (names == a).any() else float("nan") for a in ACTIVITIES}
    means["mean"] = float(distances.mean())
    title = "PA-MPJPE" if options.procrustes else "MPJPE"
    return Scores(
        n_poses=len(pred),
        metrics={title.lower().replace("-", "_"): means},
        tables={f"Human3.6M: {title} in mm": {title: means}},
        latex={f"{title} by activity, mean": means},
        distances={title: Distances(joint_names, distances)},
        notes=notes,
    )
