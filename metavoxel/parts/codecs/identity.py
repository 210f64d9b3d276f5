"""Codes that are the standardised data."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code, Mask


class IdentityCodec(AbstractCodec):
    """Codec of images (b, c, *s): codes of the same shape, standardised over the training rows. Final."""

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
        """Encode cell by cell: a cell is reliable if all of its channels are known."""
        filled = torch.where(known, x, self.center)
        return self.encode(filled), known.all(1, keepdim=True)


class IdentitySpec(AbstractCodecSpec):
    """Settings of a codec without compression, for images small enough to be diffused directly."""

    support: ClassVar[str] = "real"

    type: Literal["identity"] = "identity"

    def build(self, data_shape: tuple[int, ...]) -> IdentityCodec:
        return IdentityCodec(data_shape)
