"""Stop when somebody comes closer than a metre: velocity commands pass through, or zeros take their place.

It stops, too, where nothing has been heard of the camera for half a second. This is an example, not a safety device.

Start the node, then: python3 examples/stop_when_close.py --ros-args -r cmd_vel_in:=/teleop/cmd_vel -r cmd_vel:=/cmd_vel
"""

import math
import signal

import rclpy
from geometry_msgs.msg import Twist
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from metrabs_msgs.msg import PersonArray

TIMEOUT = 0.5  # s


class Gate(Node):
    """Stands between who wants the robot to move and the robot."""

    def __init__(self):
        super().__init__("stop_when_close")
        self.limit = self.declare_parameter("limit", 1.0).value  # m
        self.nearest, self.heard = math.inf, None
        self.commands = self.create_publisher(Twist, "cmd_vel", 10)
        self.create_subscription(PersonArray, "/metrabs_node/persons", self.on_persons, 10)
        self.create_subscription(Twist, "cmd_vel_in", self.on_command, 10)

    def on_persons(self, message):
        """Note how near the nearest joint of anybody is; stop at once if that is too near."""
        joints = [joint for person in message.persons for joint in person.joints]
        self.nearest = min((math.hypot(joint.x, joint.y, joint.z) for joint in joints), default=math.inf)
        self.heard = self.get_clock().now()
        if self.nearest < self.limit:
            self.commands.publish(Twist())

    def on_command(self, command):
        """Let a command pass, or stop."""
        is_blind = self.heard is None or (self.get_clock().now() - self.heard).nanoseconds > TIMEOUT * 1e9
        self.commands.publish(Twist() if is_blind or self.nearest < self.limit else command)


def main():
    """Run until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to rclpy, which ends what spins
    rclpy.init()
    try:
        rclpy.spin(Gate())
    except (ExternalShutdownException, RuntimeError):
        if rclpy.ok():
            raise


if __name__ == "__main__":
    main()
