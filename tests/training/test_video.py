"""`metrabs-train video` on videos of rectangles, with a model whose answers are known."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import rectangle_people
from rectangle_people import expected_poses2d, expected_poses3d, picture

from metrabs_core.skeletons import NATIVE
from metrabs_core.videos import VideoReader, VideoWriter
from training import cli
from training.video import sources

pytestmark = pytest.mark.usefixtures("models_loaded_once")
REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT = 120.0
OUTPUTS = {"poses.npz", "poses.json", "overlay.mp4", "viewer.html", "job.json"}


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "rectangles"
    rectangle_people.export(path)
    return path


def red_box(i):
    return 10 + i, 20, 24, 60


def blue_box(i):
    return 110 - 2 * i, 30, 20, 50


def write_pictures(folder, n=12, scores=lambda i: (0.9, 0.8), blue_frames=range(3, 9)):
    folder.mkdir()
    for i in range(n):
        image = picture(red_box(i), blue_box(i) if i in blue_frames else None, scores=scores(i))
        cv2.imwrite(str(folder / f"frame{i}.png"), image[..., ::-1])
    return folder


def run(*arguments):
    cli.main(["video", *map(str, arguments)])


def test_pictures_become_numbers_overlay_and_viewer(tmp_path, model_path, monkeypatch):
    folder, output = write_pictures(tmp_path / "in"), tmp_path / "out"
    run(folder, "--output-dir", output, "--model-path", model_path, "--fov", 90, "--fps", 10)
    assert {path.name for path in output.iterdir()} == OUTPUTS

    with np.load(output / "poses.npz") as arrays:
        poses = dict(arrays)
    matrix = np.array([[80, 0, 79.5], [0, 80, 59.5], [0, 0, 1]])
    np.testing.assert_allclose(poses["intrinsic_matrices"], np.tile(matrix, [12, 1, 1]), rtol=1e-6)
    np.testing.assert_allclose(poses["frame_times"], np.arange(12) / 10)
    np.testing.assert_array_equal(poses["frame_numbers"], np.arange(12))
    np.testing.assert_array_equal(poses["frame_index"], sorted([*range(12), *range(3, 9)]))
    assert poses["joint_names"].tolist() == list(NATIVE.joint_names)
    np.testing.assert_array_equal(poses["joint_edges"], NATIVE.edges)
    is_red = poses["boxes"][:, 4] > 0.85
    assert set(poses["ids"][is_red]) == {1} and set(poses["ids"][~is_red]) == {2}
    for row, i in enumerate(poses["frame_index"]):
        left, top, *size = red_box(i) if is_red[row] else blue_box(i)
        box = np.array([left - 0.5, top - 0.5, *size])
        np.testing.assert_allclose(poses["boxes"][row, :4], box)
        np.testing.assert_allclose(poses["poses3d"][row], expected_poses3d(box, matrix), rtol=1e-4, atol=0.1)
        np.testing.assert_allclose(poses["poses2d"][row], expected_poses2d(box), rtol=1e-5)
    assert (poses["uncertainties"] == rectangle_people.UNCERTAINTY).all()

    document = json.loads((output / "poses.json").read_text())
    assert document["joint_names"] == list(NATIVE.joint_names) and len(document["joint_edges"]) == len(NATIVE.edges)
    np.testing.assert_allclose(document["camera"]["intrinsic_matrix"], matrix, rtol=1e-6)
    assert [frame["frame"] for frame in document["frames"]] == list(range(12))
    assert [len(frame["people"]) for frame in document["frames"]] == [1] * 3 + [2] * 6 + [1] * 3
    people = [person for frame in document["frames"] for person in frame["people"]]
    for name, key, tolerance in (("poses3d", "poses3d", 0.006), ("poses2d", "poses2d", 0.006), ("ids", "id", 0)):
        np.testing.assert_allclose([person[key] for person in people], poses[name], atol=tolerance)

    frames = list(VideoReader(output / "overlay.mp4").frames())
    np.testing.assert_allclose([frame.seconds for frame in frames], np.arange(12) / 10, atol=1e-3)
    plain = picture(red_box(5), blue_box(5))
    changed = np.abs(frames[5].image.astype(int) - plain).max(axis=-1) > 80
    # drawn on both people, and nothing in the corner far from them
    assert changed[20:80, 15:39].any() and changed[30:80, 100:120].any() and not changed[100:, 60:].any()
    assert '"times":' in (output / "viewer.html").read_text()

    # what docs/video.md says about the files
    text = (REPOSITORY / "docs/video.md").read_text()
    monkeypatch.chdir(tmp_path)
    output.rename("results")
    names = {}
    exec(text.split("```python")[1].split("```")[0], names)
    np.testing.assert_allclose(names["times"], np.arange(12) / 10)
    assert names["path"].shape == (12, 3)
    table = text.split("| array | |")[1].split("```")[0]
    assert all(f"`{name}`" in table for name in poses)
    assert all(f"`{name}`" in text for name in ("joint_names", "joint_edges", *document["camera"]))
    assert all(f'"{name}"' in text for name in (*document["frames"][0], *people[0]))


def test_video_with_calibration_distortion_skeleton_and_smoothing(tmp_path, model_path):
    matrix, distortion = np.array([[200.0, 0, 80], [0, 210, 60], [0, 0, 1]]), [0.25, 0, 0, 0, 0]
    calibration = tmp_path / "camera.json"
    calibration.write_text(json.dumps({"intrinsic_matrix": matrix.tolist(), "distortion_coeffs": distortion}))
    with VideoWriter(tmp_path / "in.mkv", quality=1) as video:
        for i in range(8):
            video.write(picture(blue=(40, 30, 20, 40 + 4 * i), size=(160, 120)), i / 5)
    run("--video-path", tmp_path / "in.mkv", "--output-dir", tmp_path / "out", "--model-path", model_path,
        "--calibration", calibration, "--skeleton", "smpl_24", "--causal-smoothing", "--max-frames", 6)  # fmt: skip
    with np.load(tmp_path / "out/poses.npz") as arrays:
        poses = dict(arrays)
    assert poses["poses3d"].shape == (6, 24, 3) and poses["frame_times"][-1] == pytest.approx(1.0, abs=2e-3)
    raw = [expected_poses3d(box[:4], matrix, distortion)[:24] for box in poses["boxes"]]
    weights = [(1,), (6 / 8, 2 / 8)] + 4 * [(6 / 9, 2 / 9, 1 / 9)]
    for i in range(6):
        expected = sum(weight * raw[i - lag] for lag, weight in enumerate(weights[i]))
        np.testing.assert_allclose(poses["poses3d"][i], expected, rtol=1e-4, atol=0.5)
        pixels = cv2.projectPoints(poses["poses3d"][i], np.zeros(3), np.zeros(3), matrix, np.array(distortion))[0]
        np.testing.assert_allclose(poses["poses2d"][i], pixels[:, 0], atol=0.02)
    np.testing.assert_allclose(poses["distortion_coeffs"], distortion)


def test_a_fisheye_lens_and_its_name_reach_the_model_and_the_results(tmp_path, model_path):
    matrix, coeffs = np.array([[60.0, 0, 80], [0, 62, 60], [0, 0, 1]]), np.array([0.05, -0.01, 0, 0])
    calibration = tmp_path / "camera.json"
    document = {"K": matrix.tolist(), "D": coeffs.tolist(), "distortion_model": "equidistant"}
    calibration.write_text(json.dumps(document))
    with VideoWriter(tmp_path / "in.mkv", quality=1) as video:
        for i in range(3):
            video.write(picture(blue=(40, 30, 20, 40), size=(160, 120)), i / 5)
    run("--video-path", tmp_path / "in.mkv", "--output-dir", tmp_path / "out", "--model-path", model_path,
        "--calibration", calibration, "--causal-smoothing")  # fmt: skip
    with np.load(tmp_path / "out/poses.npz") as poses:
        expected = expected_poses3d(poses["boxes"][0, :4], matrix, coeffs, "fisheye")
        np.testing.assert_allclose(poses["poses3d"][2], expected, rtol=1e-4, atol=0.5)
        points, zero = np.float64(poses["poses3d"][2])[:, np.newaxis], np.zeros(3)
        pixels = cv2.fisheye.projectPoints(points, zero, zero, matrix, coeffs)[0]
        np.testing.assert_allclose(poses["poses2d"][2], pixels[:, 0], atol=0.02)
        assert str(poses["distortion_model"]) == "fisheye"
    camera = json.loads((tmp_path / "out/poses.json").read_text())["camera"]
    assert camera["distortion_model"] == "fisheye" and camera["distortion_coeffs"] == coeffs.tolist()


def start_process(*arguments):
    command = [sys.executable, "-m", "training", "video", *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_piece(process, path):
    end = time.monotonic() + TIMEOUT
    while not path.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    assert process.poll() is None, process.stderr.read()


def test_kill_and_go_on(tmp_path, model_path):
    rectangle_people.export(tmp_path / "slow", seconds=0.05)
    folder = write_pictures(tmp_path / "in", n=200, blue_frames=range(40, 55), scores=lambda i: (0.7 + i / 1000, 0.5))
    arguments = [folder, "--output-dir", tmp_path / "killed", "--model-path", tmp_path / "slow"]
    pieces = tmp_path / "killed/.work/pieces"
    process = start_process(*arguments)
    wait_for_piece(process, pieces / "000000.npz")
    process.kill()
    process.communicate()
    written = (pieces / "000000.npz").stat().st_mtime_ns
    (pieces / "piece.partial").write_bytes(b"cut off")  # what an interrupted writing leaves

    process = start_process(*arguments)
    wait_for_piece(process, pieces / "000001.npz")
    process.send_signal(signal.SIGINT)
    complaint = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in complaint, complaint
    assert complaint.strip().endswith("interrupted; run the same command again to resume.")
    assert (pieces / "000000.npz").stat().st_mtime_ns == written
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {".work", "job.json"}

    run(*arguments)
    run(folder, "--output-dir", tmp_path / "whole", "--model-path", model_path)
    assert not (tmp_path / "killed/.work").exists()
    killed, whole = (np.load(tmp_path / name / "poses.npz") for name in ("killed", "whole"))
    assert set(killed) == set(whole)
    for name in killed:
        np.testing.assert_array_equal(killed[name], whole[name])
    frames, others = (
        json.loads((tmp_path / name / "poses.json").read_text())["frames"] for name in ("killed", "whole")
    )
    assert frames == others


def test_finished_work_is_not_done_again_and_other_work_is_refused(tmp_path, model_path, capsys):
    arguments = [write_pictures(tmp_path / "in", n=3), "--output-dir", tmp_path / "out", "--model-path", model_path]
    run(*arguments)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    run(os.path.relpath(arguments[0]), *arguments[1:])
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="another run, which had another crops and another field of view"):
        run(*arguments, "--fov", 70, "--crops", 1)


def test_damaged_picture_is_left_out(tmp_path, model_path):
    folder = write_pictures(tmp_path / "in", n=5)
    (folder / "frame2.png").write_bytes((folder / "frame2.png").read_bytes()[:40])
    with pytest.warns(UserWarning, match=r"frame2.png is truncated after 40 bytes. It is left out"):
        run(folder, "--output-dir", tmp_path / "out", "--model-path", model_path)
    document = json.loads((tmp_path / "out/poses.json").read_text())
    assert [frame["frame"] for frame in document["frames"]] == [0, 1, 3, 4]
    assert {person["id"] for frame in document["frames"] for person in frame["people"] if person["score"] > 0.85} == {1}
    assert len(list(VideoReader(tmp_path / "out/overlay.mp4").frames())) == 4


def test_pictures_of_different_sizes(tmp_path, model_path):
    folder = write_pictures(tmp_path / "in", n=2)
    cv2.imwrite(str(folder / "frame2.png"), picture(red_box(2), size=(200, 150))[..., ::-1])
    run(folder, "--output-dir", tmp_path / "out", "--model-path", model_path)
    document = json.loads((tmp_path / "out/poses.json").read_text())
    assert [frame.get("camera", {}).get("width") for frame in document["frames"]] == [None, None, 200]
    calibration = tmp_path / "c.json"
    calibration.write_text(json.dumps({"K": np.eye(3).tolist(), "width": 160, "height": 120}))
    with pytest.raises(SystemExit, match="images of 160x120 pixels, but these have 200x150"):
        run(folder, "--output-dir", tmp_path / "o2", "--model-path", model_path, "--calibration", calibration)


def test_weak_detections_only_prolong(tmp_path, model_path):
    """The red person's score is weak for a while, the blue one's always."""
    folder = write_pictures(tmp_path / "in", scores=lambda i: (0.4 if i in (4, 5, 8) else 0.9, 0.4))
    run(folder, "--output-dir", tmp_path / "out", "--model-path", model_path, "--detector-threshold", 0.5)
    with np.load(tmp_path / "out/poses.npz") as poses:
        np.testing.assert_array_equal(poses["frame_index"], np.arange(12))
        assert set(poses["ids"]) == {1} and (poses["boxes"][:, 4] < 0.5).sum() == 3


def test_one_euro_smoothing_makes_people_late(tmp_path, model_path):
    folder = write_pictures(tmp_path / "in")
    poses = []
    for name, smoothing in (("off", "off"), ("light", "light")):
        run(folder, "--output-dir", tmp_path / name, "--model-path", model_path, "--smoothing", smoothing)
        with np.load(tmp_path / name / "poses.npz") as arrays:
            poses.append((arrays["poses3d"][arrays["ids"] == 1], arrays["poses2d"][arrays["ids"] == 1]))
    (there, seen), (smooth, drawn) = poses
    # Who walks to the right is seen further to the left, in space and in the picture; not so the first.
    np.testing.assert_array_equal(there[0], smooth[0])
    assert (smooth[-1, :, 0] < there[-1, :, 0]).all() and (drawn[-1, :, 0] < seen[-1, :, 0] - 0.1).all()


def test_nobody_at_all(tmp_path, model_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(2):
        cv2.imwrite(str(folder / f"{i}.jpg"), np.full([40, 60, 3], 9, np.uint8))
    run(folder, "--output-dir", tmp_path / "out", "--model-path", model_path, "--causal-smoothing")
    assert np.load(tmp_path / "out/poses.npz")["poses3d"].shape == (0, NATIVE.n_joints, 3)


def test_webcam_until_ctrl_c(tmp_path, model_path, monkeypatch):
    """The camera is a video file that plays slowly; all else is real."""
    with VideoWriter(tmp_path / "camera.mkv", quality=1) as video:
        for i in range(400):
            video.write(picture(red_box(i % 100)), i / 30)
    open_file = cv2.VideoCapture

    class Camera:
        def __init__(self, device):
            assert device == 3
            self._capture, self._n_read = open_file(str(tmp_path / "camera.mkv")), 0

        def read(self):
            time.sleep(1 / 100)
            self._n_read += 1
            if self._n_read == 60:
                threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
            return self._capture.read()

        def __getattr__(self, name):
            return getattr(self._capture, name)

    monkeypatch.setattr(sources.cv2, "VideoCapture", Camera)
    run("3", "--output-dir", tmp_path / "out", "--model-path", model_path)
    assert {path.name for path in (tmp_path / "out").iterdir()} == OUTPUTS | {"recording.mkv"}
    document = json.loads((tmp_path / "out/poses.json").read_text())
    n = len(document["frames"])
    assert 2 <= n < 200 and all(len(frame["people"]) == 1 for frame in document["frames"])
    times = [frame["time"] for frame in document["frames"]]
    assert times[0] == 0 and (np.diff(times) > 0.005).all()
    for name in ("recording.mkv", "overlay.mp4"):
        assert len(list(VideoReader(tmp_path / "out" / name).frames())) == n
    with pytest.raises(SystemExit, match="holds a recording already"):
        run("3", "--output-dir", tmp_path / "out", "--model-path", model_path)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nowhere.mp4"], "nowhere.mp4 does not exist"),
        (["98"], "webcam 98 can't be opened"),
        (["empty"], "empty holds no pictures"),
        (["notes.txt"], "neither a video"),
        (["broken.mp4"], "broken.mp4 can't be read"),
        (["in", "--calibration=nowhere.yaml"], "no calibration file nowhere.yaml"),
        (["in", "--model-path=nowhere"], "no model at nowhere"),
        (["in", "--skeleton=h36m_17"], "no skeleton 'h36m_17'; it has native_34, smpl_24"),
    ],
)
def test_mistakes_are_told_in_one_sentence(tmp_path, model_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "in", n=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "broken.mp4").write_bytes(b"garbage" * 50)
    given = ["--output-dir=out", *arguments] if "--model" in str(arguments) else [
        "--output-dir=out", f"--model-path={model_path}", *arguments]  # fmt: skip
    with pytest.raises(SystemExit, match=complaint) as caught:
        run(*given)
    assert str(caught.value).startswith("metrabs-train video: ") and "\n" not in str(caught.value)
    assert not (tmp_path / "out/poses.npz").exists()


@pytest.mark.parametrize(
    "make, complaint",
    [
        (lambda out: out.touch(), "out can't be used for the results"),
        (lambda out: (out / "overlay.mp4").mkdir(parents=True), "overlay.mp4 is not of an earlier run"),
        (lambda out: out.mkdir() or (out / "poses.json").write_text("mine"), "poses.json is not of an earlier run"),
    ],
)
def test_place_of_the_results_is_checked_first(tmp_path, model_path, make, complaint):
    make(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    folder = write_pictures(tmp_path / "in", n=1)
    with pytest.raises(SystemExit, match=complaint):
        run(folder, "--output-dir", tmp_path / "out", "--model-path", model_path)
    assert set(before) == {path for path in tmp_path.rglob("*") if folder not in (path, *path.parents)}


def test_overlay_is_h264(tmp_path, model_path):
    run(write_pictures(tmp_path / "in", n=2), "--output-dir", tmp_path / "out", "--model-path", model_path)
    with av.open(str(tmp_path / "out/overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 160, 120)


def test_packaged_model_with_a_detector_of_choice(tmp_path):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full([120, 160, 3], 90, np.uint8))
    with pytest.raises(SystemExit, match="nonsense"):
        run(tmp_path / "wall.png", "--output-dir", tmp_path / "out", "--detector-path", "nonsense")
    run(tmp_path / "wall.png", "--output-dir", tmp_path / "out", "--detector-path", "nanodet", "--crops", 2)
    document = json.loads((tmp_path / "out/poses.json").read_text())
    assert document["settings"]["detector"] == "nanodet" and document["frames"][0]["people"] == []
