"""The node's process: how it starts, what it refuses, and how it ends."""

import signal

import pytest
from conftest import NodeClient, is_at, picture, wait_for

RED_BOX = (40, 60, 50, 120)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_inference_ends_the_process_cleanly(ros, start_node, closed_form_model_path, sent):
    process = start_node(model=closed_form_model_path, qos_reliability="reliable")
    node = NodeClient(ros, process.namespace)
    node.wait_until_active()
    node.persons.next(is_at(node.show(picture(RED_BOX))))
    before = int(node.diagnostics()["received"])
    node.show(picture(RED_BOX, slow_seconds=4.0))
    node.wait_for_status(lambda status: int(status["received"]) == before + 1)  # it is in work
    assert process.end(sent) == 0, process.log
    assert "Traceback" not in process.log and "[ERROR]" not in process.log
    node.close()


def test_a_signal_while_loading_ends_the_process_cleanly(ros, start_node, closed_form_model_path):
    process = start_node(model=closed_form_model_path)
    wait_for(lambda: ros.count_publishers(f"{process.namespace}/metrabs_node/persons"), "the node")
    assert process.end(signal.SIGINT) == 0, process.log
    assert "Traceback" not in process.log and "[ERROR]" not in process.log


def test_a_model_that_can_not_be_had_ends_the_process_with_one_sentence(start_node, tmp_path, closed_form_model_path):
    missing = start_node(model=tmp_path / "nothing")
    fixed = start_node(model=closed_form_model_path, detector_input_side=640)
    odd = start_node(detector_input_side=333)
    words = str(tmp_path / "nothing"), "detector", "input side is 333 pixels; it must be a multiple of 32"
    for process, expected in zip((missing, fixed, odd), words):
        assert process.end() == 1
        assert process.log.count("[ERROR]") == 1 and expected in process.wait_for_log(r"\[ERROR\]")
        assert "Traceback" not in process.log


def test_what_can_not_be_is_refused_with_a_sentence_and_exit_code_1(start_node, tmp_path):
    damaged = tmp_path / "damaged.yaml"
    damaged.write_text("a: [")
    attempts = [
        (start_node(detector_threshold=1.5), "detector_threshold out of range"),
        (start_node(sync_mode="roughly"), "sync_mode is 'roughly', but must be one of: exact, approximate, latest"),
        (start_node(track_max_age="long"), "track_max_age.* to 'long' of type 'STRING', expecting type 'DOUBLE'"),
        (start_node("--params-file", tmp_path / "nothing.yaml"), "nothing.yaml.*Error opening YAML file"),
        (start_node("--params-file", damaged), "damaged.yaml.*Error"),
        (start_node("-r", "bad::=x:=y"), "remap rule: '-r bad::=x:=y'"),
        (start_node("--log-level", "loud"), "log level: '--log-level loud'"),
        (start_node("--unheard-of"), "--unheard-of"),
        (start_node("--", "image:=/eye", "faster"), "Unknown arguments: .*faster"),
        (start_node(environment={"ROS_DOMAIN_ID": "abc"}), "ROS_DOMAIN_ID is not an integral number"),
    ]
    for process, words in attempts:
        assert process.end() == 1, process.log
        line = process.wait_for_log("metrabs_node could not start: ")
        assert process.wait_for_log(words) == line
        assert "Traceback" not in process.log


def test_without_autostart_the_node_waits_and_its_shutdown_ends_the_process(ros, start_node, closed_form_model_path):
    process = start_node(model=closed_form_model_path, autostart=False, track_max_age=2)
    node = NodeClient(ros, process.namespace)
    assert node.state() == "unconfigured"
    assert node.get_parameter("track_max_age").double_value == 2.0
    assert node.change_state("shutdown")
    assert process.end() == 0, process.log
    assert "Traceback" not in process.log
    node.close()
