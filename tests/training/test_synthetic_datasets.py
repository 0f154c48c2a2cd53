"""Synthetic data sets: labels against independent projections, determinism, resuming after a kill."""

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
import rlemasklib
from bvh_files import SKELETON, movement, write_bvh

from metrabs_core.skeletons import NATIVE
from training import cli
from training.dataset_format import read_description, read_pictures

pytest_plugins = ["synthetic_people"]
pytestmark = pytest.mark.usefixtures("renderer_alone")

J = {name: i for i, name in enumerate(NATIVE.joint_names)}
ROOT = Path(__file__).parents[2]
# A run without photographs and clips, in shards of two scenes, so that few scenes make many shards.
DRIVER = "from training import cli; from training.synthesis import dataset as d; d.SCENES_PER_SHARD = 2; cli.main()"


def command(out, scenes, seed=1, workers=1):
    options = {"--out": out, "--scenes": scenes, "--seed": seed, "--workers": workers}
    flat = [str(x) for pair in options.items() for x in pair]
    nothing = str(Path(__file__).parent)  # neither photographs nor clips nor furniture
    return [
        sys.executable,
        "-c",
        DRIVER,
        "synthesize",
        *flat,
        "--backgrounds",
        nothing,
        "--motions",
        nothing,
        "--rooms",
        nothing,
    ]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "dataset"
    subprocess.run(command(folder, 8, workers=2), check=True, cwd=ROOT, capture_output=True)
    return folder


def distorted(points, k, d):
    """Brown's lens model as OpenCV's documentation writes it, float64."""
    x, y = (points[:, :2] / points[:, 2:]).T
    k1, k2, p1, p2, k3 = d if len(d) else np.zeros(5)
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([k[0, 0] * u + k[0, 2], k[1, 1] * v + k[1, 2]], 1)


def test_labels_agree_with_independent_projections(dataset):
    assert read_description(dataset).joint_names == NATIVE.joint_names
    people = lenses = 0
    for picture in read_pictures(dataset):
        image = cv2.imread(str(picture.path))
        height, width = image.shape[:2]
        entries = json.loads((picture.path.parent / "annotations.json").read_text())
        entry = next(e for e in entries if e["image"] == picture.path.name)
        k = np.array(entry["camera"]["intrinsic_matrix"])
        d = np.array(entry["camera"]["distortion_coeffs"])
        lenses += len(d) > 0
        for person in entry["people"]:
            people += 1
            joints, points = np.array(person["joints3d"]), np.array(person["joints2d"])
            expected = distorted(joints, k, d)
            np.testing.assert_allclose(points, expected, rtol=1e-4, atol=0.02)
            lens = d if len(d) else None
            again = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), k, lens)[0][:, 0]
            np.testing.assert_allclose(points, again, rtol=1e-4, atol=0.02)
            mask = rlemasklib.decode(person["mask"]) > 0
            assert mask.shape == (height, width)
            assert mask.sum() >= 250
            left, top, w, h = person["box"]
            assert left >= -0.5
            assert top >= -0.5
            assert left + w <= width - 0.5 + 0.01
            assert top + h <= height - 0.5 + 0.01
            rows, columns = np.nonzero(mask)
            assert columns.min() >= left
            assert columns.max() <= left + w
            assert rows.min() >= top
            assert rows.max() <= top + h
            visible = np.array(person["visible"], bool)
            assert visible.sum() >= 4
            near = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) > 0
            at = points[visible].round().astype(int)
            assert (at >= 0).all()
            assert near[at[:, 1].clip(0, height - 1), at[:, 0].clip(0, width - 1)].all()
            assert 400 < joints[:, 2].mean() < 40_000
            trunk = np.linalg.norm(joints[J["neck"]] - joints[J["pelv"]])
            assert 200 < trunk < 750
    assert people >= 6
    assert lenses >= 1


def test_everyday_people_move_as_in_the_clips_and_stand_on_the_floor(tmp_path, dataset):
    (tmp_path / "clips").mkdir()
    write_bvh(tmp_path / "clips" / "a.bvh", SKELETON, movement(np.random.default_rng(0), 30))
    (tmp_path / "clips" / "b.bvh").write_text("nothing")
    line = command(tmp_path / "out", 12, workers=2)
    line[line.index("--motions") + 1] = str(tmp_path / "clips")
    result = subprocess.run(line, check=True, cwd=ROOT, capture_output=True, text=True)
    assert f"{tmp_path / 'clips' / 'b.bvh'} is left out: it is no BVH" in result.stderr
    described = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (described["bvh_clips"], described["bvh_frames"]) == (1, 30)
    assert "bvh_clips" not in json.loads((dataset / "dataset.json").read_text())
    everyday = 0
    for picture in read_pictures(tmp_path / "out"):
        entries = json.loads((picture.path.parent / "annotations.json").read_text())
        entry = next(e for e in entries if e["image"] == picture.path.name)
        extrinsics = np.array(entry["camera"]["extrinsic_matrix"])
        height = -(extrinsics[:3, :3].T @ extrinsics[:3, 3])[2]
        for person in entry["people"]:
            world = (np.array(person["joints3d"]) - extrinsics[:3, 3]) @ extrinsics[:3, :3]
            assert world[:, 2].min() > -1  # millimetres
            feet = world[[J[s + name] for s in "lr" for name in ("toe", "hee", "ank")], 2].min()
            everyday += feet < 150 and 300 <= height <= 2000
    assert everyday >= 8


def test_a_killed_run_goes_on_and_ends_as_another_run_with_more_processes(dataset, tmp_path):
    out = tmp_path / "killed"
    with subprocess.Popen(command(out, 8), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not list(out.glob("shard_*/annotations.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    finished = list(out.glob("shard_*/annotations.json"))
    assert 1 <= len(finished) < 4
    assert not (out / "contact_sheet.png").exists()
    for path in finished:
        assert len(json.loads(path.read_text())) == 2
    kept = finished[0].stat().st_mtime_ns
    subprocess.run(command(out, 8), check=True, cwd=ROOT, capture_output=True)
    assert contents(out) == contents(dataset)
    assert finished[0].stat().st_mtime_ns == kept


def test_workers_end_with_a_killed_parent(tmp_path):
    with subprocess.Popen(command(tmp_path / "out", 40, workers=2), cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob("out/.shard_*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
    while any(running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(pid):
    try:
        return "python" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_another_seed_does_not_go_into_the_same_folder(dataset):
    with pytest.raises(SystemExit, match="holds a dataset made with another seed; choose another folder"):
        cli.main(command(dataset, 8, seed=2)[3:])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [(["--scenes", "0"], "--scenes is 0; ask for at least one"), (["--backgrounds", "/nowhere"], "which is no folder")],
)
def test_senseless_arguments_are_refused(tmp_path, options, complaint):
    with pytest.raises(SystemExit, match=complaint):
        cli.main(["synthesize", "--out", str(tmp_path / "x"), "--scenes", "1", *options])
    assert not (tmp_path / "x").exists()
