"""Joint diffusion over images and clinical metadata: one model that answers every question about its variables."""

import importlib.metadata
from pathlib import Path

from metavoxel.errors import MetavoxelError as MetavoxelError
from metavoxel.inference.model import Model as Model
from metavoxel.learning.training import training as training
from metavoxel.plugins.hookspecs import API_VERSION as API_VERSION
from metavoxel.plugins.hookspecs import hookimpl as hookimpl
from metavoxel.runs.run import load as load
from metavoxel.schema import Schema as Schema
from metavoxel.schema import load_schema as load_schema

__version__ = importlib.metadata.version("metavoxel")


def train(
    schema: Schema, output: Path | str, *, resume: bool = False, devices: int = 1, precision: str = "auto"
) -> Model:
    """Train a schema into a run folder, and load what came of it; see :func:`training` for progress on the way.

    Raises:
        MetavoxelError: all that is wrong with the schema's cohort or the folder.
    """
    for _ in training(schema, Path(output), resume=resume, devices=devices, precision=precision):
        pass
    return load(output)
