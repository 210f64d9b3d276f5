"""Numbers with a unit: ages, volumes, scores."""

import math
import re
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.codecs.quantile import QuantileSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing, Parts, read_number


class ContinuousSpec(AbstractVariableSpec):
    """A number. Its code is linear, logarithmic, or the normal quantile of its rank, and its kernel Gaussian."""

    type: Literal["continuous"] = "continuous"
    range: tuple[float, float] | None = Field(None, description="usual values [low, high]; scales, does not forbid")
    valid: tuple[float, float] | None = Field(
        None,
        description="values outside [low, high] count as missing, and are never drawn; by default the range widened by "
        "half its width on each side (in the logarithm under 'transform: log')",
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
            ends = getattr(self, name)
            if ends is not None and not ends[0] < ends[1]:
                raise ValueError(f"{name} must rise: [low, high], not {list(ends)}")
            if name == "range" and ends is not None and not all(map(math.isfinite, ends)):
                raise ValueError(f"range must be finite, not {list(ends)}")
            if name == "range" and ends is not None and self.transform == "log" and ends[0] <= 0:
                raise ValueError(f"'transform: log' needs a range above 0, not {list(ends)}")
        return self

    def parts(self) -> Parts:
        if self.transform == "quantile":
            low, high = (end if math.isfinite(end) else None for end in self.bounds())
            return Parts(QuantileSpec(limits=(low, high)), GaussianKernel(), TokenAdapterSpec())
        codec = LinearSpec(range=self.range, transform=self.transform)
        return Parts(codec, GaussianKernel(), TokenAdapterSpec())

    def bounds(self) -> tuple[float, float]:
        if self.valid is not None:
            low, high = self.valid
            return (max(low, 0.0) if self.transform == "log" else low), high
        if self.range is None:
            return (0.0 if self.transform == "log" else -math.inf), math.inf
        low, high = (math.log(end) if self.transform == "log" else end for end in self.range)
        low, high = low - (high - low) / 2, high + (high - low) / 2
        return (math.exp(low), math.exp(high)) if self.transform == "log" else (low, high)

    def parse(self, cell: str) -> Tensor | Missing:
        """The number in a cell, in double precision; what lies outside ``valid`` is blank.

        Raises:
            ValueError: there is none; the message says how such a cell might be read.
        """
        try:
            written = read_number(cell)
        except ValueError as error:
            raise ValueError(f"{error}{_reading(cell)}") from None
        # What single precision rounds to infinity, or under a logarithm to zero, no network can take.
        single = torch.tensor(written, dtype=torch.float32)
        low, high = self.bounds()
        if not torch.isfinite(single) or not low <= written <= high or (self.transform == "log" and single <= 0):
            return Missing(f"outside valid [{low:g}, {high:g}]")
        return torch.tensor(written, dtype=torch.float64)


_DIGITS = r"[0-9]+(?:[.,][0-9]+)?"
_READINGS = (
    (
        re.compile(r"[+-]?[0-9]+,[0-9]+(?:[eE][+-]?[0-9]+)?"),
        "; with a decimal comma, as it seems: write decimal points (in pandas, read_csv(decimal=',') reads it)",
    ),
    (
        re.compile(rf"(?:[<>≤≥]=?\s*{_DIGITS}|{_DIGITS}\s*\+)"),
        ", and only known to lie beyond a limit: write it as <5 or >89, and make the variable 'type: count' of the "
        "plugin metavoxel-count, with 'whole: false' and that limit among its 'limits'",
    ),
    (
        re.compile(rf"{_DIGITS}\s*[-\u2013]\s*{_DIGITS}"),
        ", but a range: write its middle, or make the variable categorical (or 'type: ordinal' of the plugin "
        "metavoxel-ordinal)",
    ),
    (
        re.compile(rf"[+-]?{_DIGITS}\s*[^\W\d_]+\.?"),
        ": it has a unit in it. Write all numbers of the column in one unit (12 months as 1 year) and without it, and "
        "say which by 'unit'",
    ),
)
"""What cells may look like that hold a number and more, and how they can be read."""


def _reading(cell: str) -> str:
    return next((advice for pattern, advice in _READINGS if pattern.fullmatch(cell.strip())), "")
