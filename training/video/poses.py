"""The people in the frames of a video, as arrays, and as the files `poses.npz` and `poses.json`."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from metrabs_core.pipeline import People
from metrabs_core.skeletons import Skeleton

_PER_PERSON = ("ids", "boxes", "poses3d", "poses2d", "uncertainties", "in_view")


@dataclass(frozen=True)
class VideoPoses:
    """People in F frames, N of them in all, in the order of the frames.

    Attributes:
        frame_numbers: int64 [F], place of the frame in the video.
        frame_times: float64 [F], seconds from the start.
        image_sizes: int32 [F, 2], width and height, px.
        intrinsic_matrices: float32 [F, 3, 3], px.
        frame_index: int64 [N], which of the F frames a person is in, ascending.
        ids: int64 [N]; -1 where nobody has been tracked yet.
        boxes: float32 [N, 5], left, top, width, height in px, score.
        poses3d: float32 [N, J, 3], mm, camera frame.
        poses2d: float32 [N, J, 2], px; NaN for joints behind the camera.
        uncertainties: float32 [N, J], mm, one standard deviation.
        in_view: bool [N, J], whether a joint lies inside the image.
    """

    frame_numbers: np.ndarray
    frame_times: np.ndarray
    image_sizes: np.ndarray
    intrinsic_matrices: np.ndarray
    frame_index: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    poses3d: np.ndarray
    poses2d: np.ndarray
    uncertainties: np.ndarray
    in_view: np.ndarray

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return len(self.frame_numbers)

    def people(self, frame: int) -> slice:
        """Which of the N belong to one of the F frames."""
        return slice(*np.searchsorted(self.frame_index, [frame, frame + 1]))

    def people_of(self, frame: int, skeleton: Skeleton) -> People:
        """The people of one of the F frames; `skeleton` is theirs."""
        of_frame = self.people(frame)
        arrays = {name: getattr(self, name)[of_frame] for name in _PER_PERSON}
        boxes = arrays.pop("boxes")
        return People(skeleton=skeleton, boxes=boxes[:, :4], scores=boxes[:, 4], **arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of the attributes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, chosen: np.ndarray, **changes) -> "VideoPoses":
        """The same frames with some of the people only: bool [N] or indices; `changes` are other new attributes."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in ("frame_index", *_PER_PERSON)} | changes)

    def save(self, path, **more):
        """Write an `.npz` file with all attributes and what else is given."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **self.arrays(), **more)

    @classmethod
    def load(cls, path) -> "VideoPoses":
        """Read what `save` wrote."""
        with np.load(path) as archive:
            return cls(**{field.name: archive[field.name] for field in fields(cls)})


def with_people(people: Sequence[People], **frames) -> VideoPoses:
    """The people of F frames in one; `frames` are those attributes of `VideoPoses` that are per frame."""
    names = (*_PER_PERSON, "scores")
    columns = {name: np.concatenate([getattr(of_frame, name) for of_frame in people]) for name in names}
    columns["boxes"] = np.column_stack([columns["boxes"], columns.pop("scores")])
    frame_index = np.repeat(np.arange(len(people)), [len(of_frame) for of_frame in people])
    return VideoPoses(frame_index=frame_index, **frames, **columns)


def concatenate(parts: Sequence[VideoPoses]) -> VideoPoses:
    """Poses of parts of a video that follow each other."""
    columns = {name: [part.arrays()[name] for part in parts] for name in parts[0].arrays()}
    starts = np.cumsum([0, *(part.n_frames for part in parts)])
    columns["frame_index"] = [part.frame_index + start for part, start in zip(parts, starts)]
    return VideoPoses(**{name: np.concatenate(column) for name, column in columns.items()})


def write_json(poses: VideoPoses, path: Path, skeleton: Skeleton, lens: dict, facts: dict):
    """Write the poses as JSON, one line per frame.

    Args:
        poses: what to write.
        path: file to write.
        skeleton: joint names and edges.
        lens: `distortion_coeffs` and `distortion_model` of the camera.
        facts: further entries of the document.
    """
    head = {
        **facts,
        "coordinates": "poses3d: mm, camera frame (x right, y down, z forward); poses2d, box: px; time: s",
        "skeleton": skeleton.name,
        "joint_names": list(skeleton.joint_names),
        "joint_edges": [[int(a), int(b)] for a, b in skeleton.edges],
        "camera": _camera(poses, 0, lens),
    }
    with open(path, "w") as file:
        # A document whose last entry is written frame by frame.
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "frames": [\n')
        for i, line in enumerate(_frames(poses, lens)):
            file.write((",\n" if i else "") + line)
        file.write("\n ]\n}\n")


def _camera(poses: VideoPoses, frame: int, lens: dict) -> dict:
    width, height = poses.image_sizes[frame].tolist()
    return {
        "width": width,
        "height": height,
        "intrinsic_matrix": poses.intrinsic_matrices[frame].astype(float).tolist(),
        **lens,
        "distortion_coeffs": lens["distortion_coeffs"].tolist(),
    }


def _frames(poses: VideoPoses, lens: dict) -> Iterator[str]:
    for i in range(poses.n_frames):
        number, time = int(poses.frame_numbers[i]), round(float(poses.frame_times[i]), 6)
        frame = {"frame": number, "time": time}
        if (poses.image_sizes[i] != poses.image_sizes[0]).any():
            frame["camera"] = _camera(poses, i, lens)
        of_frame = poses.select(poses.people(i))
        frame["people"] = [
            {
                "id": int(of_frame.ids[n]),
                "score": round(float(of_frame.boxes[n, 4]), 4),
                "box": _rounded(of_frame.boxes[n, :4], 2),
                "poses3d": _rounded(of_frame.poses3d[n], 2),
                "poses2d": _rounded(of_frame.poses2d[n], 2),
                "uncertainties": _rounded(of_frame.uncertainties[n], 2),
            }
            for n in range(len(of_frame.ids))
        ]
        yield json.dumps(frame, separators=(",", ":"), allow_nan=False)


def _rounded(array: np.ndarray, n_digits: int) -> list:
    rounded = np.round(array.astype(float), n_digits).astype(object)
    rounded[np.isnan(array)] = None
    return rounded.tolist()
