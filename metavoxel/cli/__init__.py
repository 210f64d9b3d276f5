"""The command line."""

from metavoxel.cli.main import app as app
from metavoxel.cli.main import main as main
