"""People as REP 155 has them, in the real node through DDS."""

import os

import closed_form_model
import numpy as np
import pytest
from conftest import FOCAL, HEIGHT, WIDTH, Listener, is_at, picture, wait_for
from geometry_msgs.msg import PointStamped, TwistStamped
from tf2_msgs.msg import TFMessage

from metrabs_core.skeletons import NATIVE

hri = pytest.importorskip("hri_msgs.msg")

BOX = (40, 60, 50, 120)
INTRINSICS = np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1]])
# Order of Skeleton2D in REP 155.
JOINTS = [
    "nose",
    "neck",
    "rsho",
    "relb",
    "rwri",
    "lsho",
    "lelb",
    "lwri",
    "rhip",
    "rkne",
    "rank",
    "lhip",
    "lkne",
    "lank",
    "leye",
    "reye",
    "lear",
    "rear",
]


@pytest.fixture
def bodies(ros, node):
    node.restart(ros4hri=True)
    yield node
    assert node.change_state("deactivate")
    wait_for(lambda: not ros.count_publishers("/humans/bodies/tracked"), "the list of bodies to go")
    assert node.change_state("activate")


def test_a_person_is_a_body(ros, bodies):
    persons = bodies.persons
    pose = closed_form_model.expected_pose((39.5, 59.5, 50, 120), INTRINSICS) / 1000

    def show(shift=0):
        stamp = bodies.show(picture((BOX[0] + shift, *BOX[1:])))
        [person] = persons.next(is_at(stamp)).persons
        return stamp, person

    name = f"p{show()[1].id}"
    topics = {"roi": hri.NormalizedRegionOfInterest2D, "skeleton2d": hri.Skeleton2D, "position": PointStamped}
    topics = {f"/humans/bodies/{name}/{topic}": kind for topic, kind in {**topics, "velocity": TwistStamped}.items()}
    topics = {"/humans/bodies/tracked": hri.IdsList, "/tf": TFMessage, **topics}
    listeners = {topic.split("/")[-1]: Listener(ros, kind, topic) for topic, kind in topics.items()}
    for _ in range(8):
        show()  # until the velocity is known
    for listener in listeners.values():
        listener.connect(lambda: (show(), lambda _: True)[1])
    stamp, person = show()

    def is_now(message):
        return (message.transforms[0] if isinstance(message, TFMessage) else message).header.stamp == stamp

    heard = {topic: listener.next(is_now) for topic, listener in listeners.items()}
    assert heard["tracked"].ids == [name]
    roi = heard["roi"]
    np.testing.assert_allclose(
        [roi.xmin, roi.ymin, roi.xmax, roi.ymax, roi.c],
        [40 / WIDTH, 60 / HEIGHT, 90 / WIDTH, 180 / HEIGHT, closed_form_model.RED_SCORE],
        rtol=1e-6,
    )
    assert len(heard["skeleton2d"].skeleton) == len(JOINTS)
    for point, joint in zip(heard["skeleton2d"].skeleton, JOINTS):
        seen = person.joints_image[NATIVE.index(joint)]
        np.testing.assert_allclose([point.x * WIDTH - 0.5, point.y * HEIGHT - 0.5], [seen.x, seen.y], atol=1e-3)
        assert point.c == pytest.approx(closed_form_model.RED_SCORE)
    place = heard["position"].point
    np.testing.assert_allclose([place.x, place.y, place.z], pose[0], atol=1e-4)
    assert heard["position"].header.frame_id == "camera"
    speed = heard["velocity"].twist.linear
    np.testing.assert_allclose([speed.x, speed.y, speed.z], 0, atol=1e-3)
    [frame] = heard["tf"].transforms
    assert (frame.child_frame_id, frame.header.frame_id) == (f"body_{name}", "camera")
    moved = frame.transform.translation
    np.testing.assert_allclose([moved.x, moved.y, moved.z], pose[0], atol=1e-4)
    # Nobody left: an empty list, and the body's topics go.
    stamp = bodies.show(picture())
    assert listeners["tracked"].next(is_at(stamp)).ids == []
    wait_for(lambda: not ros.count_publishers(f"/humans/bodies/{name}/roi"), "the body's topics to go")
    for listener in listeners.values():
        listener.__exit__()


def test_without_the_package_the_node_says_so(start_node, closed_form_model_path, tmp_path):
    (tmp_path / "hri_msgs.py").write_text("raise ModuleNotFoundError('No module named hri_msgs')")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = start_node(environment={"PYTHONPATH": paths}, model=closed_form_model_path, ros4hri=True)
    assert process.end() == 1
    assert "ros4hri needs the package hri_msgs, which is not installed" in process.log
    assert "Traceback" not in process.log
