"""Counts and non-negative measures as a variable type."""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Example, Missing, Parts, read_number
from metavoxel_count.codec import CountCodecSpec

LIMIT_WORDS = ("lod", "loq")
"""Names of the lower limit in laboratory data: limit of detection, limit of quantification."""


class CountSpec(AbstractVariableSpec):
    """A non-negative number: a count, a concentration, a duration.

    Censored cells are ``<0.5``, ``>90`` or ``90+``, at the variable's limits.
    """

    type: Literal["count"] = "count"
    whole: bool = Field(True, description="whole numbers only; false for concentrations and durations")
    scale: Literal["quantile", "log"] = Field(
        "quantile", description="'quantile': rank among the training rows; 'log': logarithm, for few rows"
    )
    limits: tuple[float | None, float | None] = Field(
        (None, None), description="censoring limits [low, high] (limits of detection); null for none"
    )
    unit: str | None = Field(None, description="unit of the column, for tables and figures")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        low, high = self.limits[0] or 0.0, math.inf if self.limits[1] is None else self.limits[1]
        if not 0 <= low < high:
            raise ValueError(f"limits must rise from 0 or more: [low, high], not {list(self.limits)}")
        return self

    @classmethod
    def examples(cls) -> Sequence[Example]:
        censored = cls(whole=False, scale="log", limits=(0.5, 90.0), unit="mg/l")
        return [
            Example(cls(), ["0", "3", "0", "12", "1", "0", "250"]),
            Example(censored, ["<0.5", "0.7", "12.25", "<LOD", "3.5", ">90"]),
        ]

    def parts(self) -> Parts:
        codec = CountCodecSpec(whole=self.whole, scale=self.scale, limits=self.limits)
        return Parts(codec, GaussianKernel(), TokenAdapterSpec())

    def parse(self, cell: str) -> Tensor | Missing:
        if cell[-1:] == "+":
            cell = f">{cell[:-1].rstrip()}"
        value = self._censored(cell) if cell[:1] in ("<", ">") else read_number(cell)
        number = torch.tensor(value, dtype=torch.float32)
        if not torch.isfinite(number) or value < 0:
            return Missing("not finite" if value >= 0 or math.isnan(value) else "below 0")
        if self.whole and value != round(value):
            raise ValueError(f"{cell!r} is not a whole number. Set 'whole: false' for other measures")
        low, high = self.limits
        return number.clamp(low, high) if low is not None or high is not None else number

    def _censored(self, cell: str) -> float:
        """Return the limit named by ``<0.5``, ``<LOD`` or ``>90``.

        Raises:
            ValueError: it is not one of the variable's limits.
        """
        side, text = (0, cell[1:].lstrip("= ")) if cell[0] == "<" else (1, cell[1:].lstrip("= "))
        limit = self.limits[side]
        named = limit if side == 0 and text.lower() in LIMIT_WORDS else read_number(text)
        if limit is None or named != limit:
            example = [0.5 if named is None else named, "null"] if side == 0 else ["null", named]
            raise ValueError(
                f"{cell!r} is censored at a limit that is not the variable's ({[*self.limits]}), which has one on each "
                f"side. Set limits: [{example[0]}, {example[1]}], or give the value"
            )
        return limit

    def format(self, value: Tensor) -> object:
        """Format the number, or a censored one as ``<0.5``."""
        shown = float(f"{float(value):.6g}")
        low, high = self.limits
        if low is not None and shown <= low:
            return f"<{low:g}"
        return f">{high:g}" if high is not None and shown >= high else shown
