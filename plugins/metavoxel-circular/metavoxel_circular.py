"""A metavoxel plugin: circular quantities, such as angles, hours of the day and days of the year."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field, PositiveFloat
from torch import Tensor

from metavoxel.parts.adapters.token import TokenAdapterSpec
from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.parts.kernels.gaussian import GaussianKernel
from metavoxel.parts.variables.base import AbstractVariableSpec, Example, Missing, Parts, Point, read_number
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel.typing import Code

metavoxel_api = 2


class CircularCodec(AbstractCodec):
    """(b,) numbers to (b, 2) points of a circle, with variance 1 per channel for uniform numbers. Final."""

    support = "real"
    code_shape = (2,)

    def __init__(self, period: float) -> None:
        super().__init__()
        self._period, self.tolerance = period, 1e-5 * period

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        angle = x.double() * (math.tau / self._period)
        return Encoded(math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1).float())

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        return torch.atan2(z[:, 1], z[:, 0]) / math.tau % 1 * self._period


class CircularCodecSpec(AbstractCodecSpec):
    """Encode a number as a point of a circle; decode any point of the plane by its direction."""

    support: ClassVar[str] = "real"

    type: Literal["circular"] = "circular"
    period: PositiveFloat = Field(description="period, in the variable's unit")

    def build(self, data_shape: tuple[int, ...]) -> CircularCodec:
        return CircularCodec(self.period)


class CircularSpec(AbstractVariableSpec):
    """A number modulo a period. Cells may be numbers, or 23:45 for 23.75."""

    type: Literal["circular"] = "circular"
    period: PositiveFloat = Field(description="period, in the column's unit: 24 for hours, 360 for degrees")
    unit: str | None = Field(None, description="unit of the column, for tables and figures")

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return [Example(cls(period=24, unit="hours"), ["6.5", "23:45", "0.25", "12"])]

    def parts(self) -> Parts:
        return Parts(CircularCodecSpec(period=self.period), GaussianKernel(), TokenAdapterSpec())

    def parse(self, cell: str) -> Tensor | Missing:
        whole, _, minutes = cell.partition(":")
        value = read_number(whole) + read_number(minutes or "0") / 60
        if not math.isfinite(value):
            return Missing("not finite")
        return torch.tensor(value % self.period, dtype=torch.float32) % self.period

    def center(self, values: Float[Tensor, "k *d"], point: Point) -> Float64[Tensor, "*d"]:
        """Return the mean direction of draws, or the median of their differences from it."""
        angle = values.double() * (math.tau / self.period)
        mean = torch.atan2(angle.sin().mean(0), angle.cos().mean(0)) / math.tau * self.period
        if point == "median":
            mean = mean + super().center(self.differences(values, mean), point)
        return mean % self.period

    def differences(self, values: Float[Tensor, "k *d"], center: Float64[Tensor, "*d"]) -> Float64[Tensor, "k *d"]:
        """Return the signed shorter arc to each draw."""
        return (values.double() - center + self.period / 2) % self.period - self.period / 2


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """Register ``type: circular`` of variables."""
    return [CircularSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """Register ``codec: {type: circular}``, as a run's resolved schema names every part."""
    return [CircularCodecSpec]
