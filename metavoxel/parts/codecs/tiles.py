"""Large images in parts: overlapping tiles for encoding and decoding in bounded memory, and patches for training.

A tile is wrong near the borders at which it was cut, where the network sees zeros instead of the neighbourhood. Of the
cells that two neighbouring tiles share, the outer ones of each are therefore not used, and those between are blended
linearly. So a network that reaches no further than the unused cells gives the result of the whole image, and any other
one no step at a seam. The network must be local: group normalisation, for one, has the statistics of each tile.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.rng import Rng

UNUSED = 3 / 8
"""Part of an overlap, at the border of each tile, that is not used."""


WHOLE_IMAGES = 9
"""Whole images in memory beside a network's tensors: data, its standardised copy, its blocks, the result, and others in
passing (benchmarks/tiles.py)."""
LIVE_TENSORS = 8
"""Tensors as large as the largest that a forward pass holds at once, with the work space of convolutions
(benchmarks/tiles.py)."""
SHARE = 0.8
"""Part of the memory that a suggested tile may take."""


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
        part = function(x[_place(tile, inner)])
        outer = part.shape[2] // (tile[0][2] - tile[0][1])
        if result is None:
            result = part.new_zeros(1, part.shape[1], *(length * outer for length in grid))
            weights = [tiling.weights(length, outer).to(part) for length in grid]
        for axis, (index, _, _) in enumerate(tile):
            part = part * weights[axis][index].reshape(-1, *[1] * (len(grid) - 1 - axis))
        result[_place(tile, outer)] += part
    assert result is not None
    return result


def _place(tile: tuple[tuple[int, int, int], ...], factor: int) -> tuple[Any, ...]:
    """Return the index of a tile in maps of ``factor`` values per cell."""
    return (..., *(slice(start * factor, stop * factor) for _, start, stop in tile))


def _tiles(grid: Sequence[int], tiling: Tiling) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Yield (index, first cell, cell after the last) along each axis of every tile."""
    axes = [
        [(index, start, start + min(tiling.size, length)) for index, start in enumerate(tiling.starts(length))]
        for length in grid
    ]
    yield from product(*axes)


def random_patches(images: Float[Tensor, "b c *s"], rng: Rng, *, size: int, factor: int) -> Float[Tensor, "b c *t"]:
    """Return a random patch of each image, cut at multiples of ``factor``; shorter axes stay whole."""
    sizes = [min(size, length) for length in images.shape[2:]]
    free = [(length - edge) // factor + 1 for length, edge in zip(images.shape[2:], sizes, strict=True)]
    patches = []
    for image, place in zip(images, rng.uniform((len(images), len(sizes))).tolist(), strict=True):
        starts = [factor * int(u * count) for u, count in zip(place, free, strict=True)]
        patches.append(image[(..., *(slice(at, at + edge) for at, edge in zip(starts, sizes, strict=True)))])
    return torch.stack(patches)


def memory_of(shape: Sequence[int], *, whole: int, values: float) -> int:
    """Return the memory of encoding and decoding images or tiles of this grid, in bytes.

    Args:
        shape: grid of an image, or of a tile.
        whole: voxels of the whole image.
        values: numbers per voxel of the network's largest tensor.
    """
    return int(4 * (WHOLE_IMAGES * whole + LIVE_TENSORS * values * math.prod(shape)))


def describe_excess(
    forecast: Callable[[Sequence[int]], int],
    shape: Sequence[int],
    tile: int | None,
    sizes: Sequence[int],
    available: int,
) -> str | None:
    """Describe images or tiles that need more memory than available, with the largest tile that fits; None if they fit.

    Args:
        forecast: memory of a grid, in bytes.
        shape: grid of the whole image.
        tile: chosen tile.
        sizes: tiles that could be chosen.
        available: bytes.
    """

    def of(size: int) -> int:
        return forecast([min(size, length) for length in shape])

    if (needed := of(tile or max(shape))) <= available:
        return None
    remedy = "choose a larger spacing, fewer channels, or fewer levels of channels"
    if fitting := [size for size in sizes if of(size) <= SHARE * available]:
        remedy = f"set 'tile: {max(fitting)}', which takes {of(max(fitting)) / 1e9:.2g} GB"
    grid = " x ".join(str(min(tile or length, length)) for length in shape)
    parts = "tiles" if tile else "images"
    return (
        f"encoding and decoding {parts} of {grid} voxels takes about {needed / 1e9:.3g} GB, and this machine has "
        f"{available / 1e9:.3g} GB; {remedy}"
    )
