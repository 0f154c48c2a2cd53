"""Follow one person: publish goals 1.5 m before the one whom the robot saw first.

The goals are in the camera's frame, facing the person, so a navigation stack such as Nav2 needs TF from there to its
map.
If the person has been gone for two seconds, the nearest one is next.

Start the node, then: python3 examples/follow_person.py --ros-args -r goal_pose:=/goal_pose -p distance:=2.0
"""

import math
import signal

import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from metrabs_msgs.msg import PersonArray

PATIENCE = 2.0  # s


class Follower(Node):
    """Keeps an eye on one person."""

    def __init__(self):
        super().__init__("follower")
        self.distance = self.declare_parameter("distance", 1.5).value  # m
        self.person_id, self.last_seen = None, -math.inf
        self.goals = self.create_publisher(PoseStamped, "goal_pose", 10)
        self.create_subscription(PersonArray, "/metrabs_node/persons", self.on_persons, 10)

    def on_persons(self, message):
        """Publish where to go because of the people in an image."""
        now = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        places = {person.id: place_of(person) for person in message.persons}
        if self.person_id not in places and now - self.last_seen > PATIENCE and places:
            self.person_id = min(places, key=lambda person_id: math.hypot(*places[person_id]))
            self.get_logger().info(f"Following person {self.person_id}.")
        if self.person_id in places:
            self.last_seen = now
            self.goals.publish(self.goal(message.header, *places[self.person_id]))

    def goal(self, header, right, ahead) -> PoseStamped:
        """A pose on the way to somebody, facing that person."""
        distance = max(math.hypot(right, ahead), 0.01)
        fraction = max(0.0, 1 - self.distance / distance)
        goal = PoseStamped(header=header)
        goal.pose.position.x, goal.pose.position.z = fraction * right, fraction * ahead
        # A robot has x ahead and z up, a camera's optical frame z ahead and y down: turned from one to the other, then
        # about the vertical by half of the angle to the person (quaternions have half angles).
        half = math.atan2(-right, ahead) / 2
        cos, sin = math.cos(half) / 2, math.sin(half) / 2
        orientation = goal.pose.orientation
        orientation.x, orientation.y, orientation.z, orientation.w = cos - sin, -cos - sin, cos + sin, cos - sin
        return goal


def place_of(person) -> tuple[float, float]:
    """How far to the right and ahead of the camera the middle of a person is, m."""
    n_joints = len(person.joints)
    return sum(joint.x for joint in person.joints) / n_joints, sum(joint.z for joint in person.joints) / n_joints


def main():
    """Run until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to rclpy, which ends what spins
    rclpy.init()
    try:
        rclpy.spin(Follower())
    except (ExternalShutdownException, RuntimeError):
        if rclpy.ok():
            raise


if __name__ == "__main__":
    main()
