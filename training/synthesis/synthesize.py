"""``metrabs-train synthesize``: render a dataset of annotated people.

Scenes are independent: each draws from its own random generator, made of the seed and the scene's number. They are
rendered in shards; a finished shard is renamed into place, so that a killed run goes on where it was.
"""

import argparse
import json
import multiprocessing
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from metrabs_core.skeletons import NATIVE

SCENES_PER_SHARD = 64
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "metrabs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments to a parser."""
    parser.add_argument("--out", type=Path, required=True, help="dataset folder to write")
    parser.add_argument("--scenes", type=int, required=True, help="number of pictures")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same dataset (on one machine, to the byte)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--backgrounds", type=Path, default=CACHE / "backgrounds", help="folder of photographs")
    parser.add_argument(
        "--background-part", choices=["all", "train", "val"], default="all",
        help="photographs to use: all, all but every fifth, or every fifth",
    )  # fmt: skip
    parser.add_argument("--motions", type=Path, default=CACHE / "motions", help="folder of humanoid3d_*.txt clips")
    parser.add_argument("--device", default="cpu", help="torch device of the body model, such as cuda")


def run(args: argparse.Namespace) -> None:
    """Render the dataset that the arguments describe.

    Raises:
        ValueError: the folder holds a dataset of another seed or kind, or nothing is to be rendered.
    """
    if args.scenes < 1:
        raise ValueError(f"--scenes is {args.scenes}; ask for at least one.")
    backgrounds = args.backgrounds if args.backgrounds and args.backgrounds.is_dir() else None
    motions = args.motions if args.motions and args.motions.is_dir() else None
    args.out.mkdir(parents=True, exist_ok=True)
    description = {
        "format": 1,
        "joint_names": list(NATIVE.joint_names),
        "edges": [list(edge) for edge in NATIVE.edges],
        "generator": "metrabs-train synthesize",
        "seed": args.seed,
        "background_part": args.background_part,
        "photographs": len(list(backgrounds.rglob("*"))) if backgrounds else 0,
        "motion_clips": len(list(motions.glob("humanoid3d_*.txt"))) if motions else 0,
    }
    target = args.out / "dataset.json"
    if target.exists():
        existing = json.loads(target.read_text())
        if existing != description:
            different = [k for k in description if existing.get(k) != description[k]]
            raise ValueError(
                f"{args.out} holds a dataset made with another {', '.join(different)}; choose another folder."
            )
    else:
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(description, indent=1))
        temporary.replace(target)

    shards = []
    for number, start in enumerate(range(0, args.scenes, SCENES_PER_SHARD)):
        count = min(SCENES_PER_SHARD, args.scenes - start)
        folder = args.out / f"shard_{number:05d}"
        if (folder / "annotations.json").exists():
            if len(json.loads((folder / "annotations.json").read_text())) == count:
                continue
            shutil.rmtree(folder)
        shards.append((args.seed, start, count, folder))
    if shards:
        with tqdm(total=sum(s[2] for s in shards), unit="scene", desc="synthesize", smoothing=0.05) as bar:
            settings = (backgrounds, args.background_part, motions, args.device)
            if args.workers > 1:
                context = multiprocessing.get_context("spawn")
                with context.Pool(min(args.workers, len(shards)), _start_worker, settings) as pool:
                    for count in pool.imap_unordered(_render_shard, shards):
                        bar.update(count)
            else:
                _start_worker(*settings)
                for shard in shards:
                    bar.update(_render_shard(shard))
    draw_contact_sheet(args.out, args.out / "contact_sheet.png")


_worker = None


def _start_worker(backgrounds: Path | None, part: str, motions: Path | None, device: str) -> None:
    global _worker
    cv2.setNumThreads(1)
    from training.synthesis.worker import Worker

    _worker = Worker(backgrounds, part, motions, device)


def _render_shard(shard: tuple) -> int:
    seed, start, count, folder = shard
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    annotations = []
    for i, (image, quality, camera, people) in enumerate(_worker.scenes(seed, start, count)):
        name = f"{i:04d}.jpg"
        cv2.imwrite(str(temporary / name), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        annotations.append({"image": name, "camera": camera, "people": people})
    (temporary / "annotations.json").write_text(json.dumps(annotations))
    temporary.rename(folder)
    return count


def draw_contact_sheet(dataset: Path, path: Path, columns: int = 8, rows: int = 6, cell: int = 320) -> None:
    """Draw the first pictures of a dataset with their skeletons and boxes: left limbs red, right limbs blue.

    Args:
        dataset: dataset folder.
        path: PNG file to write.
        columns, rows: pictures across and down.
        cell: side of the square that each picture fits into, pixels.
    """
    description = json.loads((dataset / "dataset.json").read_text())
    names, edges = description["joint_names"], description["edges"]
    sheet = np.full([rows * cell, columns * cell, 3], 255, np.uint8)
    shards = sorted(p.parent for p in dataset.glob("*/annotations.json"))
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
                cv2.line(image, tuple(ends[0].tolist()), tuple(ends[1].tolist()), colour, 2, cv2.LINE_AA)
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
    except ValueError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
