"""The example without ROS, with the packaged model."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples/poses_of_pictures.py"


def test_there_is_a_line_for_every_picture(tmp_path, rendered_people):
    truth = rendered_people["joints_pair"]
    cv2.imwrite(str(tmp_path / "10.png"), rendered_people["image_pair"][..., ::-1])
    cv2.imwrite(str(tmp_path / "2.png"), np.full([200, 300, 3], 90, np.uint8))
    done = subprocess.run([sys.executable, EXAMPLE, tmp_path], capture_output=True, text=True, cwd=EXAMPLE.parents[1])
    assert done.returncode == 0, done.stderr
    empty, pair = map(json.loads, done.stdout.splitlines())
    assert empty == {"picture": "2.png", "people": []}
    assert pair["picture"] == "10.png" and len(pair["people"]) == len(truth) == 2
    for person in pair["people"]:
        joints = np.array(person["joints_mm"])
        assert joints.shape == (17, 3)
        assert 500 < np.ptp(joints, axis=0).max() < 2500 and (joints[:, 2] > 0).all()
