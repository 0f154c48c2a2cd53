"""What `make bench` writes; what it measures is for a person to look at."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from benchmark import __main__, models, report
from benchmark.people import PeoplePictures
from benchmark.rounds import medians
from metrabs_core.model_card import ModelCard
from metrabs_core.skeletons import NATIVE
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


def test_models_without_networks_take_images_as_whole_ones_do():
    crop_model = SimpleNamespace(
        skeleton=NATIVE, crop_side=64, bone_lengths=None, crop_margin=1.0, max_roll_degrees=10.0
    )
    boxes, image = np.float32([[10, 10, 40, 80], [60, 10, 40, 80]]), np.zeros([100, 120, 3], np.uint8)
    for part in (models.without_networks, models.only_after_networks):
        model = part(boxes, crop_model, ModelCard())
        found = model.detect_poses(image, max_detections=2, num_aug=2, suppress_implausible_poses=False)
        np.testing.assert_allclose(found["boxes"][:, :4], boxes)
        assert found["poses3d"].shape == (2, NATIVE.n_joints, 3)


def test_contestants_take_turns():
    calls = []
    times = medians({"a": lambda: (calls.append("a"), time.sleep(0.02)), "b": lambda: calls.append("b")}, n_rounds=3)
    assert calls == ["a", "b"] * 4
    assert times["a"] >= 20 and times["a"] > times["b"]  # milliseconds


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


def test_unknown_sections_are_told():
    result = subprocess.run(
        [sys.executable, "-m", "benchmark", "lunch"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 2 and "no section 'lunch'; choose from startup, stages" in result.stderr
