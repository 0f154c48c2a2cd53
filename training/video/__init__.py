"""Skeletons of a video: found, tracked, smoothed, written as numbers, overlay and 3D view."""
