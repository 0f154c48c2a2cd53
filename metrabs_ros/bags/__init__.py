"""Recordings on disk: rosbag2 (sqlite3 or MCAP), video files and pictures in; rosbag2 out."""
