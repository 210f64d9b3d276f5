"""A metavoxel plugin: quantities that come round again, such as hours of the day or angles."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveFloat
from torch import Tensor

from metavoxel.adapters.token import TokenAdapterSpec
from metavoxel.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.hookspecs import hookimpl
from metavoxel.kernels.gaussian import GaussianKernel
from metavoxel.typing import Code
from metavoxel.variables.base import AbstractVariableSpec, Blank, Parts

metavoxel_api = 1


class PeriodicCodec(AbstractCodec):
    """(b,) numbers to (b, 2) points of a circle, of variance 1 a channel when all its places are alike. Final."""

    support = "real"
    code_shape = (2,)

    def __init__(self, period: float) -> None:
        super().__init__()
        self._period = period
        self.tolerance = 1e-5 * period

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        angle = x.double() * (2 * math.pi / self._period)
        circle = math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], 1)
        return Encoded(circle.float())

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        turn = torch.atan2(z[:, 1], z[:, 0]) / (2 * math.pi)
        return turn % 1 * self._period


class PeriodicCodecSpec(AbstractCodecSpec):
    """A number to a point of a circle, and any point of the plane to the nearest place on it."""

    support: ClassVar[str] = "real"

    type: Literal["periodic"] = "periodic"
    period: PositiveFloat = Field(description="length of one turn, in the variable's unit")

    def build(self, data_shape: tuple[int, ...]) -> PeriodicCodec:
        return PeriodicCodec(self.period)


class PeriodicSpec(AbstractVariableSpec):
    """A number that counts the same after a whole turn: hour of the day, day of the year, angle."""

    type: Literal["periodic"] = "periodic"
    period: PositiveFloat = Field(description="length of one turn, in the column's unit: 24 for hours")
    unit: str | None = Field(None, description="unit of the column, for tables and figures")

    @property
    def data_shape(self) -> tuple[int, ...]:
        return ()

    def parts(self) -> Parts:
        return Parts(PeriodicCodecSpec(period=self.period), GaussianKernel(), TokenAdapterSpec())

    def parse(self, cell: str) -> Tensor | Blank:
        try:
            value = float(cell)
        except ValueError:
            raise ValueError(f"{cell!r} is not a number. Add it to cohort.missing if it means missing") from None
        if not math.isfinite(value):
            return Blank("not finite")
        return torch.tensor(value % self.period, dtype=torch.float32)

    def format(self, value: Tensor) -> float:
        return float(f"{float(value):.6g}")


@hookimpl
def metavoxel_variables() -> Sequence[type[AbstractVariableSpec]]:
    """What ``type: periodic`` of a variable means."""
    return [PeriodicSpec]


@hookimpl
def metavoxel_codecs() -> Sequence[type[AbstractCodecSpec]]:
    """What ``codec: {type: periodic}`` means: a run's resolved schema names every part."""
    return [PeriodicCodecSpec]
