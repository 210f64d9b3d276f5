"""One-hot codec of categories."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Int64
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.typing import Code


class OneHotCodec(AbstractCodec):
    """Codec of indices (b,) as one-hot codes (b, categories), decoded by argmax. Final."""

    support = "one_hot"
    tolerance = 0.0

    def __init__(self, categories: int) -> None:
        super().__init__()
        self.code_shape = (categories,)

    def encode(self, x: Int64[Tensor, "b"]) -> Encoded:
        return Encoded(torch.nn.functional.one_hot(x.long(), self.code_shape[0]).float())

    def decode(self, z: Code) -> Int64[Tensor, "b"]:
        return z.argmax(1)


class OneHotSpec(AbstractCodecSpec):
    """Settings of a one-hot codec: one channel per category."""

    support: ClassVar[str] = "one_hot"

    type: Literal["onehot"] = "onehot"
    categories: int = Field(2, ge=2, description="number of categories")

    @property
    def classes(self) -> int:
        return self.categories

    def build(self, data_shape: tuple[int, ...]) -> OneHotCodec:
        return OneHotCodec(self.categories)
