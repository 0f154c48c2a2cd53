"""From a data set's files to its people: what is missing, and a cache that notices when the files have changed."""

import hashlib
import os
import warnings
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import cache_folder
from metrabs_core.skeletons import Skeleton
from training.datasets.table import Table

# To be raised when readers change what they make of the same files.
_READERS_VERSION = 1


@dataclass
class Annotations:
    """What a reader has found, before it reads.

    Attributes:
        skeleton: joints of the people.
        files: the files that the labels come from; a change of their content is noticed.
        read: reads the people from these files.
        missing: what should be there and isn't, one line each.
    """

    skeleton: Skeleton
    files: list[Path]
    read: Callable[[], Table]
    missing: list[str] = field(default_factory=list)


def report_missing(dataset: str, missing: list[str], allow_missing: bool) -> None:
    """Say all that is missing, at once: as an error, or as a warning if the rest is to go on.

    Raises:
        UserError: something is missing, and that isn't allowed.
    """
    if not missing:
        return
    text = "\n  ".join(missing)
    if not allow_missing:
        raise UserError(
            f"{dataset} is not complete; metrabs-train prepare makes it so, or says what to download "
            f"(--allow-missing goes on with the rest). Missing:\n  {text}"
        )
    warnings.warn(f"{dataset}: left out what is missing:\n  {text}", stacklevel=2)


def content_key(root: Path, files: Iterable[Path], *facts) -> str:
    """A hash of the names and contents of files and of some facts. Dates don't count."""
    paths = sorted(set(files))
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # hashing and reading leave the interpreter to others
        digests = list(pool.map(_digest, paths))
    whole = hashlib.sha256(repr((_READERS_VERSION, *facts)).encode())
    for path, digest in zip(paths, digests):
        whole.update(f"\n{path.relative_to(root).as_posix()} {digest}".encode())
    return whole.hexdigest()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_cached(label: str, key: str, root: Path, make: Callable[[], Table]) -> Table:
    """Read a table that was made from the same contents before, or make it.

    Args:
        label: name of the table; one cache file per data root and label.
        key: of the contents, see ``content_key``.
        root: data root.
        make: makes the table.
    """
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]
    path = cache_folder() / "datasets" / f"{label}-{place}.npz"
    table = load_table(path, root, lambda facts: facts.get("key") == key)
    if table is None:
        table = make()
        try:
            table.save(path, key=key)
        except OSError as error:
            warnings.warn(f"The annotations can't be cached in {path.parent}: {error}.", stacklevel=2)
    return table


def load_table(path: Path, root: Path, accept: Callable[[dict], bool]) -> Table | None:
    """The table in a file; None if there is no such file, it is damaged, or its facts are not accepted."""
    try:
        return Table.load(path, root, accept)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def with_existing_images(table: Table, dataset: str, allow_missing: bool) -> Table:
    """The people whose pictures are there.

    Raises:
        UserError: some are not, and that isn't allowed.
    """
    exists, missing = look_for_images(table)
    report_missing(dataset, missing, allow_missing)
    return table if exists.all() else table.select(exists)


def look_for_images(table: Table) -> tuple[np.ndarray, list[str]]:
    """Which people's pictures are there, bool [n], and those that aren't, a line for each folder."""
    paths, inverse = np.unique(table.columns["image_path"], return_inverse=True)
    wanted = defaultdict(list)
    for number, path in enumerate(paths):
        folder, _, name = str(path).rpartition("/")
        wanted[folder].append((number, name))
    exists = np.zeros(len(paths), bool)
    missing = []
    for folder, entries in sorted(wanted.items()):
        try:
            there = set(os.listdir(table.root / folder))
        except OSError:
            there = set()
        lacking = [name for _, name in entries if name not in there]
        exists[[number for number, name in entries if name in there]] = True
        if lacking:
            and_more = f" to {lacking[-1]} ({len(lacking)} pictures)" if len(lacking) > 1 else ""
            missing.append(f"{folder}/{lacking[0]}{and_more}")
    return exists[inverse], missing
