"""The command metrabs-bag, with a model whose answers are known."""

import os
import re
import signal
import subprocess
import sys

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from closed_form_model import UNCERTAINTY, expected_pose
from conftest import FOCAL, HEIGHT, WIDTH, image_message, picture, wait_for
from rclpy.serialization import deserialize_message, serialize_message
from recordings import in_mcap, red_box, write_bag, write_mcap, write_video
from visualization_msgs.msg import MarkerArray

from metrabs_core.pipeline import People, PersonPipeline
from metrabs_core.skeletons import NATIVE, SKELETONS, conversion_matrix
from metrabs_core.videos import VideoReader
from metrabs_msgs.msg import PersonArray, Skeleton
from metrabs_ros import bag
from metrabs_ros.bags.journal import PredictionJournal
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import IMAGE_TYPE, stamp_ns
from metrabs_ros.result_topics import MARKERS_TOPIC, PERSONS_TOPIC, SKELETON_TOPIC

pytestmark = pytest.mark.usefixtures("models_loaded_once")
MATRIX = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])


def results(path, topic, message_type):
    with open_recording(path) as recording:
        return [deserialize_message(message.data, message_type) for message in recording.messages([topic])]


@pytest.mark.parametrize("storages", [("in", "out.mcap"), ("in.mcap", "out")])
def test_every_frame_is_processed(tmp_path, closed_form_model_path, storages, capsys):
    images = [picture(red=red_box(i), blue=(200, 100, 40, 100) if i >= 4 else None) for i in range(8)]
    source, output = (tmp_path / name for name in storages)
    write_bag(source, images)
    assert bag.main([str(source), str(output), f"--model={closed_form_model_path}"]) == 0
    assert "8 images, 1.5 persons per image" in capsys.readouterr().out

    with open_recording(source) as before, open_recording(output) as after:
        originals = list(before.messages())
        assert list(after.messages(before.topics)) == originals
        image_times = [message.time_ns for message in originals if message.topic == "/cam/image"]
        assert [message.time_ns for message in after.messages([PERSONS_TOPIC])] == image_times
    (skeleton,) = results(output, SKELETON_TOPIC, Skeleton)
    assert len(skeleton.joint_names) == 34
    for i, persons in enumerate(results(output, PERSONS_TOPIC, PersonArray)):
        assert stamp_ns(persons.header) == 5_000_000_000 + i * 100_000_000
        assert (persons.header.frame_id, persons.skeleton) == ("optical", skeleton.name)
        assert [person.id for person in persons.persons] == ([1, 2] if i >= 4 else [1])
        person = persons.persons[0]
        left, top, width, height = red_box(i)
        joints = np.array([(p.x, p.y, p.z) for p in person.joints])
        expected = expected_pose((left - 0.5, top - 0.5, width, height), MATRIX) / 1000
        np.testing.assert_allclose(joints, expected, atol=1e-4)
        np.testing.assert_allclose(person.uncertainties, UNCERTAINTY / 1000, rtol=1e-5)
    markers = results(output, MARKERS_TOPIC, MarkerArray)
    assert [len(message.markers) for message in markers] == [3] * 4 + [6] * 4
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(storages)


def test_options_reach_the_model(tmp_path, closed_form_model_path):
    source = write_bag(tmp_path / "in", [picture(red=red_box(0), blue=(200, 100, 40, 100))])
    options = [f"--model={closed_form_model_path}", "--skeleton=smpl_24", "--threshold=0.7", "--fov=90"]
    assert bag.main([str(source), str(tmp_path / "out"), *options]) == 0
    ((person,),) = [persons.persons for persons in results(tmp_path / "out", PERSONS_TOPIC, PersonArray)]
    left, top, width, height = red_box(0)
    matrix = np.array([[WIDTH / 2, 0, (WIDTH - 1) / 2], [0, WIDTH / 2, (HEIGHT - 1) / 2], [0, 0, 1]])
    pose = conversion_matrix(SKELETONS["smpl_24"]) @ expected_pose((left - 0.5, top - 0.5, width, height), matrix)
    joints = np.array([(p.x, p.y, p.z) for p in person.joints])
    np.testing.assert_allclose(joints, pose / 1000, atol=1e-4)


def test_people_are_smoothed_if_that_is_wanted(tmp_path, closed_form_model_path):
    # The person of each picture is 3 pixels further to the right, which is a constant speed.
    source = write_bag(tmp_path / "in", [picture(red=(40 + 3 * i, 60, 50, 120)) for i in range(8)])
    options = [f"--model={closed_form_model_path}", "--smoothing=light"]
    assert bag.main([str(source), str(tmp_path / "out"), *options]) == 0
    last = results(tmp_path / "out", PERSONS_TOPIC, PersonArray)[-1].persons[0]
    pose = expected_pose((40 + 3 * 7 - 0.5, 59.5, 50, 120), MATRIX) / 1000
    speed = 3 * pose[0, 2] / FOCAL / 0.1
    assert last.velocity.x == pytest.approx(speed, rel=1e-3)
    late = pose - [(p.x, p.y, p.z) for p in last.joints]
    assert (late[:, 0] > 0.05 * speed).all() and np.abs(late[:, 1:]).max() < 0.02


def test_bad_images_are_skipped(tmp_path, closed_form_model_path, capsys):
    good, damaged = picture(red=red_box(0)), b"\x00\x01\x00\x00\xff\xff"
    source = write_bag(tmp_path / "in", [good, damaged, good, good[:100]])
    assert bag.main([str(source), str(tmp_path / "out"), f"--model={closed_form_model_path}"]) == 0
    assert "2 images were skipped; the first because: A message of /cam/image is damaged." in capsys.readouterr().err
    persons = results(tmp_path / "out", PERSONS_TOPIC, PersonArray)
    assert [stamp_ns(message.header) for message in persons] == [5_000_000_000, 5_200_000_000]


@pytest.mark.parametrize(
    "images, arguments, complaint",
    [
        ([picture()], {"camera_info": False}, "/cam/camera_info of .* has no messages"),
        ([picture()], {"k": [0.0] * 9}, "None of the 1 images could be used: camera_info's K is all zeros"),
        ([picture()], {"k": MATRIX.T.ravel().tolist()}, "None of the 1 images .* is it transposed"),
        ([picture()], {"d": [1e20, 0.0, 0.0, 0.0, 0.0]}, "None of the 1 images .* of no lens"),
        ([], {}, "has no messages"),
    ],
)
def test_error_is_one_sentence_and_leaves_nothing(
    tmp_path, closed_form_model_path, capsys, images, arguments, complaint
):
    source = write_bag(tmp_path / "in", images, **arguments)
    assert bag.main([str(source), str(tmp_path / "out"), f"--model={closed_form_model_path}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("metrabs-bag: ")
    assert re.search(complaint, error)
    assert not (tmp_path / "out").exists()


def test_rectified_images_use_the_projection_matrix(tmp_path, closed_form_model_path):
    focal, cx, cy = 300.0, 150.0, 110.0
    projection = [focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    source = write_bag(tmp_path / "in", [picture(red=red_box(0))], p=projection, d=[5.0, 4.0, 3.0, 2.0, 1.0])
    model = f"--model={closed_form_model_path}"
    assert bag.main([str(source), str(tmp_path / "raw"), model]) == 0
    assert bag.main([str(source), str(tmp_path / "rectified"), model, "--rectified"]) == 0
    left, top, width, height = red_box(0)
    rectified = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1]])
    for name, matrix, distortion in [("raw", MATRIX, [5, 4, 3, 2, 1]), ("rectified", rectified, [0])]:
        ((person,),) = [persons.persons for persons in results(tmp_path / name, PERSONS_TOPIC, PersonArray)]
        expected = expected_pose((left - 0.5, top - 0.5, width, height), matrix, distortion) / 1000
        np.testing.assert_allclose([(p.x, p.y, p.z) for p in person.joints], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "given_coeffs", "distortion", "kind"),
    [
        ("equidistant", [0.25, 0.0, 0.0, 0.0], [0.25], "fisheye"),
        ("plumb_bob", [0.25, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0], [0.25, 0.5], ""),
    ],
)
def test_lenses_reach_the_model(tmp_path, closed_form_model_path, model, given_coeffs, distortion, kind):
    image = picture(red=red_box(0))
    source = write_bag(tmp_path / "in", [image], distortion_model=model, d=given_coeffs)
    assert bag.main([str(source), str(tmp_path / "out"), f"--model={closed_form_model_path}"]) == 0
    ((person,),) = [persons.persons for persons in results(tmp_path / "out", PERSONS_TOPIC, PersonArray)]
    left, top, width, height = red_box(0)
    expected = expected_pose((left - 0.5, top - 0.5, width, height), MATRIX, distortion, kind) / 1000
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in person.joints], expected, atol=1e-4)


def test_topic_of_another_system_is_named_and_left_out(tmp_path, closed_form_model_path, capsys):
    stamp = Time(sec=5)
    topics = {"/cam/image": in_mcap(IMAGE_TYPE), "/diary": ("Diary", "json", "jsonschema", b"{}")}
    image = serialize_message(image_message(picture(red=red_box(0)), stamp))
    source = write_mcap(tmp_path / "in.mcap", topics, [("/diary", 1, b"{}"), ("/cam/image", 2, image)])
    command = [str(source), str(tmp_path / "out.mcap"), "--fov=90", f"--model={closed_form_model_path}"]
    assert bag.main(command) == 0
    said = capsys.readouterr().err
    assert "metrabs-bag: The topic /diary is left out: its messages are json, not ROS 2's CDR." in said
    with open_recording(tmp_path / "out.mcap") as recording:
        assert set(recording.topics) == {"/cam/image", PERSONS_TOPIC, SKELETON_TOPIC, MARKERS_TOPIC}


def test_numbered_pictures_and_a_damaged_one(tmp_path, closed_form_model_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 9, 10, 11):
        cv2.imwrite(str(folder / f"{number}.png"), picture(red=red_box(number))[..., ::-1])
    (folder / "9.png").write_bytes((folder / "9.png").read_bytes()[:200])
    (folder / "._10.png").write_bytes(b"what macOS notes")
    command = [str(folder), str(tmp_path / "out"), f"--model={closed_form_model_path}"]
    assert bag.main(command) == 0
    captured = capsys.readouterr()
    assert "4 images, 1.0 persons per image" in captured.out
    assert f"metrabs-bag: The picture {folder / '9.png'} is truncated after 200 bytes. It is left out." in captured.err
    persons = results(tmp_path / "out", PERSONS_TOPIC, PersonArray)
    np.testing.assert_allclose(
        [m.persons[0].left for m in persons], [red_box(n)[0] - 0.5 for n in (1, 2, 10, 11)], atol=1
    )
    assert [m.header.stamp.sec for m in persons] == [0, 1, 3, 4]


def test_a_video_is_decoded_once(tmp_path, closed_form_model_path, monkeypatch):
    decoded = []
    frames = VideoReader.frames
    monkeypatch.setattr(VideoReader, "frames", lambda *args: (decoded.append(f.index) or f for f in frames(*args)))
    source = write_video(tmp_path / "v.mp4", n=4)
    assert bag.main([str(source), str(tmp_path / "out"), f"--model={closed_form_model_path}"]) == 0
    assert decoded == [0, 1, 2, 3]
    with open_recording(tmp_path / "out") as recording:
        assert recording.topics["/camera_info"].count == 4


@pytest.mark.parametrize(
    "output, complaint",
    [
        (".", "is the folder that you are in|is or holds what is read"),
        ("in", "is or holds what is read"),
        ("sub/../in", "is or holds what is read"),
        ("out.mp4", "out.mp4 is no name for a bag"),
        ("notes.txt", "notes.txt exists already and is not a bag"),
        ("papers", r"papers exists already and holds something other than a bag \(thesis.txt\)"),
        ("notes.txt/out", "can't be written"),
    ],
)
def test_output_is_checked_before_the_work_begins(tmp_path, monkeypatch, capsys, output, complaint):
    monkeypatch.chdir(tmp_path)
    write_bag(tmp_path / "in", [picture()])
    (tmp_path / "notes.txt").write_text("precious")
    for folder in ("papers", "sub"):
        (tmp_path / folder).mkdir()
    (tmp_path / "papers/thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    for options in ([], ["--force"]):
        assert bag.main(["in", output, "--model=nowhere", *options]) == 1
        said = capsys.readouterr().err
        assert said.startswith("metrabs-bag: ") and said.count("\n") == 1
        assert re.search(complaint, said)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--rectified", "--fov=70"], "--rectified is about camera_info, which --fov replaces"),
        (["--fov=180"], "must be between 0 and 180 degrees"),
        (["--num-aug=0"], "must be between 1 and 100"),
        (["--threshold=1.5"], "must be between 0.0 and 1.0"),
        (["--threshold=nan"], "must be between 0.0 and 1.0"),
    ],
)
def test_options_that_make_no_sense(tmp_path, capsys, options, complaint):
    with pytest.raises(SystemExit):
        bag.main([str(tmp_path), "out", *options])
    assert complaint in capsys.readouterr().err


def test_missing_model_and_unknown_skeleton(tmp_path, closed_form_model_path, capsys):
    source, output = write_bag(tmp_path / "in", [picture()]), tmp_path / "out"
    assert bag.main([str(source), str(output), f"--model={tmp_path / 'nothing'}"]) == 1
    assert "There is no model at" in capsys.readouterr().err
    assert bag.main([str(source), str(output), f"--model={closed_form_model_path}", "--skeleton=toy"]) == 1
    assert "The model has no skeleton 'toy'; it has coco_19, " in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def complete_predictions(journal) -> list[bytes]:
    return journal.read_bytes().split(b"PK\x05\x06")[1:]  # the end of a NumPy archive


def test_killed_run_goes_on_where_it_was(tmp_path, closed_form_model_path, monkeypatch):
    # The third image takes so long that the kill comes before it is done.
    images = [picture(red=red_box(i), slow_seconds=3 if i == 2 else 0) for i in range(6)]
    source = write_bag(tmp_path / "in", images)
    command = [str(source), str(tmp_path / "out.mcap"), f"--model={closed_form_model_path}"]
    process = subprocess.Popen([sys.executable, "-m", "metrabs_ros.bag", *command], stderr=subprocess.DEVNULL)
    journal = tmp_path / ".out.mcap.predictions"
    wait_for(lambda: journal.exists() and len(complete_predictions(journal)) == 2, "two predictions")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out.mcap").exists()

    calls = []
    detect = PersonPipeline.detect
    monkeypatch.setattr(PersonPipeline, "detect", lambda *args: calls.append(args) or detect(*args))
    assert bag.main(command) == 0
    assert len(calls) == 4
    resumed = (tmp_path / "out.mcap").read_bytes()

    assert bag.main([*command, "--force"]) == 0
    assert (tmp_path / "out.mcap").read_bytes() == resumed
    assert len(results(tmp_path / "out.mcap", PERSONS_TOPIC, PersonArray)) == 6
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["in", "out.mcap"]


def people(n):
    """So many people, all of whose numbers are n."""
    shapes = {"boxes": [5], "poses3d": [34, 3], "poses2d": [34, 2], "uncertainties": [34]}
    prediction = {name: np.full([n, *shape], n, np.float32) for name, shape in shapes.items()}
    return People.untracked(prediction, NATIVE, np.zeros([480, 640, 3], np.uint8))


def journal_with(path, job, n):
    with PredictionJournal(path, job, NATIVE) as journal:
        for i in range(n):
            journal.put(i, people(i))


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_journal_forgets_a_prediction_that_was_cut_off(tmp_path, cut):
    path = tmp_path / "journal"
    journal_with(path, {"model": "a"}, 3)
    whole = path.read_bytes()
    os.truncate(path, len(whole) - cut)
    with PredictionJournal(path, {"model": "a"}, NATIVE) as journal:
        known = journal.get(1)
        assert known.skeleton == NATIVE
        for name, array in people(1).arrays().items():
            np.testing.assert_array_equal(getattr(known, name), array)
        assert journal.get(2) is None
        journal.put(2, people(2))
    assert path.read_bytes() == whole


def test_journal_of_another_job_is_begun_anew(tmp_path):
    path = tmp_path / "journal"
    journal_with(path, {"model": "a"}, 3)
    with PredictionJournal(path, {"model": "b"}, NATIVE) as journal:
        assert journal.get(1) is None
    assert path.read_bytes() == b'{"model": "b"}\n'
