"""``metrabs-train synthesize``: render a dataset of annotated people.

Scenes are independent: each draws from its own random generator, made of the seed and the scene's number. They are
rendered in shards; a finished shard is renamed into place, so that a killed run goes on where it was.
"""

import argparse
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from metrabs_core.files import cache_folder
from metrabs_core.skeletons import NATIVE
from training.dataset_format import read_description, write_description, write_json

SCENES_PER_SHARD = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    cache = cache_folder()
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    parser.add_argument("--scenes", type=int, required=True, help="number of pictures")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same dataset (on one machine, to the byte)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--backgrounds", type=Path, help=f"folder of photographs (default: {cache}/backgrounds)")
    parser.add_argument(
        "--background-part", choices=["all", "train", "val"], default="all",
        help="photographs to use: all, all but every fifth, or every fifth",
    )  # fmt: skip
    parser.add_argument("--rooms", type=Path, help=f"folder of furniture and textures (default: {cache}/rooms)")
    parser.add_argument("--motions", type=Path,
                        help="folder of BVH motion capture, for people as they move in everyday life; or of "
                        f"humanoid3d_*.txt clips (default: {cache}/motions)")  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Render the dataset that the arguments describe.

    Raises:
        ValueError: the arguments make no sense, or the folder holds a dataset made with others.
        RuntimeError: nothing can be rendered on this machine.
    """
    if args.scenes < 1:
        raise ValueError(f"--scenes is {args.scenes}; ask for at least one.")
    folders = {}
    for name in ("backgrounds", "motions", "rooms"):
        folders[name] = getattr(args, name)
        if folders[name] is None:
            cached = cache_folder() / name
            folders[name] = cached if cached.is_dir() else None
        elif not folders[name].is_dir():
            raise ValueError(f"--{name} is {folders[name]}, which is no folder; leave it out to do without.")
    missing = [name for name, folder in folders.items() if folder is None]
    if missing:
        print(
            f"Rendering without {', '.join(missing)}: `python -m training.synthesis.assets` fetches what makes scenes "
            "more varied.", file=sys.stderr,
        )  # fmt: skip
    settings = (folders["backgrounds"], args.background_part, folders["motions"], folders["rooms"])
    try:  # these take seconds to import, which who wants another command needn't wait for
        from training.synthesis import bodies
        from training.synthesis.motions import read_motions
        from training.synthesis.renderer import check_context

        bodies.prepare()
    except ImportError as error:
        raise RuntimeError(f"Rendering people needs packages that are missing: {error}.") from error
    check_context()
    captured = read_motions(folders["motions"])
    for sentence in captured.left_out:
        print(f"metrabs-train synthesize: {sentence}", file=sys.stderr)
    _describe(args.out, args.seed, *settings, captured)

    shards = []
    for number, start in enumerate(range(0, args.scenes, SCENES_PER_SHARD)):
        count = min(SCENES_PER_SHARD, args.scenes - start)
        folder = args.out / f"shard_{number:05d}"
        if (folder / "annotations.json").exists():
            if len(json.loads((folder / "annotations.json").read_text())) == count:
                continue
            shutil.rmtree(folder)
        shards.append((args.seed, start, count, folder))
    started, rendered = time.monotonic(), 0
    with tqdm(total=args.scenes, unit="scene", desc="synthesize", smoothing=0.05) as bar:
        bar.update(args.scenes - sum(shard[2] for shard in shards))
        if shards:
            os.environ.update(_ONE_THREAD)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(min(args.workers, len(shards)), context, _start_worker, settings) as pool:
                for job in as_completed([pool.submit(_render_shard, shard) for shard in shards]):
                    scenes, people = job.result()
                    bar.update(scenes)
                    rendered += people
                    bar.set_postfix_str(f"{rendered / (time.monotonic() - started):.0f} people/s")
    seconds = time.monotonic() - started
    sheet = args.out / "contact_sheet.png"
    draw_contact_sheet(args.out, sheet)
    if shards:
        print(f"{rendered} people rendered in {seconds:.0f} s ({rendered / seconds:.0f} people/s); look at {sheet}")
    else:
        print(f"All scenes were there already; look at {sheet}")


def _describe(
    out: Path, seed: int, backgrounds: Path | None, part: str, motions: Path | None, rooms: Path | None, captured
) -> None:
    """Write ``dataset.json``, or make sure that the one that is there says the same."""
    from training.synthesis.backgrounds import Backgrounds
    from training.synthesis.furniture import Rooms
    from training.synthesis.humanoid_clips import Clips

    other = {
        "generator": "metrabs-train synthesize, version 2",  # another version, other pictures of the same seed
        "seed": seed,
        "photographs": len(Backgrounds(backgrounds, part).paths),
        "motion_clips": len(Clips(motions).clips),
        "furniture": len(Rooms(rooms).models),
    }
    if captured.clips:
        other |= {"bvh_clips": len(captured.clips), "bvh_frames": captured.n_frames}
    if (out / "dataset.json").exists():
        existing = read_description(out).other
        different = [name for name in other if existing.get(name) != other[name]]
        if different:
            raise ValueError(f"{out} holds a dataset made with another {', '.join(different)}; choose another folder.")
    else:
        write_description(out, list(NATIVE.joint_names), NATIVE.edges, **other)


# One core for each worker, in NumPy's linear algebra and in Mesa's software rasterizer.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
_worker = None


def _start_worker(backgrounds: Path | None, part: str, motions: Path | None, rooms: Path | None) -> None:
    global _worker
    from training.synthesis.worker import Worker

    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(backgrounds, part, motions, rooms)


def _end_with_parent() -> None:
    """End this process when its parent is killed; else it would wait for work forever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _render_shard(shard: tuple) -> tuple[int, int]:
    """Render and write one shard; returns the numbers of scenes and people."""
    seed, start, count, folder = shard
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    annotations = []
    for i, (image, quality, camera, people) in enumerate(_worker.scenes(seed, start, count)):
        name = f"{i:04d}.jpg"
        cv2.imwrite(str(temporary / name), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        annotations.append({"image": name, "camera": camera, "people": people})
    write_json(temporary / "annotations.json", annotations)
    temporary.rename(folder)
    return count, sum(len(annotation["people"]) for annotation in annotations)


def draw_contact_sheet(dataset: Path, path: Path, columns: int = 8, rows: int = 6, cell: int = 320) -> None:
    """Draw the first pictures of a dataset with their skeletons and boxes: left limbs red, right limbs blue.

    Args:
        dataset: dataset folder.
        path: PNG file to write.
        columns, rows: pictures across and down.
        cell: side of the square that each picture fits into, pixels.
    """
    description = read_description(dataset)
    names, edges = description.joint_names, description.edges
    sheet = np.full([rows * cell, columns * cell, 3], 255, np.uint8)
    shards = sorted(p.parent for p in dataset.glob("shard_*/annotations.json"))
    pictures = []
    for shard in shards:
        annotations = json.loads((shard / "annotations.json").read_text())
        pictures += [(shard / a["image"], a) for a in annotations]
        if len(pictures) >= rows * columns:
            break
    for i, (file, annotation) in enumerate(pictures[: rows * columns]):
        image = cv2.imread(str(file))
        for person in annotation["people"]:
            points = np.array(person["joints2d"])
            for a, b in edges:
                side = names[b][0]
                colour = (40, 40, 255) if side == "l" else (255, 80, 40) if side == "r" else (60, 220, 60)
                ends = np.clip(points[[a, b]], -3000, 3000).round().astype(int)
                cv2.line(image, tuple(ends[0].tolist()), tuple(ends[1].tolist()), colour, 1, cv2.LINE_AA)
            left, top, width, height = person["box"]
            corners = np.array([[left, top], [left + width, top + height]]).round().astype(int)
            cv2.rectangle(image, corners[0].tolist(), corners[1].tolist(), (0, 200, 255), 1)
        scale = cell / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        y, x = i // columns * cell, i % columns * cell
        sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
    temporary = path.with_name(f".{path.name}.tmp.png")
    cv2.imwrite(str(temporary), sheet)
    temporary.replace(path)


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    try:
        run(parser.parse_args())
    except (ValueError, RuntimeError) as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
