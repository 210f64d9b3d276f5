"""A label of two as one real number, which Gaussian diffusion models: the variable of Continuous-Sex MetaVoxel.

It is a plugin as a third party would write one, registered for the comparison alone: a category that is diffused as a
number is a method to compare with, not one to recommend.
"""

from collections.abc import Sequence
from typing import Literal, final

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
    """One of two labels, as -1 and 1."""

    type: Literal["scalar_label"] = "scalar_label"
    categories: dict[str, str] = Field(description="the two labels, with the table's codes", min_length=2, max_length=2)
    valid: tuple[float, float] | None = Field(None, description="numeric codes outside [low, high] count as missing")

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
    """Hooks that give the type. It says of itself that it is metavoxel's."""

    __name__ = "metavoxel"
    metavoxel_api = API_VERSION

    @hookimpl
    def metavoxel_variables(self) -> Sequence[type[AbstractVariableSpec]]:
        """What ``type: scalar_label`` of a variable means."""
        return [ScalarLabelSpec]
