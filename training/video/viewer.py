"""A 3D view of the people of a video as one HTML file that any browser opens, with nothing to install."""

import base64
import json
from pathlib import Path

import numpy as np

from metrabs_core.appearance import bone_sides, id_colour
from metrabs_core.skeletons import Skeleton
from training.video.floor import Floor, estimate_floor
from training.video.poses import VideoPoses

_TEMPLATE = Path(__file__).with_name("viewer.html")
# Coordinates are whole numbers of these many metres, unless somebody is further away than 32 m.
_UNIT = 0.001


def write_viewer(path: Path, poses: VideoPoses, skeleton: Skeleton, video: Path, title: str):
    """Write the viewer.

    Args:
        path: file to write.
        poses: what to show; tracked people.
        skeleton: their joints and bones.
        video: small MP4 file to show beside them.
        title: for the reader.
    """
    to_world, eye = world_frame(estimate_floor(poses, skeleton))
    points = poses.poses3d.astype(np.float64) / 1000 @ to_world.T + eye
    unit = max(_UNIT, np.abs(points).max(initial=0) / np.iinfo(np.int16).max)
    width, height = poses.image_sizes[0].tolist()
    (fx, _, cx), (_, fy, cy), _ = poses.intrinsic_matrices[0].astype(float).tolist()
    right, down, ahead = to_world.T
    starts = np.searchsorted(poses.frame_index, np.arange(poses.n_frames + 1))
    data = {
        "title": title,
        "joint_names": skeleton.joint_names,
        "joint_edges": [[int(a), int(b)] for a, b in skeleton.edges],
        "right_edges": [side == "right" for side in bone_sides(skeleton)],
        "colors": {int(i): id_colour(int(i)) for i in np.unique(poses.ids)},
        "times": _base64(poses.frame_times.astype("<f8")),
        "starts": _base64(starts.astype("<i4")),
        "ids": _base64(poses.ids.astype("<i4")),
        "points": _base64(np.rint(points / unit).astype("<i2")),
        "unit": unit,
        "camera": {
            "eye": eye.tolist(),
            "right": right.tolist(),
            "up": (-down).tolist(),
            "ahead": ahead.tolist(),
            **{"fx": fx, "fy": fy, "cx": cx, "cy": cy, "width": width, "height": height},
        },
        "video": f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}",
    }
    # A script element ends at the first "</", wherever that stands.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    path.write_text(_TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text), encoding="utf-8")


def world_frame(floor: Floor) -> tuple[np.ndarray, np.ndarray]:
    """A frame that stands on the floor under the camera: x right, y ahead, z up, metres.

    Returns:
        Rotation from camera to world, float64 [3, 3], and the camera's place [3] in the world.
    """
    ahead = np.array([0.0, 0.0, 1.0]) if abs(floor.up[2]) < 0.99 else np.array([0.0, -1.0, 0.0])
    ahead = ahead - floor.up * (ahead @ floor.up)
    ahead /= np.linalg.norm(ahead)
    return np.stack([np.cross(ahead, floor.up), ahead, floor.up]), np.array([0.0, 0.0, floor.height / 1000])


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
