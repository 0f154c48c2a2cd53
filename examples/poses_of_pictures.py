"""Poses of all pictures in a folder, without ROS: one line of JSON per picture.

python3 examples/poses_of_pictures.py my_pictures > poses.jsonl
"""

import json
import sys
from pathlib import Path

import metrabs_core
from metrabs_core.pictures import pictures_in, read_picture


def main():
    """Print what the model finds."""
    folder = Path(sys.argv[1])
    model = metrabs_core.load(*sys.argv[2:3])  # another model than the packaged one, if you have one
    for path in pictures_in(folder):
        # The camera is unknown: 55 degrees from left to right are assumed. Give intrinsic_matrix if you know it.
        found = model.detect_poses(read_picture(path), default_fov_degrees=55, skeleton="coco_17")
        people = [
            {"box": box.tolist(), "joints_mm": pose.tolist()}
            for box, pose in zip(found["boxes"].numpy().round(1), found["poses3d"].numpy().round(1))
        ]
        print(json.dumps({"picture": path.name, "people": people}), flush=True)


if __name__ == "__main__":
    main()
