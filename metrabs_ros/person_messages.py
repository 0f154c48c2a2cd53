"""People to metrabs_msgs and back: the one place where millimetres become metres."""

import array

import numpy as np
from geometry_msgs.msg import Point

from metrabs_core.pipeline import People
from metrabs_core.skeletons import Skeleton
from metrabs_msgs import msg

_MM_PER_METRE = 1000.0


def persons_message(header, people: People) -> msg.PersonArray:
    """People of one image as a message.

    Args:
        header: std_msgs/Header of the image (stamp and camera optical frame).
        people: who is in it.
    """
    boxes = np.column_stack([people.boxes, people.scores]).astype(np.float64).tolist()
    poses3d = (people.poses3d.astype(np.float64) / _MM_PER_METRE).tolist()
    poses2d = people.poses2d.astype(np.float64).tolist()
    uncertainties = people.uncertainties.astype(np.float32) / np.float32(_MM_PER_METRE)

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
        )
        for person_id, (left, top, width, height, score), pose3d, uncertainty, pose2d, in_view in zip(
            people.ids.tolist(), boxes, poses3d, uncertainties, poses2d, people.in_view.tolist()
        )
    ]
    return message


def people_from_message(message: msg.PersonArray, skeleton: Skeleton) -> People:
    """The people that `persons_message` made a message of; `skeleton` is theirs."""
    persons, n_joints = message.persons, skeleton.n_joints
    joints = [[(joint.x, joint.y, joint.z) for joint in person.joints] for person in persons]
    pixels = [[(point.x, point.y) for point in person.joints_image] for person in persons]
    uncertainties = np.array([person.uncertainties for person in persons], np.float32).reshape(-1, n_joints)
    return People(
        skeleton=skeleton,
        ids=np.array([person.id for person in persons], np.int64),
        boxes=np.array([(p.left, p.top, p.width, p.height) for p in persons], np.float32).reshape(-1, 4),
        scores=np.array([person.score for person in persons], np.float32),
        poses3d=np.array(joints, np.float32).reshape(-1, n_joints, 3) * np.float32(_MM_PER_METRE),
        poses2d=np.array(pixels, np.float32).reshape(-1, n_joints, 2),
        uncertainties=uncertainties * np.float32(_MM_PER_METRE),
        in_view=np.array([person.in_view for person in persons], bool).reshape(-1, n_joints),
    )


def skeleton_message(skeleton: Skeleton) -> msg.Skeleton:
    """Joint names and bones of a convention as a message."""
    edges = [msg.Edge(a=a, b=b) for a, b in skeleton.edges]
    return msg.Skeleton(name=skeleton.name, joint_names=list(skeleton.joint_names), edges=edges)


def skeleton_from_message(message: msg.Skeleton) -> Skeleton:
    """The convention that a metrabs_msgs/Skeleton describes."""
    return Skeleton(message.name, tuple(message.joint_names), tuple((edge.a, edge.b) for edge in message.edges))
