"""``metrabs-train`` with a backbone of two layers, which compiles in a second, and people made of dots."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.skeletons import NATIVE, Skeleton

ROOT = Path(__file__).parents[2]


def build_tiny_backbone(name: str, crop_side: int, stride: int = 32):
    """Stand-in for ``metrabs_core.network.backbones.build_backbone``."""
    from keras import Input, Model, layers

    crops = Input([crop_side, crop_side, 3])
    x = layers.AveragePooling2D(4)(crops)
    x = layers.Conv2D(16, 3, strides=stride // 4, padding="same", use_bias=False, name="conv1")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    return Model(crops, layers.Conv2D(32, 3, padding="same", name="conv2")(x))


def make_dataset(folder: Path, n_pictures: int = 6, skeleton: Skeleton = NATIVE, with_3d: bool = True) -> Path:
    """Write pictures of dots on noise, in the project's format."""
    shard = folder / "shard"
    shard.mkdir(parents=True)
    rng = np.random.default_rng(len(str(folder.name)))
    intrinsics = np.array([[300, 0, 80], [0, 300, 80], [0, 0, 1.0]])
    pictures = []
    for i in range(n_pictures):
        joints = rng.normal(size=(skeleton.n_joints, 3)) * [200, 350, 150] + [0, 0, 3500]
        pixels = joints @ intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        image = rng.integers(0, 60, (160, 160, 3), np.uint8)
        for x, y in pixels:
            cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
        cv2.imwrite(str(shard / f"{i}.png"), image)
        box = [*pixels.min(0), *np.ptp(pixels, axis=0)]
        person = {"box": box, "joints3d": joints.tolist() if with_3d else None, "joints2d": pixels.tolist()}
        pictures.append({"image": f"{i}.png", "camera": {"intrinsic_matrix": intrinsics.tolist()}, "people": [person]})
    (shard / "annotations.json").write_text(json.dumps(pictures))
    description = {"format": 1, "joint_names": skeleton.joint_names, "edges": skeleton.edges}
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def environment(backend: str = "tensorflow", **more: str) -> dict[str, str]:
    """Environment of a process that runs this file."""
    threads = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    return {
        **os.environ,
        **threads,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'training'}",
        "KERAS_BACKEND": backend,
        **more,
    }


def main() -> None:
    """Run the command; with WITHOUT_TENSORFLOW, as if it were not installed; SAVE_WEIGHTS names a file for them."""
    if "WITHOUT_TENSORFLOW" in os.environ:
        sys.modules["tensorflow"] = None
    from metrabs_core.network import crop_model
    from training import cli

    crop_model.build_backbone = build_tiny_backbone
    if "SAVE_WEIGHTS" in os.environ:
        from training.commands import train as command

        original = command.train

        def train_and_save(*args, **kwargs):
            weights = original(*args, **kwargs).get_weights()
            np.savez(os.environ["SAVE_WEIGHTS"], *[w.astype(np.float16) for w in weights])

        command.train = train_and_save
    cli.main(sys.argv[1:])


if __name__ == "__main__":
    main()
