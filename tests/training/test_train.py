"""The training command: it learns, resumes after kill -9 exactly, trains with others, and says what is wrong."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from tiny_training import build_tiny_backbone, environment, make_dataset

from metrabs_core.network import crop_model
from metrabs_core.network.backbones import build_backbone
from metrabs_core.network.crop_model import load_weights_dir
from metrabs_core.skeletons import NATIVE, SKELETONS
from training import cli
from training.config import TrainingConfig
from training.people import mean_bone_lengths
from training.train import train
from training.trainer import PaperSchedule, compile_trainer, freeze_before

SCRIPT = Path(__file__).with_name("tiny_training.py")
SMALL = ["--backbone-weights=random", "--batch-size=2", "--crop-side=64", "--workers=0", "--verbose=0"]
TINY = TrainingConfig(
    model={"crop_side": 64, "skeleton": "native_34"}, backbone_weights="random", batch_size=2, workers=0, steps=2
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("datasets") / "people")


@pytest.fixture(scope="module")
def dataset2d(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("datasets") / "flat", 5, SKELETONS["coco_17"], with_3d=False)


@pytest.fixture
def tiny_backbone(monkeypatch):
    monkeypatch.setattr(crop_model, "build_backbone", build_tiny_backbone)
    yield
    keras.config.set_dtype_policy("float32")


def _start(*flags, backend="tensorflow", **variables):
    command = [sys.executable, str(SCRIPT), "train", *SMALL, *flags]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment(backend, **variables), **streams)


def _finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    return output


def _run(*flags):
    cli.main(["train", *SMALL, *map(str, flags)])


def _history(logdir):
    path = logdir / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _arrays(logdir):
    with np.load(logdir / "checkpoint.npz") as archive:
        return {name: archive[name] for name in archive.files}


def _descendants(pid):
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = {}
    for line in listing.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_killed_run_leaves_no_process_goes_on_where_it_was_and_ends_with_the_same_weights(
    dataset, dataset2d, tmp_path
):
    flags = [f"--dataset={dataset}", f"--dataset2d={dataset2d}", "--batch-size-2d=1", f"--validation={dataset}"]
    flags += ["--steps=40", "--checkpoint-steps=2", "--workers=2"]
    killed = _start(*flags, f"--logdir={tmp_path / 'killed'}")
    deadline = time.monotonic() + 240
    while not _history(tmp_path / "killed") and time.monotonic() < deadline and killed.poll() is None:
        time.sleep(0.02)
    workers = _descendants(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(workers) >= 2
    assert 2 <= _history(tmp_path / "killed")[-1]["step"] < 40
    # another process, and another number of workers
    _finish(_start(*flags, "--workers=1", f"--logdir={tmp_path / 'killed'}"))
    _finish(_start(*flags, f"--logdir={tmp_path / 'whole'}"))
    assert not [pid for pid in workers if _alive(pid)]

    assert [row["step"] for row in _history(tmp_path / "killed")] == list(range(2, 41, 2))
    resumed, whole = _arrays(tmp_path / "killed"), _arrays(tmp_path / "whole")
    assert resumed.keys() == whole.keys() and len(whole) > 10
    for name, array in whole.items():
        np.testing.assert_allclose(resumed[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    card = json.loads((tmp_path / "whole" / "model" / "model_card.json").read_text())
    assert card["samples_seen"] == 40 * 3
    (validation,) = card["validation"].values()
    assert validation["people"] == 6
    assert [samples for samples, _ in card["curve"]["rows"]] == [row["samples"] for row in _history(tmp_path / "whole")]
    assert card["curve"]["rows"][-1][1] == pytest.approx(validation["mpjpe_mm"], rel=0.05)
    assert card["started_from"] == "random"


def test_time_is_up_then_the_run_goes_on_and_everything_is_logged(dataset, tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    flags = [f"--dataset={dataset}", f"--logdir={tmp_path}", "--head-steps=2", "--steps=3", "--checkpoint-steps=2"]
    _run(*flags, "--minutes=1e-9", "--gui")
    assert [row["step"] for row in _history(tmp_path)] == [1]
    assert (tmp_path / "model" / "model_card.json").exists()
    _run(*flags, "--gui", f"--validation={dataset}")
    rows = _history(tmp_path)
    assert [(row["stage"], row["step"], row["samples"]) for row in rows] == [
        ("head", 1, 2), ("head", 2, 4), ("all", 4, 8), ("all", 5, 10)
    ]  # fmt: skip
    assert all(np.isfinite(row["val_mpjpe"]) for row in rows[1:])
    sheet = cv2.imread(str(tmp_path / "crops.png"))
    assert sheet.shape == (512, 2 * 256, 3) and sheet.std() > 10
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged = reader.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    assert [event.step for event in logged.Images("crops")] == [1, 2, 4, 5]
    values = [event.value for event in logged.Scalars("loss")]
    np.testing.assert_allclose(values, [row["loss"] for row in rows], rtol=1e-4)
    # a finished run is only written again
    before = _arrays(tmp_path)
    _run(*flags)
    for name, array in before.items():
        np.testing.assert_array_equal(_arrays(tmp_path)[name], array)


def test_training_leaves_depthwise_kernels_if_told_so(dataset, tmp_path, tiny_backbone, monkeypatch):
    frozen = []
    monkeypatch.setattr("training.stages.freeze_before", lambda backbone, *how: frozen.append(how))
    _run(f"--dataset={dataset}", f"--logdir={tmp_path}", "--steps=1", "--trainable-from=conv2", "--no-train-depthwise")
    assert frozen == [("conv2", False)]


def test_the_frozen_stage_trains_the_head_alone_and_trainable_from_the_rest(dataset, tmp_path, tiny_backbone):
    config = replace(TINY, datasets=[str(dataset)], head_steps=2, steps=0)
    start = replace(config, head_steps=0)
    stages = {"start": start, "head": config, "late": replace(config, steps=2, trainable_from="conv2")}
    weights = {name: train(c, tmp_path / name, verbose=0).backbone.get_weights() for name, c in stages.items()}
    changed = [[not np.array_equal(a, b) for a, b in zip(weights["start"], weights[name])] for name in ("head", "late")]
    assert not any(changed[0])
    # the kernel of conv1, four of the normalization, kernel and bias of conv2
    assert changed[1] == [False] * 5 + [True] * 2


def test_depthwise_kernels_can_stay_as_they_were():
    backbone = build_backbone("movenet-lightning", 64)
    kinds = {}
    for depthwise in (True, False):
        freeze_before(backbone, "block_11_expand", depthwise)
        names = {weight.path.split("/")[-2] for weight in backbone.trainable_weights}
        assert {"block_11_expand", "block_13_project"} <= names
        assert "block_10_project" not in names
        kinds[depthwise] = {name for name in names if "depthwise" in name}
    assert {"block_11_depthwise", "block_16_depthwise"} <= kinds[True]
    assert kinds[False] == set()


def test_the_loss_is_not_a_number(dataset, tmp_path, tiny_backbone):
    with pytest.raises(SystemExit) as error:
        _run(
            f"--dataset={dataset}", f"--logdir={tmp_path}", "--steps=30", "--checkpoint-steps=1", "--learning-rate=1e36"
        )
    message = str(error.value)
    step = len(_history(tmp_path))  # the steps that went well
    assert 1 <= step < 5
    expected = f"metrabs-train train: The loss is not a number at batch {step}; the checkpoint of step {step} is kept."
    assert message.startswith(expected)
    listed = (tmp_path / "not_a_number.txt").read_text().splitlines()
    assert set(listed) <= {str(dataset / "shard" / f"{i}.png") for i in range(6)} and 1 <= len(listed) <= 4
    assert listed[0] in message
    assert int(_arrays(tmp_path)["step"]) == step


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--dataset=/nowhere"], "There is no data set named /nowhere"),
        (["--dataset={dataset}", "--trainable-from=block99"], "no layer 'block99'"),
        (["--dataset={flat}"], "has 3D labels; with 2D labels, use --dataset2d"),
        (["--dataset={dataset}", "--occlude-aug-prob=2"], "--occlude-aug-prob is 2.0"),
        (["--dataset={dataset}", "--batch-size=0"], "--batch-size is 0; it must be at least 1"),
        (["--dataset={dataset}", "--batch-size=3", "--pair-steps=1"], "--batch-size and --batch-size-2d must be even."),
        (["--dataset={dataset}", "--init={dataset}"], "is no crop model: it has no model_card.json"),
        (["--dataset={dataset}", "--backbone-weights=/no/file"], "no backbone weights at /no/file"),
        ([], "nothing to train on"),
    ],
)
def test_errors_are_one_sentence(dataset, dataset2d, tmp_path, tiny_backbone, flags, sentence):
    with pytest.raises(SystemExit) as error:
        _run(*[f.format(dataset=dataset, flat=dataset2d) for f in flags], f"--logdir={tmp_path}", "--steps=1")
    assert str(error.value).startswith("metrabs-train train: ") and sentence in str(error.value)


@pytest.mark.parametrize("damaged", [["1.png"], ["0.png", "1.png", "2.png"]])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_even_in_the_first_batch(tmp_path, tiny_backbone, damaged, workers):
    folder = make_dataset(tmp_path / "damaged", 3)
    for name in damaged:
        (folder / "shard" / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(SystemExit, match="[012].png is damaged"):
        _run(f"--dataset={folder}", f"--logdir={tmp_path / 'run'}", "--steps=4")


def test_another_training_in_the_same_folder_is_refused(dataset, tmp_path, tiny_backbone):
    _run(f"--dataset={dataset}", f"--logdir={tmp_path}", "--steps=1")
    with pytest.raises(SystemExit, match="holds a run with another seed"):
        _run(f"--dataset={dataset}", f"--logdir={tmp_path}", "--steps=1", "--seed=2")


def test_damaged_files_of_a_run(dataset, tmp_path, tiny_backbone):
    flags = [f"--dataset={dataset}", f"--logdir={tmp_path}", "--checkpoint-steps=1", "--steps=3"]
    _run(*flags, "--minutes=1e-9")
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"stage": "all", "st')  # as if killed in the middle of a row
    _run(*flags)
    assert [row["step"] for row in _history(tmp_path)] == [1, 2, 3]
    (tmp_path / "checkpoint.npz").write_bytes((tmp_path / "checkpoint.npz").read_bytes()[:1000])
    with pytest.raises(SystemExit, match="checkpoint.npz is damaged: remove it to train from the beginning"):
        _run(*flags)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(SystemExit, match="settings.json is damaged: choose another --logdir"):
        _run(*flags)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="file/run can't be made: Not a directory"):
        _run(f"--dataset={dataset}", f"--logdir={tmp_path / 'file' / 'run'}")


def test_flags_override_the_recipe_and_epochs_are_passes_over_the_3d_examples(dataset, tmp_path, tiny_backbone):
    flags = ["--epochs=1.5", "--recipe=metro_3dhp", "--scale-recovery=metrabs", "--stride-train=16", "--stride-test=8"]
    flags += ["--train-on=train", "--background-aug-prob=0", "--occlude-aug-prob=0.3"]
    _run(f"--dataset={dataset}", f"--logdir={tmp_path}", *flags)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["model"]["scale_recovery"] == "metrabs" and settings["model"]["train_stride"] == 16
    assert (settings["occlude_aug_prob"], settings["background_aug_prob"]) == (0.3, 0)
    assert settings["universal_skeleton"]  # as the recipe says
    assert _history(tmp_path)[-1]["step"] == round(1.5 * 6 / 2)
    assert load_weights_dir(tmp_path / "model").config.stride == 8


def test_schedule_is_the_papers():
    schedule = PaperSchedule(1e-4, 1000)
    rates = [float(schedule(step)) for step in (0, 460, 919, 920, 999)]
    expected = [1e-4, 1e-4 * (1 / 3) ** 0.5, 1e-4 * (1 / 3) ** (919 / 920), 1e-4 / 30, 1e-4 / 30 * 0.3 ** (79 / 80)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert float(PaperSchedule(1.0, 1000, warmup_steps=3)(0)) == pytest.approx(1 / 4)


def test_the_moving_average_forgets_the_first_steps_of_a_short_run(tiny_backbone):
    config = replace(TINY, ema_momentum=0.998, weight_decay=0.0)
    trainer = compile_trainer(
        crop_model.CropModel(backbone="movenet-lightning", crop_side=64), config, "all", 10000, 0.1
    )
    weight, optimizer = trainer.trainable_variables[0], trainer.optimizer
    weight.assign(keras.ops.zeros_like(weight))
    weights = []
    for _ in range(200):
        optimizer.apply([-keras.ops.ones_like(v) for v in trainer.trainable_variables])
        weights.append(np.array(keras.ops.convert_to_numpy(weight)))
    optimizer.finalize_variable_values(trainer.trainable_variables)
    average = keras.ops.convert_to_numpy(weight)
    # the weight grows evenly, so its average tells how far back it looks: over the last tenth of the run or so, whereas
    # with a constant momentum of 0.998 it would have come to a tenth of the way only
    progress = average.mean() / weights[-1].mean()
    assert 0.85 < progress < 0.95


def test_each_stage_trains_its_own_parts(tiny_backbone):
    model = crop_model.CropModel(backbone="movenet-lightning", crop_side=64, head_channels=8, depth_channels=8)
    learning = {}
    for stage in ("head", "all", "pairs", "depth"):
        freeze_before(model.backbone, "" if stage == "all" else None)
        trained = {id(variable) for variable in compile_trainer(model, TINY, stage, 100, 1e-3).trainable_variables}
        parts = {name: getattr(model, name) for name in model.PARTS if getattr(model, name) is not None}
        learning[stage] = {name for name, part in parts.items() if trained & {id(v) for v in part.variables}}
    heads = {"neck", "head"}
    assert learning == {"head": heads, "all": {"backbone", *heads}, "pairs": heads, "depth": {"depth_stage"}}


def test_an_overview_can_be_put_onto_a_model_that_has_none(dataset, tmp_path, tiny_backbone):
    settings = {**TINY.model, "head_channels": 8, "bone_lengths": [300.0] * 33}
    plain = crop_model.CropModel(**settings)
    crop_model.save_weights_dir(plain, tmp_path / "plain", {}, dtype="float32")
    more = replace(TINY, datasets=[str(dataset)], init=str(tmp_path / "plain"), learning_rate=1e-12, weight_decay=0.0)
    for channels in (8, 0):
        more.model = {"crop_side": 64, "overview_channels": channels}
        model = train(more, tmp_path / f"more{channels}", verbose=0)
        assert (model.overview is not None) == bool(channels)
        assert model.bone_lengths == settings["bone_lengths"]
        for name in ("backbone", "neck", "head"):
            weights = [getattr(m, name).trainable_weights for m in (plain, model)]
            assert weights[0]
            for pair in zip(*weights, strict=True):
                np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, pair), rtol=1e-3, atol=1e-6)  # float16


def test_a_model_with_an_overview_has_no_other_stride_in_the_end(dataset, tmp_path, tiny_backbone):
    model = {**TINY.model, "overview_channels": 8, "stride": 32, "train_stride": 32}
    with pytest.raises(ValueError, match="With an overview, the stride is that of training, 32: leave"):
        train(replace(TINY, datasets=[str(dataset)], model=model, stride_test=16), tmp_path, verbose=0)
    assert not (tmp_path / "model").exists()


def test_weight_decay_is_normalized_by_the_root_of_the_number_of_steps(tiny_backbone):
    model = crop_model.CropModel(backbone="movenet-lightning", crop_side=64)
    trainer = compile_trainer(model, replace(TINY, weight_decay=0.5), "all", 100, 1e-2)
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in trainer.trainable_variables]
    for _ in range(2):
        trainer.optimizer.apply([keras.ops.zeros_like(v) for v in trainer.trainable_variables])
    rate = 1 / 3 ** (1 / 92)  # of the second step, relative to the first
    factor = (1 - 0.5 / np.sqrt(100)) * (1 - 0.5 * rate / np.sqrt(100))
    for a, v in zip(before, trainer.trainable_variables):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), factor * a, rtol=1e-5, atol=1e-8)


def test_mean_bone_lengths_are_of_the_valid_joints(dataset):
    from training.examples import read_examples

    examples = read_examples(dataset, NATIVE)
    hip, knee = NATIVE.index("lhip"), NATIVE.index("lkne")
    valid = examples[0].valid.copy()
    valid[knee] = False
    lengths = mean_bone_lengths([replace(examples[0], valid=valid), *examples[1:]], NATIVE)
    expected = np.mean([np.linalg.norm(e.joints3d[hip] - e.joints3d[knee]) for e in examples[1:]])
    assert lengths[NATIVE.edges.index((hip, knee))] == pytest.approx(expected, abs=0.06)
    assert mean_bone_lengths([replace(examples[0], valid=valid)], NATIVE) is None


def test_training_on_jax_without_tensorflow_gives_weights_that_tensorflow_loads(dataset, tmp_path, tiny_backbone):
    backend = "jax"
    pytest.importorskip(backend)
    flags = [f"--dataset={dataset}", f"--validation={dataset}", "--steps=3", "--recipe=fast", "--head-steps=0"]
    flags += ["--pair-steps=2", "--depth-steps=0", "--keep-crops=0", "--verbose=2", "--workers=1"]
    output = _finish(_start(*flags, f"--logdir={tmp_path}", backend=backend, WITHOUT_TENSORFLOW="1"))
    assert "step 3/3" in output
    predict = (
        "import sys, numpy as np, tiny_training as tiny\n"
        "sys.modules['tensorflow'] = None\n"
        "from metrabs_core.network import crop_model; from keras import ops\n"
        "crop_model.build_backbone = tiny.build_tiny_backbone\n"
        "crops, intrinsics = np.load(sys.argv[2]).values()\n"
        "out = crop_model.load_weights_dir(sys.argv[1])([crops, intrinsics])\n"
        "np.savez(sys.argv[2], **{name: ops.convert_to_numpy(value) for name, value in out.items()})\n"
    )
    rng = np.random.default_rng(0)
    crops = rng.uniform(size=(3, 64, 64, 3)).astype(np.float32)
    intrinsics = np.tile(np.array([[200, 0, 31.5], [0, 200, 31.5], [0, 0, 1]], np.float32), (3, 1, 1))
    path = tmp_path / "arrays.npz"
    np.savez(path, crops=crops, intrinsics=intrinsics)
    command = [sys.executable, "-c", predict, str(tmp_path / "model"), str(path)]
    subprocess.run(command, env=environment(backend), check=True, timeout=300)
    expected = load_weights_dir(tmp_path / "model")([crops, intrinsics])
    with np.load(path) as there:
        for name, value in expected.items():
            np.testing.assert_allclose(there[name], value, rtol=1e-3, atol=1e-3 * np.abs(value).max())


def test_two_processes_train_as_one_with_the_joint_batch(dataset, dataset2d, tmp_path):
    pytest.importorskip("jax")
    flags = [f"--dataset={dataset}", f"--dataset2d={dataset2d}", "--batch-size=4", "--batch-size-2d=2", "--steps=4"]
    flags += ["--checkpoint-steps=1", "--learning-rate=1e-2"]
    variables = {"backend": "jax", "WITHOUT_TENSORFLOW": "1"}
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    together = [
        _start(
            *flags,
            f"--logdir={tmp_path / 'together'}",
            **variables,
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2",
            KERAS_DISTRIBUTION_PROCESS_ID=str(i),
            SAVE_WEIGHTS=str(tmp_path / f"process{i}.npz"),
        )
        for i in range(2)
    ]
    alone = _start(*flags, f"--logdir={tmp_path / 'alone'}", **variables, SAVE_WEIGHTS=str(tmp_path / "alone.npz"))
    for process in (*together, alone):
        _finish(process)
    curves = [[row["loss"] for row in _history(tmp_path / name)] for name in ("together", "alone")]
    assert len(curves[1]) == 4 and curves[1][0] != curves[1][3]
    np.testing.assert_allclose(*curves, rtol=1e-4)
    first, second, joint = (np.load(tmp_path / f"{n}.npz") for n in ("process0", "process1", "alone"))
    for name in joint.files:
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_allclose(first[name], joint[name], rtol=1e-2, atol=1e-3)


def test_several_processes_need_jax(dataset, tmp_path, monkeypatch):
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "jax":
        pytest.skip("this is JAX")
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    with pytest.raises(SystemExit, match="set KERAS_BACKEND=jax"):
        _run(f"--dataset={dataset}", f"--logdir={tmp_path}")
