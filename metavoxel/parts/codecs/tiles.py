"""Encoding and decoding of large images in overlapping tiles, in the memory of one tile.

A tile is wrong near the borders at which it was cut, where the network sees zeros instead of the neighbourhood. Of the
cells that two neighbouring tiles share, the outer ones of each are therefore not used, and those between are blended
linearly. So a network that reaches no further than the unused cells gives the result of the whole image, and any other
one no step at a seam. The network must be local: group normalisation, for one, has the statistics of each tile.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

UNUSED = 3 / 8
"""Part of an overlap, at the border of each tile, that is not used."""


class Tiling(NamedTuple):
    """Tiles of ``size`` cells along each axis, their overlap included; images that are smaller stay whole."""

    size: int
    overlap: int

    def starts(self, length: int) -> list[int]:
        """Return the first cell of every tile of an axis; the last tile ends with the axis."""
        if length <= self.size:
            return [0]
        step = self.size - self.overlap
        return [*range(0, length - self.size, step), length - self.size]

    def count(self, grid: Sequence[int]) -> int:
        """Return the number of tiles of a grid."""
        total = 1
        for length in grid:
            total *= len(self.starts(length))
        return total

    def weights(self, length: int, factor: int = 1) -> Float[Tensor, "tiles n"]:
        """Return the weight of every tile in every one of its cells, ``factor`` per cell; those of a cell add to 1."""
        starts, size = self.starts(length), min(self.size, length)
        unused = UNUSED * self.overlap
        places = (torch.arange(size * factor) + 0.5) / factor
        raised = ((torch.stack([places, size - places]) - unused) / max(self.overlap - 2 * unused, 1e-6)).clamp(0, 1)
        weights = torch.ones(len(starts), size * factor)
        weights[1:] *= raised[0]
        weights[:-1] *= raised[1]
        total = torch.zeros(length * factor)
        for weight, start in zip(weights, starts, strict=True):
            total[start * factor : start * factor + len(weight)] += weight
        return torch.stack([w / total[s * factor : s * factor + len(w)] for w, s in zip(weights, starts, strict=True)])


def tiled(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "b c *s"],
    *,
    grid: Sequence[int],
    tiling: Tiling,
) -> Float[Tensor, "b k *t"]:
    """Apply a function to every image in tiles, one after the other.

    Args:
        function: maps (1, c, *s) to (1, k, *t), where t is a multiple of s or the reverse.
        x: images or codes, with a multiple of ``grid`` as axes.
        grid: the coarser of both grids, of the cells that are counted.
        tiling: of the grid.
    """
    return torch.cat([_tiled(function, row, grid, tiling) for row in x.split(1)])


def _tiled(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "1 c *s"], grid: Sequence[int], tiling: Tiling
) -> Float[Tensor, "1 k *t"]:
    result: Tensor | None = None
    weights: list[Tensor] = []
    inner = x.shape[2] // grid[0]
    for tile in _tiles(grid, tiling):
        part = function(x[(..., *(slice(start * inner, stop * inner) for _, start, stop in tile))])
        outer = part.shape[2] // (tile[0][2] - tile[0][1])
        if result is None:
            result = part.new_zeros(1, part.shape[1], *(length * outer for length in grid))
            weights = [tiling.weights(length, outer).to(part) for length in grid]
        for axis, (index, _, _) in enumerate(tile):
            part = part * weights[axis][index].reshape(-1, *[1] * (len(grid) - 1 - axis))
        result[(..., *(slice(start * outer, stop * outer) for _, start, stop in tile))] += part
    assert result is not None
    return result


def _tiles(grid: Sequence[int], tiling: Tiling) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Yield (index, first cell, cell after the last) along each axis of every tile."""
    axes = [
        [(index, start, start + min(tiling.size, length)) for index, start in enumerate(tiling.starts(length))]
        for length in grid
    ]
    yield from product(*axes)
