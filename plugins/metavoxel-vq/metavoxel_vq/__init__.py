"""A metavoxel plugin: images as discrete tokens."""

from collections.abc import Sequence

from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_vq.fsq import FSQSpec
from metavoxel_vq.vq import VQSpec

metavoxel_api = 2

__all__ = ["FSQSpec", "VQSpec", "metavoxel_api", "metavoxel_codecs"]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: fsq}`` and ``codec: {type: vq}``."""
    return [FSQSpec, VQSpec]
