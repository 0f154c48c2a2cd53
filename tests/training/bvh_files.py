"""Writes BVH files of a person who moves at random."""

import numpy as np

# A person of 1.7 m in a T pose, centimetres, y up, facing z: joint, parent, offset. The names are those of CMU's clips.
SKELETON = [
    ("Hips", None, (0, 0, 0)),
    ("LeftUpLeg", "Hips", (10, -5, 0)),
    ("LeftLeg", "LeftUpLeg", (0, -42, 0)),
    ("LeftFoot", "LeftLeg", (0, -42, 0)),
    ("LeftToeBase", "LeftFoot", (1, -4, 13)),
    ("RightUpLeg", "Hips", (-10, -5, 0)),
    ("RightLeg", "RightUpLeg", (0, -42, 0)),
    ("RightFoot", "RightLeg", (0, -42, 0)),
    ("RightToeBase", "RightFoot", (-1, -4, 13)),
    ("Spine", "Hips", (0, 20, 0)),
    ("Neck", "Spine", (0, 25, 0)),
    ("Head", "Neck", (0, 15, 3)),
    ("LeftShoulder", "Spine", (4, 20, 0)),
    ("LeftArm", "LeftShoulder", (14, 0, 0)),
    ("LeftForeArm", "LeftArm", (28, 0, 0)),
    ("LeftHand", "LeftForeArm", (25, 0, 0)),
    ("LeftFingerBase", "LeftHand", (9, 0, 0)),
    ("RightShoulder", "Spine", (-4, 20, 0)),
    ("RightArm", "RightShoulder", (-14, 0, 0)),
    ("RightForeArm", "RightArm", (-28, 0, 0)),
    ("RightHand", "RightForeArm", (-25, 0, 0)),
    ("RightFingerBase", "RightHand", (-9, 0, 0)),
]
ROTATIONS = ("Zrotation", "Xrotation", "Yrotation")


def write_bvh(path, skeleton, values, channels=ROTATIONS, frame_time=0.025):
    """Write a BVH file; values float [n_frames, 3 + 3 * n_joints]: the root's place, then rotations joint by joint."""
    children = {name: [row for row in skeleton if row[1] == name] for name, _, _ in skeleton}
    lines, order = ["HIERARCHY"], []

    def add(row, depth):
        name, parent, offset = row
        order.append([r[0] for r in skeleton].index(name))
        pad = "  " * depth
        moving = ("Xposition", "Yposition", "Zposition") if parent is None else ()
        lines.extend([
            f"{pad}{'JOINT' if parent else 'ROOT'} {name}", f"{pad}{{", f"{pad}  OFFSET {' '.join(map(str, offset))}",
            f"{pad}  CHANNELS {len(moving) + len(channels)} {' '.join([*moving, *channels])}",
        ])  # fmt: skip
        for child in children[name]:
            add(child, depth + 1)
        if not children[name]:
            lines.extend([f"{pad}  End Site", f"{pad}  {{", f"{pad}    OFFSET 0 3 0", f"{pad}  }}"])
        lines.append(f"{pad}}}")

    add(skeleton[0], 0)
    rotations = values[:, 3:].reshape(len(values), len(skeleton), 3)[:, order]
    rows = np.concatenate([values[:, :3], rotations.reshape(len(values), -1)], 1)
    lines += ["MOTION", f"Frames: {len(values)}", f"Frame Time: {frame_time}"]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def movement(rng, n=6, size=20.0):
    """Random rotations of all joints of SKELETON about a standing person."""
    values = rng.normal(0, size, [n, 3 + 3 * len(SKELETON)])
    values[:, :3] += [0, 95, 0]
    return values
