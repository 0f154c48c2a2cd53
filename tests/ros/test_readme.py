"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import wait_for
from geometry_msgs.msg import Point

from metrabs_msgs.msg import Person, PersonArray
from metrabs_ros.parameters import PARAMETERS

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_subscriber_prints_where_people_are(ros):
    [example] = [code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "on_persons" in code]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, "-c", example], stdout=subprocess.PIPE, text=True, env=environment)
    publisher = ros.create_publisher(PersonArray, "/metrabs_node/persons", 10)
    try:
        wait_for(publisher.get_subscription_count, "the subscriber")
        publisher.publish(PersonArray(persons=[Person(id=7, joints=[Point(x=1.0, y=-0.25, z=4.5)])]))
        assert process.stdout.readline() == "person 7 at x=1.00 y=-0.25 z=4.50 m\n"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        ros.destroy_publisher(publisher)


def test_every_parameter_is_in_the_table():
    table = README.split("### Parameters")[1].split("###")[0]
    assert [parameter.name for parameter in PARAMETERS if f"`{parameter.name}`" not in table] == []
