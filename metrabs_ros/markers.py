"""People as RViz markers."""

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from metrabs_core.appearance import SIDE_COLOURS, bone_sides, id_colour
from metrabs_core.cameras import UP
from metrabs_core.skeletons import Skeleton

NAMESPACES = ("bones", "joints", "ids")

_BONE_WIDTH = 0.03  # metres
_JOINT_DIAMETER = 0.05  # metres
_TEXT_HEIGHT = 0.2  # metres
# RViz drops a marker by itself after this time, so that people vanish when the camera or the node stops.
_LIFETIME = Duration(sec=1)
# Joints fade from opaque to nearly transparent between these uncertainties, metres.
_CERTAIN, _UNCERTAIN = 0.05, 0.4


def markers_message(persons, skeleton: Skeleton, previous_ids=(), up=UP) -> MarkerArray:
    """Bones, joints and number of each person, and the removal of people who left.

    Args:
        persons: metrabs_msgs/PersonArray with tracked people.
        skeleton: joints and bones of `persons`.
        previous_ids: ids of the people that earlier messages showed and did not remove yet.
        up: direction [3] in the frame of `persons`.

    Returns:
        visualization_msgs/MarkerArray in the frame and with the stamp of `persons`. A marker's namespace is one of
        ``bones``, ``joints``, ``ids`` and its id is the person's.
    """
    bone_colours = [_colour(SIDE_COLOURS[side]) for side in bone_sides(skeleton) for _ in range(2)]
    gone = sorted(set(previous_ids) - {person.id for person in persons.persons})
    markers = [
        Marker(header=persons.header, ns=ns, id=person_id, action=Marker.DELETE)
        for person_id in gone
        for ns in NAMESPACES
    ]
    for person in persons.persons:
        colour = id_colour(person.id)
        bones = _marker(persons.header, "bones", person.id, Marker.LINE_LIST, _BONE_WIDTH)
        bones.points = [person.joints[joint] for edge in skeleton.edges for joint in edge]
        bones.colors = bone_colours
        joints = _marker(persons.header, "joints", person.id, Marker.SPHERE_LIST, _JOINT_DIAMETER)
        joints.points = person.joints
        alphas = np.interp(person.uncertainties, [_CERTAIN, _UNCERTAIN], [1.0, 0.2]).tolist()
        joints.colors = [_colour(colour, alpha) for alpha in alphas]
        label = _marker(persons.header, "ids", person.id, Marker.TEXT_VIEW_FACING, _TEXT_HEIGHT)
        label.text = str(person.id)
        label.color = _colour(colour)
        label.pose.position = _above_head(person.joints, up)
        markers += [bones, joints, label]
    return MarkerArray(markers=markers)


def delete_all_message() -> MarkerArray:
    """The message that removes everything."""
    return MarkerArray(markers=[Marker(action=Marker.DELETEALL)])


def _marker(header, namespace: str, person_id: int, kind: int, size: float) -> Marker:
    marker = Marker(header=header, ns=namespace, id=person_id, type=kind, action=Marker.ADD, lifetime=_LIFETIME)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size
    # RViz shows nothing of a marker whose own colour is transparent, even where every point has one.
    marker.color.a = 1.0
    return marker


def _colour(rgb, alpha: float = 1.0) -> ColorRGBA:
    red, green, blue = (channel / 255 for channel in rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def _above_head(joints, up) -> Point:
    """A point over the highest joint."""
    places = np.array([(joint.x, joint.y, joint.z) for joint in joints])
    x, y, z = (places[np.argmax(places @ up)] + 1.5 * _TEXT_HEIGHT * np.array(up)).tolist()
    return Point(x=x, y=y, z=z)
