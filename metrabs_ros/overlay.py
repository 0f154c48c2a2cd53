"""People of a message drawn into the image that they were found in."""

import numpy as np

from metrabs_core.drawing import draw_people
from metrabs_ros.person_messages import skeleton_from_message

_MM_PER_METRE = 1000.0


def draw_overlay(image: np.ndarray, persons, skeleton) -> np.ndarray:
    """Draw skeletons, box corners, ids and distances, as `metrabs_core.drawing.draw_people` does.

    Args:
        image: uint8 [H, W, 3], RGB.
        persons: metrabs_msgs/PersonArray found in the image.
        skeleton: metrabs_msgs/Skeleton that `persons` follows.

    Returns:
        uint8 [H, W, 3], a new image.
    """
    people = persons.persons
    return draw_people(
        image,
        [(person.left, person.top, person.width, person.height) for person in people],
        [[(joint.x, joint.y) for joint in person.joints_image] for person in people],
        [[_MM_PER_METRE * np.array((joint.x, joint.y, joint.z)) for joint in person.joints] for person in people],
        [person.id for person in people],
        skeleton_from_message(skeleton),
    )
