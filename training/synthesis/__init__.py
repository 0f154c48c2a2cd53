"""Synthetic training data: varied people in varied scenes, rendered with exact labels."""
