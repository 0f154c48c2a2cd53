"""Labels that can't be right are refused with numbers, and what nobody has labels of is said nowhere."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from tiny_training import build_tiny_backbone, make_dataset

from metrabs_core.errors import UserError
from metrabs_core.network import crop_model
from metrabs_core.skeletons import NATIVE, SKELETONS
from training import cli, datasets
from training.config import TrainingConfig
from training.datasets.named import Hips
from training.people import read_people

SMALL = ["--backbone-weights=random", "--batch-size=2", "--crop-side=64", "--workers=0", "--verbose=0", "--steps=2"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Six people whose labels are right."""
    return make_dataset(tmp_path_factory.mktemp("datasets") / "people")


@pytest.fixture
def tiny_backbone(monkeypatch):
    monkeypatch.setattr(crop_model, "build_backbone", build_tiny_backbone)
    yield
    keras.config.set_dtype_policy("float32")


def changed(sound, folder, change, people=range(6)):
    """A copy of a data set in which ``change(person, camera)`` has changed some people."""
    shutil.copytree(sound, folder)
    path = folder / "shard" / "annotations.json"
    pictures = json.loads(path.read_text())
    for i in people:
        change(pictures[i]["people"][0], pictures[i]["camera"])
    path.write_text(json.dumps(pictures))
    return folder


def scale_joints(factor):
    def change(person, _):
        person["joints3d"] = (factor * np.array(person["joints3d"])).tolist()

    return change


def turn_round(person, _):
    person["joints3d"] = (np.array(person["joints3d"]) * [1, 1, -1]).tolist()


def move_box(left, top):
    def change(person, _):
        person["box"] = [left, top, 80, 100]

    return change


def use_world_frame(person, _):
    person["joints3d"] = (np.array(person["joints3d"]) + [900, 0, 0]).tolist()


def use_intrinsics_of_another_size(_, camera):
    camera["intrinsic_matrix"] = [[600, 0, 160], [0, 600, 160], [0, 0, 1]]


def drop_3d(person, _):
    person["joints3d"] = [None] * NATIVE.n_joints


def drop_all(person, _):
    person["joints3d"], person["joints2d"] = None, [None] * NATIVE.n_joints


@pytest.mark.parametrize(
    ("change", "people", "sentence"),
    [
        (scale_joints(0.001), range(6), r"people measure [1-4]\.\d* mm .*in metres\?"),
        (scale_joints(0.1), range(6), r"people measure \d\d+ mm .*in centimetres\?"),
        (scale_joints(100), range(6), r"people measure [\d.e+]+ mm .*in another unit\?"),
        (turn_round, range(6), "6 of 6 people are behind the camera, the first one .*0.png"),
        (turn_round, [4], "1 of 6 people are behind the camera, the first one .*4.png"),
        (move_box(200, 40), [2], r"boxes of 1 of 6 people are off the picture, .*\(200, 40, .*2.png of 160 x 160"),
        (move_box(40, -100), [3], r"boxes of 1 of 6 people are off the picture, .*\(40, -100, .*3.png"),
        (use_world_frame, range(6), r"of 6 of 6 people the 2D labels are elsewhere .*\d\d %"),
        (use_intrinsics_of_another_size, [1, 5], r"of 2 of 6 people the 2D labels are elsewhere .*1.png"),
    ],
)
def test_labels_that_can_not_be_right_are_refused_with_numbers(sound, tmp_path, change, people, sentence):
    folder = changed(sound, tmp_path / "wrong", change, people)
    with pytest.raises(UserError, match=sentence) as error:
        datasets.read(folder)
    assert "\n" not in str(error.value)


def test_labels_that_are_right_are_not(sound, tmp_path):
    def partly_outside(person, _):
        left, top, width, height = person["box"]
        person["box"] = [left - 20, top - 20, width + 200, height + 200]

    def uncertain(person, _):
        rng = np.random.default_rng(0)
        pixels = np.array(person["joints2d"])
        person["joints2d"] = (pixels + rng.normal(size=pixels.shape) * 4).tolist()

    def one_joint(person, _):
        person["joints3d"] = [*person["joints3d"][:1], *[None] * (NATIVE.n_joints - 1)]

    for number, change in enumerate((partly_outside, uncertain, one_joint)):
        assert len(datasets.read(changed(sound, tmp_path / str(number), change)).examples) == 6


def test_who_has_no_3d_label_has_2d_labels_and_who_has_none_is_left_out(sound, tmp_path):
    people = datasets.read(changed(sound, tmp_path / "some", drop_3d, [0])).examples
    assert [e.joints3d is None for e in people] == [True, *[False] * 5] and people[0].valid.all()
    assert len(datasets.read(changed(sound, tmp_path / "fewer", drop_all, [0, 1])).examples) == 4
    with pytest.raises(UserError, match="nobody has labels"):
        datasets.read(changed(sound, tmp_path / "nobody", drop_all))


def test_unknown_2d_labels_are_where_the_3d_labels_are_seen(sound, tmp_path):
    def without_2d(person, _):
        person["joints2d"] = [None] * NATIVE.n_joints

    known, filled = (datasets.read(f).examples for f in (sound, changed(sound, tmp_path / "x", without_2d)))
    for a, b in zip(known, filled):
        np.testing.assert_allclose(a.joints2d, b.joints2d, atol=0.01)


def run(*flags):
    cli.main(["train", *SMALL, *map(str, flags)])


def test_nobody_with_labels_is_refused(sound, tmp_path):
    without = changed(sound, tmp_path / "without", drop_3d)
    with pytest.raises(SystemExit, match="Nobody in .*without has 3D labels"):
        run(f"--dataset={without}", f"--logdir={tmp_path / 'run'}")
    with pytest.raises(SystemExit, match="Nobody in .*without has 3D labels, so there is nothing to validate on"):
        run(f"--dataset={sound}", f"--validation={without}", f"--logdir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "history.jsonl").exists()


def test_only_people_with_3d_labels_are_validated_on(sound, tmp_path):
    some = changed(sound, tmp_path / "some", drop_3d, [0, 1])
    people = read_people(TrainingConfig(datasets=[str(sound)], validation=[str(some), str(sound)]))
    assert {name: len(examples) for name, examples in people.held_out.items()} == {"some": 4, sound.name: 6}
    assert len(people.examples) == 6


def test_terms_of_labels_that_nobody_has_are_not_in_the_history(sound, tmp_path, tiny_backbone):
    run(f"--dataset={sound}", f"--validation={sound}", f"--logdir={tmp_path}")
    (row,) = map(json.loads, (tmp_path / "history.jsonl").read_text().splitlines())
    assert {"loss", "relative", "val_loss", "val_relative", "val_mpjpe"} <= row.keys()
    assert not {"weak", "val_weak"} & row.keys()


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--steps=-1", "--steps is -1; it must be at least 0"),
        ("--head-steps=-5", "--head-steps is -5; it must be at least 0"),
        ("--learning-rate=-0.001", "--learning-rate is -0.001; it must be above 0"),
        ("--learning-rate=nan", "--learning-rate is nan; it must be above 0"),
        ("--epochs=-2", "--epochs is -2.0; it must be at least 0"),
        ("--epochs=inf", "--epochs is inf; it must be at least 0"),
        ("--batch-size-2d=0", "--batch-size-2d is 0; it must be at least 1"),
        ("--seed=-1", "--seed is -1; it must be at least 0"),
        ("--workers=-1", "--workers is -1; it must be at least 0"),
        ("--minutes=-1", "--minutes is -1.0; it must be above 0"),
        ("--background-aug-prob=1.5", "--background-aug-prob is 1.5; it must be between 0 and 1"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_read(tmp_path, flag, sentence):
    with pytest.raises(SystemExit) as error:
        run("--dataset=nowhere", f"--logdir={tmp_path / 'run'}", flag)
    assert str(error.value) == f"metrabs-train train: {sentence}."
    assert not (tmp_path / "run").exists()


def test_a_folder_is_told_by_what_it_is_not_by_its_name(tmp_path, monkeypatch):
    """A folder called like a data set's name and more has its hips where everybody else has them."""
    monkeypatch.chdir(tmp_path)
    for name in ("muco_mine", "mpii_mine"):
        make_dataset(Path(name), 2, SKELETONS["mpi_inf_3dhp_17"])
    people = read_people(TrainingConfig(datasets=["muco_mine"], datasets2d=["mpii_mine"]))
    assert not people.hips_differ
    hips = {name: datasets.named(name).hips for name in datasets.REGISTRY}
    assert {name for name in hips if hips[name] is Hips.MPII} == {"mpii", "mpii-yolo"}
    assert {n for n in hips if hips[n] is Hips.MPI_INF_3DHP} == {"mpi-inf-3dhp", "muco", "muco-17-150k", "mupots"}


def test_a_bug_keeps_its_traceback(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr("training.commands.train.train", fail)
    with pytest.raises(ValueError, match="a bug"):
        run("--dataset=x", f"--logdir={tmp_path}")
