"""Images as discrete tokens by finite scalar quantisation."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel_vq.autoencoder import MOST_CLASSES, AbstractTokenCodec, AbstractTokenSpec
from metavoxel_vq.quantiser import ScalarQuantiser


class FSQCodec(AbstractTokenCodec):
    """Codec whose numbers are rounded to levels. Final."""

    name: ClassVar[str] = "fsq"
    fewer: ClassVar[str] = "use fewer or lower 'levels'"

    def __init__(self, spec: "FSQSpec", data_shape: tuple[int, ...]) -> None:
        super().__init__(spec, data_shape, ScalarQuantiser(spec.levels))

    def losses(self, x: Float[Tensor, "b c *s"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Return the squared error of the standardised image."""
        return {"l2": self.error(self.quantiser(self.encoded(x)), x)}


class FSQSpec(AbstractTokenSpec):
    """Settings of finite scalar quantisation of the blocks of an image (Mentzer et al. 2023)."""

    type: Literal["fsq"] = "fsq"
    levels: tuple[int, ...] = Field(
        (8, 5, 5), description="levels of each number of a cell; the product is the number of classes"
    )

    @field_validator("levels")
    @classmethod
    def _usable(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels or min(levels) < 2:
            raise ValueError("levels are one or more numbers of at least 2, such as [8, 5, 5]")
        if math.prod(levels) > MOST_CLASSES:
            raise ValueError(
                f"{math.prod(levels):,} classes, the product of the levels, are more than {MOST_CLASSES:,}, and a "
                "network predicts a number for each in every cell; use fewer or lower levels"
            )
        return levels

    @classmethod
    def examples(cls) -> Sequence[tuple["FSQSpec", Tensor]]:
        settings = {"width": 8, "blocks": 1, "steps": 2}
        pictures, volumes = torch.rand(6, 1, 8, 8), torch.rand(4, 2, 4, 4, 8)
        return [
            (cls(downsampling=4, levels=(8, 5), **settings), 4 * pictures),
            (cls(downsampling=2, levels=(5, 4, 3), **settings), 4 * volumes),
        ]

    def build(self, data_shape: tuple[int, ...]) -> FSQCodec:
        return FSQCodec(self, data_shape)
