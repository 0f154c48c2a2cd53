"""Predictions of a model to metrabs_msgs."""

import array

import numpy as np
from geometry_msgs.msg import Point

from metrabs_core import skeletons
from metrabs_msgs.msg import Edge, Person, PersonArray, Point2D, Skeleton

_MM_PER_METRE = 1000.0


def persons_message(header, skeleton_name: str, prediction: dict, track_ids, image_size) -> PersonArray:
    """People of one image as a message.

    Args:
        header: std_msgs/Header of the image (stamp and camera optical frame).
        skeleton_name: name of the convention that the poses have.
        prediction: arrays `boxes` [n, 5] (left, top, width, height, score; px), `poses3d` [n, J, 3] (mm, camera
            frame), `poses2d` [n, J, 2] (px) and `uncertainties` [n, J] (mm).
        track_ids: n integers; -1 for people who are not tracked.
        image_size: width and height of the image, px.
    """
    poses3d = np.asarray(prediction["poses3d"], np.float64) / _MM_PER_METRE
    uncertainties = np.asarray(prediction["uncertainties"], np.float32) / np.float32(_MM_PER_METRE)
    # What lies behind the camera has no image, whatever the projection formula says.
    poses2d = np.where(poses3d[..., 2:] > 0, prediction["poses2d"], np.nan)
    in_view = (poses2d > -0.5).all(axis=-1) & (poses2d < np.array(image_size) - 0.5).all(axis=-1)
    boxes = np.asarray(prediction["boxes"], np.float64).tolist()

    message = PersonArray(header=header, skeleton=skeleton_name)
    message.persons = [
        Person(
            id=int(track_id),
            score=score,
            left=left,
            top=top,
            width=width,
            height=height,
            joints=[Point(x=x, y=y, z=z) for x, y, z in pose3d],
            uncertainties=array.array("f", uncertainty.tobytes()),
            joints_image=[Point2D(x=x, y=y) for x, y in pose2d],
            in_view=visible,
        )
        for track_id, (left, top, width, height, score), pose3d, uncertainty, pose2d, visible in zip(
            track_ids, boxes, poses3d.tolist(), uncertainties, poses2d.tolist(), in_view.tolist()
        )
    ]
    return message


def skeleton_message(name: str, joint_names, edges) -> Skeleton:
    """Joint names and bones (pairs of joint indices) of a convention as a message."""
    return Skeleton(name=name, joint_names=list(joint_names), edges=[Edge(a=int(a), b=int(b)) for a, b in edges])


def skeleton_from_message(message: Skeleton) -> skeletons.Skeleton:
    """The convention that a metrabs_msgs/Skeleton tells of."""
    return skeletons.Skeleton(message.name, tuple(message.joint_names), tuple((e.a, e.b) for e in message.edges))
