"""One scene: who stands where, the camera, the lights, the things around, and the finished picture with its labels.

World: z up, metres, the ground at z = 0. Camera: x right, y down, z forward.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from training.synthesis import accessories
from training.synthesis.backgrounds import Backgrounds
from training.synthesis.furniture import Rooms
from training.synthesis.labels import label_camera, label_person
from training.synthesis.person import Person
from training.synthesis.photography import ambient_occlusion, degrade, nearest_sample, pinhole_canvas
from training.synthesis.renderer import SUPERSAMPLING, Lights, Renderer
from training.synthesis.seats import seat_and_table
from training.synthesis.solids import OBJECT_ID, Solid
from training.synthesis.surroundings import make_outdoors, make_room, place_others, sample_lights, sample_obstacles
from training.synthesis.views import View, sample_view


@dataclass(frozen=True)
class Scene:
    """What there is to draw.

    Attributes:
        people: where they stand.
        view: the camera.
        place: "room", "outdoors", or what is behind the people: "photograph", "clutter".
        lights: the lighting.
        solids: furniture, obstacles, what people wear and carry.
        surfaces: textured rectangles, see `Renderer.render`.
        surface_scale: how sharp those are: what is far away may be out of focus.
    """

    people: list[Person]
    view: View
    place: str
    lights: Lights
    solids: list[Solid]
    surfaces: list[tuple]
    surface_scale: float


def make_scene(
    rng: np.random.Generator,
    kind: str,
    people: list[Person],
    renderer: Renderer,
    backgrounds: Backgrounds,
    rooms: Rooms,
    attempts: int = 3,
) -> tuple:
    """Lay out, render and label one scene.

    Args:
        rng: random generator of the scene.
        kind: "any", "close" (cut off by the picture's edge), "street" (small, from a raised camera) or "everyday" (as
            robots see people).
        people: posed, not yet placed; the first is what the picture is about.
        renderer: draws.
        backgrounds: photographs and textures.
        rooms: furniture.
        attempts: how often to try if nobody is seen.

    Returns:
        The picture, uint8 [height, width, 3] RGB, its JPEG quality, the camera dict and the list of people dicts as
        in the dataset format.
    """
    scene = _lay_out(rng, kind, people, backgrounds, rooms)
    image, ids_at_pixels, labels = _take_picture(rng, scene, renderer, backgrounds)
    if not labels and attempts > 1:
        kind = kind if kind == "everyday" else "any"
        return make_scene(rng, kind, people, renderer, backgrounds, rooms, attempts - 1)
    image, quality = degrade(rng, image, (ids_at_pixels > 0) & (ids_at_pixels < OBJECT_ID))
    return image, quality, label_camera(scene.view), labels


def _lay_out(
    rng: np.random.Generator, kind: str, people: list[Person], backgrounds: Backgrounds, rooms: Rooms
) -> Scene:
    first = people[0].placed(rng.uniform(0, 360), np.zeros(2))
    view = sample_view(rng, first, kind)
    placed = place_others(rng, view, first, people[1:])
    where = rng.random()
    place = "room" if where < 0.4 else "outdoors" if where < 0.72 else "photograph" if where < 0.94 else "clutter"
    if place == "photograph" and not backgrounds.paths:
        place = "room"
    solids = [s for p in placed if p.seat is not None for s in seat_and_table(rng, p, rooms)]
    solids += sample_obstacles(rng, view, placed)
    for number, person in enumerate(placed, start=1):
        solids += [replace(s, owner=number if s.owner == accessories.OWN else 0) for s in person.solids]
    lights = sample_lights(rng, place == "outdoors")
    surfaces = []
    if place == "room":
        surfaces, furnished = make_room(rng, view, placed, backgrounds, rooms)
        solids += furnished
    elif place == "outdoors":
        surfaces = make_outdoors(rng, view, placed, backgrounds)
    return Scene(placed, view, place, lights, solids, surfaces, float(rng.choice([0.45, 0.6, 0.8])))


def _take_picture(rng: np.random.Generator, scene: Scene, renderer: Renderer, backgrounds: Backgrounds) -> tuple:
    """The picture before the camera's faults, who is at each of its pixels, and the people's labels."""
    intrinsics, width, height, warp = pinhole_canvas(scene.view)
    drawn = [(p.vertices, p.normals, p.look) for p in scene.people]
    colour, depth, rendered, shadow = renderer.render(
        intrinsics, scene.view.extrinsic_matrix, width, height, scene.lights, drawn, scene.solids, scene.surfaces,
        scene.surface_scale, not scene.surfaces,
    )  # fmt: skip
    behind = _background(rng, scene, backgrounds, rendered, shadow, width, height)
    image = cv2.cvtColor(cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGBA2RGB)
    shade = cv2.cvtColor(ambient_occlusion(depth, width, height, intrinsics[0, 0]), cv2.COLOR_GRAY2RGB)
    image = cv2.multiply(image, shade, scale=1 / 255)
    ids = np.ascontiguousarray(colour[..., 3])
    uncovered = cv2.compare(ids, 0, cv2.CMP_EQ)
    uncovered = cv2.cvtColor(cv2.resize(uncovered, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_GRAY2RGB)
    image = cv2.add(image, cv2.multiply(behind, uncovered, scale=1 / 255))
    if warp is None:
        rows, columns = (nearest_sample(np.arange(n)) for n in (height, width))
        ids_at_pixels = ids[rows[:, None], columns]
    else:
        image = cv2.remap(image, warp, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        ids_at_pixels = cv2.remap(ids, (warp + 0.5) * np.float32(SUPERSAMPLING) - 0.5, None, cv2.INTER_NEAREST)
    labels = [
        label_person(person, number, scene.view, intrinsics, ids, depth, ids_at_pixels)
        for number, person in enumerate(scene.people, start=1)
    ]
    return image, ids_at_pixels, [label for label in labels if label is not None]


def _background(rng, scene: Scene, backgrounds: Backgrounds, rendered, shadow, width: int, height: int) -> np.ndarray:
    """What is behind people and solids, uint8 [height, width, 3]."""
    if scene.surfaces:
        behind = rendered[..., :3]
        if scene.place == "outdoors":
            sky = backgrounds.sky(rng, width, height)
            free = cv2.cvtColor(255 - rendered[..., 3], cv2.COLOR_GRAY2RGB)
            behind = cv2.add(np.ascontiguousarray(behind), cv2.multiply(sky, free, scale=1 / 255))
        return behind
    source = backgrounds.photograph if scene.place == "photograph" else backgrounds.clutter
    behind = source(rng, width, height)
    if rng.random() < 0.7:
        soft = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.6, 4.0))
        light = 255 - cv2.multiply(soft, rng.uniform(0.2, 0.7))
        behind = cv2.multiply(behind, cv2.cvtColor(light, cv2.COLOR_GRAY2RGB), scale=1 / 255)
    return behind
