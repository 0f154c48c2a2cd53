"""What `make bench` writes; what it measures is for a person to look at."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from benchmark import __main__, gpu, gpu_kernels, models, peer_mediapipe, peers, report
from benchmark.peer_process import PeerProcess
from benchmark.people import PeoplePictures
from benchmark.rounds import in_turns, medians
from metrabs_core.combined import CombinedModel
from metrabs_core.detection import load_detector
from metrabs_core.errors import UserError
from metrabs_core.packaging import load_crop_model
from training.dataset_format import write_description, write_json

ROOT = Path(__file__).parents[1]
MACHINE = {
    **{"date": "2026-01-02", "commit": "abc1234", "processor": "a processor", "cores": 2, "load_before": 0.1},
    **{"python": "3.11", "tensorflow_cpu": "2.21", "keras": "3", "numpy": "2"},
}


def test_tables_are_markdown():
    table = report.Table("Times", ["what", "ms"], [["a", "1.0"], ["much longer", "12.5"]], "A note.")
    lines = ["| what        |   ms |", "| ----------- | ---: |", "| a           |  1.0 |", "| much longer | 12.5 |"]
    assert report.markdown([table]).split("\n") == ["**Times**", "", *lines, "", "A note."]


def test_the_documentation_has_a_place_for_each_section(tmp_path):
    document = tmp_path / "performance.md"
    before = __main__.DOCS.read_text()
    document.write_text(before)
    for name in __main__.SECTIONS:
        report.update_docs(document, name, "Former tables.", MACHINE)
        report.update_docs(document, name, f"The table of {name}.", MACHINE)
    after = document.read_text()
    assert "Former tables." not in after
    for name in __main__.SECTIONS:
        assert f"`python -m benchmark {name}`: 2026-01-02, commit abc1234, 2 cores of a processor" in after
        assert f"The table of {name}." in after
    headings = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == headings
    with pytest.raises(ValueError, match="no place for the section lunch"):
        report.update_docs(document, "lunch", "", MACHINE)


def test_other_programs_are_told():
    assert "Other programs" not in report.in_words(MACHINE)
    assert "Other programs were running" in report.in_words({**MACHINE, "load_before": 3.0})
    assert report.machine()["cores"] >= 1


def test_numbers_are_written_as_json(tmp_path):
    report.write_json(tmp_path / "numbers.json", {"a": [1.5]})
    assert json.loads((tmp_path / "numbers.json").read_text()) == {"a": [1.5]}


def test_contestants_take_turns():
    calls = []
    times = medians({"a": lambda: (calls.append("a"), time.sleep(0.02)), "b": lambda: calls.append("b")}, n_rounds=3)
    assert calls == ["a", "b"] * 4
    assert times["a"] >= 20 and times["a"] > times["b"]  # milliseconds
    assert in_turns({"a": iter("not counted").__next__}, n_rounds=2) == {"a": ["o", "t"]}


def test_known_people_are_as_many_as_asked_for():
    boxes = np.float32([[10, 10, 40, 80], [60, 10, 40, 80]])
    looked = []
    prepared = models.PreparedKnownPeople(SimpleNamespace(detect_boxes=lambda image, **_: looked.append(image)), boxes)
    for limit, n in ((-1, 2), (0, 2), (1, 1), (2, 2), (3, 2)):
        found = models.KnownPeople(boxes)(None, 0.3, 0.7, tf.constant(limit), False)
        assert found.row_lengths().numpy().tolist() == [n]
        assert prepared.detect_boxes("image", detector_threshold=0.3, max_detections=limit)["boxes"].shape == (n, 5)
    assert looked == ["image"] * 5


_PEER = """
import os, sys, time
from benchmark.peer_process import Contestant, serve

def sleep():
    print("not an answer", os.sched_getaffinity(0), file=sys.stderr)
    print("not an answer", flush=True)
    os.write(1, b"not an answer")
    time.sleep(0.02)
    return 3

def work():
    end = time.process_time() + 0.02
    while time.process_time() < end:
        pass
    return len(os.sched_getaffinity(0))

serve([Contestant("sleeper", "every image", 2, sleep), Contestant("worker", "every third image", 1, work, 3)])
"""


def test_a_peer_takes_its_turn_in_another_process_on_one_core(tmp_path):
    cores = os.sched_getaffinity(0)
    with PeerProcess([sys.executable, "-c", _PEER], tmp_path / "log") as peer:
        assert os.sched_getaffinity(0) == cores
        assert peer.contestants == [
            {"name": "sleeper", "detector": "every image", "people": 2, "found": 3},
            {"name": "worker", "detector": "every third image", "people": 1, "found": 1},
        ]
        slept, slept_cpu = peer.turn(0)
        worked, worked_cpu = peer.turn(1)
    assert slept >= 0.02 and slept_cpu < 0.01
    assert worked >= 0.019 and 0.019 < worked_cpu < 0.03  # for an image, not for the three of a turn


def test_a_peer_that_cannot_start_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="^no model$"):
        PeerProcess([sys.executable, "-c", "raise SystemExit('no model')"], tmp_path / "log")


def test_a_package_that_cannot_be_had_is_told_in_one_sentence(tmp_path, monkeypatch):
    # a registry at a port where nothing listens
    monkeypatch.setattr(peer_mediapipe, "_CACHE", tmp_path)
    monkeypatch.setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    with pytest.raises(UserError, match=r"^The package mediapipe==\S+ can't be had \(.+\)\.$"):
        peer_mediapipe.command(tmp_path)
    assert not list(tmp_path.glob("mediapipe*"))
    rows = [{"name": "us", "detector": "every image", "people": 1, "found": 1, "ratio": 1.0, "cpu": 0.1}]
    [table] = peers.tables({"rows": rows, "missing": ["Without them: no network."]})
    assert table.note.endswith("Without them: no network.")


def test_ratios_are_of_the_same_round_and_as_many_people():
    rows = [{"name": name, "people": n} for name, n in (("us", 1), ("us", 2), ("them", 1), ("them", 2))]
    # the machine was ten times as slow in the second round
    turns = {0: [(1, 1), (10, 1), (1, 1)], 1: [(2, 1), (20, 1), (2, 1)], 2: [(3, 2), (30, 2), (3, 2)]}
    turns[3] = [(1, 4), (10, 5), (1, 6)]
    compared = [(row["name"], row["people"], row["ratio"], row["cpu"]) for row in peers._compared(rows, turns)]
    assert compared == [("us", 1, 1, 1), ("them", 1, 3, 2), ("us", 2, 1, 1), ("them", 2, 0.5, 5)]


@pytest.mark.download
def test_mediapipe_finds_the_person_of_the_comparison(tmp_path):
    image, _ = peers._picture(PeoplePictures(tmp_path), 1)
    np.save(tmp_path / "people_1.npy", image)
    with PeerProcess(peer_mediapipe.command(tmp_path), tmp_path / "log") as peer:
        assert [contestant["found"] for contestant in peer.contestants] == [1, 1, 1, 1]
        assert all(min(peer.turn(i)) > 0.005 for i in range(4))


def test_frames_show_as_many_people_as_asked_for_all_of_one_size(tmp_path):
    # coloured rectangles, in a data set of the project's own format where the rendered one would be
    colours = [(255, 12 * i, 0) for i in range(16)]
    entries = []
    shard = tmp_path / "people" / "shard_00000"
    shard.mkdir(parents=True)
    write_description(shard.parent, ["pelv", "head"], [(0, 1)])
    for i, colour in enumerate(colours):
        picture = np.zeros([200, 300, 3], np.uint8)
        picture[20:180, 100:160] = colour
        cv2.imwrite(str(shard / f"{i}.png"), picture[..., ::-1])
        joints3d, joints2d = [[0, 400, 3000], [0, -400, 3000]], [[130, 160], [130, 40]]
        person = {"box": [100, 20, 60, 160], "joints3d": joints3d, "joints2d": joints2d, "visible": [1, 1]}
        camera = {"intrinsic_matrix": [[450, 0, 130], [0, 450, 100], [0, 0, 1]], "distortion_coeffs": []}
        entries.append({"image": f"{i}.png", "camera": camera, "people": [person]})
    write_json(shard / "annotations.json", entries)

    pictures = PeoplePictures(tmp_path)
    for n in (1, 5, 16):
        frame, boxes = pictures.frame(n, 768, 576)
        assert frame.shape == (576, 768, 3) and boxes.shape == (n, 4)
        assert len(np.unique(boxes[:, 2:], axis=0)) == 1
        shown = set()
        for left, top, width, height in boxes.astype(int):
            (colour,) = np.unique(frame[top : top + height, left : left + width].reshape(-1, 3), axis=0)
            shown.add(tuple(colour.tolist()))
            frame[top : top + height, left : left + width] = 150
        assert len(shown) == n and shown <= set(colours)
        assert (frame == 150).all()
    frame, boxes = pictures.frame(30, 768, 576, columns=15)
    assert len(boxes) == 30 and boxes[:, 0].max() > 700 and boxes[:, 2].max() <= 768 / 15


def test_the_documentation_lists_what_has_no_gpu_kernel():
    model = CombinedModel(load_crop_model("fast")[0], load_detector())
    without = gpu_kernels.without_gpu_kernel(gpu_kernels.operations(model))
    assert "ResizeArea T=uint8" in without and "ResizeBilinear T=float32" not in without
    section = __main__.DOCS.read_text().split("## On a GPU")[1].split("##")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {operation.split()[0] for operation in without} == {*re.findall(r"`(\w+)`", "".join(rows))}


def test_operations_that_nobody_has_looked_up_are_told():
    with pytest.raises(KeyError, match="does not know NewOp T=float32"):
        gpu_kernels.without_gpu_kernel({"NewOp T=float32", "ResizeArea T=uint8"})


def test_kernels_are_looked_up_by_type(monkeypatch):
    monkeypatch.setattr(gpu_kernels, "_DEVICES", ("CPU",))  # which every TensorFlow has
    is_known = {"MatMul T=float32": True, "MatMul T=string": False, "CombinedNonMaxSuppression": True}
    is_known |= {"Cast DstT=float32 SrcT=uint8": True, "Lgamma T=float64": True, "Lgamma T=int32": False}
    assert {operation: gpu_kernels.has_gpu_kernel(operation) for operation in is_known} == is_known


def test_what_is_placed_on_the_processor_is_told():
    with tf.device("CPU"):
        matrix = tf.ones([4, 4])

        @tf.function
        def new(x):
            with tf.device("CPU"):
                return tf.linalg.matmul(x, x) + tf.cast(tf.range(tf.shape(x)[0]), tf.float32)

        placed = gpu.placement(lambda: new(matrix))
        assert placed["copies"] == {}
        assert placed["on_processor"]["MatMul T=float32"] == 1
        assert not any(operation.startswith(("Range", "Const", "Identity")) for operation in placed["on_processor"])


def test_without_a_gpu_its_section_is_left_out_in_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(sys, "argv", ["benchmark", "gpu", "--json", str(tmp_path / "numbers.json"), "--update-docs"])
    monkeypatch.setattr(__main__, "DOCS", tmp_path / "nothing is written.md")
    __main__.main()
    assert "The section gpu is left out. There is no GPU that TensorFlow can use here." in capsys.readouterr().out


def test_unknown_sections_are_told():
    result = subprocess.run(
        [sys.executable, "-m", "benchmark", "lunch"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 2 and "no section 'lunch'; choose from startup, stages" in result.stderr
