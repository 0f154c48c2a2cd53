import os
import stat
from pathlib import Path

import pytest

from metrabs_core.files import atomic_file, atomic_folder, cache_folder, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []

    with atomic_file(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists() and temporary.suffix != ".txt"
    assert path.read_text() == "whole" and list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, object())
    assert path.read_text() == '{"a": 1}\n' and list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_with_the_usual_mode(tmp_path):
    path = tmp_path / "folder"
    with pytest.raises(RuntimeError), atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []

    with atomic_folder(path) as temporary:
        (temporary / "content").touch()
        assert not path.exists()
    (tmp_path / "plain").mkdir()
    assert [p.name for p in path.iterdir()] == ["content"]
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="exists already"), atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "folder" / "thesis.txt").exists()


def test_the_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "metrabs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path(os.path.expanduser("~/.cache/metrabs"))
