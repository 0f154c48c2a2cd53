"""The training command in real processes: it learns, resumes after kill -9 exactly, and says what is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from metrabs_core.network.crop_model import load_weights_dir
from metrabs_core.skeletons import NATIVE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six 'people' of dots on noise, in the project's format."""
    folder = tmp_path_factory.mktemp("dataset")
    shard = folder / "shard"
    shard.mkdir()
    rng = np.random.default_rng(0)
    intrinsics = np.array([[300, 0, 80], [0, 300, 80], [0, 0, 1.0]])
    pictures = []
    for i in range(6):
        joints = rng.normal(size=(NATIVE.n_joints, 3)) * [200, 350, 150] + [0, 0, 3500]
        pixels = joints @ intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        image = rng.integers(0, 60, (160, 160, 3), np.uint8)
        for x, y in pixels:
            cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
        cv2.imwrite(str(shard / f"{i}.png"), image)
        box = [*pixels.min(0), *np.ptp(pixels, axis=0)]
        person = {"box": box, "joints3d": joints.tolist(), "joints2d": pixels.tolist()}
        pictures.append({"image": f"{i}.png", "camera": {"intrinsic_matrix": intrinsics.tolist()}, "people": [person]})
    (shard / "annotations.json").write_text(json.dumps(pictures))
    (folder / "dataset.json").write_text(json.dumps({"format": 1, "joint_names": NATIVE.joint_names}))
    return folder


def _start(dataset, logdir, *flags):
    command = [sys.executable, "-m", "training", "train", "--recipe=packaged", f"--dataset={dataset}"]
    command += [f"--logdir={logdir}", "--steps=0", "--head-steps=6", "--checkpoint-steps=2", "--batch-size=2"]
    command += ["--crop-side=64", "--verbose=2", f"--validation={dataset}", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]


def _history(logdir):
    path = logdir / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_weights(dataset, tmp_path):
    killed = _start(dataset, tmp_path / "killed")
    deadline = time.monotonic() + 240
    while not _history(tmp_path / "killed") and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert 1 <= len(_history(tmp_path / "killed")) < 3
    assert _history(tmp_path / "killed")[-1]["step"] < 6
    _finish(_start(dataset, tmp_path / "killed"))
    _finish(_start(dataset, tmp_path / "whole"))

    assert [row["step"] for row in _history(tmp_path / "killed")] == [2, 4, 6]
    resumed, whole = (load_weights_dir(tmp_path / name / "model").get_weights() for name in ("killed", "whole"))
    for a, b in zip(resumed, whole):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3)  # float16
    card = json.loads((tmp_path / "whole" / "model" / "model_card.json").read_text())
    assert card["samples_seen"] == 12
    assert card["validation"]["people"] == 6
    assert card["crop_model"]["uncertainty_scale"] > 0


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--dataset=/nowhere"], "There is no data set named /nowhere"),
        (["--trainable-from=block99"], "no layer 'block99'"),
        (["--crop-side=100"], "multiple of 64, not 100"),
    ],
)
def test_errors_are_one_sentence(dataset, tmp_path, flags, sentence):
    process = _start(dataset, tmp_path / "run", "--steps=2", "--head-steps=0", *flags)
    output, _ = process.communicate(timeout=300)
    last = output.strip().splitlines()[-1]
    assert process.returncode == 1
    assert last.startswith("metrabs-train train: ") and sentence in last
    assert "Traceback" not in output
