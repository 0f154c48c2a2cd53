"""MeTRAbs: absolute, metric 3D human poses from one RGB image."""
