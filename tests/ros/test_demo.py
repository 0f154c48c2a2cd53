"""The demo: player, node and recorder as real processes that talk through DDS."""

import json
import os
import re
import signal
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
import rclpy
from closed_form_model import expected_pose
from conftest import TIMEOUT, picture, wait_for
from rclpy.serialization import deserialize_message
from recordings import red_box, write_bag, write_camera_bag, write_video

from metrabs_msgs.msg import PersonArray
from metrabs_ros import demo
from metrabs_ros.bag_recorder import Recorder
from metrabs_ros.bags.opening import open_recording
from metrabs_ros.bags.recording import CAMERA_INFO_TYPE, IMAGE_TYPE, stamp_ns
from metrabs_ros.bags.writer import BagWriter


def run_demo(*arguments, cwd):
    """The demo in a process of its own. Returns (exit code, what it said)."""
    command = [sys.executable, "-m", "metrabs_ros.demo", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return done.returncode, done.stdout


def processes_with(*texts) -> list[int]:
    """Ids of the running processes that have all `texts` in their command line."""
    found = []
    for folder in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{folder}/cmdline", "rb") as file:
                command = file.read()
        except OSError:
            continue
        if all(str(text).encode() in command for text in texts):
            found.append(int(folder))
    return found


def test_large_images_all_arrive(tmp_path):
    # Best effort through Fast DDS's default transports loses many images of this size; the transport profile none.
    pixels = np.random.default_rng(0).integers(0, 255, [576, 768, 3], np.uint8)
    source = write_bag(tmp_path / "in.mcap", [np.roll(pixels, i, axis=0) for i in range(40)], width=768, height=576)
    context = rclpy.Context()
    rclpy.init(context=context)
    with BagWriter(tmp_path / "out.mcap") as writer:
        topics = {"/image": IMAGE_TYPE, "/camera_info": CAMERA_INFO_TYPE}
        recorder = Recorder(context, writer, topics)
        player = subprocess.Popen([sys.executable, "-m", "metrabs_ros.bag_player", str(source)], stdout=subprocess.PIPE)

        def all_arrived():
            recorder.spin_once(0.05)
            return recorder.counts == dict.fromkeys(topics, 40)

        wait_for(all_arrived, "40 images")
        assert player.communicate(timeout=TIMEOUT)[0].strip() == b"40"
        recorder.close()
    rclpy.shutdown(context=context)

    with open_recording(tmp_path / "out.mcap") as recording:
        images = [recording.deserialize(message) for message in recording.messages(["/image"])]
        infos = [recording.deserialize(message) for message in recording.messages(["/camera_info"])]
    assert [stamp_ns(info.header) for info in infos] == [stamp_ns(image.header) for image in images]
    for i, image in enumerate(images):
        assert bytes(image.data) == np.roll(pixels, i, axis=0).tobytes()


def test_video_through_the_node(tmp_path, closed_form_model_path):
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(25):
            image = picture(red=red_box(i), blue=(200, 100, 40, 100) if i >= 15 else None)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    output = tmp_path / "results"
    output.mkdir()
    (output / "mine.txt").write_text("stays")
    for name in ("summary.json", "overlay.png", "input.mcap"):
        (output / name).write_text("of an earlier demo")
    code, said = run_demo("in.mp4", "--output", output, "--model", closed_form_model_path, cwd=tmp_path)
    assert code == 0, said
    assert set(os.listdir(output)) == {
        "mine.txt", "input.mcap", "result.mcap", "overlay.mp4", "overlay.png", "summary.json", "node.log"
    }  # fmt: skip

    summary = json.loads((output / "summary.json").read_text())
    assert summary["frames_in"] == 25
    assert summary["frames_processed"] + summary["frames_dropped"] == 25
    assert summary["tracks"] == 2
    assert summary["fps"] > 0 and summary["load_s"] > 0
    assert 0 < summary["latency_ms"]["median"] <= summary["latency_ms"]["p95"]
    with open_recording(output / "result.mcap") as recording:
        persons = [deserialize_message(m.data, PersonArray) for m in recording.messages(["/metrabs_node/persons"])]
        images = [recording.deserialize(message) for message in recording.messages(["/image/compressed"])]
    assert len(images) == 25
    assert {stamp_ns(message.header) for message in persons} <= {stamp_ns(image.header) for image in images}
    np.testing.assert_allclose(summary["persons_mean"], np.mean([len(p.persons) for p in persons]), atol=0.01)
    with av.open(str(output / "overlay.mp4")) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == summary["frames_processed"]
    assert (frames[0].width, frames[0].height) == (320, 240)
    assert cv2.imread(str(output / "overlay.png")).shape == (240, 320, 3)
    assert not processes_with(tmp_path)


def test_bag_with_raw_images_through_the_node(tmp_path, closed_form_model_path):
    write_bag(tmp_path / "bag", [picture(red=red_box(i)) for i in range(10)])
    code, said = run_demo("bag", "--model", closed_form_model_path, cwd=tmp_path)
    assert code == 0, said
    assert json.loads((tmp_path / "demo_output/summary.json").read_text())["persons_mean"] == 1
    with open_recording(tmp_path / "demo_output/result.mcap") as recording:
        assert recording.topics["/image"].count == 10


def test_one_of_several_image_topics_rectified(tmp_path, closed_form_model_path):
    projection = [300.0, 0.0, 150.0, 0.0, 0.0, 300.0, 110.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    topics = ["/cam/image_raw", "/up/image_raw"]
    source = write_camera_bag(tmp_path / "in#1.mcap", topics, n=3, p=projection, d=[5.0, 0.0, 0.0, 0.0, 0.0])
    code, said = run_demo(source, cwd=tmp_path)
    assert code == 1
    assert re.search(
        r"several image topics, choose one with TOPIC=NAME .*--image-topic NAME\): /cam/image_raw \(3 images\), /up/",
        said.splitlines()[-1],
    )
    model = tmp_path / "model: 2 #1"  # a path that is something else in YAML
    model.symlink_to(closed_form_model_path)
    options = ["--image-topic=/up/image_raw", "--camera-info-topic=/cam/camera_info", "--rectified", "--model", model]
    code, said = run_demo(source, *options, cwd=tmp_path)
    assert code == 0, said
    with open_recording(tmp_path / "demo_output/result.mcap") as recording:
        assert recording.topics["/image"].count == 3
        message = next(deserialize_message(m.data, PersonArray) for m in recording.messages(["/metrabs_node/persons"]))
    (person,) = message.persons
    box = person.left, person.top, person.width, person.height
    expected = expected_pose(box, np.array([[300, 0, 150], [0, 300, 110], [0, 0, 1]])) / 1000
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in person.joints], expected, atol=1e-4)


@pytest.mark.parametrize(
    "names, complaint",
    [
        ([], "out for the results can't be made"),
        (["overlay.mp4"], "overlay.mp4 is not of an earlier demo, and would be replaced"),
        (["input.mcap", "node.log"], "input.mcap is not of an earlier demo, and would be replaced"),
        (["summary.json", "overlay.mp4/x"], "overlay.mp4 is a folder, and a file of that"),
    ],
)
def test_places_of_the_results_are_checked_first(tmp_path, names, complaint):
    write_video(tmp_path / "v.mkv")
    if not names:
        (tmp_path / "out").touch()
    for name in names:
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(demo.DemoError, match=complaint):
        demo.run_demo(demo.Request(str(tmp_path / "v.mkv")), tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_result_is_not_replaced_by_what_is_shown_of_it(tmp_path):
    write_video(tmp_path / "overlay.mp4")
    (tmp_path / "summary.json").touch()
    with pytest.raises(demo.DemoError, match="overlay.mp4 would be replaced"):
        demo.run_demo(demo.Request(str(tmp_path / "overlay.mp4")), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["overlay.mp4", "summary.json"]


def test_picture_with_an_odd_size_through_the_node(tmp_path, closed_form_model_path):
    cv2.imwrite(str(tmp_path / "photo.png"), picture(red=red_box(0))[:-1, :-1, ::-1])
    code, said = run_demo("photo.png", "--model", closed_form_model_path, cwd=tmp_path)
    assert code == 0, said
    summary = json.loads((tmp_path / "demo_output/summary.json").read_text())
    assert (summary["frames_in"], summary["frames_processed"], summary["persons_mean"]) == (1, 1, 1)
    assert cv2.imread(str(tmp_path / "demo_output/overlay.png")).shape == (239, 319, 3)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["nothing.mp4"], "demo: nothing.mp4 does not exist."),
        (["v.mkv", "--model", "nothing"], "demo: The node ended: .* There is no model at nothing"),
    ],
)
def test_failure_is_one_sentence(tmp_path, arguments, complaint):
    write_video(tmp_path / "v.mkv")
    code, said = run_demo(*arguments, cwd=tmp_path)
    assert code == 1
    assert re.search(complaint, said.splitlines()[-1])


@pytest.mark.parametrize("moment", ["starting the node", "playing"])
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_all_processes(tmp_path, closed_form_model_path, moment, sent):
    write_bag(tmp_path / "bag", [picture(red=red_box(0))] * 200)
    model = tmp_path / "model"
    model.symlink_to(closed_form_model_path)
    command = [sys.executable, "-m", "metrabs_ros.demo", str(tmp_path / "bag"), "--model", str(model)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert any(moment in line for line in process.stdout)
        process.send_signal(sent)
        assert process.wait(TIMEOUT) == 130
    assert not processes_with(tmp_path)
    assert os.listdir(tmp_path / "demo_output") == []
