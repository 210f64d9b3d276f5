"""Data that are their own code, up to a scale."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code, Mask


class IdentityCodec(AbstractCodec):
    """(b, c, *s) images to codes of the same shape, standardised over the training rows. Final."""

    support = "real"
    tolerance = 1e-4

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.code_shape = data_shape
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.center: Tensor
        self.scale: Tensor

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        count, total, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for batch in batches():
            count += batch.numel()
            total += batch.double().sum()
            squares += batch.double().square().sum()
        mean = total / count
        self.center.copy_(mean)
        self.scale.copy_((squares / count - mean.square()).clamp_min(1e-12).sqrt())

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        return Encoded((x - self.center) / self.scale)

    def decode(self, z: Code) -> Float[Tensor, "b c *s"]:
        return z * self.scale + self.center

    def encode_partial(self, x: Float[Tensor, "b c *s"], known: Bool[Tensor, "b c *s"]) -> tuple[Encoded, Mask]:
        """Every cell stands for itself: a cell is trusted when all of its channels are known."""
        filled = torch.where(known, x, self.center)
        return self.encode(filled), known.all(1, keepdim=True)


class IdentitySpec(AbstractCodecSpec):
    """No compression: for small images, whose diffusion fits in memory as it is."""

    support: ClassVar[str] = "real"

    type: Literal["identity"] = "identity"

    def build(self, data_shape: tuple[int, ...]) -> IdentityCodec:
        return IdentityCodec(data_shape)
