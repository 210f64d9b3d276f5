"""Abstract variable type: reading and writing of table cells, and default codec, kernel and adapter."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from pydantic import Field, PositiveFloat, field_validator
from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapterSpec
from metavoxel.parts.codecs.base import AbstractCodecSpec
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.parts.variables.column import Column
from metavoxel.parts.variables.measures import AbstractMeasure
from metavoxel.parts.variables.row_texts import RowTexts
from metavoxel.parts.variables.source import AbstractSource
from metavoxel.parts.variables.summaries import AbstractSummary, summary_of_cells
from metavoxel.parts.variables.text import composed
from metavoxel.rng import Rng

Point = Literal["mean", "median"]
"""Point estimate that summarises several draws."""


class Parts(NamedTuple):
    """Settings of the codec, kernel and adapter of a variable."""

    codec: AbstractCodecSpec
    kernel: AbstractKernel
    adapter: AbstractAdapterSpec


class Example(NamedTuple):
    """Settings of a variable type and cells that it reads, not all equal, for conformance checks."""

    spec: "AbstractVariableSpec"
    cells: Sequence[str]


class Missing(NamedTuple):
    """Cell that a rule of the schema makes missing; ``rule`` is its description in user-facing messages."""

    rule: str


class ParsedMany(NamedTuple):
    """Cells that were read, and the values (zero where not)."""

    read: Bool[Tensor, "n"]
    values: Shaped[Tensor, "n *d"]


def read_number(cell: str) -> float:
    """Parse the number in a cell; infinities and NaN are accepted.

    Raises:
        ValueError: the cell is not a number; the message is user-facing.
    """
    try:
        if "_" not in cell:  # which Python accepts as a digit separator
            return float(cell)
    except ValueError:
        pass
    raise ValueError(f"{cell!r} is not a number")


class Recorded(NamedTuple):
    """Settings of a variable, and its values in a cohort."""

    spec: "AbstractVariableSpec"
    column: Column


class AbstractVariableSpec(AbstractSource, ABC):
    """Settings of one variable of a schema: frozen, without tensors."""

    has_mean: ClassVar[bool] = True
    """Whether values have a mean or most probable class, cell by cell. False for values that only draws represent, such
    as texts; :meth:`center` then chooses one of the draws."""

    is_text: ClassVar[bool] = False
    """Whether values are texts of words, which :meth:`format` returns and reports show in full."""

    type: str
    column: str | None = Field(None, description="column of the table; by default the variable's own name")
    weight: PositiveFloat = Field(
        1.0,
        allow_inf_nan=False,
        description="weight of this variable in the training loss and in the choice of the best step (no unit)",
    )

    @field_validator("column")
    @classmethod
    def _composed_column(cls, column: str | None) -> str | None:
        return None if column is None else composed(column)

    @classmethod
    def examples(cls) -> Sequence[Example]:
        """Return the examples that ``metavoxel plugins --check`` requires; empty by default, which fails the check."""
        return ()

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of one value: () by default, for a number or category index; (1, x, y, z) for a volume."""
        return ()

    @abstractmethod
    def parts(self) -> Parts:
        """Return the default codec, kernel and adapter of this type; a schema may override each by name."""

    def warnings(self) -> list[str]:
        """Return warnings about valid but questionable settings; empty by default."""
        return []

    def value_warnings(self, values: Float[Tensor, "n"]) -> Iterator[str]:
        """Yield warnings about numbers of a cohort that are valid but do not suit the type, with a remedy each.

        Only called for types of one number; none by default.
        """
        yield from ()

    def file_warnings(self, column: Column, others: Mapping[str, Recorded]) -> Iterator[str]:
        """Yield warnings about readable files of a cohort: positions, orientation, levels. None by default.

        Only called for ``lazy`` types. Voxels of a few files may be read again.

        Args:
            column: the variable's values, at least one.
            others: all variables of the cohort, in the same rows.
        """
        yield from ()

    def summary(self, column: Column) -> AbstractSummary | None:
        """Summarise the values of a cohort, at least one: by default numbers or labels; None for other values."""
        if self.lazy or self.data_shape:
            return None
        distinct, index = column.read(column.present.nonzero()[:, 0]).unique(return_inverse=True)
        return summary_of_cells([self.format(value) for value in distinct], index)

    def measures(self) -> Sequence[AbstractMeasure]:
        """Return the measures by which ``evaluate`` compares predictions with the truth; none by default."""
        return ()

    def label_codes(self) -> dict[str, str]:
        """Return the code of each label in tables, in the order of the channels; empty by default.

        Types whose values are labels override this; their labels are compared with ``cohort.missing``.
        """
        return {}

    def problems(self, parts: Parts) -> list[str]:
        """Return reasons why these parts do not suit this variable; empty if they do."""
        return []

    def locate(self, name: str, row: Mapping[str, str], folder: Path) -> str:
        """Return the cell of one row of the table; by default the text of the column.

        Args:
            name: name of the variable.
            row: texts by column.
            folder: base folder of relative paths.

        Raises:
            KeyError: the table lacks a column; the argument is its name.
        """
        return row[self.column or name]

    def locate_all(self, name: str, columns: Mapping[str, Sequence[str]], rows: int, folder: Path) -> Sequence[str]:
        """Return the cells of all rows of a table, as ``locate`` does for one.

        A type with its own ``locate`` has it called for every row; other types read a whole column.

        Args:
            name: name of the variable.
            columns: texts of every column.
            rows: number of rows.
            folder: base folder of relative paths.

        Raises:
            KeyError: the table lacks a column; the argument is its name.
        """
        if type(self).locate is AbstractVariableSpec.locate:
            return columns[self.column or name]
        return [self.locate(name, RowTexts(columns, row), folder) for row in range(rows)]

    def required_columns(self, name: str) -> set[str]:
        """Return the columns of the table that ``locate`` reads."""
        return {self.column or name}

    @abstractmethod
    def parse(self, cell: str) -> Tensor | Missing:
        """Parse a cell to a value of ``data_shape``, or to ``Missing``.

        Raises:
            ValueError: the cell cannot be read; the message states the error and what is expected.
        """

    def parse_many(self, cells: Sequence[str]) -> "ParsedMany | None":
        """Parse many different cells at once, as ``parse`` would; None, the default, if this type cannot.

        A cell that is not read here is parsed by ``parse``, which gives the reason or the rule. So only usual cells
        need to be read. Types override it for speed alone.
        """
        return None

    def parse_given(self, cell: str) -> Tensor | Missing:
        """Parse a value given outside a table (``sample --given dx=1``); by default like a cell.

        Raises:
            ValueError: as in ``parse``.
        """
        return self.parse(cell)

    def bounds(self) -> tuple[float, float] | None:
        """Return the lowest and highest valid number, in the variable's unit and possibly infinite; None for no bounds.

        Cells beyond are ``Missing``, and draws lie within up to rounding. Only for types of one number with a monotone
        codec, which encodes both bounds.
        """
        return None

    def resolve(self, cells: Sequence[str], *, multiple: int) -> Self:
        """Return the settings with values that depend on the cohort filled in, such as the grid of its images.

        Args:
            cells: located cells of all rows that are not missing.
            multiple: number of which the data axes must be multiples, for codec and backbone.

        Raises:
            CohortError: the cells are inconsistent.
        """
        return self

    def format(self, value: Tensor) -> object:
        """Format one value for a table: a number in the variable's unit, a label, or a description of an image.

        Numbers are rounded to six significant digits, the precision of float32; float64 numbers to whole units if that
        is finer.
        """
        number = float(value)
        whole = len(f"{abs(number):.0f}") if value.dtype == torch.float64 and math.isfinite(number) else 0
        return float(f"{number:.{min(max(whole, 6), 15)}g}")

    def cells(self, name: str, value: Tensor) -> dict[str, object]:
        """Return the cells of one value by column; by default one cell, under the variable's name."""
        return {name: self.format(value)}

    def predicted_class(self, scores: Float[Tensor, "b k"]) -> Int64[Tensor, "b"]:
        """Return the predicted class for given class probabilities (or vote counts); the argmax by default.

        Override for ordered classes, where errors of one class are less severe than errors of two.
        """
        return scores.argmax(1)

    def center(self, values: Shaped[Tensor, "k *d"], point: Point) -> Float64[Tensor, "*d"]:
        """Return a point estimate from ``k`` draws (of one or several rows): their arithmetic mean or median.

        Override for values without linear order, such as angles.
        """
        draws = values.double()
        if point == "mean":
            return draws.mean(0)
        ranked = draws.sort(0).values
        return (ranked[(len(draws) - 1) // 2] + ranked[len(draws) // 2]) / 2

    def differences(self, values: Shaped[Tensor, "k *d"], center: Float64[Tensor, "*d"]) -> Float64[Tensor, "k *d"]:
        """Return the signed differences of draws from the centre; standard deviations and quantiles use these."""
        return values.double() - center

    def augment(self, values: Tensor, rng: Rng) -> Tensor:
        """Augment values (b, *D) of training rows, by small shifts of images for example; identity by default.

        All images of a row receive the same random stream, so that they are shifted and mirrored together.
        """
        return values

    def write(self, name: str, value: Tensor, *, folder: Path, stem: str, like: str | None = None) -> dict[str, object]:
        """Save one value, and return its table cells (column to text or number).

        Args:
            name: name of the variable.
            value: value to save.
            folder: folder of a value that is saved as a file.
            stem: beginning of the file's name.
            like: cell of the cohort whose spatial grid the value is on.
        """
        return self.cells(name, value)
