"""Forecast of the cost of training on images: the size of codes, disk and memory, and the settings that lower each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch

from metavoxel.cohort.cohort import Cohort
from metavoxel.errors import PluginError
from metavoxel.learning.batches import rows_per_step
from metavoxel.learning.device_memory import device_memory
from metavoxel.learning.latent_cache import codes_per_image, index_dtype
from metavoxel.network.joint import JointModel
from metavoxel.parts.codecs.base import AbstractCodec
from metavoxel.parts.features.principal import MOST_PRODUCTS
from metavoxel.parts.features.rows import BLOCK_BYTES
from metavoxel.plugins.registry import attribute_errors
from metavoxel.runs.run import build_codecs, build_joint, without_initial_weights
from metavoxel.schema import Schema

BYTES = 4
PROCESS = 6e8
"""Host memory of a process that has imported everything and trained on nothing."""
FIT_BLOCKS, FIT_DIRECTIONS = 8, 3
"""Copies of a block of codes and of the directions of one image that fitting the baseline holds."""


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
        (channels, *cells), voxels = codec.code_shape, math.prod(shape)
        kind, numbers = ("classes", math.prod(cells)) if codec.indexed else ("channels", channels * math.prod(cells))
        own, others = parts.codec.grid_multiple(), schema.backbone.grid_multiple()
        yield (
            f"{name}: codec {parts.codec.type}, {channels} {kind} on {_grid(codec.code_shape)}, "
            f"{numbers:,} numbers for {voxels:,} voxels; axes are padded to multiples of {own * others} (codec {own}, "
            f"backbone {others}); {copies} arrays in the cache"
        )


def training_lines(schema: Schema, cohort: Cohort) -> Iterator[str]:
    """Yield lines about disk and memory of training on images, largest shares first, with what lowers each.

    Nothing without images. A line is left out if a plugin's part cannot be evaluated without data.

    Args:
        schema: with the settings resolved from the cohort.
        cohort: that the schema describes.
    """
    spatial = {name: variable for name, variable in schema.variables.items() if variable.spec.spatial}
    if not spatial:
        return
    arrays: dict[str, int] = {}
    schema = without_initial_weights(schema)
    try:
        with torch.device("meta"), torch.no_grad():
            codecs = build_codecs(schema)
            for name, (spec, parts) in spatial.items():
                with attribute_errors(parts.codec, f"variables.{name}.codec"):
                    arrays[name] = _copies(codecs[name], spec.data_shape)
            joint = build_joint(schema, codecs)
    except PluginError:
        return
    images = sum(
        BYTES * int(cohort.columns[name].present.sum()) * math.prod(variable.spec.data_shape)
        for name, variable in spatial.items()
    )
    codes = sum(_code_bytes(name, schema, cohort, codecs[name], arrays[name]) for name in spatial)
    coded = "training.cache_precision, or a codec with fewer numbers"
    yield _line("disk", [("cached codes", codes, coded), ("preprocessed images", images, "a coarser spacing")])
    default = schema.backbone.default_plan()
    rows, others = rows_per_step(joint, schema.training, default, schema.diffusion.shared_time, 1)
    fit = _fit_memory(joint, len(cohort.parts["train"]))
    components = "the adapters' components"
    with suppress(RuntimeError, NotImplementedError, TypeError):  # a plugin's part need not accept meta tensors
        device = device_memory(joint, rows, others)
        step = f"a step of {rows} rows" + (f" and {others} of tokens alone" if others else "")
        yield _line("memory on its device, in single precision", [
            (step, device.step, "training.batch_size, backbone.channels or a coarser spacing"),
            ("weights with optimiser", device.weights, "backbone.channels"),
            ("baseline", device.baseline, components),
        ])  # fmt: skip
    yield _line("host memory, for any number of rows", [
        ("the process", PROCESS, ""), ("fit of the baseline", fit, f"{components}, or a codec with fewer numbers"),
    ])  # fmt: skip


def _line(what: str, parts: Sequence[tuple[str, float, str]]) -> str:
    """Format a total and its parts in GB, largest first, with what lowers each."""
    ordered = sorted(parts, key=lambda part: -part[1])
    shown = (f"{name} {size / 1e9:.2g}" + (f": lower by {how}" if how else "") for name, size, how in ordered)
    return f"training needs {sum(size for _, size, _ in parts) / 1e9:.2g} GB of {what} ({'; '.join(shown)})"


def _code_bytes(name: str, schema: Schema, cohort: Cohort, codec: AbstractCodec, arrays: int) -> int:
    """Return the disk of one variable's codes: of every image, and of the augmentations of those for training."""
    present, train = cohort.columns[name].present, cohort.parts["train"]
    codes = int(present.sum()) + (codes_per_image(len(train)) - 1) * int(present[train].sum())
    channels, *grid = codec.code_shape
    size = channels * (BYTES // 2 if schema.training.cache_precision == "bfloat16" else BYTES)
    if codec.indexed:
        size = index_dtype(channels).itemsize
    return codes * math.prod(grid) * (arrays * size + 1)


def _fit_memory(joint: JointModel, rows: int) -> float:
    """Return the memory of fitting the baseline: blocks of codes, directions of one image, and products of rows."""
    images = [shape for name, shape in joint.code_shapes.items() if joint.contexts[name].port is not None]
    cells = max((math.prod(shape) for shape in images), default=0)
    products = min(rows, MOST_PRODUCTS, cells)
    blocks = min(BLOCK_BYTES, BYTES * rows * cells)
    directions = max((context.expected for context in joint.contexts.values()), default=0) * cells * BYTES
    return FIT_BLOCKS * blocks + FIT_DIRECTIONS * directions + 3 * 8 * products**2


def _copies(codec: AbstractCodec, shape: tuple[int, ...]) -> int:
    """Return the arrays in memory per code: of the complete and of a partly known image, and a standard deviation."""
    return 2 + (codec.encode(torch.zeros(1, *shape)).sd is not None)


def _grid(code_shape: tuple[int, ...]) -> str:
    return "x".join(map(str, code_shape[1:]))
