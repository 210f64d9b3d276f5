"""A metavoxel plugin: short texts, such as reports, as variables."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.variables.base import AbstractVariableSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_text.codec import WordsSpec
from metavoxel_text.pieces import PiecesSpec
from metavoxel_text.variable import TextSpec

metavoxel_api = 2

__all__ = ["PiecesSpec", "TextSpec", "WordsSpec", "metavoxel_api", "metavoxel_codecs", "metavoxel_variables"]


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Register ``type: text`` of variables."""
    return [TextSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: words}`` and ``codec: {type: bpe}``."""
    return [WordsSpec, PiecesSpec]
