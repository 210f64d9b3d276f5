"""What the codes of images will cost: their size, the padding that they need, and their memory in training."""

import math
from collections.abc import Iterator

import torch

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import PluginError
from metavoxel.learning.latent_cache import codes_per_image
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.plugins.registry import attribute_errors
from metavoxel.schema import Schema

BYTES = 4


def image_code_lines(schema: Schema, cohort: Cohort) -> Iterator[str]:
    """Yield a line for every image or label map, about its codec.

    Args:
        schema: with the settings resolved from the cohort.
        cohort: that the schema describes.
    """
    for name, (spec, parts) in schema.variables.items():
        if not spec.spatial:
            continue
        shape = spec.data_shape
        try:
            with torch.device("meta"), torch.no_grad(), attribute_errors(parts.codec, f"variables.{name}.codec"):
                codec = parts.codec.build(shape)
                copies = _copies(codec, shape)
        except PluginError:  # a plugin's codec need not work on the meta device
            continue
        numbers, voxels = math.prod(codec.code_shape), math.prod(shape)
        own, others = parts.codec.grid_multiple(), schema.backbone.grid_multiple()
        memory = len(cohort) * codes_per_image(len(cohort.parts["train"])) * copies * numbers * BYTES
        yield (
            f"{name}: codec {parts.codec.type}, {codec.code_shape[0]} channels on {_grid(codec.code_shape)}, "
            f"{numbers:,} numbers for {voxels:,} voxels; axes are padded to multiples of {own * others} (codec {own}, "
            f"backbone {others}); codes of {len(cohort)} rows take {memory / 1e9:.2g} GB of memory in training"
        )


def _copies(codec: AbstractCodec, shape: tuple[int, ...]) -> int:
    """Return the arrays in memory per code: of the complete and of a partly known image, and a standard deviation."""
    return 2 + (codec.encode(torch.zeros(1, *shape)).sd is not None)


def _grid(code_shape: tuple[int, ...]) -> str:
    return "x".join(map(str, code_shape[1:]))
