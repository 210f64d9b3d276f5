"""Principal components of many numbers."""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, PositiveInt
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code


class PCACodec(AbstractCodec):
    """(b, n) numbers, standardised, to (b, c) principal component scores of variance 1. Final."""

    support = "real"

    def __init__(self, numbers: int, components: int) -> None:
        super().__init__()
        self.code_shape = (min(components, numbers),)
        self.register_buffer("center", torch.zeros(numbers, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(numbers, dtype=torch.float64))
        self.register_buffer("loadings", torch.eye(*self.code_shape, numbers, dtype=torch.float64))
        self.center: Tensor
        self.scale: Tensor
        self.loadings: Tensor

    @property
    def tolerance(self) -> float:  # type: ignore[override]
        """The rounding error with all components; infinite with fewer, which lose information."""
        if self.code_shape[0] < len(self.center):
            return math.inf
        return 1e-4 * float((self.center.abs() + 4 * self.scale).max())

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b n"]]]) -> None:
        rows = torch.cat(list(batches())).double()
        self.center.copy_(rows.mean(0))
        spread = rows.std(0, unbiased=False)
        self.scale.copy_(torch.where(spread > 0, spread, 1.0))
        _, strengths, directions = torch.linalg.svd((rows - self.center) / self.scale, full_matrices=False)
        strengths = strengths / math.sqrt(len(rows))
        # Components without variance are dropped: with few rows, or linearly dependent numbers
        count = min(self.code_shape[0], int((strengths > 1e-6).sum()))
        self.loadings.zero_()
        self.loadings[:count] = strengths[:count, None] * directions[:count]

    def encode(self, x: Float[Tensor, "b n"]) -> Encoded:
        strengths = self.loadings.square().sum(1)
        scores = (x.double() - self.center) / self.scale @ self.loadings.T
        return Encoded((scores / torch.where(strengths > 0, strengths, 1.0)).float())

    def decode(self, z: Code) -> Float[Tensor, "b n"]:
        return (z.double() @ self.loadings * self.scale + self.center).float()


class PCACodecSpec(AbstractCodecSpec):
    """Principal components of standardised numbers."""

    support: ClassVar[str] = "real"

    type: Literal["pca"] = "pca"
    components: PositiveInt = Field(16, description="number of principal components")

    def build(self, data_shape: tuple[int, ...]) -> PCACodec:
        return PCACodec(data_shape[0], self.components)
