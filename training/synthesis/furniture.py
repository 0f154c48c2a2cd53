"""Furniture and surfaces of rooms, from Sweet Home 3D's catalogue (models and textures GPL-2+ or CC-BY-3.0, eTeks)."""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.synthesis.rotations import about_z
from training.synthesis.solids import Solid

_PACKAGE = "com/eteks/sweethome3d/io/resources"
_AT_WALLS = [
    "bed140x190", "chest", "bedsideTable", "bookcase", "washbasin", "bed90x190", "plant", "armchair", "bunkBed90x190",
    "clothesWasher", "cooker", "cornerSofa", "dishwasher", "fridge", "fridgeFreezer", "kitchenCabinet", "piano", "sofa",
    "tvUnit", "wardrobe", "electricRadiator", "oven", "hotWaterRadiator", "floorUplight", "bed", "flowers", "crib",
    "fireplace", "glassDoorCabinet", "armchair2", "sofa2", "desk", "dresser", "filledBookcase", "aquarium", "curtains",
]  # fmt: skip
_ANYWHERE = [
    "chair", "chair2", "stool", "roundTable", "squareTable", "coffeeTable", "table", "plant", "desk", "floorUplight",
    "armchair",
]  # fmt: skip
_SEATS = {"chair": 0.462, "chair2": 0.45, "stool": 0.46}  # metres from the floor to where one sits
_TEXTURES = {
    "wall": [
        "beigeTile", "greyTile", "lightBlueTile", "marbleWall", "oldWoodenFloor", "roughcast", "smallBricks",
        "smallRedBricks", "smallWhiteBricks", "stone2Wall", "stone3Wall", "stoneTiles", "stoneWall", "wallBeigeTile",
        "woodenFloor", "blueTiles", "redTiles", "blackAndWhiteTiles",
    ],
    "ground": ["grass", "pavingStone", "pebbles", "stoneTiles", "roughcast", "boxTree"],
}  # fmt: skip
_MOST_TRIANGLES = 1200


@dataclass
class Model:
    """One piece.

    Attributes:
        corners, normals: float32 [n, 3] each, n a multiple of 3; metres, the middle of its foot at 0, its front
            toward -y, z up.
        materials: uint8 [n], numbers of the materials, which look different each time.
    """

    corners: np.ndarray
    normals: np.ndarray
    materials: np.ndarray

    def placed(self, rng: np.random.Generator, position: np.ndarray, yaw: float, scale: float = 1.0) -> Solid:
        """The piece in random colours, turned by degrees, its foot in the middle at a position [3]."""
        rotation = about_z(yaw)
        colours = np.stack([random_colour(rng) for _ in range(int(self.materials.max()) + 1)])
        return Solid(
            (self.corners * scale) @ rotation.T + position, self.normals @ rotation.T, colours[self.materials], 0.0
        )


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """Wood, white and black varnish, metal, cloth; float [3] in 0..1."""
    kind = rng.random()
    if kind < 0.4:
        return np.clip(np.array([0.55, 0.38, 0.24]) * rng.uniform(0.35, 1.6) * rng.normal(1, 0.06, 3), 0.02, 1)
    if kind < 0.75:
        return np.clip(rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.3, 0.9)]) * rng.normal(1, 0.03, 3), 0.02, 1)
    return np.clip(rng.uniform(0.15, 0.75) * rng.normal(1, 0.3, 3), 0.02, 1)


class Rooms:
    """What `unpack` has written to a folder.

    Args:
        folder: the folder, or None for none of it.

    Attributes:
        models: name -> Model.
        textures: "wall" or "ground" -> list of uint8 [h, w, 3] RGB.
    """

    def __init__(self, folder: Path | None):
        self.models: dict[str, Model] = {}
        self.textures: dict[str, list[np.ndarray]] = {"wall": [], "ground": []}
        if folder is None or not (Path(folder) / "furniture.npz").is_file():
            return
        with np.load(Path(folder) / "furniture.npz") as data:
            for name in data["names"].tolist():
                corners = data[f"{name}_corners"].astype(np.float32)
                a, b, c = corners[0::3], corners[1::3], corners[2::3]
                normals = np.cross(b - a, c - a)
                normals = np.repeat(normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9), 3, 0)
                self.models[name] = Model(corners, normals, np.repeat(data[f"{name}_materials"], 3))
        for kind, names in _TEXTURES.items():
            for name in names:
                picture = cv2.imread(str(Path(folder) / f"{name}.jpg"), cv2.IMREAD_COLOR)
                if picture is not None:
                    self.textures[kind].append(np.ascontiguousarray(picture[..., ::-1]))

    def furnish(self, rng: np.random.Generator, axes: np.ndarray, low: np.ndarray, high: np.ndarray,
                taken: np.ndarray) -> list[Solid]:  # fmt: skip
        """Put furniture along a room's walls, and some elsewhere, where nobody stands.

        Args:
            rng: random generator of the scene.
            axes: float [2, 2], the room's axes in columns, world.
            low, high: float [2], the room's corners along its axes.
            taken: float [n, 2], points along the room's axes to keep clear of: people and the camera.

        Returns:
            The solids.
        """
        solids = []
        if not self.models:
            return solids
        boxes = []
        yaw = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
        for _ in range(rng.integers(0, 9)):
            free = rng.random() < 0.3
            names = [n for n in (_ANYWHERE if free else _AT_WALLS) if n in self.models]
            if not names:
                continue
            model = self.models[names[rng.integers(len(names))]]
            scale = rng.uniform(0.9, 1.15)
            half = scale * np.abs(model.corners[:, :2]).max(0)
            side = int(rng.integers(4))  # 0: the model faces -y, so its back is to the wall at high y
            turned = half[::-1] if side % 2 else half
            room = high - low - 2 * turned - 0.05
            if (room < 0).any():
                continue
            spot = low + turned + rng.random(2) * room
            if not free:
                axis, end = (1, high) if side == 0 else (0, low) if side == 1 else (1, low) if side == 2 else (0, high)
                spot[axis] = end[axis] + (turned[axis] + 0.03) * (1 if end is low else -1)
            clear = (np.abs(taken - spot) > turned + 0.12).any(1).all()
            if not clear or any((np.abs(spot - other) < turned + size).all() for other, size in boxes):
                continue
            boxes.append((spot, turned))
            solids.append(model.placed(rng, np.array([*(axes @ spot), 0.0]), yaw + 90.0 * side, scale))
        return solids

    def seat(self, rng: np.random.Generator, height: float, position: np.ndarray, yaw: float) -> list[Solid]:
        """A chair or stool of a wanted height of the seat under somebody who faces `yaw`; empty if there is none."""
        names = [n for n, own in _SEATS.items() if n in self.models and 0.72 < height / own < 1.3]
        if not names:
            return []
        name = names[rng.integers(len(names))]
        return [self.models[name].placed(rng, position, yaw, height / _SEATS[name])]


def unpack(archive: Path, folder: Path) -> None:
    """Take furniture and textures out of ``sweethome3d.jar``.

    Args:
        archive: the jar.
        folder: where ``furniture.npz`` and the textures' JPEG files are written.
    """
    stored = {}
    with zipfile.ZipFile(archive) as jar:
        catalogue = jar.read("com/eteks/sweethome3d/io/DefaultFurnitureCatalog.properties").decode("latin-1")
        entries = dict(re.findall(r"^(\w+#\d+)=(.*?)\s*$", catalogue, re.MULTILINE))
        for key, identity in entries.items():
            name = identity.partition("#")[2]
            if not key.startswith("id#") or name not in {*_AT_WALLS, *_ANYWHERE}:
                continue
            number = key[2:]
            size = np.array([float(entries[f"{axis}{number}"]) / 100 for axis in ("width", "depth", "height")])
            path = entries[f"model{number}"].lstrip("/")
            lines = jar.read(path).decode("latin-1")
            corners, materials = _read_triangles(lines)
            corners = corners[:, [0, 2, 1]] * [1, -1, 1]  # y up -> z up
            low, high = corners.min(0), corners.max(0)
            corners = (corners - [*(low + high)[:2] / 2, low[2]]) * (size / (high - low))
            corners, materials = _decimate(corners, materials)
            stored[f"{name}_corners"] = corners.astype(np.float16)
            stored[f"{name}_materials"] = materials.astype(np.uint8)
        for name in {name for names in _TEXTURES.values() for name in names}:
            picture = cv2.imdecode(
                np.frombuffer(jar.read(f"{_PACKAGE}/textures/{name}.jpg"), np.uint8), cv2.IMREAD_COLOR
            )
            scale = min(1.0, 192 / max(picture.shape[:2]))
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(folder / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    names = sorted(name.removesuffix("_corners") for name in stored if name.endswith("_corners"))
    np.savez_compressed(folder / "furniture.npz", names=np.array(names), **stored)


def _read_triangles(lines: str) -> tuple[np.ndarray, np.ndarray]:
    """Corners [3 n, 3] and numbers of the materials [n] of a Wavefront object's faces, cut into triangles."""
    vertices, corners, numbers, materials = [], [], [], {"": 0}
    name = ""
    for line in lines.splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            vertices.append([float(v) for v in words[1:4]])
        elif words[:1] == ["usemtl"]:
            name = words[1]
        elif words[:1] == ["f"]:
            indices = [int(word.partition("/")[0]) for word in words[1:]]
            indices = [i - 1 if i > 0 else len(vertices) + i for i in indices]
            for b, c in zip(indices[1:], indices[2:]):
                corners += [vertices[indices[0]], vertices[b], vertices[c]]
                numbers.append(materials.setdefault(name, len(materials)))
    return np.array(corners), np.array(numbers)


def _decimate(corners: np.ndarray, materials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Snap corners to a grid, as coarse as it must be, so that few enough triangles are left."""
    for cell in (0.004, 0.01, 0.016, 0.024, 0.035, 0.05, 0.07, 0.1):
        snapped = np.round(corners / cell).astype(int).reshape(-1, 3, 3)
        a, b, c = snapped[:, 0], snapped[:, 1], snapped[:, 2]
        proper = (np.cross(b - a, c - a) != 0).any(1)
        _, first = np.unique(np.sort(snapped.reshape(-1, 3, 3), 1).reshape(-1, 9), axis=0, return_index=True)
        kept = np.intersect1d(np.nonzero(proper)[0], first)
        if len(kept) <= _MOST_TRIANGLES:
            break
    return (snapped[kept] * cell).reshape(-1, 3), materials[kept]
