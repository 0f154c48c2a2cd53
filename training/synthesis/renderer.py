"""OpenGL rendering of people and objects, off screen through EGL (a GPU, or Mesa's software rasterizer)."""

from dataclasses import dataclass

import cv2
import moderngl
import numpy as np

from metrabs_core.errors import UserError
from training.synthesis.rotations import cross
from training.synthesis.shaders import (
    BODY_FRAGMENT,
    BODY_VERTEX,
    CATCHER_FRAGMENT,
    CATCHER_VERTEX,
    DEPTH_FRAGMENT,
    FLAT_VERTEX,
    LOOK,
    MAX_PEOPLE,
    ROOM_FRAGMENT,
    ROOM_VERTEX,
    SHADING_FRAGMENT,
    SHADING_VERTEX,
    SOLID_FRAGMENT,
    SOLID_VERTEX,
    pack_look,
)
from training.synthesis.solids import pack

NEAR, FAR = 0.08, 120.0  # metres
SUPERSAMPLING = 1.25  # samples per picture's pixel, each way, of people and solids; pictures' sides are multiples of 4


def projection_matrix(intrinsics: np.ndarray, extrinsics: np.ndarray, width: int, height: int) -> np.ndarray:
    """World to OpenGL clip coordinates such that the buffer's first row is the picture's top row.

    Args:
        intrinsics: float [3, 3], pixels; integer coordinates are pixel centres.
        extrinsics: float [4, 4], world metres to camera metres (x right, y down, z forward).
        width: picture width, pixels.
        height: picture height, pixels.

    Returns:
        float32 [4, 4].
    """
    k = np.asarray(intrinsics, float)
    clip = np.zeros([4, 4])
    clip[0, :3] = 2 * k[0] / width
    clip[0, 2] += 1 / width - 1
    clip[1, :3] = 2 * k[1] / height
    clip[1, 2] += 1 / height - 1
    clip[2, 2], clip[2, 3] = (FAR + NEAR) / (FAR - NEAR), -2 * FAR * NEAR / (FAR - NEAR)
    clip[3, 2] = 1
    return (clip @ extrinsics).astype(np.float32)


def metric_depth(depth_buffer: np.ndarray) -> np.ndarray:
    """Distance along the optical axis, metres, of values read from the depth buffer."""
    ndc = 2 * depth_buffer - 1
    return 2 * FAR * NEAR / (FAR + NEAR - ndc * (FAR - NEAR))


def _noise_texture(side: int = 32) -> np.ndarray:
    """Smooth noise that repeats, four independent channels; uint8 [side, side, side, 4], mean 127."""
    rng = np.random.default_rng(7)
    spectrum = np.fft.rfftn(rng.standard_normal((4, side, side, side)), axes=(1, 2, 3))
    frequency = np.fft.fftfreq(side) * side
    z, y, x = np.meshgrid(frequency, frequency, frequency[: side // 2 + 1], indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    spectrum = spectrum * (radius > 0) / (4 + radius**2.2) * np.exp(-((radius / 14) ** 4))
    noise = np.fft.irfftn(spectrum, s=(side, side, side), axes=(1, 2, 3))
    noise = noise / noise.std(axis=(1, 2, 3), keepdims=True)
    return np.ascontiguousarray(np.clip(127.5 + 45 * np.moveaxis(noise, 0, -1), 0, 255).astype(np.uint8))


_SHADOW_SIDE = 384


def _create_context() -> moderngl.Context:
    try:
        return moderngl.create_standalone_context(backend="egl")
    except Exception as error:  # what it raises depends on the driver
        raise UserError(
            f"OpenGL can't be used off screen ({error}); install the system packages libegl1 and libgl1-mesa-dri."
        ) from error


def check_context() -> None:
    """Make sure that this machine can render.

    Raises:
        UserError: it can't; the message says what to install.
    """
    _create_context().release()


@dataclass
class Lights:
    """Ambient light of sky and ground, and three directional lights of which the first casts shadows.

    Attributes:
        directions: float [3, 3], unit vectors toward the lights.
        colours: float [3, 3].
        sky, ground: float [3], ambient light from above and below.
        shadow: 0 for no shadow to 1.
    """

    directions: np.ndarray
    colours: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    shadow: float


_CONTACT_SIDE = 128


def _contact(people: list[np.ndarray], solids: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where things stand on the ground or close above it, as seen from above, for the light that they keep away there.

    Args:
        people: float [n, 3] each, metres, world; points all over the surface.
        solids: float [n, 3] each; corners.

    Returns:
        uint8 [_CONTACT_SIDE, _CONTACT_SIDE], rows along y; and float [4], the corner of its area and one over its size.
    """
    low = np.concatenate([p[p[:, 2] < 0.35] for p in people])
    feet = [f for f in (p[p[:, 2] < 0.1, :2] for p in solids) if len(f) > 2]
    everything = np.concatenate([low[:, :2], *feet, [[0.0, 0.0]] if not len(low) else low[:1, :2]])
    corner = everything.min(0) - 0.5
    cells = _CONTACT_SIDE / float((everything - corner).max() + 0.5)  # to a metre
    column, row = ((low[:, :2] - corner) * cells).astype(int).T
    grid = np.zeros([_CONTACT_SIDE, _CONTACT_SIDE], np.float32)
    np.maximum.at(grid, (row, column), np.exp(-low[:, 2] / 0.1))
    grid = np.minimum(3 * cv2.GaussianBlur(grid, (0, 0), max(0.04 * cells, 0.5)), 1)
    for foot in feet:
        hull = cv2.convexHull(((foot - corner) * cells).astype(np.int32))
        cv2.fillConvexPoly(grid, hull, 0.8)
    soft = cv2.GaussianBlur(grid, (0, 0), max(0.05 * cells, 0.5))
    soft[[0, -1]] = soft[:, [0, -1]] = 0
    return np.clip(soft * 255, 0, 255).astype(np.uint8), np.array([*corner, cells, cells]) / [
        1,
        1,
        *(_CONTACT_SIDE,) * 2,
    ]


_LEVEL_LIMITS = (-230, -120)  # samples a metre, negated, from which on a coarser mesh will do


class Renderer:
    """Draws people and objects into a supersampled colour buffer whose alpha holds the number of what is seen.

    Args:
        faces: int32 [F, 3] each, triangles of the body mesh, from fine to coarse.
        surface: float32 [V, 7], `clothing.surface_coordinates` of the vertices that are drawn.
        landmarks: `clothing.landmarks`.
    """

    def __init__(self, faces: list[np.ndarray], surface: np.ndarray, landmarks: tuple[float, ...]):
        self._context = _create_context()
        self._context.enable(moderngl.DEPTH_TEST)
        self._context.front_face = "cw"  # the picture's first row is the buffer's first, which turns triangles around
        program = self._context.program
        self._body = program(vertex_shader=BODY_VERTEX, fragment_shader=BODY_FRAGMENT)
        self._solid = program(vertex_shader=SOLID_VERTEX, fragment_shader=SOLID_FRAGMENT)
        self._shading = program(vertex_shader=SHADING_VERTEX, fragment_shader=SHADING_FRAGMENT)
        self._room = program(vertex_shader=ROOM_VERTEX, fragment_shader=ROOM_FRAGMENT)
        self._flat = program(vertex_shader=FLAT_VERTEX, fragment_shader=DEPTH_FRAGMENT)
        self._catcher = program(vertex_shader=CATCHER_VERTEX, fragment_shader=CATCHER_FRAGMENT)
        self._prepare_programs(landmarks)
        self._n_vertices = len(surface)
        self._static = self._context.buffer(np.ascontiguousarray(surface, np.float32))
        self._indices = [self._context.buffer(np.ascontiguousarray(f, np.int32)) for f in faces]
        self._slots = []  # one vertex buffer with its vertex arrays for each person in a scene
        self._prepare_textures()
        self._size = (0, 0)
        self._textures = {}
        screen = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]], np.float32)
        self._screen = self._context.vertex_array(
            self._shading, [(self._context.buffer(screen), "2f", "in_position")], mode=moderngl.TRIANGLE_STRIP
        )
        ground = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32) * 200
        self._ground = self._context.vertex_array(
            self._catcher, [(self._context.buffer(ground.tobytes()), "3f", "in_position")]
        )

    def _prepare_programs(self, landmarks: tuple[float, ...]) -> None:
        self._programs = (self._body, self._solid, self._shading, self._room, self._catcher)
        units = {"u_texture": 0, "u_shadow_map": 1, "u_noise": 2, "g_a": 3, "g_b": 4, "u_contact": 5}
        for program in self._programs:
            for name, unit in units.items():
                if name in program:
                    program[name].value = unit
        self._uniforms = [set(program) for program in self._programs]  # asking a program each time is slow
        self._shading["u_landmarks"].value = landmarks
        self._look = self._context.buffer(reserve=MAX_PEOPLE * len(LOOK) * 16)
        self._look.bind_to_uniform_block(0)
        self._body["Look"].binding = self._shading["Look"].binding = 0

    def _prepare_textures(self) -> None:
        noise = _noise_texture()
        self._noise = self._context.texture3d(noise.shape[:3], 4, noise.tobytes())
        self._noise.build_mipmaps()
        self._noise.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        self._shadow_map = self._context.depth_texture((_SHADOW_SIDE, _SHADOW_SIDE))
        self._shadow_map.compare_func = "<="
        self._shadow_map.filter = (moderngl.LINEAR, moderngl.LINEAR)
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False
        self._shadow_target = self._context.framebuffer(depth_attachment=self._shadow_map)
        self._contact = self._context.texture((_CONTACT_SIDE,) * 2, 1)
        self._contact.repeat_x = self._contact.repeat_y = False

    def _make_targets(self, width: int, height: int) -> None:
        """Buffers for pictures of at least this size; the drawing goes into a corner of them."""
        if width <= self._size[0] and height <= self._size[1]:
            return
        for thing in getattr(self, "_owned", ()):
            thing.release()
        self._size = size = (max(width, self._size[0]) + 64, max(height, self._size[1]) + 64)
        context = self._context
        large = tuple(int(np.ceil(SUPERSAMPLING * v)) for v in size)
        buffers = [context.texture(large, 4, dtype="f2") for _ in range(2)]
        depth = context.depth_renderbuffer(large)
        self._geometry = context.framebuffer(buffers, depth)
        self._geometry_textures = buffers
        colour = context.renderbuffer(large, 4)
        self._shaded = context.framebuffer([colour], depth)
        self._shaded.depth_mask = False
        behind, behind_depth = context.renderbuffer(size, 4), context.depth_renderbuffer(size)
        self._behind = context.framebuffer([behind], behind_depth)
        shadow = context.renderbuffer(size, 1)
        self._caught = context.framebuffer([shadow])
        self._owned = [self._geometry, self._shaded, self._behind, self._caught, *buffers, depth, colour, behind,
                       behind_depth, shadow]  # fmt: skip

    def _begin(self, target, width: int, height: int, **clear) -> None:
        target.use()
        target.viewport = (0, 0, width, height)
        target.clear(viewport=(0, 0, width, height), **clear)

    def _slot(self, number: int):
        while len(self._slots) <= number:
            buffer = self._context.buffer(reserve=self._n_vertices * 24)
            layout = [(buffer, "3f 3f", "in_position", "in_normal"), (self._static, "3f 4f", "in_rest", "in_surface")]
            self._slots.append(
                (
                    buffer,
                    [self._context.vertex_array(self._body, layout, indices) for indices in self._indices],
                    self._context.vertex_array(self._flat, [(buffer, "3f 12x", "in_position")], self._indices[-1]),
                )
            )
        return self._slots[number]

    def render(self, intrinsics, extrinsics, width: int, height: int, lights: Lights, people: list, solids: list,
               surfaces: list, surface_scale: float, catch_shadow: bool) -> tuple:  # fmt: skip
        """Draw a scene.

        Args:
            intrinsics: float [3, 3] of a pinhole camera, pixels.
            extrinsics: float [4, 4], world metres to camera metres.
            width: picture width, pixels.
            height: picture height, pixels.
            lights: the lighting.
            people: (vertices [V, 3], normals [V, 3], look) each, metres, world; numbered 1, 2, … in this order.
            solids: other things; their number is 255, or their owner's.
            surfaces: (corners [4, 3] in order, normal [3], repeats [2], texture uint8 [h, w, 3], tint [3]) of the
                textured rectangles (floor, walls); a texture that comes again must be the same array.
            surface_scale: pixels rendered per picture's pixel, each way, of the surfaces; at most 1.
            catch_shadow: whether the shadow on the ground is wanted for a background that isn't rendered.

        Returns:
            uint8 [1.25 height, 1.25 width, 4]: people and solids on black; the number of what is seen, 0 for nothing;
            float32 [1.25 height, 1.25 width]: the depth buffer;
            uint8 [height, width, 4]: the surfaces on black, 255 in the last channel where there is one;
            uint8 [height, width] or None: how much the ground is in the shadow.
        """
        self._make_targets(width, height)
        for i, (vertices, normals, _) in enumerate(people):
            data = np.concatenate([vertices[: self._n_vertices], normals[: self._n_vertices]], 1)
            self._slot(i)[0].write(np.ascontiguousarray(data, np.float32))
        self._look.write(np.concatenate([pack_look(look) for _, _, look in people]))
        solid_buffer = self._context.buffer(pack(solids)) if solids else None
        contact, area = _contact([vertices[::3] for vertices, _, _ in people], [solid.positions for solid in solids])
        self._contact.write(contact)
        self._contact.use(5)
        light_matrix = self._draw_shadow_map(lights, people, solid_buffer)
        self._set_uniforms(intrinsics, extrinsics, width, height, lights, light_matrix, area)
        size = round(SUPERSAMPLING * width), round(SUPERSAMPLING * height)
        depth = self._draw_geometry(intrinsics, extrinsics, size, people, solid_buffer)
        colour = self._shade(size)
        behind = self._draw_surfaces(width, height, surface_scale, surfaces)
        shadow = None
        if catch_shadow:
            self._begin(self._caught, width, height)
            self._ground.render()
            shadow = self._caught.read((0, 0, width, height), components=1, alignment=1)
            shadow = np.frombuffer(shadow, np.uint8).reshape(height, width)
        if solid_buffer:
            solid_buffer.release()
        return colour, depth, behind, shadow

    def _set_uniforms(self, intrinsics, extrinsics, width, height, lights: Lights, light_matrix, contact_area) -> None:
        """Tell all programs where the camera and the lights are."""
        matrix = projection_matrix(intrinsics, extrinsics, width, height)
        rotation = np.asarray(extrinsics, float)[:3, :3]
        scale = 1 / (SUPERSAMPLING * intrinsics[[0, 1], [0, 1]])
        values = {
            "u_projection": matrix.T, "u_light_direction": lights.directions, "u_light_colour": lights.colours,
            "u_sky": lights.sky, "u_ground": lights.ground, "u_eye": -rotation.T @ np.asarray(extrinsics)[:3, 3],
            "u_light_matrix": light_matrix.T, "u_shadow": [lights.shadow, 0.012], "u_rotation": rotation,
            "u_contact_area": contact_area,
            "u_ray": [*scale, *(-(intrinsics[[0, 1], [2, 2]] + 0.5) / intrinsics[[0, 1], [0, 1]])],
        }  # fmt: skip
        values = {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
        for program, names in zip(self._programs, self._uniforms):
            for name, value in values.items():
                if name in names:
                    program[name].write(value)
        self._shadow_map.use(1)
        self._noise.use(2)

    def _draw_geometry(self, intrinsics, extrinsics, size: tuple[int, int], people: list, solid_buffer) -> np.ndarray:
        """Draw what people and solids are made of, to be shaded; returns the depth buffer."""
        self._geometry.color_mask = [(False,) * 4] * 2  # to clear the depths is enough
        self._begin(self._geometry, *size, depth=1.0)
        self._geometry.color_mask = [(True,) * 4] * 2
        self._context.enable(moderngl.CULL_FACE)
        for i, (vertices, _, _) in enumerate(people):
            self._body["person"].value = i
            depth = vertices[0] @ np.asarray(extrinsics, float)[2, :3] + extrinsics[2, 3]
            samples_a_metre = SUPERSAMPLING * intrinsics[0, 0] / max(0.1, depth)
            level = int(np.searchsorted(_LEVEL_LIMITS, -samples_a_metre))
            self._slot(i)[1][level].render()
        self._context.disable(moderngl.CULL_FACE)
        if solid_buffer:
            names = ("in_position", "in_normal", "in_colour", "in_kind")
            self._draw(self._solid, solid_buffer, "3f 3f 3f 2f", *names)
        depth = self._geometry.read((0, 0, *size), components=1, attachment=-1, dtype="f4")
        return np.frombuffer(depth, np.float32).reshape(size[1], size[0])

    def _shade(self, size: tuple[int, int]) -> np.ndarray:
        """The colours of what was drawn, and in the last channel its numbers."""
        self._begin(self._shaded, *size)  # leaves the depths, see depth_mask
        for unit, texture in enumerate(self._geometry_textures, start=3):
            texture.use(unit)
        self._context.depth_func = ">"
        self._screen.render()
        self._context.depth_func = "<"
        return np.frombuffer(self._shaded.read((0, 0, *size), components=4), np.uint8).reshape(size[1], size[0], 4)

    def _draw(self, program, buffer, layout: str, *names: str) -> None:
        array = self._context.vertex_array(program, [(buffer, layout, *names)])
        array.render()
        array.release()

    def _draw_shadow_map(self, lights: Lights, people: list, solid_buffer) -> np.ndarray:
        """Depth seen from the first light; returns its world-to-clip matrix, float64 [4, 4]."""
        corners = np.stack([f(p[0][::9], 0) for p in people for f in (np.min, np.max)])
        corners = np.concatenate([corners, corners * [1, 1, 0]])
        centre = (corners.min(0) + corners.max(0)) / 2
        radius = np.linalg.norm(corners - centre, axis=1).max() * 1.05 + 0.1
        z = -lights.directions[0]
        x = cross(z, np.array([0.0, 0.0, 1.0]))
        x = x / (np.linalg.norm(x) + 1e-9)
        rotation = np.stack([x, cross(z, x), z])
        matrix = np.eye(4)
        matrix[:3, :3] = rotation / radius
        matrix[:3, 3] = -rotation @ centre / radius
        matrix[2] = matrix[2] / 2.5  # things further along the light's way than the people
        self._shadow_target.use()
        self._context.viewport = (0, 0, _SHADOW_SIDE, _SHADOW_SIDE)
        self._shadow_target.clear(depth=1.0)
        if lights.shadow > 0:
            self._flat["u_projection"].write(np.ascontiguousarray(matrix.T, np.float32))
            for i in range(len(people)):
                self._slot(i)[2].render()
            if solid_buffer:
                self._draw(self._flat, solid_buffer, "3f 32x", "in_position")
        return matrix

    def _draw_surfaces(self, width: int, height: int, scale: float, surfaces: list) -> np.ndarray | None:
        if not surfaces:
            return None
        size = round(width * scale), round(height * scale)
        self._begin(self._behind, *size, depth=1.0)
        data = np.empty([len(surfaces), 4, 8], np.float32)
        for row, (corners, normal, repeats, _, _) in zip(data, surfaces):
            row[:, :3], row[:, 3:6], row[:, 6:] = corners, normal, _CORNERS * repeats
        buffer = self._context.buffer(data[:, [0, 1, 2, 0, 2, 3]].tobytes())
        array = self._context.vertex_array(self._room, [(buffer, "3f 3f 2f", "in_position", "in_normal", "in_uv")])
        for i, (_, _, _, texture, tint) in enumerate(surfaces):
            if id(texture) not in self._textures:
                image = self._context.texture(texture.shape[1::-1], 3, np.ascontiguousarray(texture), alignment=1)
                image.build_mipmaps()
                self._textures[id(texture)] = image, texture  # keeps the array, lest another gets its id
            self._textures[id(texture)][0].use(0)
            self._room["u_tint"].write(np.asarray(tint, np.float32))
            array.render(vertices=6, first=6 * i)
        array.release()
        buffer.release()
        picture = self._behind.read((0, 0, *size), components=4)
        picture = np.frombuffer(picture, np.uint8).reshape(size[1], size[0], 4)
        picture = cv2.GaussianBlur(picture, (3, 3), 0.6)  # there is no other smoothing of edges here
        return cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)


_CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
