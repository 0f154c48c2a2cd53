"""OpenGL rendering of people and objects, off screen through EGL (a GPU, or Mesa's software rasterizer)."""

from dataclasses import dataclass

import cv2
import moderngl
import numpy as np

from metrabs_core.errors import UserError
from training.synthesis.rotations import cross

NEAR, FAR = 0.08, 120.0  # metres
SUPERSAMPLING = 1.25  # samples per picture's pixel, each way, of people and solids; pictures' sides are multiples of 4

_LIGHTING = """
uniform vec3 u_light_direction[3];
uniform vec3 u_light_colour[3];
uniform vec3 u_sky;
uniform vec3 u_ground;
uniform vec3 u_eye;
uniform mat4 u_light_matrix;
uniform sampler2DShadow u_shadow_map;
uniform vec2 u_shadow;  // strength, bias
uniform sampler2D u_contact;  // how closely things stand on the ground
uniform vec4 u_contact_area;  // its corner, and one over its size
float on_ground(vec3 position) {
    return texture(u_contact, (position.xy - u_contact_area.xy) * u_contact_area.zw).r;
}
float lit(vec3 position, vec3 n) {
    vec3 p = (u_light_matrix * vec4(position + n * u_shadow.y, 1.0)).xyz * 0.5 + 0.5;
    if (u_shadow.x <= 0.0 || p.x < 0.0 || p.x > 1.0 || p.y < 0.0 || p.y > 1.0) return 1.0;
    return 1.0 - u_shadow.x * (1.0 - texture(u_shadow_map, vec3(p.xy, p.z - 0.0015)));
}
vec3 shade(vec3 albedo, vec3 n, vec3 position, float gloss, float occlusion) {
    vec3 light = mix(u_ground, u_sky, n.z * 0.5 + 0.5) * occlusion;
    float direct = lit(position, n) * max(0.0, (dot(n, u_light_direction[0]) + 0.15) / 1.15);
    light += u_light_colour[0] * direct * mix(1.0, occlusion, 0.4);
    for (int i = 1; i < 3; i++) {
        light += u_light_colour[i] * max(0.0, (dot(n, u_light_direction[i]) + 0.15) / 1.15) * mix(1.0, occlusion, 0.4);
    }
    float glance = max(0.0, dot(n, normalize(u_light_direction[0] + normalize(u_eye - position))));
    glance *= glance; glance *= glance; glance *= glance; glance *= glance;
    vec3 colour = albedo * light + u_light_colour[0] * (direct * glance * gloss);
    return colour / (1.0 + max(colour - 0.7, 0.0));  // highlights bend down, as in films and cameras
}
"""

_PROJECTION = """
uniform mat4 u_projection;  // world metres -> clip, for a pinhole camera
"""

_HAIR = """
float hair_amount(vec3 rest, float hairline) {  // positive on the hairy part of the head
    vec3 d = normalize(rest - vec3(0.0, -0.02, 0.745));
    return d.z * 0.75 + d.y * 0.75 - abs(d.x) * 0.12 - hairline + 0.25;
}
"""

# What the shaders know about each person, four numbers to a row (a uniform block of rows for every person); the names
# are those of `clothing.Outfit.look`.
_LOOK = (
    ("skin.xyz", "sleeve"), ("hair.xyz", "hem"), ("shirt_a.xyz", "collar"), ("shirt_b.xyz", "waist"),
    ("pants_a.xyz", "trousers"), ("pants_b.xyz", "shoe_top"), ("shoe.xyz", "open"), ("sole.xyz", "wrinkle"),
    ("inner.xyz", "hairline"), ("phase.xyz", "beard"), ("shirt_pattern.xy", "pants_pattern.xy"),
    ("shirt_cm", "pants_cm", "shoe_cm", "hair_cm"), ("glasses", "glove"),
)  # fmt: skip
MAX_PEOPLE = 8


def _look_block() -> str:
    """GLSL: the uniform block, and a macro for each of its entries that reads the row of `person`."""
    lines = [f"layout(std140) uniform Look {{ vec4 look[{MAX_PEOPLE * len(_LOOK)}]; }};"]
    for row, entries in enumerate(_LOOK):
        start = 0
        for entry in entries:
            name, _, components = entry.partition(".")
            size = len(components) or 1
            lines.append(f"#define {name.upper()} look[person * {len(_LOOK)} + {row}].{'xyzw'[start : start + size]}")
            start += size
    return "\n".join(lines) + "\n"


def _pack_look(look: dict) -> np.ndarray:
    """One person's rows of the uniform block, float32 [rows, 4]."""
    rows = np.zeros([len(_LOOK), 4], np.float32)
    for row, entries in zip(rows, _LOOK):
        start = 0
        for entry in entries:
            name, _, components = entry.partition(".")
            size = len(components) or 1
            row[start : start + size] = look[name]
            start += size
    return rows


# People and solids are drawn in two steps, since shading costs much more than telling what is seen, and the triangles
# are small: first, every sample learns what it shows (the "G-buffer"); then each is shaded once.
#   g_a: people: rest position, code of the surface (see `clothing.surface_coordinates`); solids: colour, grain
#   g_b: normal (octahedral map), distance along the optical axis, number of the person or -(number) of a solid
_OCTAHEDRAL = """
vec2 to_octahedron(vec3 n) {
    n /= abs(n.x) + abs(n.y) + abs(n.z);
    return n.z >= 0.0 ? n.xy : (1.0 - abs(n.yx)) * vec2(n.x >= 0.0 ? 1.0 : -1.0, n.y >= 0.0 ? 1.0 : -1.0);
}
vec3 from_octahedron(vec2 o) {
    vec3 n = vec3(o, 1.0 - abs(o.x) - abs(o.y));
    float t = max(-n.z, 0.0);
    n.xy += vec2(n.x >= 0.0 ? -t : t, n.y >= 0.0 ? -t : t);
    return normalize(n);
}
"""

_BODY_VERTEX = (
    """
#version 330
in vec3 in_position;
in vec3 in_normal;
in vec3 in_rest;
in vec4 in_surface;  // along the arm, downward, head, eye
out vec3 v_normal;
out vec4 v_rest;
uniform int person;
uniform sampler3D u_noise;
"""
    + _PROJECTION
    + _HAIR
    + _look_block()
    + """
void main() {
    float along_arm = in_surface.x, down = in_surface.y;
    float thickness = 0.0;
    float shirt = smoothstep(COLLAR - 0.02, COLLAR + 0.03, down) * (1.0 - smoothstep(HEM - 0.03, HEM, down))
                * (1.0 - smoothstep(SLEEVE - 0.06, SLEEVE, along_arm));
    float pants = smoothstep(WAIST - 0.03, WAIST, down) * (1.0 - smoothstep(TROUSERS - 0.06, TROUSERS, down))
                * step(along_arm, 0.001);
    float shod = smoothstep(SHOE_TOP - 0.05, SHOE_TOP + 0.05, down);
    vec4 noise = textureLod(u_noise, in_rest * 2.3 + PHASE, 0.0) * 2.0 - 1.0;
    float folds = 1.0 + 0.45 * noise.x;
    float sag = 1.0 + 0.8 * smoothstep(0.0, 2.0, along_arm) + 0.6 * smoothstep(0.3, 1.9, down);
    thickness += max(shirt * SHIRT_CM, pants * PANTS_CM) * folds * sag + (shirt * pants) * 0.4;
    thickness = max(thickness, shod * SHOE_CM);
    float hairy = in_surface.z * smoothstep(0.0, 0.25, hair_amount(in_rest, HAIRLINE)) * (1.0 - in_surface.w);
    thickness += hairy * HAIR_CM * (0.85 + 0.6 * noise.y);
    v_normal = in_normal;
    v_rest = vec4(in_rest, in_surface.z > 0.5 ? -1.0 : along_arm);
    gl_Position = u_projection * vec4(in_position + in_normal * (thickness * 0.01), 1.0);
}
"""
)

_BODY_FRAGMENT = (
    """
#version 330
in vec3 v_normal;
in vec4 v_rest;
layout(location = 0) out vec4 g_a;
layout(location = 1) out vec4 g_b;
uniform int person;
"""
    + _OCTAHEDRAL
    + """
void main() {
    g_a = v_rest;
    g_b = vec4(to_octahedron(v_normal), 1.0 / gl_FragCoord.w, float(person + 1));
}
"""
)

_SOLID_VERTEX = (
    """
#version 330
in vec3 in_position;
in vec3 in_normal;
in vec3 in_colour;
in vec2 in_kind;  // grain, number
out vec3 v_normal;
out vec3 v_colour;
flat out vec2 v_kind;
"""
    + _PROJECTION
    + """
void main() {
    v_normal = in_normal;
    v_colour = in_colour;
    v_kind = in_kind;
    gl_Position = u_projection * vec4(in_position, 1.0);
}
"""
)

_SOLID_FRAGMENT = (
    """
#version 330
in vec3 v_normal;
in vec3 v_colour;
flat in vec2 v_kind;
layout(location = 0) out vec4 g_a;
layout(location = 1) out vec4 g_b;
"""
    + _OCTAHEDRAL
    + """
void main() {
    g_a = vec4(v_colour, v_kind.x);
    g_b = vec4(to_octahedron(v_normal), 1.0 / gl_FragCoord.w, -v_kind.y);
}
"""
)

_SHADING_VERTEX = """
#version 330
in vec2 in_position;
void main() { gl_Position = vec4(in_position, 0.9999, 1.0); }  // right before the far plane: behind all that is drawn
"""

_SHADING_FRAGMENT = (
    """
#version 330
out vec4 f_colour;
uniform sampler2D g_a;
uniform sampler2D g_b;
uniform sampler3D u_noise;
uniform vec4 u_ray;  // sample's coordinates -> camera's x/z and y/z: scale, offset
uniform mat3 u_rotation;  // camera -> world
uniform vec4 u_landmarks;  // rest heights of neck, hip, knee, ankle
"""
    + _OCTAHEDRAL
    + _HAIR
    + _LIGHTING
    + _look_block()
    + """
vec3 cloth(vec3 a, vec3 b, vec2 pattern, vec3 q, bool chest, vec4 noise) {
    if (pattern.x < 0.5) return a;
    if (pattern.x < 1.5) return fract(q.z) < 0.5 ? a : b;
    if (pattern.x < 2.5) return fract(q.x + q.y * 0.3) < 0.4 ? a : b;
    if (pattern.x < 3.5) return mix(a, b, 0.5 * (step(fract(q.z), 0.3) + step(fract(q.x + q.y * 0.3), 0.3)));
    if (pattern.x < 4.5) return mix(a, b, smoothstep(0.46, 0.54, noise.z));
    if (pattern.x < 5.5) return length(fract(q.xz) - 0.5) < 0.28 ? b : a;
    return chest && noise.y > 0.42 ? b : a;  // a print, on the chest or on the back
}
float downward(float z) {  // as `clothing.surface_coordinates` has it, off the arms
    float below = z > u_landmarks.y ? (u_landmarks.y - z) / (u_landmarks.x - u_landmarks.y)
                : z > u_landmarks.z ? (u_landmarks.y - z) / (u_landmarks.y - u_landmarks.z)
                : z > u_landmarks.w ? 1.0 + (u_landmarks.z - z) / (u_landmarks.z - u_landmarks.w)
                : 2.0 + (u_landmarks.w - z) / 0.1;
    return below;
}
void main() {
    ivec2 here = ivec2(gl_FragCoord.xy);
    vec4 a = texelFetch(g_a, here, 0), b = texelFetch(g_b, here, 0);
    vec3 n = from_octahedron(b.xy);
    vec3 position = u_eye + u_rotation * (vec3(gl_FragCoord.xy * u_ray.xy + u_ray.zw, 1.0) * b.z);
    int person = min(int(abs(b.w) + 0.5) - 1, 7);
    bool solid = b.w < 0.0, head = a.w < -0.5;
    vec3 rest = a.xyz;
    float arm = max(a.w, 0.0), down = arm > 0.0 ? -0.85 : downward(rest.z);
    bool shod = down > SHOE_TOP;
    bool shirt = down > COLLAR && down < HEM && arm < SLEEVE;
    bool pants = down > WAIST && down < TROUSERS && arm <= 0.0;
    vec2 pattern = shirt ? SHIRT_PATTERN : PANTS_PATTERN;
    vec3 q = (arm > 0.0 ? vec3(rest.x * 0.3, rest.y, arm * 0.3) : rest) * pattern.y;
    // Looking noise up costs as much as all the rest, so each sample does so twice only, wherever it needs it.
    // Its mipmap level comes from the distance, as neighbouring samples may hold what was drawn before.
    float footprint = b.z * u_ray.x * 32.0;
    float level = log2(footprint * (solid ? max(a.w, 0.01) : 3.1));
    vec4 noise = textureLod(u_noise, solid ? position * a.w : rest * 3.1 + PHASE, level);
    vec3 place = head ? vec3(rest.x * 16.0, rest.y * 3.0, rest.z * 2.0)
               : pattern.x > 3.5 && pattern.x < 4.5 ? q * 0.12
               : pattern.x > 5.5 ? vec3(q.xz, sign(rest.y)) * 0.2
               : rest * (arm > 0.0 ? vec3(5.0, 9.0, 9.0) : vec3(9.0, 9.0, 5.0)) - PHASE;
    vec4 detail = textureLod(u_noise, place, log2(footprint * 9.0));
    noise = noise * 2.0 - 1.0;

    float gloss = 0.06, wrinkled = 0.0;
    float occlusion = 0.75 + 0.25 * smoothstep(0.0, 0.6, position.z);
    vec3 albedo = SKIN * (1.0 + 0.1 * noise.w);
    if (solid) {
        n = normalize(n + step(0.01, a.w) * 0.25 * noise.xyz);
        albedo = a.rgb * (1.0 + step(0.01, a.w) * (a.w > 20.0 ? 0.6 : 0.25) * noise.w);
    } else if (head) {
        float hairy = hair_amount(rest, HAIRLINE);
        vec2 face = vec2(abs(rest.x), rest.z);
        bool front = rest.y < -0.07;
        albedo *= 1.0 - vec3(0.0, 0.16, 0.13) * smoothstep(0.05, 0.015, length(face - vec2(0.045, 0.69)));  // cheeks
        bool lips = front && length((face - vec2(0.0, 0.655)) * vec2(1.0, 3.2)) < 0.026;
        if (lips) albedo = SKIN * mix(vec3(0.85, 0.55, 0.52), vec3(0.9, 0.25, 0.3), step(0.75, fract(PHASE.x * 9.0)));
        float socket = length((face - vec2(0.031, 0.731)) * vec2(1.0, 1.6));
        if (front) albedo *= 1.0 - 0.3 * smoothstep(0.03, 0.012, socket);
        float arch = abs(face.y - 0.752 + 0.25 * abs(face.x - 0.03));
        bool brow = front && arch < 0.0055 && face.x > 0.01 && face.x < 0.052;
        if (brow) albedo = mix(HAIR * 0.7, SKIN, 0.2);
        float eye = length((face - vec2(0.031, 0.729)) * vec2(1.0, 2.0));
        if (front && eye < 0.0145) {
            albedo = eye < 0.0068 ? vec3(0.05, 0.04, 0.04) : vec3(0.72);
            gloss = 0.4;
        }
        bool nostrils = front && length((face - vec2(0.009, 0.683)) * vec2(1.0, 1.5)) < 0.0045;
        if (nostrils) albedo *= 0.45;
        float d = normalize(rest - vec3(0.0, -0.02, 0.745)).z;
        bool bearded = BEARD > 0.5 && d < -0.42 && rest.y < -0.02 && face.y < 0.672 && !lips;
        if (bearded) albedo = mix(HAIR, SKIN, 0.25);
        if (GLASSES > 0.5 && front && abs(face.y - 0.729) < 0.014 && face.x < 0.062 && face.x > 0.006) {
            albedo = GLASSES > 1.5 ? vec3(0.03) : albedo * 0.55;
            gloss = 0.4;
        } else if (hairy + 0.06 * noise.x > 0.0) {
            albedo = HAIR * (0.7 + 0.7 * detail.x);
            n = normalize(n + 0.5 * (detail.xyz - 0.5));
            gloss = 0.15;
        }
    } else if (shod) {
        albedo = rest.z < -0.795 ? SOLE : SHOE * (0.9 + 0.2 * noise.x);
        gloss = 0.2;
    } else if (shirt || pants) {
        bool inside = shirt && OPEN > 0.0 && rest.y < 0.0 && arm <= 0.0
                   && abs(rest.x) < OPEN * (1.0 + 1.5 * smoothstep(-0.4, -1.0, down));
        vec2 chest = vec2(rest.x, rest.z - 0.36);
        bool front = arm <= 0.0 && abs(chest.x) < 0.11 && abs(chest.y) < 0.09;
        albedo = cloth(shirt ? SHIRT_A : PANTS_A, shirt ? SHIRT_B : PANTS_B, pattern, q, front, detail);
        if (inside) albedo = down < -0.93 ? SKIN : INNER;
        if (!shirt && down < WAIST + 0.05) albedo *= 0.5;
        wrinkled = WRINKLE;
    } else if (GLOVE > 0.5 && arm > 1.9) {
        albedo = INNER;
    }
    if (wrinkled > 0.0) {
        vec3 bump = noise.xyz + (detail.xyz * 2.0 - 1.0) * 0.8;
        n = normalize(n + wrinkled * 1.1 * (bump - n * dot(bump, n)));
        albedo *= 1.0 + 0.3 * wrinkled * noise.y;
    }
    f_colour = vec4(shade(albedo, n, position, gloss, occlusion), abs(b.w) / 255.0);
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
    float occlusion = v_normal.z > 0.5 ? 1.0 - 0.75 * on_ground(v_position) : 1.0;
    f_colour = vec4(shade(albedo, v_normal, v_position, 0.0, occlusion), 1.0);
}
"""
)

_FLAT_VERTEX = (
    """
#version 330
in vec3 in_position;
"""
    + _PROJECTION
    + """
void main() { gl_Position = u_projection * vec4(in_position, 1.0); }
"""
)

_DEPTH_FRAGMENT = """
#version 330
void main() {}
"""

_CATCHER_FRAGMENT = (
    """
#version 330
in vec3 v_position;
out vec4 f_colour;
"""
    + _LIGHTING
    + """
void main() { f_colour = vec4(1.0 - lit(v_position, vec3(0.0, 0.0, 1.0)) * (1.0 - 0.7 * on_ground(v_position))); }
"""
)

_CATCHER_VERTEX = (
    """
#version 330
in vec3 in_position;
out vec3 v_position;
"""
    + _PROJECTION
    + """
void main() {
    v_position = in_position;
    gl_Position = u_projection * vec4(in_position, 1.0);
}
"""
)


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


@dataclass
class Solid:
    """Triangles of one colour scheme: furniture, hair, skirts, things in hands.

    Attributes:
        positions, normals, colours: float [n, 3] each, n a multiple of 3, metres, world.
        grain: repeats of the noise a metre; 0 for smooth surfaces.
        owner: number of the person that it counts as, from 1; 0 for an object of its own.
    """

    positions: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    grain: float
    owner: int = 0


OBJECT_ID = 255


def _pack(solids: list[Solid]) -> np.ndarray:
    """All solids as one vertex array, float32 [n, 11]: position, normal, colour, grain, number."""
    rows = np.empty([sum(len(solid.positions) for solid in solids), 11], np.float32)
    start = 0
    for solid in solids:
        part = rows[start : start + len(solid.positions)]
        part[:, :3], part[:, 3:6], part[:, 6:9] = solid.positions, solid.normals, solid.colours
        part[:, 9], part[:, 10] = solid.grain, solid.owner or OBJECT_ID
        start += len(part)
    return rows


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
        self._body = program(vertex_shader=_BODY_VERTEX, fragment_shader=_BODY_FRAGMENT)
        self._solid = program(vertex_shader=_SOLID_VERTEX, fragment_shader=_SOLID_FRAGMENT)
        self._shading = program(vertex_shader=_SHADING_VERTEX, fragment_shader=_SHADING_FRAGMENT)
        self._room = program(vertex_shader=_ROOM_VERTEX, fragment_shader=_ROOM_FRAGMENT)
        self._flat = program(vertex_shader=_FLAT_VERTEX, fragment_shader=_DEPTH_FRAGMENT)
        self._catcher = program(vertex_shader=_CATCHER_VERTEX, fragment_shader=_CATCHER_FRAGMENT)
        self._programs = (self._body, self._solid, self._shading, self._room, self._catcher)
        units = {"u_texture": 0, "u_shadow_map": 1, "u_noise": 2, "g_a": 3, "g_b": 4, "u_contact": 5}
        for program in self._programs:
            for name, unit in units.items():
                if name in program:
                    program[name].value = unit
        self._uniforms = [set(program) for program in self._programs]  # asking a program each time is slow
        self._shading["u_landmarks"].value = landmarks
        self._look = self._context.buffer(reserve=MAX_PEOPLE * len(_LOOK) * 16)
        self._look.bind_to_uniform_block(0)
        self._body["Look"].binding = self._shading["Look"].binding = 0
        self._n_vertices = len(surface)
        self._static = self._context.buffer(np.ascontiguousarray(surface, np.float32))
        self._indices = [self._context.buffer(np.ascontiguousarray(f, np.int32)) for f in faces]
        self._slots = []  # one vertex buffer with its vertex arrays for each person in a scene
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
        self._look.write(np.concatenate([_pack_look(look) for _, _, look in people]))
        solid_buffer = self._context.buffer(_pack(solids)) if solids else None
        contact, area = _contact([vertices[::3] for vertices, _, _ in people], [solid.positions for solid in solids])
        self._contact.write(contact)
        self._contact.use(5)
        matrix = projection_matrix(intrinsics, extrinsics, width, height)
        rotation = np.asarray(extrinsics, float)[:3, :3]
        scale = 1 / (SUPERSAMPLING * intrinsics[[0, 1], [0, 1]])
        light_matrix = self._draw_shadow_map(lights, people, solid_buffer)
        values = {
            "u_projection": matrix.T, "u_light_direction": lights.directions, "u_light_colour": lights.colours,
            "u_sky": lights.sky, "u_ground": lights.ground, "u_eye": -rotation.T @ np.asarray(extrinsics)[:3, 3],
            "u_light_matrix": light_matrix.T, "u_shadow": [lights.shadow, 0.012], "u_rotation": rotation,
            "u_contact_area": area,
            "u_ray": [*scale, *(-(intrinsics[[0, 1], [2, 2]] + 0.5) / intrinsics[[0, 1], [0, 1]])],
        }  # fmt: skip
        values = {name: np.ascontiguousarray(value, np.float32) for name, value in values.items()}
        for program, names in zip(self._programs, self._uniforms):
            for name, value in values.items():
                if name in names:
                    program[name].write(value)
        self._shadow_map.use(1)
        self._noise.use(2)

        size = round(SUPERSAMPLING * width), round(SUPERSAMPLING * height)
        self._geometry.color_mask = [(False,) * 4] * 2  # to clear the depths is enough
        self._begin(self._geometry, *size, depth=1.0)
        self._geometry.color_mask = [(True,) * 4] * 2
        self._context.enable(moderngl.CULL_FACE)
        for i, (vertices, _, _) in enumerate(people):
            self._body["person"].value = i
            depth = vertices[0] @ rotation[2] + extrinsics[2, 3]
            samples_a_metre = SUPERSAMPLING * intrinsics[0, 0] / max(0.1, depth)
            level = int(np.searchsorted(_LEVEL_LIMITS, -samples_a_metre))
            self._slot(i)[1][level].render()
        self._context.disable(moderngl.CULL_FACE)
        if solid_buffer:
            names = ("in_position", "in_normal", "in_colour", "in_kind")
            self._draw(self._solid, solid_buffer, "3f 3f 3f 2f", *names)
        viewport = (0, 0, *size)
        depth = self._geometry.read(viewport, components=1, attachment=-1, dtype="f4")
        depth = np.frombuffer(depth, np.float32).reshape(size[1], size[0])
        self._begin(self._shaded, *size)  # leaves the depths, see depth_mask
        for unit, texture in enumerate(self._geometry_textures, start=3):
            texture.use(unit)
        self._context.depth_func = ">"
        self._screen.render()
        self._context.depth_func = "<"
        colour = np.frombuffer(self._shaded.read(viewport, components=4), np.uint8).reshape(size[1], size[0], 4)
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
