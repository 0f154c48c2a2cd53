"""Run the CLI as ``python -m training``."""

from training.cli import main

main()
