"""Fine-tune the packaged model on your own pictures, and look at a picture with the result.

    python examples/fine_tune.py recordings runs/mine --steps=2000

The folder ``recordings`` holds pictures of one person each, ``NAME.jpg``; the person's joints as ``NAME.npy``, [14, 3],
millimetres in the camera frame (x right, y down, z forward), NaN for a joint that is not known; and the calibration of
the camera, ``camera.npz``, with the arrays ``K`` and ``distortion`` from OpenCV's ``calibrateCamera``.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

import metrabs_core
from metrabs_core.files import write_json
from training.config import TrainingConfig
from training.dataset_format import write_description
from training.train import train

# Names as in metrabs_core.skeletons; pelvis and hips are the centres of the joints, "neck" is where the head turns
JOINTS = (
    *("pelv", "lhip", "rhip", "lkne", "rkne", "lank", "rank"),
    *("neck", "lsho", "rsho", "lelb", "relb", "lwri", "rwri"),
)


def write_dataset(recordings: Path, dataset: Path) -> None:
    """Describe the pictures as training/dataset_format.py wants them; they stay where they are."""
    with np.load(recordings / "camera.npz") as calibration:
        K, distortion = calibration["K"], calibration["distortion"].ravel()
    camera = {"intrinsic_matrix": K.tolist(), "distortion_coeffs": distortion.tolist()}
    pictures = []
    for photo in sorted(recordings.resolve().glob("*.jpg")):
        joints3d = np.load(photo.with_suffix(".npy"))
        joints2d = cv2.projectPoints(joints3d, np.zeros(3), np.zeros(3), K, distortion)[0][:, 0]
        left, top = np.nanmin(joints2d, axis=0) - 20  # a person detector's box is better, if you have one
        right, bottom = np.nanmax(joints2d, axis=0) + 20
        known = np.isfinite(joints3d).all(axis=1)
        person = {
            "box": [left, top, right - left, bottom - top],
            "joints3d": [p.tolist() if k else None for p, k in zip(joints3d, known)],
            "joints2d": [p.tolist() if k else None for p, k in zip(joints2d, known)],
            "visible": known.astype(int).tolist(),
        }
        pictures.append({"image": str(photo), "camera": camera, "people": [person]})
    write_description(dataset, JOINTS, edges=[], licence="our own pictures")
    write_json(dataset / "all" / "annotations.json", pictures)


def print_people(model_folder: Path, recordings: Path) -> None:
    """Find the people in the first picture with a person detector and the fine-tuned model."""
    model = metrabs_core.load(model_folder)
    photo = min(recordings.glob("*.jpg"))
    image = cv2.imread(str(photo))[..., ::-1]
    with np.load(recordings / "camera.npz") as calibration:
        people = model.detect_poses(
            image,
            intrinsic_matrix=calibration["K"],
            distortion_coeffs=calibration["distortion"].ravel(),
            detector_threshold=0.2,
        )
    print(f"{photo.name}: {len(people['boxes'])} people")
    pelvis = model.joint_names.index("pelv")
    for box, pose in zip(people["boxes"], people["poses3d"]):
        print(f"  score {box[4]:.2f}, pelvis at {np.round(pose[pelvis])} mm")


def main() -> None:
    """Make the data set, train, and try the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("run", type=Path, help="folder for the data set, checkpoints, logs and the model")
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    write_dataset(args.recordings, args.run / "my_people")
    config = TrainingConfig(
        init="accurate",
        datasets=[str(args.run / "my_people")],
        head_steps=args.steps,  # the backbone knows more people than the pictures show, and stays as it is
        steps=0,
        batch_size=16,
        head_learning_rate=1e-4,
    )
    train(config, args.run)
    print_people(args.run / "model", args.recordings)


if __name__ == "__main__":
    main()
