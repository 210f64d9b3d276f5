"""Continuous variables: ages, volumes, scores."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Literal, Self

import numpy as np
import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.quantile import QuantileSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing, ParsedMany, Parts, read_number
from metavoxel.parts.variables.number_warnings import number_warnings


class ContinuousSpec(AbstractVariableSpec):
    """Settings of a number: code linear, logarithmic or the normal quantile of its rank; Gaussian kernel."""

    type: Literal["continuous"] = "continuous"
    range: tuple[float, float] | None = Field(
        None, description="usual values [low, high]; used for scaling, not as a constraint"
    )
    valid: tuple[float, float] | None = Field(
        None,
        description="values outside [low, high] count as missing and are never drawn; by default the range widened by "
        "half its width on each side (on the logarithmic scale with 'transform: log')",
    )
    transform: Literal["log", "quantile"] | None = Field(
        None,
        description="'log' for skewed values above 0: ages, volumes, scores; 'quantile' for any other distribution "
        "(many zeros, whole numbers, a ceiling, heavy tails): the normal quantile of the rank among the training rows",
    )
    unit: str | None = Field(None, description="unit of the column, for tables and figures")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("range", "valid"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{name} must rise: [low, high], not {list(bounds)}")
            if name == "range" and bounds is not None and not all(map(math.isfinite, bounds)):
                raise ValueError(f"range must be finite, not {list(bounds)}")
            if name == "range" and bounds is not None and self.transform == "log" and bounds[0] <= 0:
                raise ValueError(f"'transform: log' needs a range above 0, not {list(bounds)}")
        return self

    def parts(self) -> Parts:
        if self.transform == "quantile":
            low, high = (bound if math.isfinite(bound) else None for bound in self.bounds())
            return Parts(QuantileSpec(limits=(low, high)), GaussianKernel(), TokenAdapterSpec())
        codec = LinearSpec(range=self.range, transform=self.transform)
        return Parts(codec, GaussianKernel(), TokenAdapterSpec())

    def bounds(self) -> tuple[float, float]:
        if self.valid is not None:
            low, high = self.valid
            return (max(low, 0.0) if self.transform == "log" else low), high
        if self.range is None:
            return (0.0 if self.transform == "log" else -math.inf), math.inf
        low, high = (math.log(bound) if self.transform == "log" else bound for bound in self.range)
        low, high = low - (high - low) / 2, high + (high - low) / 2
        return (math.exp(low), math.exp(high)) if self.transform == "log" else (low, high)

    def value_warnings(self, values: Float[Tensor, "n"]) -> Iterator[str]:
        """Yield a warning about a distribution far from normal, and the setting or type that suits it."""
        yield from number_warnings(values.double().numpy(), self.transform)

    def parse(self, cell: str) -> Tensor | Missing:
        """Parse the number in a cell in double precision; values outside ``bounds`` are missing.

        Raises:
            ValueError: the cell is not a number; the message suggests a correction.
        """
        try:
            number = read_number(cell)
        except ValueError as error:
            raise ValueError(f"{error}{_advice(cell)}") from None
        # The network requires values that are finite, and positive under a logarithm, in single precision.
        single = torch.tensor(number, dtype=torch.float32)
        low, high = self.bounds()
        if not torch.isfinite(single) or not low <= number <= high or (self.transform == "log" and single <= 0):
            return Missing(f"outside valid [{low:g}, {high:g}]")
        return torch.tensor(number, dtype=torch.float64)

    def parse_many(self, cells: Sequence[str]) -> ParsedMany:
        try:
            numbers = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:  # one of them is no number
            numbers = np.fromiter(map(_number, cells), np.float64, len(cells))
        plain = np.fromiter(("_" not in cell for cell in cells), np.bool_, len(cells))  # which float() accepts
        with np.errstate(over="ignore", invalid="ignore"):
            single = numbers.astype(np.float32)
        low, high = self.bounds()
        read = plain & np.isfinite(single) & (low <= numbers) & (numbers <= high)
        if self.transform == "log":
            read &= single > 0
        return ParsedMany(torch.from_numpy(read), torch.from_numpy(np.where(read, numbers, 0.0)))


def _number(cell: str) -> float:
    """The number in a cell; NaN if there is none."""
    try:
        return float(cell)
    except ValueError:
        return math.nan


_DIGITS = r"[0-9]+(?:[.,][0-9]+)?"
_ADVICE = (
    (
        re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?"),
        "; with a decimal comma: write decimal points (pandas converts with read_csv(decimal=','))",
    ),
    (
        re.compile(rf"(?:[<>≤≥]=?\s*{_DIGITS}|{_DIGITS}\s*\+)"),
        ", but a censored value: write it as <5 or >89, and use 'type: count' of the plugin metavoxel-count with "
        "'whole: false' and the detection limit in 'limits'",
    ),
    (
        re.compile(rf"{_DIGITS}\s*[-\u2013]\s*{_DIGITS}"),
        ", but a range: write its middle, or make the variable categorical (or 'type: ordinal' of the plugin "
        "metavoxel-ordinal)",
    ),
    (
        re.compile(rf"[+-]?{_DIGITS}\s*[^\W\d_]+\.?"),
        ": it contains a unit. Convert the column to one unit (12 months to 1 year), write the numbers without it, and "
        "set 'unit'",
    ),
)
"""Patterns of cells with more than a number, and advice for each."""


def _advice(cell: str) -> str:
    return next((advice for pattern, advice in _ADVICE if pattern.fullmatch(cell.strip())), "")
