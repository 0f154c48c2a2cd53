"""The packaged models against others that find people and their poses, in turns; only ratios tell something."""

import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np

from benchmark import peer_mediapipe, peer_metrabs
from benchmark.peer_process import PeerProcess
from benchmark.report import Table
from benchmark.rounds import in_turns
from metrabs_core.errors import UserError

_PEOPLE = (1, 2)
# Who has another environment, or would change the memory and threads of others, has a process of its own.
_PROCESSES = {
    "`fast` and `accurate`": partial(peer_metrabs.command, "ours"),
    "MediaPipe Pose": peer_mediapipe.command,
    "the stand-in for the authors' pipeline": partial(peer_metrabs.command, "stand-in"),
}


def measure(people, quick: bool) -> dict:
    """Who is how fast.

    Returns:
        dict of ``rows``, list of dicts of ``name``, ``detector``, ``people`` in the image and how many are ``found``,
        ``ratio`` (median over the rounds of the time for an image, over that of the first with so many people) and
        ``cpu`` (median seconds of processor time for an image); and ``missing``, sentences about who did not take part.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        for n_people in _PEOPLE:
            image, boxes = _picture(people, n_people)
            np.save(folder / f"people_{n_people}.npy", image)
            np.save(folder / f"boxes_{n_people}.npy", boxes)
        contestants, rows, missing = {}, [], []
        for who, command in _PROCESSES.items():
            try:
                process = stack.enter_context(PeerProcess(command(folder), folder / f"{len(rows)}.log"))
            except (OSError, UserError, RuntimeError) as error:
                missing.append(f"Without {who}: {error}")
                continue
            for i, announced in enumerate(process.contestants):
                contestants[len(rows)] = partial(process.turn, i)
                rows.append(announced)
        turns = in_turns(contestants, 2 if quick else 10, "peers")
    return {"rows": _compared(rows, turns), "missing": missing}


def _picture(people, n_people: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture of one size, for all numbers of people, and boxes: one person whom all find, and its mirror image."""
    image, boxes = people.frame(1, width=384, columns=1, rows=1)
    width = image.shape[1]
    if n_people == 1:
        return np.hstack([image, np.full_like(image, image[0, 0])]), boxes
    left, top, *size = boxes[0]
    return np.hstack([image, image[:, ::-1]]), np.array(
        [boxes[0], [2 * width - left - size[0], top, *size]], np.float32
    )


def _compared(rows: list[dict], turns: dict) -> list[dict]:
    """The rows with ``ratio`` and ``cpu``, of the turns of each: lists of (seconds, seconds of processor time)."""
    times = {i: np.array(results) for i, results in turns.items()}
    compared = []
    for i, row in enumerate(rows):
        first = next(j for j, other in enumerate(rows) if other["people"] == row["people"])
        ratio, cpu = np.median(times[i][:, 0] / times[first][:, 0]), np.median(times[i][:, 1])
        compared.append({**row, "ratio": round(float(ratio), 3), "cpu": round(float(cpu), 4)})
    return sorted(compared, key=lambda row: row["people"])


def tables(numbers: dict) -> list[Table]:
    """Ratios, and processor time as what stands for power."""
    header = ["who", "looks for people in", "people", "found", "time for an image", "CPU seconds for an image"]
    rows = [
        [row["name"], row["detector"], str(row["people"]), str(row["found"])]
        + [f"{row['ratio']:.2f}", f"{row['cpu']:.3f}"]
        for row in numbers["rows"]
    ]
    note = (
        "In turns, each on one processor core, which is what MediaPipe uses; time as a multiple of the first's with as "
        "many people. CPU seconds, of the program and of the system for it, stand for power. MediaPipe is told how "
        "many people to look for, and gives poses without a place in space. All others use one crop for each person. "
        "The stand-in has YOLOv4 at 608 pixels and EfficientNetV2-S at 256; its weights find nobody, but take the same "
        "time, and it is told where the people are."
    )
    return [Table("Against others", header, rows, " ".join([note, *numbers["missing"]]))]
