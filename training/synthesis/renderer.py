"""OpenGL rendering of people and objects, off screen through EGL (a GPU, or Mesa's software rasterizer)."""

import os

import moderngl
import numpy as np

os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's software rasterizer: one core for each worker process

MAX_LIGHTS = 3
NEAR, FAR = 0.08, 120.0  # metres
SUPERSAMPLING = 2

_LIGHTING = """
uniform vec3 u_light_direction[3];
uniform vec3 u_light_colour[3];
uniform vec3 u_sky;
uniform vec3 u_ground;
uniform vec3 u_eye;
vec3 shade(vec3 albedo, vec3 n, vec3 position, float gloss, float occlusion) {
    vec3 view = normalize(u_eye - position);
    vec3 light = mix(u_ground, u_sky, n.z * 0.5 + 0.5) * occlusion;
    vec3 highlight = vec3(0.0);
    for (int i = 0; i < 3; i++) {
        float cosine = dot(n, u_light_direction[i]);
        light += u_light_colour[i] * max(0.0, (cosine + 0.15) / 1.15) * mix(1.0, occlusion, 0.4);
        vec3 halfway = normalize(u_light_direction[i] + view);
        highlight += u_light_colour[i] * pow(max(0.0, dot(n, halfway)), 28.0) * gloss;
    }
    return albedo * light + highlight;
}
"""

_PROJECTION = """
uniform mat4 u_projection;  // world metres -> clip, for a pinhole camera
"""

_BODY_VERTEX = (
    """
#version 330
in vec3 in_position;
in vec3 in_normal;
in vec3 in_rest;
in vec4 in_surface;  // along the arm, downward, head, eye
out vec3 v_position;
out vec3 v_normal;
out vec3 v_rest;
out vec4 v_surface;
uniform float u_sleeve, u_hem, u_collar, u_waist, u_trousers, u_shoe_top;
uniform float u_shirt_cm, u_pants_cm, u_shoe_cm, u_hair_cm, u_hairline, u_hair_long, u_lift;
uniform vec3 u_phase;
"""
    + _PROJECTION
    + """
float hair_amount(vec3 rest, float hairline) {
    vec3 d = normalize(rest - vec3(0.0, -0.02, 0.745));
    return d.z * 0.75 + d.y * 0.75 - abs(d.x) * 0.12 - hairline + 0.25;
}
void main() {
    float arm = in_surface.x, down = in_surface.y;
    float thickness = 0.0;
    float shirt = smoothstep(u_collar - 0.02, u_collar + 0.03, down) * (1.0 - smoothstep(u_hem - 0.03, u_hem, down))
                * (1.0 - smoothstep(u_sleeve - 0.06, u_sleeve, arm));
    float pants = smoothstep(u_waist - 0.03, u_waist, down) * (1.0 - smoothstep(u_trousers - 0.06, u_trousers, down))
                * step(arm, 0.001);
    float shoe = smoothstep(u_shoe_top - 0.05, u_shoe_top + 0.05, down);
    vec3 q = in_rest * 21.0 + u_phase;
    float folds = 1.0 + 0.16 * sin(q.z + 2.0 * sin(q.x * 0.8 + q.y))
                      + 0.12 * sin(q.x * 2.3 + 1.5 * sin(q.z * 1.7 + q.y * 2.1));
    float sag = 1.0 + 0.8 * smoothstep(0.0, 2.0, arm) + 0.6 * smoothstep(0.3, 1.9, down);
    thickness += max(shirt * u_shirt_cm, pants * u_pants_cm) * folds * sag + (shirt * pants) * 0.4;
    thickness = max(thickness, shoe * u_shoe_cm);
    float hair = in_surface.z * smoothstep(0.0, 0.25, hair_amount(in_rest, u_hairline)) * (1.0 - in_surface.w);
    thickness += hair * u_hair_cm * (0.9 + 0.2 * sin(dot(in_rest, vec3(63.0, 47.0, 55.0)) + u_phase.z));
    vec3 p = in_position + in_normal * (thickness * 0.01) + vec3(0.0, 0.0, u_lift);
    v_position = p;
    v_normal = in_normal;
    v_rest = in_rest;
    v_surface = in_surface;
    gl_Position = u_projection * vec4(p, 1.0);
}
"""
)

_BODY_FRAGMENT = (
    """
#version 330
in vec3 v_position;
in vec3 v_normal;
in vec3 v_rest;
in vec4 v_surface;
out vec4 f_colour;
uniform float u_id;
uniform vec3 u_skin, u_hair, u_shirt_a, u_shirt_b, u_pants_a, u_pants_b, u_shoe, u_sole, u_inner, u_phase;
uniform vec2 u_shirt_pattern, u_pants_pattern;
uniform float u_sleeve, u_hem, u_collar, u_waist, u_trousers, u_shoe_top, u_open, u_wrinkle, u_hairline, u_beard;
uniform float u_glove, u_hair_cm;
"""
    + _LIGHTING
    + """
float blotch(vec3 p) {
    return sin(p.x * 1.7 + u_phase.x + sin(p.y * 1.3 + p.z)) + sin(p.y * 2.1 + u_phase.y + sin(p.z * 1.9 - p.x))
         + sin(p.z * 1.5 + u_phase.z + sin(p.x * 1.1 - p.y));
}
vec3 cloth(vec3 a, vec3 b, vec2 pattern, vec3 rest, float arm) {
    vec3 p = arm > 0.0 ? vec3(rest.x * 0.3, rest.y, arm * 0.3) : rest;
    vec3 q = p * pattern.y;
    if (pattern.x < 0.5) return a;
    if (pattern.x < 1.5) return fract(q.z) < 0.5 ? a : b;
    if (pattern.x < 2.5) return fract(q.x + q.y * 0.3) < 0.4 ? a : b;
    if (pattern.x < 3.5) {
        float lines = step(fract(q.z), 0.3) + step(fract(q.x + q.y * 0.3), 0.3);
        return mix(a, b, lines * 0.5);
    }
    if (pattern.x < 4.5) return mix(a, b, smoothstep(-0.3, 0.3, blotch(q)));
    if (pattern.x < 5.5) return length(fract(q.xz) - 0.5) < 0.28 ? b : a;
    vec2 chest = vec2(rest.x, rest.z - 0.36);  // a print on the chest
    return rest.y < -0.02 && arm <= 0.0 && abs(chest.x) < 0.11 && abs(chest.y) < 0.09 && blotch(q * 2.0) > -0.6 ? b : a;
}
void main() {
    float arm = v_surface.x, down = v_surface.y, gloss = 0.06;
    vec3 albedo = u_skin * (1.0 + 0.05 * blotch(v_rest * 40.0) / 3.0);
    float wrinkle = 0.0;
    bool head = v_surface.z > 0.5;
    if (head) {
        vec3 d = normalize(v_rest - vec3(0.0, -0.02, 0.745));
        float hair = d.z * 0.75 + d.y * 0.75 - abs(d.x) * 0.12 - u_hairline + 0.25;
        vec2 face = vec2(abs(v_rest.x), v_rest.z);
        bool front = v_rest.y < -0.07;
        bool lips = front && length((face - vec2(0.0, 0.655)) * vec2(1.0, 3.2)) < 0.026;
        if (lips) albedo = mix(u_skin, vec3(0.6, 0.2, 0.2), 0.5);
        if (front && abs(face.y - 0.752 + 0.25 * (face.x - 0.03) * sign(face.x - 0.03)) < 0.005 && face.x > 0.012
            && face.x < 0.05) albedo = u_hair * 0.8;
        if (u_beard > 0.5 && d.z < -0.42 && v_rest.y < -0.02 && face.y < 0.672) albedo = mix(u_hair, u_skin, 0.25);
        if (v_surface.w > 0.5) {
            albedo = length(face - vec2(0.031, 0.728)) < 0.0065 ? vec3(0.08, 0.06, 0.05) : vec3(0.85);
            gloss = 0.5;
        } else if (hair + 0.05 * blotch(v_rest * 90.0) / 3.0 > 0.0) {
            albedo = u_hair * (0.8 + 0.25 * sin(v_rest.x * 900.0 + blotch(v_rest * 60.0) * 2.0));
            gloss = 0.12;
        }
    } else {
        bool shirt = down > u_collar && down < u_hem && arm < u_sleeve;
        bool pants = down > u_waist && down < u_trousers && arm <= 0.0;
        bool shoe = down > u_shoe_top;
        if (shoe) {
            albedo = v_rest.z < -0.795 ? u_sole : u_shoe;
            gloss = 0.2;
        } else if (shirt) {
            bool inner = u_open > 0.0 && v_rest.y < 0.0 && arm <= 0.0
                       && abs(v_rest.x) < u_open * (1.0 + 1.5 * smoothstep(-0.4, -1.0, down));
            albedo = inner ? u_inner : cloth(u_shirt_a, u_shirt_b, u_shirt_pattern, v_rest, arm);
            if (u_open > 0.0 && inner && down < -0.93) albedo = u_skin;
            wrinkle = u_wrinkle;
        } else if (pants) {
            albedo = cloth(u_pants_a, u_pants_b, u_pants_pattern, v_rest, 0.0);
            wrinkle = u_wrinkle;
            if (down < u_waist + 0.05) albedo *= 0.5;
        } else if (u_glove > 0.5 && arm > 1.9) {
            albedo = u_inner;
        }
    }
    vec3 n = normalize(v_normal);
    if (wrinkle > 0.0) {
        vec3 q = v_rest * 27.0 + u_phase;
        float a = sin(q.z * 0.9 + 2.2 * sin(q.x * 0.7 + q.y + 1.3 * sin(q.z * 0.4)));
        float b = sin(q.x * 1.6 - q.z * 1.1 + 1.8 * sin(q.z * 0.8 + q.y * 1.3));
        vec3 bump = vec3(a * b, b, a - b * 0.5);
        n = normalize(n + wrinkle * 0.4 * (bump - n * dot(bump, n)));
    }
    float occlusion = 0.75 + 0.25 * smoothstep(0.0, 0.6, v_position.z);
    f_colour = vec4(shade(albedo, n, v_position, gloss, occlusion), u_id);
}
"""
)

_OBJECT_VERTEX = (
    """
#version 330
in vec3 in_position;
in vec3 in_normal;
in vec3 in_colour;
out vec3 v_position;
out vec3 v_normal;
out vec3 v_colour;
"""
    + _PROJECTION
    + """
void main() {
    v_position = in_position;
    v_normal = in_normal;
    v_colour = in_colour;
    gl_Position = u_projection * vec4(in_position, 1.0);
}
"""
)

_OBJECT_FRAGMENT = (
    """
#version 330
in vec3 v_position;
in vec3 v_normal;
in vec3 v_colour;
out vec4 f_colour;
uniform float u_id;
uniform float u_grain;
"""
    + _LIGHTING
    + """
void main() {
    vec3 q = v_position * u_grain;
    float grain = sin(q.x * 3.0 + sin(q.y * 2.0)) * sin(q.z * 5.0 + sin(q.x)) * sin(q.y * 4.0 + q.z);
    vec3 n = normalize(v_normal);
    f_colour = vec4(shade(v_colour * (1.0 + 0.25 * grain), n, v_position, 0.1, 0.9), u_id);
}
"""
)

_ROOM_VERTEX = (
    """
#version 330
in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;
out vec3 v_position;
out vec3 v_normal;
out vec2 v_uv;
"""
    + _PROJECTION
    + """
void main() {
    v_position = in_position;
    v_normal = in_normal;
    v_uv = in_uv;
    gl_Position = u_projection * vec4(in_position, 1.0);
}
"""
)

_ROOM_FRAGMENT = (
    """
#version 330
in vec3 v_position;
in vec3 v_normal;
in vec2 v_uv;
out vec4 f_colour;
uniform sampler2D u_texture;
uniform vec3 u_tint;
"""
    + _LIGHTING
    + """
void main() {
    vec3 albedo = texture(u_texture, v_uv).rgb * u_tint;
    f_colour = vec4(shade(albedo, v_normal, v_position, 0.0, 1.0), 1.0);
}
"""
)

_SHADOW_VERTEX = (
    """
#version 330
in vec3 in_position;
uniform vec3 u_towards_light;
uniform float u_size;
"""
    + _PROJECTION
    + """
void main() {
    float height = max(in_position.z, 0.0);
    vec3 p = in_position - u_towards_light * (height / max(u_towards_light.z, 0.2));
    p.z = 0.0;
    gl_Position = u_projection * vec4(p, 1.0);
    gl_PointSize = clamp(u_size / max(gl_Position.w, 0.1), 1.0, 24.0);
}
"""
)

_SHADOW_FRAGMENT = """
#version 330
out vec4 f_colour;
void main() { f_colour = vec4(1.0); }
"""


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


class Renderer:
    """Draws people and objects into one supersampled colour buffer whose alpha holds the id of what is seen.

    Args:
        faces: int32 [F, 3], triangles of the body mesh.
        surface: float32 [V, 7], `clothing.surface_coordinates`.
    """

    def __init__(self, faces: np.ndarray, surface: np.ndarray):
        self._context = moderngl.create_standalone_context(backend="egl")
        self._context.enable(moderngl.DEPTH_TEST | moderngl.PROGRAM_POINT_SIZE)
        self._body = self._context.program(vertex_shader=_BODY_VERTEX, fragment_shader=_BODY_FRAGMENT)
        self._object = self._context.program(vertex_shader=_OBJECT_VERTEX, fragment_shader=_OBJECT_FRAGMENT)
        self._room = self._context.program(vertex_shader=_ROOM_VERTEX, fragment_shader=_ROOM_FRAGMENT)
        self._shadow = self._context.program(vertex_shader=_SHADOW_VERTEX, fragment_shader=_SHADOW_FRAGMENT)
        self._dynamic = self._context.buffer(reserve=len(surface) * 24)
        self._static = self._context.buffer(np.ascontiguousarray(surface, np.float32))
        self._indices = self._context.buffer(np.ascontiguousarray(faces, np.int32))
        self._body_array = self._context.vertex_array(
            self._body,
            [(self._dynamic, "3f 3f", "in_position", "in_normal"), (self._static, "3f 4f", "in_rest", "in_surface")],
            self._indices,
        )
        self._points = self._context.buffer(reserve=len(surface) * 12)
        self._point_array = self._context.vertex_array(self._shadow, [(self._points, "3f", "in_position")])
        self._targets = {}

    def _target(self, name: str, width: int, height: int, components: int):
        key = (name, width, height)
        if key not in self._targets:
            if len(self._targets) > 24:
                for target in self._targets.values():
                    for attachment in (*target.color_attachments, target.depth_attachment, target):
                        if attachment is not None:
                            attachment.release()
                self._targets.clear()
            self._targets[key] = self._context.framebuffer(
                [self._context.renderbuffer((width, height), components)],
                self._context.depth_renderbuffer((width, height)),
            )
        target = self._targets[key]
        target.use()
        self._context.viewport = (0, 0, width, height)
        target.clear(0, 0, 0, 0, depth=1.0)
        return target

    def _light(self, program, lights: dict) -> None:
        for name in ("u_light_direction", "u_light_colour", "u_sky", "u_ground", "u_eye"):
            if name in program:
                program[name].write(np.ascontiguousarray(lights[name], np.float32).tobytes())

    def draw_people(self, camera: np.ndarray, width: int, height: int, lights: dict, people: list, objects: list):
        """Draw people and objects.

        Args:
            camera: float32 [4, 4], `projection_matrix`.
            width: picture width, pixels.
            height: picture height, pixels.
            lights: uniforms of the lighting: directions [3, 3], colours [3, 3], sky, ground, eye [3].
            people: (vertices [V, 3], normals [V, 3], uniforms) each, metres, world; ids 1, 2, … in this order.
            objects: (positions [n, 3], normals [n, 3], colours [n, 3], grain), triangles; id 255.

        Returns:
            uint8 [2 height, 2 width, 4]: colour, and in the last channel the id (0 where nothing was drawn); and
            float32 [2 height, 2 width]: the depth buffer.
        """
        size = (SUPERSAMPLING * width, SUPERSAMPLING * height)
        target = self._target("people", *size, 4)
        matrix = np.ascontiguousarray(camera.T, np.float32).tobytes()
        self._body["u_projection"].write(matrix)
        self._light(self._body, lights)
        for i, (vertices, normals, uniforms) in enumerate(people):
            self._dynamic.write(np.concatenate([vertices, normals], 1).astype(np.float32).tobytes())
            self._body["u_id"].value = (i + 1) / 255
            for name, value in uniforms.items():
                if name in self._body:
                    self._body[name].write(np.asarray(value, np.float32).tobytes())
            self._body_array.render()
        if objects:
            self._object["u_projection"].write(matrix)
            self._object["u_id"].value = 1.0
            self._light(self._object, lights)
            for positions, normals, colours, grain in objects:
                data = np.concatenate([positions, normals, colours], 1).astype(np.float32)
                buffer = self._context.buffer(data.tobytes())
                array = self._context.vertex_array(
                    self._object, [(buffer, "3f 3f 3f", "in_position", "in_normal", "in_colour")]
                )
                self._object["u_grain"].value = grain
                array.render()
                array.release()
                buffer.release()
        colour = np.frombuffer(target.read(components=4), np.uint8).reshape(size[1], size[0], 4)
        depth = np.frombuffer(target.read(components=1, attachment=-1, dtype="f4"), np.float32).reshape(
            size[1], size[0]
        )
        return colour, depth

    def draw_room(self, camera: np.ndarray, width: int, height: int, lights: dict, surfaces: list) -> np.ndarray:
        """Draw textured rectangles (floor, walls) without supersampling.

        Args:
            camera: float32 [4, 4], `projection_matrix`.
            width: picture width, pixels.
            height: picture height, pixels.
            lights: uniforms of the lighting.
            surfaces: (corners [4, 3] in order, normal [3], repeats [2], texture uint8 [h, w, 3], tint [3]) each.

        Returns:
            uint8 [height, width, 3].
        """
        target = self._target("room", width, height, 4)
        self._room["u_projection"].write(np.ascontiguousarray(camera.T, np.float32).tobytes())
        self._light(self._room, lights)
        for corners, normal, repeats, texture, tint in surfaces:
            uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * np.asarray(repeats)
            data = np.concatenate([corners, np.tile(normal, (4, 1)), uv], 1).astype(np.float32)[[0, 1, 2, 0, 2, 3]]
            image = self._context.texture(texture.shape[1::-1], 3, np.ascontiguousarray(texture).tobytes(), alignment=1)
            image.build_mipmaps()
            image.use(0)
            buffer = self._context.buffer(data.tobytes())
            array = self._context.vertex_array(self._room, [(buffer, "3f 3f 2f", "in_position", "in_normal", "in_uv")])
            self._room["u_tint"].write(np.asarray(tint, np.float32).tobytes())
            array.render()
            for item in (array, buffer, image):
                item.release()
        return np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(height, width, 3)

    def draw_shadow(
        self, camera: np.ndarray, width: int, height: int, direction: np.ndarray, people: list
    ) -> np.ndarray:
        """Where people's shadows fall on the ground plane.

        Args:
            camera: float32 [4, 4], `projection_matrix` of a picture of this size.
            width: mask width, pixels.
            height: mask height, pixels.
            direction: float [3], unit vector toward the light.
            people: vertices [V, 3] each, metres, world.

        Returns:
            uint8 [height, width], 255 in the shadow, hard-edged.
        """
        target = self._target("shadow", width, height, 1)
        self._context.disable(moderngl.DEPTH_TEST)
        self._shadow["u_projection"].write(np.ascontiguousarray(camera.T, np.float32).tobytes())
        self._shadow["u_towards_light"].write(np.asarray(direction, np.float32).tobytes())
        self._shadow["u_size"].value = 0.035 * width
        for vertices in people:
            points = np.ascontiguousarray(vertices[::3], np.float32)
            self._points.write(points.tobytes())
            self._point_array.render(moderngl.POINTS, vertices=len(points))
        self._context.enable(moderngl.DEPTH_TEST)
        return np.frombuffer(target.read(components=1, alignment=1), np.uint8).reshape(height, width)
