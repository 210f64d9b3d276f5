"""A metavoxel plugin: a pretrained language model as backbone."""

from collections.abc import Sequence

from metavoxel.parts.backbones.base import AbstractBackboneSpec
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel_language.backbone import CausalLMSpec

metavoxel_api = 2

__all__ = ["CausalLMSpec", "metavoxel_api", "metavoxel_backbones"]


@hookimpl
def metavoxel_backbones() -> Sequence[type[AbstractBackboneSpec]]:
    """Register ``backbone: {type: causal_lm}``."""
    return [CausalLMSpec]
