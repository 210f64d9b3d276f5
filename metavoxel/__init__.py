"""Joint diffusion over images and clinical metadata: one model for every conditional distribution of its variables.

The names below are all that a notebook needs; each is imported on its first use, so that ``import metavoxel`` is quick.
"""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from metavoxel.api import compare as compare
    from metavoxel.api import evaluate as evaluate
    from metavoxel.api import load as load
    from metavoxel.api import load_schema as load_schema
    from metavoxel.api import phantom as phantom
    from metavoxel.api import prepare_like as prepare_like
    from metavoxel.api import train as train
    from metavoxel.api import training as training
    from metavoxel.errors import MetavoxelError as MetavoxelError
    from metavoxel.inference import plot as plot
    from metavoxel.inference.answer import Answer as Answer
    from metavoxel.inference.model import Model as Model
    from metavoxel.inference.samples import Samples as Samples
    from metavoxel.plugins.hookspecs import API_VERSION as API_VERSION
    from metavoxel.plugins.hookspecs import hookimpl as hookimpl
    from metavoxel.plugins.registry import load_registry as load_registry
    from metavoxel.schema import Schema as Schema

_MODULES = MappingProxyType(
    {
        "API_VERSION": "metavoxel.plugins.hookspecs",
        "Answer": "metavoxel.inference.answer",
        "MetavoxelError": "metavoxel.errors",
        "Model": "metavoxel.inference.model",
        "Samples": "metavoxel.inference.samples",
        "Schema": "metavoxel.schema",
        "compare": "metavoxel.api",
        "evaluate": "metavoxel.api",
        "hookimpl": "metavoxel.plugins.hookspecs",
        "load": "metavoxel.api",
        "load_registry": "metavoxel.plugins.registry",
        "load_schema": "metavoxel.api",
        "phantom": "metavoxel.api",
        "prepare_like": "metavoxel.api",
        "train": "metavoxel.api",
        "training": "metavoxel.api",
    }
)
"""Where each public name is defined."""

__all__ = [
    "API_VERSION",
    "Answer",
    "MetavoxelError",
    "Model",
    "Samples",
    "Schema",
    "compare",
    "evaluate",
    "hookimpl",
    "load",
    "load_registry",
    "load_schema",
    "phantom",
    "plot",
    "prepare_like",
    "train",
    "training",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("metavoxel")
    if name == "plot":
        return importlib.import_module("metavoxel.inference.plot")
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'metavoxel' has no attribute {name!r}. It has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
