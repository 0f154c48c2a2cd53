"""MPII Human Pose (Andriluka et al., CVPR 2014): 2D labels.

As the official archives unpack::

    mpii/mpii_human_pose_v1_u12_1.mat      MATLAB 5: RELEASE.annolist, img_train, single_person
    mpii/images/000001163.jpg

and what ``metrabs-train prepare mpii-yolo`` makes of that::

    mpii/detections.npz                    people that the detector finds
"""

from functools import partial
from pathlib import Path

import boxlib
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.skeletons import Skeleton
from training.datasets import matlab
from training.datasets.annotations import Annotations
from training.datasets.detections import FILE_NAME, detect_people, match_boxes, read_detections
from training.datasets.example import assumed_camera
from training.datasets.named import Hips, NamedDataset, Shrinking
from training.datasets.preparation import Preparation
from training.datasets.table import Table, TableBuilder

# As the file numbers them; "neck" is the upper neck, and it, the head and the pelvis are not what 3D data sets have.
_FILE_JOINTS = (
    *("rank", "rkne", "rhip", "lhip", "lkne", "lank", "pelv", "thor", "neck", "head"),
    *("rwri", "relb", "rsho", "lsho", "lelb", "lwri"),
)
_LIMBS = (("rhip", "rkne"), ("rkne", "rank"), ("lhip", "lkne"), ("lkne", "lank"),
          ("rsho", "relb"), ("relb", "rwri"), ("lsho", "lelb"), ("lelb", "lwri"))  # fmt: skip
# The detector's boxes only count where they meet a labelled person, so they may be less certain than elsewhere.
_MIN_SCORE, _MIN_VALID = 0.2, 7

DOWNLOAD = """MPII Human Pose is for non-commercial use: http://human-pose.mpi-inf.mpg.de
Unpack mpii_human_pose_v1.tar.gz and mpii_human_pose_v1_u12_2.zip so that there are
  mpii/mpii_human_pose_v1_u12_1.mat, mpii/images/000001163.jpg ..."""


def _skeleton(name: str, *joints: str) -> Skeleton:
    return Skeleton(
        name, joints, tuple((joints.index(a), joints.index(b)) for a, b in _LIMBS if a in joints and b in joints)
    )


_LEGS = ("rank", "rkne", "rhip", "lhip", "lkne", "lank")
SKELETON = _skeleton("mpii_12", *_LEGS, "rwri", "relb", "rsho", "lsho", "lelb", "lwri")
# The paper leaves out the shoulders where boxes come from the detector.
SKELETON_DETECTED = _skeleton("mpii_10", *_LEGS, "rwri", "relb", "lelb", "lwri")


def find(root: Path, split: str, detected: bool = False) -> Annotations:
    """Look for the files: see ``training.datasets.annotations.Annotations``.

    Args:
        root: data root.
        split: "train": the pictures whose labels are published.
        detected: all people who are found by the detector (with its boxes) and of whom at least seven joints are
            labelled; else those who are far enough from others, in boxes by the labelled centre and scale.
    """
    labels, detections = root / "mpii/mpii_human_pose_v1_u12_1.mat", root / "mpii" / FILE_NAME
    files = [labels, detections] if detected else [labels]
    missing = [str(path.relative_to(root)) for path in files if not path.is_file()]
    skeleton = SKELETON_DETECTED if detected else SKELETON
    read = _read_detected if detected else _read_separate
    return Annotations(skeleton, [] if missing else files, lambda: read(root, skeleton), missing)


def _read_separate(root: Path, skeleton: Skeleton) -> Table:
    table = TableBuilder(root, skeleton.n_joints)
    for image, people, separate in _training_pictures(root):
        for number in separate:
            if number >= len(people) or people[number] is None:
                continue
            joints, centre, scale = people[number]
            if centre is None or scale is None:
                continue
            size = 200 * scale
            # labelled centres are too high for a person's box
            middle = np.array(centre) + [0, 0.075 * size]
            _add(table, image, joints, np.array([*(middle - size / 2), size, size]), skeleton, number)
    return table.build()


def _read_detected(root: Path, skeleton: Skeleton) -> Table:
    table = TableBuilder(root, skeleton.n_joints)
    detections = read_detections(root / "mpii" / FILE_NAME)
    for image, people, _ in _training_pictures(root):
        found = detections.get(image.removeprefix("mpii/"), np.zeros([0, 5], np.float32))
        found = found[found[:, 4] > _MIN_SCORE]
        labelled = [(number, person[0]) for number, person in enumerate(people) if person is not None]
        boxes = [
            boxlib.expand(boxlib.bb_of_points(points[np.isfinite(points).all(-1)]), 1.25) for _, points in labelled
        ]
        for i, j in match_boxes(np.array(boxes), found):
            number, joints = labelled[i]
            selected = joints[[_FILE_JOINTS.index(name) for name in skeleton.joint_names]]
            if np.isfinite(selected).all(-1).sum() >= _MIN_VALID:
                _add(table, image, joints, found[j, :4], skeleton, number)
    return table.build()


def _add(table: TableBuilder, image: str, joints: np.ndarray, box: np.ndarray, skeleton: Skeleton, number: int) -> None:
    joints = joints[[_FILE_JOINTS.index(name) for name in skeleton.joint_names]]
    valid = np.isfinite(joints).all(-1)
    middle = boxlib.center(np.float32(box))
    table.add(
        [image],
        box,
        assumed_camera(box),
        joints2d=np.where(valid[:, None], joints, middle)[None],
        valid=valid[None],
        person=number,
    )


def _training_pictures(root: Path):
    """Yield each picture's path, its people and the numbers of those who are far enough from others.

    A person is None (not labelled), or the 16 joints float32 [16, 2] (NaN where not labelled), centre and scale.
    """
    path = root / "mpii/mpii_human_pose_v1_u12_1.mat"
    (release,) = matlab.load(path, "RELEASE")
    try:
        release = matlab.scalar(release)
        is_train = release.img_train.ravel()
        for picture, train, separate in zip(release.annolist.ravel(), is_train, release.single_person.ravel()):
            if not train:
                continue
            name = str(matlab.scalar(matlab.scalar(picture.image).name))
            people = [_person(person) for person in np.ravel(picture.annorect)]
            numbers = [int(number) - 1 for number in np.ravel(np.asarray(separate, np.float64))]
            yield f"mpii/images/{name}", people, numbers
    except (AttributeError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no annotation of MPII Human Pose: {error!r}.") from error


def _person(rect) -> tuple[np.ndarray, tuple | None, float | None] | None:
    points = getattr(matlab.scalar(getattr(rect, "annopoints", None)), "point", None)
    if points is None or not np.size(points):
        return None
    joints = np.full([len(_FILE_JOINTS), 2], np.nan, np.float32)
    for point in np.ravel(points):
        joints[int(matlab.scalar(point.id))] = matlab.scalar(point.x), matlab.scalar(point.y)
    position = matlab.scalar(getattr(rect, "objpos", None))
    centre = None if position is None else (float(matlab.scalar(position.x)), float(matlab.scalar(position.y)))
    scale = matlab.scalar(getattr(rect, "scale", None))
    return joints, centre, None if scale is None else float(scale)


def prepare(preparation: Preparation, detected: bool = False) -> None:
    """Find people in the pictures, if the detector's boxes are wanted.

    Args:
        preparation: the run.
        detected: look for people.

    Raises:
        UserError: official files are missing.
    """
    root = preparation.root
    found = find(root, "train")
    preparation.require("MPII Human Pose", found.missing, DOWNLOAD, is_empty=True)
    pictures = [image for image, people, _ in _training_pictures(root) if any(p is not None for p in people)]
    missing = {image for image in pictures if not (root / image).is_file()}
    preparation.require("MPII Human Pose", sorted(missing), DOWNLOAD)
    if detected:
        wanted = [image.removeprefix("mpii/") for image in pictures if image not in missing]
        detect_people(preparation, root / "mpii", wanted)


DATASETS = {
    "mpii": NamedDataset(prepare, find, ("train",), Shrinking(affine=True), hips=Hips.MPII),
    "mpii-yolo": NamedDataset(
        partial(prepare, detected=True),
        partial(find, detected=True),
        ("train",),
        Shrinking(affine=True),
        hips=Hips.MPII,
    ),
}
