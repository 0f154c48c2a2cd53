"""Many people as columns of numbers: little memory, one file without pickles, examples made when they are asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from metrabs_core.cameras import Camera
from metrabs_core.errors import UserError
from metrabs_core.files import atomic_file
from training.datasets.example import Example

_PER_PERSON = ("image_path", "box", "joints2d", "valid", "camera", "activity", "scene", "person")
_OPTIONAL = ("joints3d", "universal3d", "mask", "mask_size")
_PER_CAMERA = ("intrinsic_matrix", "distortion_coeffs", "extrinsic_matrix")
_N_DISTORTION = 5


class Table(Sequence):
    """People of one data set.

    Args:
        root: folder that the image paths are relative to.
        columns: one array per field of ``Example``, n long, ``camera`` being a number, ``mask`` COCO run lengths as
            bytes (none: no mask) and ``mask_size`` [n, 2]; and those of the cameras (no fisheye lenses).
    """

    def __init__(self, root: Path, columns: dict[str, np.ndarray]):
        self.root, self.columns = Path(root), columns
        self.cameras = [
            Camera(matrix, coeffs, extrinsic_matrix=extrinsics)
            for matrix, coeffs, extrinsics in zip(*(columns[name] for name in _PER_CAMERA))
        ]

    def __len__(self):
        return len(self.columns["image_path"])

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        column = self.columns
        counts = column["mask"][index] if "mask" in column else b""
        return Example(
            image_path=self.root / str(column["image_path"][index]),
            box=column["box"][index],
            joints2d=column["joints2d"][index],
            valid=column["valid"][index],
            camera=self.cameras[column["camera"][index]],
            joints3d=column["joints3d"][index] if "joints3d" in column else None,
            universal3d=column["universal3d"][index] if "universal3d" in column else None,
            mask={"size": column["mask_size"][index].tolist(), "counts": bytes(counts)} if counts else None,
            activity=str(column["activity"][index]),
            scene=str(column["scene"][index]),
            person=int(column["person"][index]),
        )

    def select(self, rows: np.ndarray) -> "Table":
        """The people of some rows (numbers or a mask)."""
        selected = {k: v if k in _PER_CAMERA else v[rows] for k, v in self.columns.items()}
        return Table(self.root, selected)

    @classmethod
    def concatenate(cls, tables: list["Table"]) -> "Table":
        """The people of several tables with the same root and joints, in the order of their image paths."""
        offsets = np.cumsum([0, *(len(table.cameras) for table in tables)])
        columns = {}
        for name in _PER_CAMERA:
            columns[name] = np.concatenate([table.columns[name] for table in tables])
        has_masks = any("mask" in table.columns for table in tables)
        for name in [*_PER_PERSON, *_OPTIONAL]:
            parts = [table.columns.get(name) for table in tables]
            if name == "camera":
                parts = [part + offset for part, offset in zip(parts, offsets)]
            elif name.startswith("mask") and has_masks:
                parts = [_no_masks(len(t))[name] if part is None else part for part, t in zip(parts, tables)]
            if all(part is not None for part in parts):
                columns[name] = np.concatenate(parts)
        order = np.lexsort([columns["person"], columns["image_path"]])
        return cls(tables[0].root, columns).select(order)

    def save(self, path: Path, **facts: str) -> None:
        """Write the people, and facts about them, to an ``.npz`` file; the file is there whole or not at all."""
        columns = dict(self.columns)
        if "mask" in columns:
            masks = columns.pop("mask")
            columns["mask_bytes"] = np.frombuffer(b"".join(masks), np.uint8)
            columns["mask_length"] = np.array([len(mask) for mask in masks], np.int64)
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **columns, **{f"fact_{k}": np.array(v) for k, v in facts.items()})

    @classmethod
    def load(cls, path: Path, root: Path, accept: Callable[[dict], bool] = lambda facts: True) -> "Table | None":
        """Read what ``save`` wrote; None if the facts are not accepted. Nothing in the file is run."""
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if not accept({k[5:]: str(archive[k]) for k in archive.files if k.startswith("fact_")}):
                return None
            columns = {k: archive[k] for k in archive.files if not k.startswith("fact_")}
        if "mask_bytes" in columns:
            data, lengths = columns.pop("mask_bytes").tobytes(), columns.pop("mask_length")
            ends = np.cumsum(lengths)
            columns["mask"] = _objects([data[e - n : e] for e, n in zip(ends, lengths)])
        return cls(root, columns)


class TableBuilder:
    """Collects people, a sequence at a time, and makes a table of them in the order of their image paths."""

    def __init__(self, root: Path, n_joints: int):
        self.root, self.n_joints = Path(root), n_joints
        self._chunks: list[dict] = []
        self._cameras: dict[int, tuple[int, Camera]] = {}

    def add(
        self,
        image_paths: list[str],
        boxes: np.ndarray,
        camera: Camera,
        joints3d: np.ndarray | None = None,
        universal3d: np.ndarray | None = None,
        joints2d: np.ndarray | None = None,
        valid: np.ndarray | None = None,
        masks: list[dict | None] | None = None,
        activity: str | Sequence[str] = "",
        scene: str = "",
        person: int | np.ndarray = 0,
    ) -> None:
        """Add m people that one camera sees.

        Args:
            image_paths: m paths relative to the root.
            boxes: [m, 4].
            camera: of all of them.
            joints3d: [m, J, 3] mm, camera frame, or None.
            universal3d: the same, of normalized height, or None.
            joints2d: [m, J, 2] px; None for the projections of joints3d.
            valid: bool [m, J]; None for all.
            masks: m run lengths or Nones; None for no masks.
            activity: of all, or m of them.
            scene: of all.
            person: number of all, or m numbers.
        """
        n = len(image_paths)
        if not n:
            return
        # the camera is kept, too, so that no other can come to its id
        number, _ = self._cameras.setdefault(id(camera), (len(self._cameras), camera))
        chunk = {
            "image_path": np.array(image_paths),
            "box": np.asarray(boxes, np.float32).reshape(n, 4),
            "joints2d": np.asarray(camera.project(joints3d) if joints2d is None else joints2d, np.float32),
            "valid": np.ones([n, self.n_joints], bool) if valid is None else np.asarray(valid, bool),
            "camera": np.full(n, number, np.int32),
            "activity": np.array([activity] * n if isinstance(activity, str) else list(activity)),
            "scene": np.array([scene] * n),
            "person": np.broadcast_to(np.int32(person), n),
        }
        if joints3d is not None:
            chunk["joints3d"] = np.asarray(joints3d, np.float32)
        if universal3d is not None:
            chunk["universal3d"] = np.asarray(universal3d, np.float32)
        if masks is not None:
            chunk["mask"] = _objects([_counts(mask) for mask in masks])
            chunk["mask_size"] = np.array([[0, 0] if mask is None else mask["size"] for mask in masks], np.int32)
        self._chunks.append(chunk)

    def build(self) -> Table:
        """The table of all people added.

        Raises:
            UserError: nobody was added.
        """
        if not self._chunks:
            raise UserError("Nobody is left in this part of the data set.")
        if any("mask" in chunk for chunk in self._chunks):
            self._chunks = [_no_masks(len(chunk["image_path"])) | chunk for chunk in self._chunks]
        names = [*_PER_PERSON, *(name for name in _OPTIONAL if name in self._chunks[0])]
        columns = {name: np.concatenate([chunk[name] for chunk in self._chunks]) for name in names}
        cameras = [camera for _, camera in self._cameras.values()]
        columns["intrinsic_matrix"] = np.array([c.intrinsic_matrix for c in cameras], np.float32)
        columns["extrinsic_matrix"] = np.array([c.extrinsic_matrix for c in cameras], np.float32)
        coeffs = np.zeros([len(cameras), _N_DISTORTION], np.float32)
        for row, camera in zip(coeffs, cameras):
            row[: len(camera.distortion_coeffs)] = camera.distortion_coeffs
        columns["distortion_coeffs"] = coeffs
        return Table(self.root, columns).select(np.lexsort([columns["person"], columns["image_path"]]))


def _counts(mask: dict | None) -> bytes:
    counts = b"" if mask is None else mask["counts"]
    return counts.encode() if isinstance(counts, str) else bytes(counts)


def _no_masks(n: int) -> dict[str, np.ndarray]:
    return {"mask": _objects([b""] * n), "mask_size": np.zeros([n, 2], np.int32)}


def _objects(values: list) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array
