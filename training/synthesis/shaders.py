"""The programs that run on the GPU, in GLSL, and how looks of people are packed for them."""

import numpy as np

MAX_PEOPLE = 8  # in a scene


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
LOOK = (
    ("skin.xyz", "sleeve"), ("hair.xyz", "hem"), ("shirt_a.xyz", "collar"), ("shirt_b.xyz", "waist"),
    ("pants_a.xyz", "trousers"), ("pants_b.xyz", "shoe_top"), ("shoe.xyz", "open"), ("sole.xyz", "wrinkle"),
    ("inner.xyz", "hairline"), ("phase.xyz", "beard"), ("shirt_pattern.xy", "pants_pattern.xy"),
    ("shirt_cm", "pants_cm", "shoe_cm", "hair_cm"), ("glasses", "glove"),
)  # fmt: skip


def look_block() -> str:
    """GLSL: the uniform block, and a macro for each of its entries that reads the row of `person`."""
    lines = [f"layout(std140) uniform Look {{ vec4 look[{MAX_PEOPLE * len(LOOK)}]; }};"]
    for row, entries in enumerate(LOOK):
        start = 0
        for entry in entries:
            name, _, components = entry.partition(".")
            size = len(components) or 1
            lines.append(f"#define {name.upper()} look[person * {len(LOOK)} + {row}].{'xyzw'[start : start + size]}")
            start += size
    return "\n".join(lines) + "\n"


def pack_look(look: dict) -> np.ndarray:
    """One person's rows of the uniform block, float32 [rows, 4]."""
    rows = np.zeros([len(LOOK), 4], np.float32)
    for row, entries in zip(rows, LOOK):
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


BODY_VERTEX = (
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
    + look_block()
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


BODY_FRAGMENT = (
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


SOLID_VERTEX = (
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


SOLID_FRAGMENT = (
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


SHADING_VERTEX = """
#version 330
in vec2 in_position;
void main() { gl_Position = vec4(in_position, 0.9999, 1.0); }  // right before the far plane: behind all that is drawn
"""


SHADING_FRAGMENT = (
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
    + look_block()
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


ROOM_VERTEX = (
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


ROOM_FRAGMENT = (
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


FLAT_VERTEX = (
    """
#version 330
in vec3 in_position;
"""
    + _PROJECTION
    + """
void main() { gl_Position = u_projection * vec4(in_position, 1.0); }
"""
)


DEPTH_FRAGMENT = """
#version 330
void main() {}
"""


CATCHER_FRAGMENT = (
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


CATCHER_VERTEX = (
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
