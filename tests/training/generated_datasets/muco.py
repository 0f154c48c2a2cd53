"""A small MuCo-3DHP: composites of a generated MPI-INF-3DHP, and the HDF5 file that says of which frames they are."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import h5py
import numpy as np

from generated_datasets import detections as found
from generated_datasets import mpi_inf_3dhp, people


@dataclass
class Truth:
    """What the files were written from.

    origins: int [composites, 4, 4], subject, sequence, camera, frame; visible: bool [composites, 4, h, w], what is seen
    of each person (chairs left out of account); masks: bool [composites, h, w] of all people and chairs;
    tdhp: truth of the MPI-INF-3DHP that it is composed of.
    """

    origins: np.ndarray
    visible: np.ndarray
    masks: np.ndarray
    tdhp: mpi_inf_3dhp.Truth


def generate(
    root: Path, tdhp: mpi_inf_3dhp.Truth, seed: int = 0, n_composites: int = 6, nested: bool = False,
    detections: bool = True,
) -> Truth:  # fmt: skip
    """Write root/muco as the official script leaves it, from what `mpi_inf_3dhp.generate` returned.

    Args:
        root: data root.
        tdhp: truth of MPI-INF-3DHP; its pictures, masks and chair masks of all frames are written, too (as JPEG files,
            as the script wants them).
        seed: of everything.
        n_composites: number of pictures.
        nested: put the pictures into folders of 100 and 10,000, as users do.
        detections: write `detections.npz`, too, so that no detector is needed.
    """
    rng = np.random.default_rng([seed, 77])
    keys = sorted(tdhp.pictures)
    write_all_frames(root / "3dhp", tdhp)
    origins, visible, masks, boxes = [], [], [], {}
    for composite in range(n_composites):
        camera = int(rng.choice(mpi_inf_3dhp.CAMERAS))
        choices = [key for key in keys if key[2] == camera]
        chosen = [choices[i] for i in rng.permutation(len(choices))[:4]]
        chosen += [choices[0]] * (4 - len(chosen))
        group = [(*key, int(rng.integers(len(tdhp.pictures[key])))) for key in chosen]
        order = np.argsort([tdhp.poses[g[:3]][g[3], mpi_inf_3dhp.NAMES_28.index("pelv"), 2] for g in group])
        picture = tdhp.pictures[group[0][:3]][group[0][3]].copy()
        height, width = picture.shape[:2]
        seen, taken = np.zeros([4, height, width], bool), np.zeros([height, width], bool)
        for person in order:
            *key, frame = group[person]
            mask = tdhp.masks[tuple(key)][frame]
            seen[person] = mask & ~taken
            taken |= mask
            picture[seen[person]] = tdhp.pictures[tuple(key)][frame][seen[person]]
        origins.append(group)
        visible.append(seen)
        masks.append(taken | chair(height))
        name = f"{composite + 1:06d}.jpg"
        place = f"unaugmented_set_001/{name[:2]}/{name[:4]}/{name}" if nested else f"unaugmented_set_001/{name}"
        path = root / "muco" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])
        shown = [people.box_of(mask) for mask in seen if mask.sum() > 30]
        boxes[place] = [[*box, 0.8] for box in shown]
    if detections:
        found.write(root / "muco", boxes)
    _write_info(root / "muco/sampled_dataset_info.mat", origins)
    return Truth(np.array(origins), np.array(visible), np.array(masks), tdhp)


def chair(side: int) -> np.ndarray:
    """Where the generated chair masks have a chair: bool [side, side]."""
    mask = np.zeros([side, side], bool)
    mask[-20:-4, 4:14] = True
    return mask


def write_all_frames(folder: Path, tdhp: mpi_inf_3dhp.Truth) -> None:
    """Write every frame's picture, mask and chair mask, as `prepare mpi-inf-3dhp --all-frames` does."""
    for (subject, number, camera), pictures in tdhp.pictures.items():
        side = pictures.shape[1]
        for frame, picture in enumerate(pictures):
            red = np.zeros_like(picture)
            red[tdhp.masks[subject, number, camera][frame], 0] = 255
            chairs = np.where(chair(side)[..., None], 0, 255).astype(np.uint8).repeat(3, -1)
            for kind, image in (("imageSequence", picture), ("FGmasks", red), ("ChairMasks", chairs)):
                path = folder / f"S{subject}/Seq{number}/{kind}/img_{camera}_{frame:06d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), image[..., ::-1])


def _write_info(path: Path, origins) -> None:
    """A MATLAB 7.3 cell array {composites, 4} of cells that hold [subject, sequence, camera, frame]."""
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_group("#refs#")
        info = file.create_dataset("composite_info", (4, len(origins)), dtype=h5py.ref_dtype)
        info.attrs["MATLAB_class"] = np.bytes_("cell")
        for composite, group in enumerate(origins):
            for person, origin in enumerate(group):
                values = cells.create_dataset(f"v{composite}_{person}", data=np.float64(origin)[:, None])
                values.attrs["MATLAB_class"] = np.bytes_("double")
                cell = cells.create_dataset(f"c{composite}_{person}", (1, 1), dtype=h5py.ref_dtype)
                cell.attrs["MATLAB_class"] = np.bytes_("cell")
                cell[0, 0] = values.ref
                info[person, composite] = cell.ref
