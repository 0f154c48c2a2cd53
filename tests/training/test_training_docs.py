"""What docs/training.md shows: examples/fine_tune.py at toy size, and the flags of the commands."""

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from metrabs_core import models
from metrabs_core.network.crop_model import load_weights_dir
from metrabs_core.skeletons import NATIVE
from training import cli, datasets
from training.commands.train import add_arguments

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "training.md"


def _blocks(language, heading=None):
    text = DOCS.read_text()
    if heading:
        text = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _commands(blocks):
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "metrabs-train" in words and "..." not in words:
                yield words[words.index("metrabs-train") + 1 :]


def _make_recordings(folder):
    """Two pictures, two and three metres before a camera; one joint is not known."""
    folder.mkdir()
    K = np.array([[500, 0, 320], [0, 500, 240], [0, 0, 1.0]])
    distortion = np.array([[-0.1, 0.02, 0, 0, 0]])
    np.savez(folder / "camera.npz", K=K, distortion=distortion)
    rng = np.random.default_rng(0)
    for i, distance in enumerate((2000, 3000)):
        joints = rng.normal(size=(14, 3)) * [150, 300, 100] + [0, 0, distance]
        image = rng.integers(0, 60, (480, 640, 3), np.uint8)
        for x, y in cv2.projectPoints(joints, np.zeros(3), np.zeros(3), K, distortion)[0][:, 0]:
            cv2.circle(image, (int(x), int(y)), 5, (255, 255, 255), -1)
        joints[3 + i] = np.nan
        cv2.imwrite(str(folder / f"{i:04d}.jpg"), image)
        np.save(folder / f"{i:04d}.npy", joints)


def test_the_example_fine_tunes_the_packaged_model_on_ones_own_pictures(tmp_path, capsys):
    _make_recordings(tmp_path / "recordings")
    # in a process of its own, as a user would
    script = [sys.executable, str(ROOT / "examples" / "fine_tune.py"), "recordings", "runs/mine", "--steps=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        script, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(r"^0000.jpg: \d+ people$", done.stdout, re.MULTILINE)
    people = datasets.read(tmp_path / "runs/mine/my_people").examples
    assert [int((~person.valid).sum()) for person in people] == [1, 1]
    packaged, tuned = (load_weights_dir(p) for p in (models.locate(), tmp_path / "runs/mine/model"))
    assert tuned.skeleton is NATIVE and tuned.crop_side == packaged.crop_side
    same = [np.array_equal(a, b) for a, b in zip(packaged.get_weights(), tuned.get_weights())]
    assert any(same) and not all(same)
    # the other command that the docs show
    _, evaluate = _commands(_blocks("sh", "Your own pictures"))
    assert evaluate[:2] == ["evaluate", "--model=runs/mine"]
    cli.main(["evaluate", f"--model={tmp_path / 'runs/mine'}", f"--dataset={tmp_path / 'runs/mine/my_people'}"])
    assert re.search(r"people\s+2", capsys.readouterr().out)


def test_the_flags_in_the_docs_exist():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    commands = [words for words in _commands(_blocks("sh")) if words[0] == "train"]
    assert len(commands) >= 5
    for words in commands:
        parser.parse_args(words[1:])
    table = DOCS.read_text().split("\n## Flags\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(--[a-z0-9-]+)`", table)) | {f"--{n}" for n in re.findall(r"`--\[no-\]([a-z-]+)`", table)}
    documented = named | {"--no-" + n.removeprefix("--") for n in named} | {"--help", "-h"}
    assert known - documented == set()
    assert named - known == set()
