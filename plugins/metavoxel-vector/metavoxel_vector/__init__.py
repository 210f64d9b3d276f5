"""A metavoxel plugin: blocks of many numbers, such as regional volumes, as one variable."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_vector.codec import PCACodecSpec
from metavoxel_vector.variable import VectorSpec

metavoxel_api = 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Register ``type: vector`` of variables."""
    return [VectorSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: pca}``."""
    return [PCACodecSpec]
