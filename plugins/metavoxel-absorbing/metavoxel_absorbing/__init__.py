"""A metavoxel plugin: masked discrete diffusion of categories and sequences."""

from collections.abc import Sequence

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_absorbing.absorbing import AbsorbingKernel
from metavoxel_absorbing.masked import MaskedKernel

metavoxel_api = 2

__all__ = ["AbsorbingKernel", "MaskedKernel", "metavoxel_api", "metavoxel_kernels"]


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Register ``kernel: {type: absorbing}`` and ``kernel: {type: masked}``."""
    return [AbsorbingKernel, MaskedKernel]
