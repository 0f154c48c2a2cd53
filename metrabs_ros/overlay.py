"""People drawn into the image that they were found in."""

import cv2
import numpy as np

from metrabs_ros.appearance import SIDE_COLOURS, bone_sides, id_colour, joint_sides

# OpenCV draws at fractions of a pixel when coordinates are given as fixed-point numbers.
_SHIFT = 4
_FONT = cv2.FONT_HERSHEY_DUPLEX
_DARK = (20, 20, 20)


def draw_overlay(image: np.ndarray, persons, skeleton) -> np.ndarray:
    """Draw skeletons, box corners, ids and distances.

    Args:
        image: uint8 [H, W, 3], RGB.
        persons: metrabs_msgs/PersonArray found in the image.
        skeleton: metrabs_msgs/Skeleton that `persons` follows.

    Returns:
        uint8 [H, W, 3], a new image. Lines are as thick as suits the person's size in the picture; the person's left
        side is orange, the right side blue; the label tells id and distance from the camera in metres.
    """
    canvas = image.copy()
    bones = list(zip(((edge.a, edge.b) for edge in skeleton.edges), bone_sides(skeleton)))
    sides = joint_sides(skeleton)
    # The nearest person is drawn last, as it hides the others in the picture, too.
    nearest_last = sorted(persons.persons, key=_distance, reverse=True)
    for person in nearest_last:
        _draw_person(canvas, person, bones, sides)
    labels = []
    for person in nearest_last:
        labels.append(_draw_label(canvas, person, labels))
    return canvas


def _distance(person) -> float:
    """Distance of the middle of the joints from the camera, metres."""
    return float(np.linalg.norm(np.mean([(joint.x, joint.y, joint.z) for joint in person.joints], axis=0)))


def _draw_person(canvas, person, bones, sides):
    joints = np.array([(joint.x, joint.y) for joint in person.joints_image], np.float64)
    # Joints far outside (or behind the camera: NaN) would overflow the fixed-point coordinates.
    drawable = (np.abs(joints) < 10 * max(canvas.shape)).all(axis=1)
    thickness = int(np.clip(round(np.hypot(person.width, person.height) / 90), 1, 12))
    colour = id_colour(person.id)
    _draw_box_corners(canvas, person, colour, max(1, thickness // 2))

    visible_bones = [(a, b, side) for (a, b), side in bones if drawable[a] and drawable[b]]
    # A dark rim keeps the skeleton readable on any background.
    for a, b, _ in visible_bones:
        cv2.line(canvas, _fixed(joints[a]), _fixed(joints[b]), _DARK, thickness + 2, cv2.LINE_AA, _SHIFT)
    for a, b, side in visible_bones:
        cv2.line(canvas, _fixed(joints[a]), _fixed(joints[b]), SIDE_COLOURS[side], thickness, cv2.LINE_AA, _SHIFT)
    if thickness == 1:
        return  # dots would hide a person this small
    radius = round(0.75 * (thickness + 1) * 2**_SHIFT)
    for joint, side in zip(joints[drawable], np.array(sides)[drawable]):
        cv2.circle(canvas, _fixed(joint), radius, _DARK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, _fixed(joint), round(radius * 0.7), SIDE_COLOURS[side], -1, cv2.LINE_AA, _SHIFT)


def _fixed(point) -> tuple[int, int]:
    x, y = np.rint(point * 2**_SHIFT)
    return int(x), int(y)


def _draw_box_corners(canvas, person, colour, thickness: int):
    left, top = person.left, person.top
    right, bottom = left + person.width, top + person.height
    arm = 0.15 * min(person.width, person.height)
    for x, dx in ((left, arm), (right, -arm)):
        for y, dy in ((top, arm), (bottom, -arm)):
            corner = np.array([[x + dx, y], [x, y], [x, y + dy]])
            points = np.rint(corner * 2**_SHIFT).astype(np.int32)
            cv2.polylines(canvas, [points], False, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_label(canvas, person, others):
    """Write id and distance above the box and clear of other labels. Returns the place: left, top, right, bottom."""
    text = f"{_distance(person):.1f} m"
    if person.id >= 0:
        text = f"#{person.id}  {text}"
    height, width = canvas.shape[:2]
    scale = float(np.clip(person.height / 450, 0.4, 1.5)) * max(1.0, height / 1500)
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
    pad = max(2, round(5 * scale))
    label_width, label_height = text_width + 2 * pad, text_height + baseline + 2 * pad
    left = int(np.clip(person.left + (person.width - label_width) / 2, 0, max(width - label_width, 0)))
    top = int(np.clip(person.top - label_height - 1, 0, max(height - label_height, 0)))
    for other_left, other_top, other_right, other_bottom in sorted(others, key=lambda other: -other[1]):
        overlaps = other_left < left + label_width and left < other_right
        if overlaps and other_top < top + label_height and top < other_bottom:
            top = max(other_top - label_height - 1, 0)
    right, bottom = left + label_width, top + label_height
    cv2.rectangle(canvas, (left, top), (right, bottom), id_colour(person.id), -1, cv2.LINE_AA)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(canvas, text, origin, _FONT, scale, _DARK, max(1, round(scale)), cv2.LINE_AA)
    return left, top, right, bottom
