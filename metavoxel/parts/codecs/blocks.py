"""Blocks of voxels as channels of a coarser grid."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional

from metavoxel.typing import Mask

_AXES = "xyz"


def to_blocks(maps: Shaped[Tensor, "b c *s"], factor: int) -> Shaped[Tensor, "b c v *r"]:
    """Return the ``factor ** axes`` cells of every block of each channel, on a grid of the blocks.

    Args:
        maps: of one to three axes, whose lengths are multiples of ``factor``.
        factor: cells of a block along each axis.
    """
    axes = _AXES[: maps.ndim - 2]
    whole = " ".join(f"({axis} {axis}0)" for axis in axes)
    inner = " ".join(f"{axis}0" for axis in axes)
    sizes = {f"{axis}0": factor for axis in axes}
    return rearrange(maps, f"b c {whole} -> b c ({inner}) {' '.join(axes)}", **sizes)


def from_blocks(blocks: Shaped[Tensor, "b c v *r"], factor: int) -> Shaped[Tensor, "b c *s"]:
    """Return the maps of :func:`to_blocks`, its inverse."""
    axes = _AXES[: blocks.ndim - 3]
    whole = " ".join(f"({axis} {axis}0)" for axis in axes)
    inner = " ".join(f"{axis}0" for axis in axes)
    sizes = {f"{axis}0": factor for axis in axes}
    return rearrange(blocks, f"b c ({inner}) {' '.join(axes)} -> b c {whole}", **sizes)


def known_blocks(known: Bool[Tensor, "b c *d"], factor: int) -> Mask:
    """Return the blocks whose voxels are all known, in every channel."""
    return to_blocks(known, factor).flatten(1, 2).all(1, keepdim=True)


def surrounded(known: Mask) -> Mask:
    """Return the cells that are known with all their neighbours; outside of the grid, cells count as known."""
    pool = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[known.ndim - 2]
    return pool((~known).float(), 3, 1, 1) < 0.5


def block_rows(blocks: Float[Tensor, "b v *r"]) -> Float[Tensor, "n v"]:
    """Return one row per block."""
    return blocks.movedim(1, -1).flatten(0, -2)


def neighbourhoods(codes: Float[Tensor, "b c *r"]) -> Float[Tensor, "n m"]:
    """Return one row per cell: the codes of the cell and its neighbours, zero outside of the grid."""
    axes = codes.ndim - 2
    near = functional.pad(codes, (1, 1) * axes)
    for axis in range(2, codes.ndim):
        near = near.unfold(axis, 3, 1)
    return near.movedim(1, axes + 1).flatten(0, axes).flatten(1)


class Spread(NamedTuple):
    """Mean image of rows, and the standard deviation around it over all rows and voxels, at least 1e-6."""

    center: Float[Tensor, "c *s"]
    scale: Float[Tensor, ""]


def spread(batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> Spread:
    """Return the mean image of all rows and the standard deviation around it, in one pass."""
    count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for batch in batches():
        count += len(batch)
        total = total + batch.double().sum(0)
        squares = squares + batch.double().square().sum(0)
    center = total / count
    variance = (squares / count - center.square()).mean()
    return Spread(center.float(), variance.clamp_min(1e-12).sqrt().float())


def channel_spread(
    posteriors: Iterable[tuple[Float[Tensor, "b c *r"], Float[Tensor, "b c *r"]]],
) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Return mean and standard deviation of each channel over rows and cells, from (mean, standard deviation) of cells.

    The variance includes the posteriors' own. The standard deviation is at least 1e-6.
    """
    count, total = 0, torch.zeros((), dtype=torch.float64)
    squares = torch.zeros((), dtype=torch.float64)
    for mean, sd in posteriors:
        axes = (0, *range(2, mean.ndim))
        count += mean.numel() // mean.shape[1]
        total = total + mean.double().sum(axes)
        squares = squares + (mean.double().square() + sd.double().square()).sum(axes)
    center = total / count
    return center, (squares / count - center.square()).clamp_min(1e-12).sqrt()
