"""Values of one variable in a cohort."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, Shaped
from torch import Tensor


class AbstractVolumes(ABC):
    """Values of a lazy variable, on disk."""

    @abstractmethod
    def read(self, positions: Int64[np.ndarray, "b"]) -> Float32[np.ndarray, "b *d"]:
        """Return the values at these positions, in the given order."""


@final
@dataclass(frozen=True, eq=False)
class Column:
    """Values of one variable, stored for the rows that have one.

    Attributes:
        present: which rows of the cohort have a value.
        cells: source text of each value (for an image, the path); None where missing.
        values: values of the present rows only, in order; on disk for a lazy variable.
    """

    present: Bool[Tensor, "n"]
    cells: list[str | None]
    values: Shaped[Tensor, "m *d"] | AbstractVolumes

    @property
    def rows(self) -> list[int]:
        """Rows of the cohort that have a value."""
        rows: list[int] = self.present.nonzero()[:, 0].tolist()
        return rows

    @property
    def known_cells(self) -> list[str]:
        """Source text of each value, of the rows that have one."""
        return [cell for cell in self.cells if cell is not None]

    @cached_property
    def _positions(self) -> Int64[Tensor, "n"]:
        """Position in ``values`` of every row that has one."""
        return self.present.cumsum(0) - 1

    def read(self, rows: Sequence[int] | Int64[Tensor, "b"]) -> Shaped[Tensor, "b *d"]:
        """Return the values of these rows of the cohort, in the given order.

        Raises:
            IndexError: a row has no value.
        """
        wanted = torch.as_tensor(rows, dtype=torch.int64)
        absent = wanted[~self.present[wanted]]
        if len(absent):
            raise IndexError(f"rows {absent.tolist()} have no value of this variable")
        positions = self._positions[wanted]
        if isinstance(self.values, Tensor):
            return self.values[positions]
        return torch.from_numpy(self.values.read(positions.numpy()))
