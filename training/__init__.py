"""The training and evaluation CLI."""
