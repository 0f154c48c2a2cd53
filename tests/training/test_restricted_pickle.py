"""Pickle files from elsewhere: plain values and arrays are read, and nothing in them is run."""

import os
import pickle
import warnings

import numpy as np
import pytest
from generated_datasets import threedpw

from training import datasets
from training.datasets.restricted_pickle import load_pickle


class Bomb:
    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_pickles_that_would_run_code_are_refused(tmp_path, protocol):
    threedpw.generate(tmp_path)
    path = tmp_path / "3dpw/sequenceFiles/train/courtyard_arguing_00.pkl"
    bomb = Bomb()
    bomb.path = tmp_path / "exploded"
    path.write_bytes(pickle.dumps({"sequence": "courtyard_arguing_00", "cam_poses": bomb}, protocol))
    with pytest.raises(ValueError, match=r"courtyard_arguing_00.pkl .*system"):
        datasets.read("3dpw", "train", tmp_path)
    assert not bomb.path.exists()


@pytest.mark.parametrize(
    "text", [b"cos\nsystem\n(S'true'\ntR.", b"c__builtin__\neval\n(S'1'\ntR.", b"cbuiltins\ngetattr\n."]
)
def test_pickles_may_not_ask_for_functions(tmp_path, text):
    (tmp_path / "file.pkl").write_bytes(text)
    with pytest.raises(ValueError, match="system|eval|getattr"):
        load_pickle(tmp_path / "file.pkl")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_arrays_and_containers_can_be_read(tmp_path, protocol):
    content = {"a": np.arange(6.0).reshape(2, 3), "b": [np.float64(2), {"x"}, ("y", None)], "c": np.array(["s", None])}
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(content, protocol))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = load_pickle(tmp_path / "file.pkl")
    np.testing.assert_array_equal(result["a"], content["a"])
    assert result["b"] == content["b"]
    assert result["c"].tolist() == ["s", None]
