"""Entry point of ``python -m metavoxel``."""

from metavoxel.cli import main

main()
