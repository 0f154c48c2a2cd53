"""The examples for ROS in processes of their own, with people who are published through real DDS."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped, Twist
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from metrabs_core.skeletons import NATIVE
from metrabs_msgs.msg import Person, PersonArray, Skeleton

EXAMPLES = Path(__file__).parents[2] / "examples"
TIMEOUT = 120.0  # s


class Robot:
    """The other end of an example's topics."""

    def __init__(self):
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node = rclpy.create_node("robot", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.persons = self.node.create_publisher(PersonArray, "/metrabs_node/persons", 10)
        kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._skeleton = self.node.create_publisher(Skeleton, "/metrabs_node/skeleton", kept)
        self._skeleton.publish(Skeleton(name=NATIVE.name, joint_names=list(NATIVE.joint_names)))

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def show(self, people: dict[int, tuple], seconds=0.0):
        """Publish people who are points: id to x, y, z in metres; time of the image."""
        persons = [Person(id=i, joints=[Point(x=x, y=y, z=z)] * NATIVE.n_joints) for i, (x, y, z) in people.items()]
        stamp = Time(sec=int(seconds), nanosec=int(seconds % 1 * 1e9))
        self.persons.publish(PersonArray(header=Header(stamp=stamp, frame_id="eye"), persons=persons))

    def listen(self, message_type, topic) -> list:
        messages = []
        self.node.create_subscription(message_type, topic, messages.append, 10)
        return messages

    def until(self, condition, act=lambda: None):
        """Act again and again, and listen, until a condition is true; returns its value."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            act()
            self._executor.spin_once(0.05)
            if value := condition():
                return value
        raise AssertionError("waited in vain")


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def run(tmp_path):
    """Run an example until the test ends; gives the file that its output goes to."""
    processes = []

    def run(name, *arguments) -> Path:
        output = tmp_path / f"{name}.txt"
        command = [sys.executable, str(EXAMPLES / name), *(["--ros-args", *arguments] if arguments else [])]
        with open(output, "w") as file:
            processes.append(subprocess.Popen(command, stdout=file, env={**os.environ, "PYTHONUNBUFFERED": "1"}))
        return output

    yield run
    for process in processes:
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0


def test_distances_are_printed(robot, run):
    output = run("print_distances.py")
    robot.until(lambda: "person 9" in output.read_text(), lambda: robot.show({7: (3.0, 0.0, 4.0), 9: (-1.0, 0.0, 2.0)}))
    lines = output.read_text().splitlines()
    assert lines[:2] == [
        "person 7: 5.00 m away, 3.00 m to the right",
        "person 9: 2.24 m away, 1.00 m to the left",
    ]


def test_one_person_is_followed_until_it_is_gone(robot, run):
    goals = robot.listen(PoseStamped, "goal")
    run("follow_person.py", "-r", "goal_pose:=goal", "-p", "distance:=2.0")
    first, other = (3.0, 0.2, 4.0), (0.0, 0.1, 3.0)
    robot.until(lambda: goals, lambda: robot.show({4: first}, 100.0))

    def newest(people, seconds):
        goals.clear()
        robot.until(lambda: goals and goals[-1].header.stamp.sec == int(seconds), lambda: robot.show(people, seconds))
        return goals[-1].pose

    # Somebody nearer changes nothing.
    pose = newest({5: other, 4: first}, 101.0)
    place = np.array([pose.position.x, pose.position.y, pose.position.z])
    np.testing.assert_allclose(place, [1.8, 0, 2.4])  # on the way, 2 m before the person
    orientation = pose.orientation
    axes = Rotation.from_quat([orientation.x, orientation.y, orientation.z, orientation.w]).as_matrix().T
    np.testing.assert_allclose(axes[0], [0.6, 0, 0.8], atol=1e-9)  # the robot's x points at the person
    np.testing.assert_allclose(axes[2], [0, -1, 0], atol=1e-9)  # its z up
    # For a moment nobody but the other one is there; then that one is followed.
    goals.clear()
    robot.show({5: other}, 102.0)
    assert newest({5: other}, 104.0).position.z == pytest.approx(1.0)
    assert [goal.header.stamp.sec for goal in goals if goal.header.stamp.sec == 102] == []
    # Who is near enough already is only faced.
    assert newest({5: (0.5, 0.0, 0.5)}, 105.0).position.z == 0


def test_the_robot_stops_where_somebody_is_near_or_nothing_is_known(robot, run):
    commands = robot.listen(Twist, "cmd_vel")
    teleop = robot.node.create_publisher(Twist, "cmd_vel_in", 10)
    run("stop_when_close.py")
    forward = Twist()
    forward.linear.x = 0.5

    def wait_for_speed(speed, people):
        """Wait until nothing but that speed comes out while people are shown (None: while the camera is off)."""
        commands.clear()

        def act():
            if people is not None:
                robot.show(people)
            teleop.publish(forward)

        robot.until(lambda: [command.linear.x for command in commands[-10:]] == [speed] * 10, act)

    wait_for_speed(0.0, None)
    wait_for_speed(0.5, {})
    wait_for_speed(0.5, {1: (0.0, 0.0, 1.2)})
    wait_for_speed(0.0, {1: (0.0, 0.0, 3.0), 2: (0.0, 0.6, 0.7)})
    wait_for_speed(0.5, {})
    wait_for_speed(0.0, None)
