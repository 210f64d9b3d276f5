"""Linear codec of numbers, after an optional logarithm."""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code


class LinearCodec(AbstractCodec):
    """Codec of numbers (b,) as (b, 1), computed in float64, which distinguishes seconds of Unix time. Final."""

    support = "real"
    code_shape = (1,)

    def __init__(self, *, logarithm: bool, center: float, scale: float, fitted: bool) -> None:
        super().__init__()
        self._logarithm, self._fits = logarithm, not fitted
        self.register_buffer("center", torch.tensor(center, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.center: Tensor
        self.scale: Tensor

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """Rounding error of single precision at four standard deviations from the centre."""
        extreme = float(self.center.abs() + 4 * self.scale)
        return 1e-5 * (math.exp(min(extreme, 80)) if self._logarithm else extreme)

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b"]]]) -> None:
        if not self._fits:
            return
        values = self._transform(torch.cat(list(batches())))
        self.center.copy_(values.mean())
        sd = values.std(unbiased=False)
        self.scale.copy_(sd if sd > 0 else torch.ones_like(sd))

    def _transform(self, x: Tensor) -> Float[Tensor, "b"]:
        x = x.double()
        return torch.log(x) if self._logarithm else x

    def encode(self, x: Float[Tensor, "b"]) -> Encoded:
        return Encoded(((self._transform(x) - self.center) / self.scale).float()[:, None])

    def decode(self, z: Code) -> Float[Tensor, "b"]:
        value = z[:, 0].double() * self.scale + self.center
        return torch.exp(value) if self._logarithm else value


class LinearSpec(AbstractCodecSpec):
    """Settings of a linear codec: standardised on the training rows, or from a range to [-1, 1]."""

    support: ClassVar[str] = "real"

    type: Literal["linear"] = "linear"
    scale: Literal["standard", "range"] = Field(
        "standard", description="'standard': mean 0, sd 1 over the training rows; 'range': the range to [-1, 1]"
    )
    range: tuple[float, float] | None = Field(None, description="values mapped to -1 and 1 (in the variable's unit)")
    transform: Literal["log"] | None = Field(
        None, description="'log' applies the natural logarithm first (values above 0)"
    )

    @property
    def is_standardised(self) -> bool:
        return self.scale == "standard"

    def build(self, data_shape: tuple[int, ...]) -> LinearCodec:
        logarithm = self.transform == "log"
        if self.scale == "standard":
            return LinearCodec(logarithm=logarithm, center=0.0, scale=1.0, fitted=False)
        assert self.range is not None
        low, high = (math.log(bound) if logarithm else bound for bound in self.range)
        return LinearCodec(logarithm=logarithm, center=(low + high) / 2, scale=(high - low) / 2, fitted=True)

    def problems(self) -> list[str]:
        if self.range is not None and not (all(map(math.isfinite, self.range)) and self.range[0] < self.range[1]):
            return [f"range must be finite and rise: [low, high], not {list(self.range)}"]
        if self.range is not None and self.transform == "log" and self.range[0] <= 0:
            return [f"transform 'log' needs a range above 0, not {list(self.range)}"]
        if self.scale == "range" and self.range is None:
            return ["scale 'range' needs the variable's range: [low, high]"]
        return []
