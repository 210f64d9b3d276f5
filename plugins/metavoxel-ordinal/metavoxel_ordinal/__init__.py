"""A metavoxel plugin: ordinal variables, whose levels have an order and no distances."""

from collections.abc import Sequence

from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_ordinal.adapter import OrdinalAdapterSpec
from metavoxel_ordinal.kernel import BirthDeathKernel
from metavoxel_ordinal.variable import OrdinalSpec

metavoxel_api = 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Register ``type: ordinal`` of variables."""
    return [OrdinalSpec]


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Register ``kernel: {type: birth_death}``."""
    return [BirthDeathKernel]


@hookimpl
def metavoxel_adapters() -> Sequence[type[AbstractAdapterSpec]]:
    """Register ``adapter: {type: ordinal}``."""
    return [OrdinalAdapterSpec]
