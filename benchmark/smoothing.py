"""What smoothing takes off the jitter of people who stand, and how late people come who move.

The errors about a known truth are simulated: those of one camera, mostly along the line of sight, and the same for all
joints of a person, and smaller ones of each joint. Nothing here depends on the machine.
"""

import numpy as np

from benchmark.report import Table
from metrabs_core.smoothing import SMOOTHINGS, PoseFilter

_RATES = (10, 15, 30)
_SPEEDS = (300, 1200, 3000)  # mm/s: a slow hand, somebody who walks, somebody who runs
_PERSON_ERROR = (20, 20, 80)  # mm, one standard deviation across and along the line of sight
_JOINT_ERROR = 15  # mm
_N_JOINTS = 17
_SETTLED = 5  # s


def measure(people, quick: bool) -> dict:
    """Of each smoothing, the part of the jitter that stays by frame rate, and the lag in seconds by speed in mm/s."""
    rng, seconds = np.random.default_rng(0), 20 if quick else 120
    rows = []
    for name, smoothing in SMOOTHINGS.items():
        jitter, lag = {}, {}
        for rate in _RATES:
            n = rate * seconds
            errors = rng.normal(size=[n, 1, 3]) * _PERSON_ERROR + rng.normal(size=[n, _N_JOINTS, 3]) * _JOINT_ERROR
            left = _smooth(errors, rate, smoothing)[_SETTLED * rate :]
            jitter[rate] = round(float(left.std() / errors.std()), 3)
        for speed in _SPEEDS:
            path = np.zeros([n, _N_JOINTS, 3])
            path[..., 0] = np.arange(n)[:, np.newaxis] / rate * speed
            late = (path - _smooth(path + errors, rate, smoothing))[_SETTLED * rate :, :, 0].mean()
            lag[speed] = round(float(late / speed), 4)
        rows.append({"smoothing": name, "jitter": jitter, "lag": lag})
    return {"rows": rows}


def _smooth(poses, rate, smoothing):
    pose_filter = PoseFilter()
    frames = enumerate(poses[:, np.newaxis])
    return np.concatenate([pose_filter.update([1], pose, i / rate, smoothing, 1.5)[0] for i, pose in frames])


def tables(numbers: dict) -> list[Table]:
    """Part of the jitter that is left, and lag in milliseconds."""
    header = ["smoothing", *(f"jitter left at {rate} Hz" for rate in _RATES)]
    header += [f"ms late at {speed / 1000:g} m/s" for speed in _SPEEDS]
    rows = [
        [row["smoothing"]]
        + [f"{100 * part:.0f} %" for part in row["jitter"].values()]
        + [f"{abs(1000 * lag):.0f}" for lag in row["lag"].values()]
        for row in numbers["rows"]
    ]
    across, _, along = _PERSON_ERROR
    note = (
        f"Errors of {across} mm across and {along} mm along the line of sight for the whole person, and "
        f"{_JOINT_ERROR} mm for each joint (one standard deviation); lag at {_RATES[-1]} Hz."
    )
    return [Table("Smoothing of poses over time", header, rows, note)]
