"""Renders a data set, by several processes.

Scenes are independent: each draws from its own random generator, made of the seed and the scene's number. They are
rendered in shards; a finished shard is renamed into place, so that a killed run resumes where it stopped.
"""

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
from tqdm import tqdm

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_folder, write_json
from metrabs_core.skeletons import NATIVE
from training.dataset_format import read_description, write_description
from training.synthesis import anny_body
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.contact_sheet import draw_contact_sheet
from training.synthesis.furniture import Rooms
from training.synthesis.humanoid_clips import Clips
from training.synthesis.motions import read_motions
from training.synthesis.renderer import check_context
from training.synthesis.worker import Sources, Worker

SCENES_PER_SHARD = 32
_GENERATOR = "metrabs-train synthesize, version 2"  # another version, other pictures of the same seed
# What ``dataset.json`` says, and what it says of motion capture if there was any.
_FACTS = ("generator", "seed", "photographs", "motion_clips", "furniture")
_BVH_FACTS = ("bvh_clips", "bvh_frames")


def render_dataset(out: Path, n_scenes: int, seed: int, n_workers: int, sources: Sources) -> None:
    """Render what a data set lacks, show progress, and draw its contact sheet.

    Args:
        out: folder of the data set.
        n_scenes: how many pictures it is to have.
        seed: of the data set.
        n_workers: number of processes.
        sources: what scenes are made of.

    Raises:
        UserError: nothing can be rendered on this machine, or the folder holds a data set that was made otherwise.
    """
    anny_body.prepare()
    check_context()
    _describe(out, seed, sources)
    shards = _missing_shards(out, n_scenes, seed)
    started, rendered = time.monotonic(), 0
    with tqdm(total=n_scenes, unit="scene", desc="synthesize", smoothing=0.05) as bar:
        bar.update(n_scenes - sum(shard[2] for shard in shards))
        if shards:
            os.environ.update(_ONE_THREAD)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(min(n_workers, len(shards)), context, _start_worker, (sources,)) as pool:
                for job in as_completed([pool.submit(_render_shard, shard) for shard in shards]):
                    scenes, people = job.result()
                    bar.update(scenes)
                    rendered += people
                    bar.set_postfix_str(f"{rendered / (time.monotonic() - started):.0f} people/s")
    seconds = time.monotonic() - started
    sheet = out / "contact_sheet.png"
    draw_contact_sheet(out, sheet)
    if shards:
        print(f"{rendered} people rendered in {seconds:.0f} s ({rendered / seconds:.0f} people/s); look at {sheet}")
    else:
        print(f"All scenes were there already; look at {sheet}")


def _describe(out: Path, seed: int, sources: Sources) -> None:
    """Write ``dataset.json``, or make sure that the one that is there says the same."""
    captured = read_motions(sources.motions)
    for sentence in captured.left_out:
        print(f"metrabs-train synthesize: {sentence}", file=sys.stderr)
    photographs = len(Backgrounds(sources.backgrounds, sources.part).paths)
    clips, furniture = len(Clips(sources.motions).clips), len(Rooms(sources.rooms).models)
    other = dict(zip(_FACTS, (_GENERATOR, seed, photographs, clips, furniture)))
    if captured.clips:
        other |= zip(_BVH_FACTS, (len(captured.clips), captured.n_frames))
    if (out / "dataset.json").exists():
        existing = read_description(out).other
        different = [name for name in (*_FACTS, *_BVH_FACTS) if existing.get(name) != other.get(name)]
        if different:
            raise UserError(f"{out} holds a dataset made with another {', '.join(different)}; choose another folder.")
    else:
        write_description(out, list(NATIVE.joint_names), NATIVE.edges, **other)


def _missing_shards(out: Path, n_scenes: int, seed: int) -> list[tuple[int, int, int, Path]]:
    """Seed, first scene, number of scenes and folder of each shard that isn't there; removes what a killed run left."""
    for unfinished in out.glob(".shard_*"):
        shutil.rmtree(unfinished)
    shards = []
    for number, start in enumerate(range(0, n_scenes, SCENES_PER_SHARD)):
        count = min(SCENES_PER_SHARD, n_scenes - start)
        folder = out / f"shard_{number:05d}"
        if (folder / "annotations.json").exists():
            if len(json.loads((folder / "annotations.json").read_text())) == count:
                continue
            shutil.rmtree(folder)
        shards.append((seed, start, count, folder))
    return shards


# One core for each worker, in NumPy's linear algebra and in Mesa's software rasterizer.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
_worker = None


def _start_worker(sources: Sources) -> None:
    global _worker
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(sources)


def _end_with_parent() -> None:
    """End this process when its parent is killed; else it would wait for work forever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _render_shard(shard: tuple) -> tuple[int, int]:
    """Render and write one shard; returns the numbers of scenes and people."""
    seed, start, count, folder = shard
    annotations = []
    with atomic_folder(folder) as temporary:
        for i, (image, quality, camera, people) in enumerate(_worker.scenes(seed, start, count)):
            name = f"{i:04d}.jpg"
            cv2.imwrite(str(temporary / name), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            annotations.append({"image": name, "camera": camera, "people": people})
        write_json(temporary / "annotations.json", annotations)
    return count, sum(len(annotation["people"]) for annotation in annotations)
