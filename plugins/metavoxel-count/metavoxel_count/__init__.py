"""A metavoxel plugin: counts and other measures that are not below 0, skewed, tied, or known only beyond a limit."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_count.codec import CountCodecSpec
from metavoxel_count.variable import CountSpec

metavoxel_api = 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """What ``type: count`` of a variable means."""
    return [CountSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """What ``codec: {type: count}`` means."""
    return [CountCodecSpec]
