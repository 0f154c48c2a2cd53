"""Print how far away everybody is, several times a second.

Start the node, then: python3 examples/print_distances.py
"""

import math
import signal

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from metrabs_msgs.msg import PersonArray, Skeleton


class DistancePrinter(Node):
    """Listens to the people, and to the names of their joints."""

    def __init__(self):
        super().__init__("distance_printer")
        self.pelvis = None  # index of that joint
        # The skeleton is published once and kept for who comes later.
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(Skeleton, "/metrabs_node/skeleton", self.on_skeleton, kept)
        self.create_subscription(PersonArray, "/metrabs_node/persons", self.on_persons, 10)

    def on_skeleton(self, skeleton):
        """Note where the pelvis is among the joints."""
        self.pelvis = skeleton.joint_names.index("pelv")

    def on_persons(self, message):
        """Print a line for each person of an image."""
        if self.pelvis is None:
            return
        for person in message.persons:
            pelvis = person.joints[self.pelvis]
            distance = math.hypot(pelvis.x, pelvis.y, pelvis.z)
            side = "right" if pelvis.x > 0 else "left"
            print(f"person {person.id}: {distance:.2f} m away, {abs(pelvis.x):.2f} m to the {side}", flush=True)


def main():
    """Run until Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is left to rclpy, which ends what spins
    rclpy.init()
    try:
        rclpy.spin(DistancePrinter())
    except (ExternalShutdownException, RuntimeError):
        if rclpy.ok():
            raise


if __name__ == "__main__":
    main()
