"""The five hooks of a plugin. Each returns a list of frozen settings classes and does nothing else."""

from collections.abc import Sequence

import pluggy

from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.base import AbstractVariableSpec

API_VERSION = 2
"""Version of the contracts. A plugin declares the version it targets as ``metavoxel_api = 2``."""

hookspec = pluggy.HookspecMarker("metavoxel")
hookimpl = pluggy.HookimplMarker("metavoxel")


@hookspec
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Variable types, chosen by ``type:`` of a variable. Also register every further part that the type uses."""


@hookspec
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Codecs, chosen by ``codec: {type: ...}`` of a variable."""


@hookspec
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Kernels, chosen by ``kernel: {type: ...}`` of a variable."""


@hookspec
def metavoxel_adapters() -> Sequence[type[AbstractAdapterSpec]]:
    """Adapters, chosen by ``adapter: {type: ...}`` of a variable."""


@hookspec
def metavoxel_backbones() -> Sequence[type[AbstractBackboneSpec]]:
    """Backbones, chosen by ``backbone: {type: ...}`` of the schema."""
