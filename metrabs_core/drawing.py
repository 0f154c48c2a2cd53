"""People drawn into the image that they were found in."""

import cv2
import numpy as np

from metrabs_core.appearance import SIDE_COLOURS, bone_sides, id_colour, joint_sides
from metrabs_core.skeletons import Skeleton

# OpenCV draws at fractions of a pixel when coordinates are given as fixed-point numbers.
_SHIFT = 4
_FONT = cv2.FONT_HERSHEY_DUPLEX
_DARK = (20, 20, 20)


def draw_people(image: np.ndarray, boxes, poses2d, poses3d, ids, skeleton: Skeleton) -> np.ndarray:
    """Draw skeletons, box corners, ids and distances.

    Args:
        image: uint8 [H, W, 3], RGB.
        boxes: [n, 4 or more], left, top, width, height, px.
        poses2d: [n, J, 2], px; joints that are not finite are left out.
        poses3d: [n, J, 3], mm, camera frame.
        ids: n integers; -1 for people who are not tracked.
        skeleton: names of the J joints, and bones.

    Returns:
        uint8 [H, W, 3], a new image. Lines are as thick as suits the person's size in the picture; the person's left
        side is orange, the right side blue; the label tells id and distance from the camera in metres.
    """
    canvas = image.copy()
    if len(ids) == 0:
        return canvas
    boxes, poses2d = np.asarray(boxes, np.float64)[:, :4], np.asarray(poses2d, np.float64)
    bones, sides = list(zip(skeleton.edges, bone_sides(skeleton))), np.array(joint_sides(skeleton))
    distances = [np.linalg.norm(np.mean(pose, axis=0)) for pose in np.asarray(poses3d, np.float64)]
    # The nearest person is drawn last, as it hides the others in the picture, too.
    nearest_last = np.argsort(distances)[::-1]
    for i in nearest_last:
        _draw_person(canvas, boxes[i], poses2d[i], id_colour(ids[i]), bones, sides)
    labels = []
    for i in nearest_last:
        text = f"{distances[i] / 1000:.1f} m"
        if ids[i] >= 0:
            text = f"#{ids[i]}  {text}"
        labels.append(_draw_label(canvas, boxes[i], text, id_colour(ids[i]), labels))
    return canvas


def _draw_person(canvas, box, joints, colour, bones, sides):
    # Joints far outside (or behind the camera: NaN) would overflow the fixed-point coordinates.
    drawable = (np.abs(joints) < 10 * max(canvas.shape)).all(axis=1)
    thickness = int(np.clip(round(np.hypot(*box[2:]) / 90), 1, 12))
    _draw_box_corners(canvas, box, colour, max(1, thickness // 2))

    visible_bones = [(a, b, side) for (a, b), side in bones if drawable[a] and drawable[b]]
    # A dark rim keeps the skeleton readable on any background.
    for a, b, _ in visible_bones:
        cv2.line(canvas, _fixed(joints[a]), _fixed(joints[b]), _DARK, thickness + 2, cv2.LINE_AA, _SHIFT)
    for a, b, side in visible_bones:
        cv2.line(canvas, _fixed(joints[a]), _fixed(joints[b]), SIDE_COLOURS[side], thickness, cv2.LINE_AA, _SHIFT)
    if thickness == 1:
        return  # dots would hide a person this small
    radius = round(0.75 * (thickness + 1) * 2**_SHIFT)
    for joint, side in zip(joints[drawable], sides[drawable]):
        cv2.circle(canvas, _fixed(joint), radius, _DARK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, _fixed(joint), round(radius * 0.7), SIDE_COLOURS[side], -1, cv2.LINE_AA, _SHIFT)


def _fixed(point) -> tuple[int, int]:
    x, y = np.rint(point * 2**_SHIFT)
    return int(x), int(y)


def _draw_box_corners(canvas, box, colour, thickness: int):
    left, top, width, height = box
    right, bottom = left + width, top + height
    arm = 0.15 * min(width, height)
    for x, dx in ((left, arm), (right, -arm)):
        for y, dy in ((top, arm), (bottom, -arm)):
            corner = np.array([[x + dx, y], [x, y], [x, y + dy]])
            points = np.rint(corner * 2**_SHIFT).astype(np.int32)
            cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_label(canvas, box, text: str, colour, others):
    """Write a text above the box and clear of other labels. Returns the place: left, top, right, bottom."""
    box_left, box_top, box_width, box_height = box
    height, width = canvas.shape[:2]
    scale = float(np.clip(box_height / 450, 0.4, 1.5)) * max(1.0, height / 1500)
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    pad = max(2, round(5 * scale))
    label_width, label_height = text_width + 2 * pad, text_height + baseline + 2 * pad
    left = int(np.clip(box_left + (box_width - label_width) / 2, 0, max(width - label_width, 0)))
    top = int(np.clip(box_top - label_height - 1, 0, max(height - label_height, 0)))
    for other_left, other_top, other_right, other_bottom in sorted(others, key=lambda other: -other[1]):
        overlaps = other_left < left + label_width and left < other_right
        if overlaps and other_top < top + label_height and top < other_bottom:
            top = max(other_top - label_height - 1, 0)
    right, bottom = left + label_width, top + label_height
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, -1, cv2.LINE_AA)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, _DARK, max(1, round(scale)), cv2.LINE_AA)
    return left, top, right, bottom
