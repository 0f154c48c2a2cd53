"""Downloads of detector weights, from a real HTTP server on this machine."""

import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from metrabs_core.errors import UserError
from training import cli, fetch_detector

CONTENT = np.random.default_rng(0).bytes(1_300_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, with or without support of ranges, and may close the connection in the middle of it."""

    def do_GET(self):
        self.server.requests.append(self.headers.get("Range"))
        if not self.path.endswith(".weights"):
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.has_ranges else 0
        self.send_response(206 if asked and self.server.has_ranges else 200)
        self.send_header("Content-Length", str(len(self.server.content) - start))
        self.end_headers()
        stop = self.server.breaks_at.pop() if self.server.breaks_at else None
        self.wfile.write(self.server.content[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests, server.breaks_at, server.has_ranges, server.content = [], [], True, CONTENT
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def released(server, monkeypatch):
    """What the server has, under the name yolov4-tiny."""
    url = f"http://127.0.0.1:{server.server_address[1]}/yolov4-tiny.weights"
    weights = fetch_detector.Weights(url, len(CONTENT), hashlib.sha1(CONTENT).hexdigest())
    monkeypatch.setattr(fetch_detector, "RELEASED", {"yolov4-tiny": weights})
    monkeypatch.setenv("no_proxy", "*")
    return weights


def test_the_command_downloads_checks_and_tells_the_checksum(server, released, tmp_path, capsys):
    cli.main(["fetch-detector", "yolov4-tiny", "--output-dir", str(tmp_path / "new" / "folder")])
    path = tmp_path / "new" / "folder" / "yolov4-tiny.weights"
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    output = capsys.readouterr()
    assert hashlib.sha256(CONTENT).hexdigest() in output.out and str(path) in output.out
    assert "100%" in output.err
    # what is there is not downloaded again
    cli.main(["fetch-detector", "--output-dir", str(path.parent)])
    assert len(server.requests) == 1


def test_an_interrupted_download_is_continued(server, released, tmp_path):
    path = tmp_path / "tiny.weights"
    server.breaks_at = [700_000]
    with pytest.raises(UserError, match="can't be downloaded.*the same command continues"):
        fetch_detector.fetch(released, path)
    assert not path.exists()
    n_there = path.with_name("tiny.weights.part").stat().st_size
    assert 0 < n_there <= 700_000
    fetch_detector.fetch(released, path)
    assert path.read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={n_there}-"]


def test_a_server_without_ranges_sends_everything_again(server, released, tmp_path):
    server.has_ranges = False
    (tmp_path / "tiny.weights.part").write_bytes(CONTENT[:1000])
    fetch_detector.fetch(released, tmp_path / "tiny.weights")
    assert (tmp_path / "tiny.weights").read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"?", CONTENT + b"more", b"<html>Please log in.</html>"])
def test_anything_else_is_refused_and_not_kept(sent, server, released, tmp_path):
    server.content = sent
    with pytest.raises(UserError, match=f"not what was released.*{released.sha1}"):
        fetch_detector.fetch(released, tmp_path / "tiny.weights")
    assert not list(tmp_path.iterdir())


def test_another_file_of_that_name_is_told_but_not_touched(released, tmp_path):
    (tmp_path / "tiny.weights").write_bytes(b"mine")
    with pytest.raises(UserError, match="it has 4 bytes"):
        fetch_detector.fetch(released, tmp_path / "tiny.weights")
    assert (tmp_path / "tiny.weights").read_bytes() == b"mine"


def test_without_a_network_one_sentence_says_what_to_do(server, released, tmp_path, monkeypatch):
    arguments = ["fetch-detector", "yolov4-tiny", "--output-dir", str(tmp_path)]
    monkeypatch.setattr(fetch_detector, "RELEASED", {"yolov4-tiny": released._replace(url=released.url + "/nowhere")})
    with pytest.raises(SystemExit, match="^metrabs-train fetch-detector: http.*Not Found.*put it at .*tiny.weights.$"):
        cli.main(arguments)
    nobody = re.sub(r":\d+/", ":9/", released.url)
    monkeypatch.setattr(fetch_detector, "RELEASED", {"yolov4-tiny": released._replace(url=nobody)})
    with pytest.raises(SystemExit, match="refused.*Without a network, download it elsewhere and put it at"):
        cli.main(arguments)
    assert not list(tmp_path.iterdir())


def test_an_unknown_name_is_told(tmp_path):
    with pytest.raises(SystemExit, match="no weights of 'yolov3' to fetch: choose from yolov4, yolov4-tiny"):
        cli.main(["fetch-detector", "yolov3", "--output-dir", str(tmp_path)])
