from glob import glob

from setuptools import find_packages, setup

name = "metrabs_ros"

setup(
    name=name,
    version="0.1.0",
    description="MeTRAbs: absolute metric 3D human poses from one RGB camera, as a ROS 2 node",
    license="Apache-2.0",
    maintainer="MeTRAbs ROS maintainers",
    maintainer_email="maintainers@example.com",
    python_requires=">=3.10",
    packages=find_packages(include=["metrabs_core*", "metrabs_ros*", "training*"]),
    package_data={"metrabs_core": ["models/*/*", "detection/*.npz"], "training": ["video/viewer.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{name}"]),
        (f"share/{name}", ["package.xml"]),
        (f"share/{name}/launch", glob("launch/*.launch.py")),
        (f"share/{name}/config", glob("config/*")),
    ],
    install_requires=["setuptools"],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "metrabs_node = metrabs_ros.node:main",
            "metrabs-bag = metrabs_ros.bag:main",
            "metrabs-train = training.cli:main",
        ]
    },
)
