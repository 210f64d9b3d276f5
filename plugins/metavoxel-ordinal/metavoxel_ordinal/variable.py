"""Ordinal variables."""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.onehot import OneHotSpec
from metavoxel.parts.variables.base import AbstractVariableSpec, Example, Missing, Parts
from metavoxel.parts.variables.categorical import CategoricalSpec, Labels
from metavoxel_ordinal.adapter import OrdinalAdapterSpec
from metavoxel_ordinal.kernel import BirthDeathKernel


class OrdinalSpec(AbstractVariableSpec):
    """One of K ordered levels. Cells are parsed as those of a category; noise moves between neighbouring levels."""

    type: Literal["ordinal"] = "ordinal"
    levels: Labels = Field(
        description="labels from lowest to highest, as a list [0, 0.5, 1], or with the table's codes {none: 0, mild: 1}"
    )
    valid: tuple[float, float] | None = Field(
        None, description="numeric codes outside [low, high] count as missing, without being unknown"
    )
    point: Literal["median", "likeliest"] = Field(
        "median", description="predicted level: the median (least expected absolute error in levels) or the likeliest"
    )

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(levels=["0", "0.5", "1", "2"]), ["0", "0.5", "2", "1.0"])]

    @property
    def _labels(self) -> CategoricalSpec:
        return CategoricalSpec(categories=self.levels, valid=self.valid)

    def warnings(self) -> list[str]:
        return self._labels.warnings()

    def label_codes(self) -> dict[str, str]:
        return self._labels.label_codes()

    def parts(self) -> Parts:
        return Parts(OneHotSpec(categories=len(self.levels)), BirthDeathKernel(), OrdinalAdapterSpec())

    def problems(self, parts: Parts) -> list[str]:
        return self._labels.problems(parts)

    def parse(self, cell: str) -> Tensor | Missing:
        return self._labels.parse(cell)

    def parse_given(self, cell: str) -> Tensor | Missing:
        return self._labels.parse_given(cell)

    def format(self, value: Tensor) -> str:
        return self._labels.format(value)

    def predicted_class(self, scores: Float[Tensor, "b k"]) -> Int64[Tensor, "b"]:
        """Return the predicted level of probabilities or votes: their median or, by ``point``, the likeliest."""
        if self.point == "likeliest":
            return super().predicted_class(scores)
        below = scores.cumsum(1) / scores.sum(1, keepdim=True)
        return (below >= 0.5 - 1e-6).int().argmax(1)
