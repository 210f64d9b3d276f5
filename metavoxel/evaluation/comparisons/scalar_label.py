"""Binary category as one real number with Gaussian diffusion: the variable of Continuous-Sex MetaVoxel.

It is an ordinary plugin, registered for this comparison only: diffusing a category as a number is not recommended.
"""

from collections.abc import Sequence
from typing import Literal, Self, final

import torch
from pydantic import Field
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.linear import LinearSpec
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Missing, Parts
from metavoxel.parts.variables.categorical import CategoricalSpec
from metavoxel.plugins.hookspecs import API_VERSION, hookimpl


class ScalarLabelSpec(AbstractVariableSpec):
    """Binary category coded as -1 and 1."""

    type: Literal["scalar_label"] = "scalar_label"
    categories: dict[str, str] = Field(description="the two labels, with the table's codes", min_length=2, max_length=2)
    valid: tuple[float, float] | None = Field(None, description="numeric codes outside [low, high] count as missing")

    @classmethod
    def of(cls, spec: AbstractVariableSpec) -> Self:
        """Return the number that stands for a variable of two labels."""
        valid = spec.model_dump().get("valid")
        return cls(column=spec.column, weight=spec.weight, categories=spec.label_codes(), valid=valid)

    @property
    def data_shape(self) -> tuple[int, ...]:
        return ()

    def parts(self) -> Parts:
        return Parts(LinearSpec(range=(-1.0, 1.0)), GaussianKernel(), TokenAdapterSpec())

    def parse(self, cell: str) -> Tensor | Missing:
        index = CategoricalSpec(categories=self.categories, valid=self.valid).parse(cell)
        return index if isinstance(index, Missing) else torch.tensor(2.0 * int(index) - 1.0)

    def format(self, value: Tensor) -> str:
        return list(self.categories)[int(float(value) > 0)]


@final
class ScalarLabelPlugin:
    """Plugin that registers the type under the name of metavoxel, so that it counts as built-in."""

    __name__ = "metavoxel"
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self) -> Sequence[type[AbstractVariableSpec]]:
        """Return the variable type ``scalar_label``."""
        return [ScalarLabelSpec]
