"""A metavoxel plugin: counts and other non-negative measures that are skewed, tied or censored."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_count.codec import CountCodecSpec
from metavoxel_count.variable import CountSpec

metavoxel_api = 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Register ``type: count`` of variables."""
    return [CountSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: count}``."""
    return [CountCodecSpec]
