"""Rows of an array that may be larger than memory, read in blocks."""

import math
from collections.abc import Iterator
from typing import final

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

BLOCK_BYTES = 2**25
"""Size of a block in memory, in single precision."""


@final
class Rows:
    """Some rows of an array, usually one that is mapped into memory. They are copied only as they are read.

    Args:
        array: the array.
        rows: indices into its first axis; all by default.
    """

    def __init__(self, array: Shaped[Tensor, "n ..."], rows: Int64[Tensor, "m"] | None = None) -> None:
        self._array, self.shape = array, tuple(array.shape[1:])
        self._rows = torch.arange(len(array)) if rows is None else rows

    def __len__(self) -> int:
        return len(self._rows)

    def select(self, chosen: Bool[Tensor, "m"]) -> "Rows":
        """Return some of these rows."""
        return Rows(self._array, self._rows[chosen])

    def read(self, positions: Int64[Tensor, "b"] | None = None) -> Float[Tensor, "b ..."]:
        """Read the rows at these positions, by default all, in single precision."""
        return self._array[self._rows if positions is None else self._rows[positions]].float()

    def positions(self) -> Iterator[Int64[Tensor, "_"]]:
        """Yield the positions of all rows, in blocks that fit into memory."""
        yield from torch.arange(len(self)).split(max(1, BLOCK_BYTES // (4 * max(1, math.prod(self.shape)))))

    def blocks(self) -> Iterator[Float[Tensor, "_ d"]]:
        """Read all rows, flattened, in blocks of rows."""
        for positions in self.positions():
            yield self.read(positions).flatten(1)

    def columns(self) -> Iterator[Float[Tensor, "m _"]]:
        """Read all rows, flattened, in blocks of columns."""
        flat = self._array.flatten(1)
        for columns in flat.split(max(1, BLOCK_BYTES // (4 * max(1, len(self)))), 1):
            yield columns[self._rows].float()
