"""Skeletons of a video without ROS: ``metrabs-train video``.

Writes numbers (``poses.npz``, ``poses.json``), the video with skeletons drawn into it (``overlay.mp4``) and a 3D view
for any browser (``viewer.html``). ``poses.py`` describes the arrays.
"""

from training.video.command import add_arguments, run

__all__ = ["add_arguments", "run"]
