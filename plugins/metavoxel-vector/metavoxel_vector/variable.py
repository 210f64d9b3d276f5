"""Several columns as one variable."""

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Example, Missing, Parts, read_number
from metavoxel_vector.codec import PCACodecSpec


class VectorSpec(AbstractVariableSpec):
    """A vector of numbers, one per column. Its cell is ``a=1; b=2``; it is missing in a row without one of them."""

    type: Literal["vector"] = "vector"
    columns: list[str] = Field(
        min_length=1, description="columns of the table, by name or by pattern (vol_*), in their order there"
    )
    components: PositiveInt = Field(16, description="number of principal components in the code")
    unit: str | None = Field(None, description="unit of the columns, for tables and figures")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        cells = ["a=1; b=2; c=3.5", "a=2; b=2; c=3", "a=0; b=-1; c=9", "a=1.5; b=0; c=1", "a=3; b=5; c=2"]
        return [
            Example(cls(columns=["a", "b", "c"], components=2), cells),
            Example(cls(columns=["a", "b", "c"]), cells),
        ]

    @property
    def data_shape(self) -> tuple[int, ...]:
        return (len(self.columns),)

    def parts(self) -> Parts:
        return Parts(PCACodecSpec(components=self.components), GaussianKernel(), TokenAdapterSpec())

    def required_columns(self, name: str) -> set[str]:
        return set(self.columns)

    def locate(self, name: str, row: Mapping[str, str], folder: Path) -> str:
        found = [column for pattern in self.columns for column in _matching(pattern, row)]
        cells = [f"{column}={row[column]}" for column in dict.fromkeys(found)]
        return "; ".join(cells) if any(row[column] for column in found) else ""

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """Replace patterns by the columns that they match."""
        names = [part.partition("=")[0].strip() for part in cells[0].split(";")] if cells else self.columns
        return self.model_copy(update={"columns": names})

    def parse(self, cell: str) -> Tensor | Missing:
        found = dict(_named(part, cell) for part in cell.split(";"))
        if set(found) != set(self.columns):
            different = sorted(set(found) ^ set(self.columns))
            raise ValueError(
                f"its columns are not those of the variable (NAME=NUMBER; ...): {', '.join(different[:5])}"
            )
        if not all(found.values()):
            empty = [column for column in self.columns if not found[column]]
            return Missing(f"{', '.join(empty[:3])} missing" if len(empty) < 4 else f"{len(empty)} columns missing")
        values = torch.tensor([read_number(found[column]) for column in self.columns], dtype=torch.float32)
        return values if bool(values.isfinite().all()) else Missing("not finite")

    def format(self, value: Tensor) -> str:
        return "; ".join(f"{column}={float(number):.6g}" for column, number in zip(self.columns, value, strict=True))

    def cells(self, name: str, value: Tensor) -> dict[str, object]:
        """Return the numbers by column."""
        numbers = (float(f"{float(number):.6g}") for number in value)
        return dict(zip(self.columns, numbers, strict=True))


def _matching(pattern: str, row: Mapping[str, str]) -> list[str]:
    """Return the columns that match a name or a pattern.

    Raises:
        KeyError: there are none.
    """
    if pattern in row:
        return [pattern]
    found = fnmatch.filter(row, pattern)
    if not found:
        raise KeyError(pattern)
    return found


def _named(part: str, cell: str) -> tuple[str, str]:
    column, sign, number = part.partition("=")
    if not sign:
        raise ValueError(f"{cell[:40]!r} is not a vector of numbers: use NAME=NUMBER; NAME=NUMBER")
    return column.strip(), number.strip()
