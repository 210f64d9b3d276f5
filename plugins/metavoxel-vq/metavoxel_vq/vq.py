"""Images as discrete tokens by vector quantisation."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from metavoxel.rng import Rng
from metavoxel_vq.autoencoder import MOST_CLASSES, AbstractTokenCodec, AbstractTokenSpec
from metavoxel_vq.codebook import VectorQuantiser


class VQCodec(AbstractTokenCodec):
    """Codec whose numbers are the nearest vector of a codebook. Final."""

    name: ClassVar[str] = "vq"
    fewer: ClassVar[str] = "use fewer 'codes'"

    def __init__(self, spec: "VQSpec", data_shape: tuple[int, ...]) -> None:
        super().__init__(spec, data_shape, VectorQuantiser(spec.codes, spec.numbers))
        self._commitment = spec.commitment

    def losses(self, x: Float[Tensor, "b c *s"], *, rng: Rng) -> dict[str, Float[Tensor, ""]]:
        """Return the squared error of the standardised image, and that of numbers from their vectors.

        In training, the codebook is updated first.
        """
        y, quantiser = self.encoded(x), self.quantiser
        assert isinstance(quantiser, VectorQuantiser)
        if self.training:
            quantiser.update(y, rng.fork("codebook"))
        levels = quantiser(y)
        away = (y - levels.detach()).float().square().mean()
        return {"l2": self.error(levels, x), "commitment": self._commitment * away}


class VQSpec(AbstractTokenSpec):
    """Settings of vector quantisation of the blocks of an image (van den Oord et al. 2017), with moving averages."""

    type: Literal["vq"] = "vq"
    codes: int = Field(256, ge=2, le=MOST_CLASSES, description="vectors of the codebook, the number of classes")
    numbers: PositiveInt = Field(8, description="numbers of a vector")
    commitment: NonNegativeFloat = Field(0.25, description="weight of the distance of a cell from its vector")

    @classmethod
    def examples(cls) -> Sequence[tuple["VQSpec", Tensor]]:
        settings = {"width": 8, "blocks": 1, "steps": 2, "codes": 40, "numbers": 3}
        pictures, volumes = torch.rand(6, 1, 8, 8), torch.rand(4, 2, 4, 4, 8)
        return [(cls(downsampling=4, **settings), 4 * pictures), (cls(downsampling=2, **settings), 4 * volumes)]

    def build(self, data_shape: tuple[int, ...]) -> VQCodec:
        return VQCodec(self, data_shape)
