"""Preparation, by the command where that matters, on generated data sets."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import rlemasklib
from generated_datasets import coco, h36m, mpi_inf_3dhp, mpii, mupots, pascal_voc, people, threedpw
from generated_datasets.videos import write_video

from metrabs_core.errors import UserError
from metrabs_core.pictures import read_picture
from training import datasets
from training.cli import main
from training.datasets.picture_files import jpeg_exists, write_image
from training.datasets.preparation import Preparation
from training.prepare import prepare

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def run_command(*arguments, expect=0):
    command = [sys.executable, "-m", "training", "prepare", *map(str, arguments)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert result.returncode == expect, result.stdout + result.stderr
    return result


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def decoded(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def prepared_h36m(tmp_path_factory):
    """A Human3.6M of all subjects, prepared by the command with two processes."""
    root = tmp_path_factory.mktemp("h36m")
    truth = h36m.generate(root, n_frames=66, actions=("Directions",), side=96)
    source = files_of(root)
    result = run_command("h36m", "--data-root", root, "--workers", 2)
    return root, truth, source, result


def test_h36m_command(prepared_h36m):
    root, truth, source, result = prepared_h36m
    assert "GB are free" in result.stdout
    assert "h36m is ready" in result.stdout
    assert {k: v for k, v in files_of(root).items() if k in source} == source, "downloaded files were touched"
    for subject, camera in itertools.product((1, 11), h36m.CAMERAS):
        folder = root / f"h36m/S{subject}/Images/Directions.{camera}"
        numbers = sorted(int(path.stem[6:]) for path in folder.iterdir())
        assert numbers == sorted({*range(0, 66, 5), 64})
        frames = decoded(root / f"h36m/S{subject}/Videos/Directions.{camera}.mp4")
        for number in (0, 5, 64, 65):
            difference = read_picture(folder / f"frame_{number:06d}.jpg").astype(int) - frames[number]
            assert np.abs(difference).mean() < 4
        boxes = np.load(root / f"h36m/S{subject}/BBoxes/Directions.{camera}.npy")
        assert boxes.dtype == np.float32
        np.testing.assert_array_equal(boxes, truth.boxes[subject, "Directions", camera])


def test_shrunk_h36m_pictures_have_the_same_people(prepared_h36m):
    root, truth, *_ = prepared_h36m
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        examples = datasets.read("h36m", "trainval", root).examples
    originals = datasets.read_original("h36m", "train", root).table
    assert len(examples) == len(originals)
    for example, original in zip(examples, originals, strict=True):
        assert "h36m_downscaled" in example.image_path.parts
        frame = int(example.image_path.stem.split("_")[1])
        subject = int(example.image_path.parts[-4][1:])
        world = example.camera.to_world(example.joints3d)
        np.testing.assert_allclose(world, truth.poses[subject, "Directions"][frame], atol=0.01)
        assert example.camera.is_pinhole
        pixels = people.project(example.joints3d, np.eye(4), example.camera.intrinsic_matrix)
        np.testing.assert_allclose(example.joints2d, pixels, atol=0.01)
        assert example.activity == original.activity
        image = read_picture(example.image_path)
        # the camera looks at the box's centre, and the neck has the stick person's colour
        column, row = np.round(example.joints2d[h36m.NAMES.index("neck")]).astype(int)
        red, green, blue = image[row, column]
        assert min(red, green) > 180 and blue < 130
    # the test part keeps its original pictures, which have what the protocol names
    assert datasets.read("h36m", "test", root).examples[0].image_path.parts[-5] == "h36m"


def test_what_is_there_is_not_made_again(prepared_h36m):
    root, *_ = prepared_h36m
    before = files_of(root)
    shutil.rmtree(root / "h36m/S7/Videos")  # sources are not needed any more
    report = prepare("h36m", root)
    assert not report.skipped
    after = files_of(root)
    for name, (date, content) in after.items():
        if name != "h36m_downscaled/train.npz":
            assert before[name] == (date, content), name


def test_pictures_that_are_damaged_or_gone_are_made_again(prepared_h36m):
    root, *_ = prepared_h36m
    picture = root / "h36m/S5/Images/Directions.54138969/frame_000005.jpg"
    gone = root / "h36m/S5/Images/Directions.54138969/frame_000010.jpg"
    shrunk = root / "h36m_downscaled/train/h36m/S5/Images/Directions.54138969/frame_000010_0.jpg"
    before = {path: path.read_bytes() for path in (picture, gone, shrunk)}
    picture.write_bytes(before[picture][: len(before[picture]) // 2])
    assert not jpeg_exists(picture)
    gone.unlink()
    shrunk.unlink()
    with pytest.raises(UserError, match="frame_000010_0.jpg"):
        datasets.read("h36m", "train", root)
    prepare("h36m", root)
    assert {path: path.read_bytes() for path in before} == before


def test_changed_annotations_make_shrunk_pictures_out_of_date(prepared_h36m):
    root, *_ = prepared_h36m
    path = root / "h36m/S6/BBoxes/Directions.58860488.npy"
    boxes = np.load(path)
    try:
        np.save(path, boxes + np.float32(2))
        with pytest.warns(UserWarning, match="prepare h36m"):
            examples = datasets.read("h36m", "train", root).examples
        assert "h36m_downscaled" not in examples[0].image_path.parts
    finally:
        np.save(path, boxes)


def test_training_needs_the_shrunk_pictures_only(prepared_h36m, tmp_path):
    root, *_ = prepared_h36m
    shutil.copytree(root / "h36m_downscaled", tmp_path / "h36m_downscaled")
    assert len(datasets.read("h36m", "train", tmp_path).examples) == len(datasets.read("h36m", "train", root).examples)


def test_h36m_partial_keeps_more_of_the_surroundings(prepared_h36m):
    root, *_ = prepared_h36m
    prepare("h36m-partial", root)
    whole, partial = (datasets.read(name, "train", root).examples[0] for name in ("h36m", "h36m-partial"))
    side, more = (min(read_picture(e.image_path).shape[:2]) for e in (whole, partial))
    assert more > 1.3 * side
    np.testing.assert_allclose(partial.box[2:], whole.box[2:], rtol=1e-5)


def test_a_killed_run_leaves_no_half_file_and_is_continued(tmp_path):
    truth = h36m.generate(tmp_path, subjects=(1,), n_frames=200, side=96)
    command = [sys.executable, "-m", "training", "prepare", "h36m", "--data-root", str(tmp_path), "--allow-missing"]
    images = tmp_path / "h36m/S1/Images"
    process = subprocess.Popen(
        [*command, "--workers=1"], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list(images.rglob("frame_*.jpg"))) < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path in images.rglob("frame_*.jpg"):
        assert jpeg_exists(path)
    before = files_of(images)
    assert 0 < len(before) < 4 * 43
    prepare("h36m", tmp_path, allow_missing=True)
    assert len([p for p in images.rglob("*.jpg") if not p.name.startswith(".")]) == 4 * 43
    after = files_of(images)
    assert all(after[name] == before[name] for name in before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(datasets.read("h36m", "train", tmp_path).examples) > 40
    assert truth


@pytest.mark.parametrize("allow_missing", [False, True])
@pytest.mark.parametrize("dataset", datasets.REGISTRY)
def test_without_a_download_it_says_what_to_download_and_where_to_put_it(tmp_path, dataset, allow_missing):
    with pytest.raises(UserError) as caught:
        prepare(dataset, tmp_path, allow_missing=allow_missing)
    summary, instructions = str(caught.value).split("\n\n")
    assert "is not complete in" in summary
    assert "Missing:\n  " in summary
    assert "--allow-missing" not in summary, "there is no rest to go on with"
    assert "http" in instructions
    folder = {"mpi-inf-3dhp": "3dhp", "pascal-voc": "pascal_voc", "inria-holidays": "inria_holidays"}
    name = dataset if dataset in folder else dataset.split("-")[0]
    assert f"{folder.get(name, name)}/" in instructions
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("given", "meant"), [("3dhp", "3DHP"), ("pascal_voc", "PASCAL"), ("inria_holidays", "INRIA")])
def test_folder_names_are_names_too(tmp_path, given, meant):
    with pytest.raises(SystemExit, match=meant):
        main(["prepare", given, "--data-root", str(tmp_path)])


def test_everything_that_is_missing_is_listed_by_the_command(tmp_path):
    h36m.generate(tmp_path, subjects=(1, 5), n_frames=5, side=32)
    (tmp_path / "h36m/S1/Videos/Directions.55011271.mp4").unlink()
    (tmp_path / "h36m/S5/MySegmentsMat/ground_truth_bb/Directions.58860488.mat").unlink()
    result = run_command("h36m", "--data-root", tmp_path, expect=1)
    assert result.stderr.startswith("metrabs-train prepare: Human3.6M is not complete")
    for name in (
        *(f"h36m/S{subject} " for subject in (6, 7, 8, 9, 11)),
        "h36m/S1/Videos/Directions.55011271.mp4",
        "h36m/S5/MySegmentsMat/ground_truth_bb/Directions.58860488.mat",
        "http://vision.imar.ro/human3.6m",
    ):
        assert name in result.stderr
    assert not (tmp_path / "h36m/S1/Images").exists()


def test_damaged_files_are_named_skipped_and_counted(tmp_path, capsys):
    h36m.generate(tmp_path, subjects=(1,), n_frames=20, side=48)
    video = tmp_path / "h36m/S1/Videos/Directions.55011271.mp4"
    video.write_bytes(b"not a video")
    boxes = tmp_path / "h36m/S1/MySegmentsMat/ground_truth_bb/Directions.58860488.mat"
    boxes.write_bytes(boxes.read_bytes()[:700])
    main(["prepare", "h36m", "--data-root", str(tmp_path), "--allow-missing", "--workers=1"])
    output = capsys.readouterr().out
    assert "2 damaged files were skipped" in output
    assert output.count(str(video)) == output.count(str(boxes)) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        examples = datasets.read("h36m", "train", tmp_path).examples
    assert {e.image_path.parent.name for e in examples} == {"Directions.54138969", "Directions.60457274"}


def test_a_video_that_ends_early_is_named(tmp_path):
    h36m.generate(tmp_path, subjects=(1,), n_frames=30, side=48)
    video = tmp_path / "h36m/S1/Videos/Directions.55011271.mp4"
    write_video(video, decoded(video)[:12])
    report = prepare("h36m", tmp_path, allow_missing=True)
    (sentence,) = report.skipped
    assert str(video) in sentence
    assert "ends before 3 of its frames, from 15 on" in sentence


def test_too_little_space_stops_before_anything_is_written(tmp_path, monkeypatch):
    h36m.generate(tmp_path, subjects=(1,), n_frames=10, side=48)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 1000))
    with pytest.raises(UserError, match="takes about .* but only 0.0 GB are free"):
        prepare("h36m", tmp_path, allow_missing=True)
    assert not (tmp_path / "h36m/S1/Images").exists()


def test_3dhp_frames_masks_and_boxes(tmp_path):
    truth = mpi_inf_3dhp.generate(tmp_path, subjects=(1, 8), sequences=(1,), n_frames=11, n_test_frames=2)
    report = prepare("mpi-inf-3dhp", tmp_path, allow_missing=True)
    assert not report.skipped
    for split, subject in (("train", 1), ("val", 8)):
        table = datasets.read_original("mpi-inf-3dhp", split, tmp_path, allow_missing=True).table
        shrunk = datasets.read("mpi-inf-3dhp", split, tmp_path).examples
        assert len(table) == len(shrunk) > 8
        for example, small in zip(table, shrunk, strict=True):
            camera, frame = map(int, example.image_path.stem[4:].split("_"))
            expected = truth.masks[subject, 1, camera][frame]
            mask = rlemasklib.decode(example.mask) > 0
            assert (mask & expected).sum() > 0.55 * (mask | expected).sum()
            assert not mask[2:10, 2:10].any(), "what else is in the foreground is not the person"
            # the box is that around joints and the detection, unless the detection is much larger
            pixels = truth.poses[subject, 1, camera][frame]
            pixels = people.project(pixels, np.eye(4), truth.intrinsics[subject, 1, camera])
            of_joints, of_all = (corners_around(points, m) for points, m in ((example.joints2d, 1.05), (pixels, 1.1)))
            both = np.array([np.minimum(of_joints[0], of_all[0]), np.maximum(of_joints[1], of_all[1])])
            low, high = (
                both if np.prod(np.diff(of_joints, axis=0)) > 0.5 * np.prod(np.diff(both, axis=0)) else of_joints
            )
            np.testing.assert_allclose(example.box, [*low, *(high - low)], atol=0.05)
            image, small_mask = read_picture(small.image_path), rlemasklib.decode(small.mask) > 0
            assert image.shape[:2] == small_mask.shape
            neck = np.round(small.joints2d[small_index("neck")]).astype(int)
            assert small_mask[neck[1], neck[0]]
            assert small.universal3d.shape == (17, 3)
            np.testing.assert_allclose(
                np.linalg.norm(small.universal3d, axis=-1), np.linalg.norm(example.universal3d, axis=-1), rtol=1e-5
            )


def corners_around(points, factor):
    low, high = points.min(0), points.max(0)
    middle, half = (low + high) / 2, factor * (high - low) / 2
    return np.array([middle - half, middle + half])


def small_index(name):
    return datasets.named("mpi-inf-3dhp").find(Path("/nowhere"), "test").skeleton.index(name)


def test_3dhp_all_frames(tmp_path):
    mpi_inf_3dhp.generate(tmp_path, subjects=(1,), sequences=(1,), n_frames=4, test_sequences=(), side=64)
    prepare("mpi-inf-3dhp", tmp_path, allow_missing=True, all_frames=True)
    for kind in ("imageSequence", "FGmasks", "ChairMasks"):
        names = sorted(path.name for path in (tmp_path / f"3dhp/S1/Seq1/{kind}").glob("img_4_*.jpg"))
        assert names == [f"img_4_{frame:06d}.jpg" for frame in range(4)]


def test_mupots_intrinsics(tmp_path):
    truth = mupots.generate(tmp_path)
    prepare("mupots", tmp_path)
    content = json.loads((tmp_path / "mupots/camera_intrinsics.json").read_text())
    assert list(content) == [f"TS{number}" for number in range(1, 21)]
    for number, matrix in truth.intrinsics.items():
        np.testing.assert_allclose(content[f"TS{number}"], matrix, atol=1e-6)
    assert len(datasets.read("mupots", "val", tmp_path).examples)


def test_data_sets_that_need_little(tmp_path):
    threedpw.generate(tmp_path)
    coco.generate(tmp_path)
    mpii.generate(tmp_path)
    for name in ("3dpw", "coco", "mpii", "mpii-yolo"):
        report = prepare(name, tmp_path)
        assert not report.skipped
        examples = datasets.read(name, "train", tmp_path).examples
        originals = datasets.read_original(name, "train", tmp_path).table
        for example, original in zip(examples, originals, strict=True):
            assert f"{name}_downscaled" in example.image_path.parts
            image, before = read_picture(example.image_path), read_picture(original.image_path)
            for new, old, valid in zip(example.joints2d, original.joints2d, example.valid):
                column, row = np.round(new).astype(int)
                x, y = np.round(old).astype(int)
                inside = 3 <= x < before.shape[1] - 3 and 3 <= y < before.shape[0] - 3
                if valid and inside and np.ptp(before[y - 2 : y + 3, x - 2 : x + 3], (0, 1)).max() < 30:
                    np.testing.assert_allclose(image[row, column].astype(int), before[y, x], atol=40)


def test_pascal_voc_cutouts(tmp_path):
    for strip in (False, True):
        root = tmp_path / str(strip)
        expected = pascal_voc.generate(root, strip)
        report = prepare("pascal-voc", root)
        assert not report.skipped
        cutouts = {
            path.name: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (root / "pascal_voc/cutouts").iterdir()
        }
        assert set(cutouts) == set(expected)
        for name, image in cutouts.items():
            height, width = image.shape[:2]
            assert image.shape[2] == 4
            np.testing.assert_allclose(image[height // 2, width // 2, 2::-1].astype(int), expected[name], atol=8)
            assert image[height // 2, width // 2, 3] == 255
            assert 180 < image[0, width // 2, 3] < 200  # a little transparent at the border
        assert cutouts["2007_000033_0.png"].shape[:2] == (15, 20)
        before = files_of(root)
        prepare("pascal-voc", root)
        assert files_of(root) == before


def test_damaged_voc_pictures_are_skipped(tmp_path):
    pascal_voc.generate(tmp_path)
    picture = tmp_path / "pascal_voc/VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"
    picture.write_bytes(picture.read_bytes()[:300])
    report = prepare("pascal-voc", tmp_path)
    assert len(report.skipped) == 1
    assert str(picture) in report.skipped[0]


def test_inria_holidays_without_people(tmp_path):
    data = pytest.importorskip("skimage.data", reason="the pictures come with scikit-image")
    folder = tmp_path / "inria_holidays/jpg"
    folder.mkdir(parents=True)
    for name, image in (("100000", data.astronaut()), ("100100", data.coffee()), ("100200", data.rocket())):
        large = cv2.resize(image, None, fx=3, fy=3)
        cv2.imwrite(str(folder / f"{name}.jpg"), large[..., ::-1])
    (folder / "100300.jpg").write_bytes(b"\xff\xd8 broken")
    report = prepare("inria-holidays", tmp_path)
    assert len(report.skipped) == 1
    assert "100300.jpg" in report.skipped[0]
    chosen = {path.name for path in (tmp_path / "inria_holidays/non_person").iterdir()}
    assert "100000.jpg" not in chosen
    assert {"100100.jpg"} <= chosen
    assert max(read_picture(tmp_path / "inria_holidays/non_person/100100.jpg").shape) == 1024
    assert len(list(folder.iterdir())) == 4, "nothing is deleted"


def _fail_on_odd(number):
    if number % 2:
        raise OSError(f"number {number} is odd")
    return number * 10, [f"number {number} was warned of"] if number == 4 else []


@pytest.mark.parametrize("workers", [1, 2])
def test_work_goes_on_past_damaged_files(tmp_path, workers):
    with Preparation(tmp_path, workers) as preparation:
        assert preparation.run("numbers", _fail_on_odd, range(6)) == [0, None, 20, None, 40, None]
    assert preparation.skipped == [
        "number 1 is odd", "number 3 is odd", "number 4 was warned of", "number 5 is odd",
    ]  # fmt: skip


def test_arguments(tmp_path, monkeypatch):
    monkeypatch.delenv("DATA_ROOT", raising=False)
    with pytest.raises(SystemExit, match="DATA_ROOT"):
        main(["prepare", "h36m"])
    with pytest.raises(SystemExit, match="--workers must be at least 1"):
        main(["prepare", "h36m", "--data-root", str(tmp_path), "--workers=0"])
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(SystemExit, match="Human3.6M is not complete"):
        main(["prepare", "h36m"])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "generate", "picture"),
    [
        ("3dpw", threedpw.generate, "3dpw/imageFiles/office_phoneCall_00/image_00003.jpg"),
        ("coco", coco.generate, "coco/val2017/000000000010.jpg"),
        ("mpii-yolo", mpii.generate, "mpii/images/000001002.jpg"),
        ("mupots", mupots.generate, "mupots/TS7"),
        ("mpi-inf-3dhp", mpi_inf_3dhp.generate, "3dhp/TS3/imageSequence/img_000002.jpg"),
    ],
)
def test_official_pictures_that_are_missing_are_named(tmp_path, name, generate, picture):
    options = {"subjects": (1,), "sequences": (1,), "n_frames": 1} if name == "mpi-inf-3dhp" else {}
    generate(tmp_path, **options)
    path = tmp_path / picture
    path = path / "img_000001.jpg" if path.is_dir() else path
    path.unlink()
    with pytest.raises(UserError, match=picture):
        prepare(name, tmp_path)


def test_damaged_masks_of_3dhp_are_named_and_the_rest_is_kept(tmp_path):
    options = {"subjects": (1,), "sequences": (1,), "n_frames": 16, "test_sequences": ()}
    truth = mpi_inf_3dhp.generate(tmp_path, **options)
    folder = tmp_path / "3dhp/S1/Seq1/FGmasks"
    short, pictures = folder / "video_4.avi", folder / "video_5.avi"
    write_video(short, decoded(short)[:8], rate=25)
    for frame in range(0, 16, 5):
        write_image(folder / f"img_5_{frame:06d}.jpg", decoded(pictures)[frame])
    pictures.rename(folder / "elsewhere.avi")
    damaged = folder / "img_5_000000.jpg"
    damaged.write_bytes(damaged.read_bytes()[:400])
    report = prepare("mpi-inf-3dhp", tmp_path, allow_missing=True)
    assert len(report.skipped) == 2
    assert any(str(damaged) in sentence for sentence in report.skipped)
    assert any(f"{short} is damaged" in sentence and "ends early" in sentence for sentence in report.skipped)
    table = datasets.read_original("mpi-inf-3dhp", "train", tmp_path, allow_missing=True).table
    masks = {tuple(map(int, e.image_path.stem[4:].split("_"))): e.mask for e in table}
    assert masks[5, 0] is None
    assert all(mask is not None for (camera, _), mask in masks.items() if camera not in (4, 5))
    assert masks[4, 0] is not None
    assert all(masks[key] is None for key in masks if key[0] == 4 and key[1] > 7)
    assert sum(key[0] == 5 and mask is not None for key, mask in masks.items()) >= 1
    assert truth.masks
