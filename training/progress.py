"""Training progress: a progress bar, ``history.jsonl``, TensorBoard, and pictures of crops."""

import json
import os
import sys
import time
from pathlib import Path

import cv2
import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from metrabs_core.drawing import draw_people
from metrabs_core.files import atomic_file
from metrabs_core.skeletons import Skeleton

_SHOWN_CROPS = 8
_SHOWN_SIDE = 256


class TrainingLog:
    """Numbers and pictures of each checkpoint: ``history.jsonl``, TensorBoard, and with ``gui`` crops to look at.

    Args:
        run_dir: folder of the run.
        step: optimizer steps that are done; rows of the history after that are dropped.
        gui: draw crops with true and predicted skeletons into ``crops.png``, and a window where there is a display.
    """

    def __init__(self, run_dir: Path, step: int, gui: bool):
        self.path = run_dir / "history.jsonl"
        self.rows = [row for row in _read_rows(self.path) if row["step"] <= step]
        self._started = time.time() - (self.rows[-1]["seconds"] if self.rows else 0)
        with atomic_file(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))
        self._tensorboard = TensorBoardLog(run_dir / "tensorboard")
        self._gui = Gui(run_dir / "crops.png") if gui else None

    def write(self, stage: str, step: int, samples: int, numbers: dict[str, float], model, batch: tuple) -> None:
        """Write the numbers and pictures of a step.

        Args:
            stage: name of the stage of training.
            step: optimizer steps so far, of all stages.
            samples: crops seen so far.
            numbers: losses and errors.
            model: the crop model.
            batch: inputs and labels to show.
        """
        rounded = {name: float(f"{value:.6g}") for name, value in numbers.items()}
        row = {"stage": stage, "step": step, "samples": samples, "seconds": round(time.time() - self._started, 1)}
        self.rows.append({**row, **rounded})
        with open(self.path, "a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        pictures = {"crops": self._gui.show(model, batch)} if self._gui else {}
        self._tensorboard.write(step, numbers, pictures)

    def close(self) -> None:
        """Flush and close the log."""
        self._tensorboard.close()


def _read_rows(path: Path) -> list[dict]:
    """The rows of a history; a process may have been killed while it wrote the last one."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class TensorBoardLog:
    """Scalars and pictures for TensorBoard, on any Keras backend; nothing if ``tensorboard`` is not installed.

    Args:
        folder: where the event files go.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            print("There will be no TensorBoard logs: the package tensorboard is not installed.", file=sys.stderr)
            self._writer = None
            return
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder))

    def write(self, step: int, scalars: dict[str, float], pictures: dict[str, np.ndarray]) -> None:
        """Write numbers and pictures (uint8 [H, W, 3], RGB) of one step."""
        if self._writer is None:
            return
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        for tag, picture in pictures.items():
            encoded = cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
            height, width = picture.shape[:2]
            image = self._summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encoded)
            values.append(self._summary.Value(tag=tag, image=image))
        event = self._event(wall_time=time.time(), step=step, summary=self._summary(value=values))
        self._writer.add_event(event)
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the log."""
        if self._writer is not None:
            self._writer.close()


def draw_crops(crops: np.ndarray, true: dict, predicted: dict, skeleton: Skeleton) -> np.ndarray:
    """A sheet of crops, with skeletons and distances: the true ones in the upper row, predicted ones in the lower.

    Args:
        crops: uint8 [N, P, P, 3], RGB.
        true: ``joints2d`` float32 [N, J, 2] px, ``joints3d`` float32 [N, J, 3] mm, ``valid2d`` [N, J].
        predicted: ``points2d`` and ``poses3d``, of the same shapes.
        skeleton: names of the joints, and bones.

    Returns:
        uint8 [2 * 256, N * 256, 3], RGB.
    """
    scale = _SHOWN_SIDE / crops.shape[1]
    true2d = np.where(true["valid2d"][..., None] > 0, true["joints2d"], np.nan)
    box = [[0, 0, _SHOWN_SIDE, _SHOWN_SIDE]]
    rows = []
    for poses2d, poses3d in ((true2d, true["joints3d"]), (predicted["points2d"], predicted["poses3d"])):
        cells = []
        for crop, pose2d, pose3d in zip(crops, poses2d, poses3d):
            cell = cv2.resize(crop, (_SHOWN_SIDE, _SHOWN_SIDE))
            cells.append(draw_people(cell, box, (pose2d[None] + 0.5) * scale - 0.5, pose3d[None], [-1], skeleton))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)


class Gui:
    """Crops with true and predicted skeletons: ``crops.png``, and a window where there is a display.

    Args:
        path: of the PNG file, overwritten each time.
    """

    def __init__(self, path: Path):
        self.path = path
        self.has_window = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))

    def show(self, model, batch: tuple) -> np.ndarray:
        """Draw the first crops of a batch with what a crop model says of them; returns the sheet, uint8 RGB."""
        (crops, intrinsics), labels = batch
        n = _SHOWN_CROPS
        out = model([ops.cast(crops[:n], "float32") / 255, intrinsics[:n]], training=False)
        predicted = {name: ops.convert_to_numpy(value) for name, value in out.items()}
        true = {name: value[:n] for name, value in labels.items()}
        sheet = draw_crops(crops[:n], true, predicted, model.skeleton)
        with atomic_file(self.path) as temporary:
            temporary.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())
        if self.has_window:
            try:
                cv2.imshow("metrabs-train: true (above) and predicted (below)", sheet[..., ::-1])
                cv2.waitKey(1)
            except cv2.error:
                self.has_window = False
        return sheet


class ProgressBar(keras.callbacks.Callback):
    """One bar for all steps of a stage, and a line of numbers per checkpoint.

    Args:
        title: of the bar.
        step: steps that are done.
        steps: steps in all.
        verbose: 0 silent, 1 bar and lines, 2 lines.
    """

    def __init__(self, title: str, step: int, steps: int, verbose: int):
        super().__init__()
        self.verbose, self.steps, self.step = verbose, steps, step
        self.bar = tqdm(desc=title, total=steps, initial=step, unit="step", disable=None if verbose == 1 else True)

    def on_train_batch_end(self, batch, logs=None):
        """Move the bar."""
        self.step += 1
        self.bar.set_postfix_str(" ".join(f"{n} {logs[n]:.4g}" for n in ("loss", "mpjpe") if n in logs), refresh=False)
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        """Print the numbers."""
        if self.verbose:
            tqdm.write(f"step {self.step}/{self.steps}  " + "  ".join(f"{n} {v:.4g}" for n, v in logs.items()))

    def on_train_end(self, logs=None):
        """Leave the bar as it is."""
        self.bar.close()
