"""People to metrabs_msgs and back: the one place where millimetres become metres."""

import array

import numpy as np
from geometry_msgs.msg import Point, Quaternion, Vector3

from metrabs_core.orientations import joint_orientations
from metrabs_core.pipeline import People
from metrabs_core.skeletons import Skeleton
from metrabs_msgs import msg

_MM_PER_METRE = 1000.0
# Of a person whose distance is not measured by a depth image, and of one whose is.
_DISTANCE_SOURCES = ("rgb", "depth")


def persons_message(header, people: People, with_orientations: bool = False) -> msg.PersonArray:
    """People of one image as a message.

    Args:
        header: std_msgs/Header: stamp of the image, and the frame that the people are in.
        people: who is in it.
        with_orientations: whether the message has the orientations of the joints.
    """
    boxes = np.column_stack([people.boxes, people.scores]).astype(np.float64).tolist()
    poses3d = (people.poses3d.astype(np.float64) / _MM_PER_METRE).tolist()
    poses2d = people.poses2d.astype(np.float64).tolist()
    uncertainties = people.uncertainties.astype(np.float32) / np.float32(_MM_PER_METRE)
    velocities = (people.velocities.astype(np.float64) / _MM_PER_METRE).tolist()

    message = msg.PersonArray(header=header, skeleton=people.skeleton.name)
    message.persons = [
        msg.Person(
            id=person_id,
            score=score,
            left=left,
            top=top,
            width=width,
            height=height,
            joints=[Point(x=x, y=y, z=z) for x, y, z in pose3d],
            uncertainties=array.array("f", uncertainty.tobytes()),
            joints_image=[msg.Point2D(x=x, y=y) for x, y in pose2d],
            in_view=in_view,
            velocity=Vector3(x=velocity[0], y=velocity[1], z=velocity[2]),
        )
        for person_id, (left, top, width, height, score), pose3d, uncertainty, pose2d, in_view, velocity in zip(
            people.ids.tolist(), boxes, poses3d, uncertainties, poses2d, people.in_view.tolist(), velocities
        )
    ]
    for person, is_measured in zip(message.persons, people.are_measured.tolist()):
        person.distance_source = _DISTANCE_SOURCES[is_measured]
    if with_orientations:
        orientations = joint_orientations(people.poses3d, people.skeleton).tolist()
        for person, joints in zip(message.persons, orientations):
            person.orientations = [Quaternion(x=x, y=y, z=z, w=w) for x, y, z, w in joints]
    return message


def people_from_message(message: msg.PersonArray, skeleton: Skeleton) -> People:
    """The people that `persons_message` made a message of; `skeleton` is theirs."""
    persons, n_joints = message.persons, skeleton.n_joints
    joints = [[(joint.x, joint.y, joint.z) for joint in person.joints] for person in persons]
    pixels = [[(point.x, point.y) for point in person.joints_image] for person in persons]
    uncertainties = np.array([person.uncertainties for person in persons], np.float32).reshape(-1, n_joints)
    velocities = [(person.velocity.x, person.velocity.y, person.velocity.z) for person in persons]
    return People(
        skeleton=skeleton,
        ids=np.array([person.id for person in persons], np.int64),
        boxes=np.array([(p.left, p.top, p.width, p.height) for p in persons], np.float32).reshape(-1, 4),
        scores=np.array([person.score for person in persons], np.float32),
        poses3d=np.array(joints, np.float32).reshape(-1, n_joints, 3) * np.float32(_MM_PER_METRE),
        poses2d=np.array(pixels, np.float32).reshape(-1, n_joints, 2),
        uncertainties=uncertainties * np.float32(_MM_PER_METRE),
        in_view=np.array([person.in_view for person in persons], bool).reshape(-1, n_joints),
        velocities=np.array(velocities, np.float32).reshape(-1, 3) * np.float32(_MM_PER_METRE),
        are_measured=np.array([person.distance_source == _DISTANCE_SOURCES[True] for person in persons], bool),
    )


def skeleton_message(skeleton: Skeleton) -> msg.Skeleton:
    """Joint names and bones of a convention as a message."""
    edges = [msg.Edge(a=a, b=b) for a, b in skeleton.edges]
    return msg.Skeleton(name=skeleton.name, joint_names=list(skeleton.joint_names), edges=edges)


def skeleton_from_message(message: msg.Skeleton) -> Skeleton:
    """The convention that a metrabs_msgs/Skeleton describes."""
    return Skeleton(message.name, tuple(message.joint_names), tuple((edge.a, edge.b) for edge in message.edges))
