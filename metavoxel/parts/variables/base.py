"""What a variable type is: how its cells are read and written, and which parts model it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from jaxtyping import Float, Float64, Int64, Shaped
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, field_validator
from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.text import composed
from metavoxel.rng import Rng

Point = Literal["mean", "median"]
"""What one number stands for several draws."""


class Parts(NamedTuple):
    """The three parts that model a variable."""

    codec: AbstractCodecSpec
    kernel: AbstractKernel
    adapter: AbstractAdapterSpec


class Example(NamedTuple):
    """Settings of a variable type and cells that it reads, at least two of them unlike: what conformance checks try."""

    spec: "AbstractVariableSpec"
    cells: Sequence[str]


class Missing(NamedTuple):
    """A cell that a rule of the schema made missing; ``rule`` says which, in the user's words."""

    rule: str


def read_number(cell: str) -> float:
    """The number in a cell, infinities and NaN among them.

    Raises:
        ValueError: there is none, in the user's words.
    """
    try:
        if "_" not in cell:  # which Python takes for a space between digits
            return float(cell)
    except ValueError:
        pass
    raise ValueError(f"{cell!r} is not a number")


class AbstractVariableSpec(BaseModel, ABC):
    """Settings of one variable of a schema. Frozen; holds no tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lazy: ClassVar[bool] = False
    """Whether values are too large to hold for a whole cohort; then they are read row by row, and cached on disk."""

    spatial: ClassVar[bool] = False
    """Whether a value is a channel axis and a grid of voxels, rather than a number or a vector."""

    type: str
    column: str | None = Field(None, description="column of the table; by default the variable's own name")
    weight: PositiveFloat = Field(
        1.0,
        allow_inf_nan=False,
        description="factor of this variable's term in the training loss, and in what chooses the best step (no unit)",
    )

    @field_validator("column")
    @classmethod
    def _as_columns_are(cls, column: str | None) -> str | None:
        return None if column is None else composed(column)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """What ``metavoxel plugins --check`` tries the type with; none by default, which does not pass."""
        return ()

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one value: (), as it is, for a number or a category's index, (1, x, y, z) for a volume."""
        return ()

    @abstractmethod
    def parts(self) -> Parts:
        """Codec, kernel and adapter that suit this type; a schema may override each by name."""

    def warnings(self) -> list[str]:
        """What is doubtful about these settings without being wrong, in words; nothing by default."""
        return []

    def known_labels(self) -> dict[str, str]:
        """The table's code of each label, in the order of the code's channels; none by default.

        Types whose values are labels give them, so that their cells can be compared with ``cohort.missing``.
        """
        return {}

    def problems(self, parts: Parts) -> list[str]:
        """What is wrong with these parts for this variable, in words; nothing when they fit."""
        return []

    def locate(self, name: str, row: Mapping[str, str], folder: Path) -> str:
        """The cell of one row of the table: here the column's own text. ``folder`` is where relative paths start.

        Raises:
            KeyError: the name of a column that the table lacks.
        """
        return row[self.column or name]

    def needs(self, name: str) -> set[str]:
        """Columns of the table that ``locate`` reads."""
        return {self.column or name}

    @abstractmethod
    def parse(self, cell: str) -> Tensor | Missing:
        """One cell to a value of ``data_shape``, or why it counts as missing.

        Raises:
            ValueError: the cell cannot be read; the message says what is wrong with it and what is expected.
        """

    def parse_given(self, cell: str) -> Tensor | Missing:
        """A value that is named outside a table (``sample --given dx=1``): read as a cell is, unless labels say more.

        Raises:
            ValueError: as ``parse``.
        """
        return self.parse(cell)

    def bounds(self) -> tuple[float, float] | None:
        """Lowest and highest number that there may be, in the variable's unit and possibly infinite.

        Cells beyond are ``Missing``, and no draw lies there but for rounding. None if any number may be. Only for types
        of one number, whose codec is monotone: it is asked for the codes of both ends.
        """
        return None

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """The same settings with all that only the cohort can tell filled in (the grid of its images, say).

        ``cells`` are the located, not-missing cells of all rows; ``multiple`` is what the codec and the backbone need
        data axes to be multiples of.

        Raises:
            CohortError: the cells do not fit together.
        """
        return self

    def format(self, value: Tensor) -> object:
        """One value as a table shows it: a number in the variable's unit, a label, a path's contents in words.

        Of a number six digits, and no less than whole units where it is held in double precision: more than
        computations in single precision carry would be noise in a table.
        """
        number = float(value)
        whole = len(f"{abs(number):.0f}") if value.dtype == torch.float64 and math.isfinite(number) else 0
        return float(f"{number:.{min(max(whole, 6), 15)}g}")

    def cells(self, name: str, value: Tensor) -> dict[str, object]:
        """One value as cells of a table, by column: one, under the variable's name, unless it takes several."""
        return {name: self.format(value)}

    def likeliest(self, scores: Float[Tensor, "b k"]) -> Int64[Tensor, "b"]:
        """The class that stands for the probabilities (or votes) of all: the one that has most.

        To be overridden where being off by one is better than being off by two.
        """
        return scores.argmax(1)

    def center(self, values: Shaped[Tensor, "k *d"], point: Point) -> Float64[Tensor, "*d"]:
        """One value for ``k`` draws (of one row, or of several at once): their arithmetic mean or median.

        To be overridden where arithmetic is wrong: numbers that wrap round, such as angles.
        """
        draws = values.double()
        if point == "mean":
            return draws.mean(0)
        ranked = draws.sort(0).values
        return (ranked[(len(draws) - 1) // 2] + ranked[len(draws) // 2]) / 2

    def differences(self, values: Shaped[Tensor, "k *d"], center: Float64[Tensor, "*d"]) -> Float64[Tensor, "k *d"]:
        """How far each draw lies from the centre, with sign; a table's spread and quantiles are made of these."""
        return values.double() - center

    def augment(self, values: Tensor, rng: Rng) -> Tensor:
        """Values (b, *D) that a training row might as well have had: small shifts of an image, say. None by default.

        All images of a row are given the same stream, so that they are moved alike.
        """
        return values

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save one value; the cells (column to text or number) that a table should hold for it.

        ``folder`` and ``stem`` say where a value that needs a file of its own goes; ``like`` is a cell of the cohort
        whose place in space it shares.
        """
        return self.cells(name, value)
