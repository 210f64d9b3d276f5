"""A metavoxel plugin: images as discrete tokens."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_vq.codec import FSQSpec

metavoxel_api = 2

__all__ = ["FSQSpec", "metavoxel_api", "metavoxel_codecs"]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: fsq}``."""
    return [FSQSpec]
