"""Images as discrete tokens: an autoencoder of blocks whose codes are quantised.

The encoder sees the block of voxels of a cell and nothing else, so that the code of a block is known exactly where the
block is. The decoder is a convolutional network over cells, so that blocks have no seams.
"""

import math
import warnings
from abc import ABC
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from metavoxel.errors import CohortWarning
from metavoxel.parts.codecs.base import AbstractCodecSpec, AbstractLearnedCodec, CodecTraining, Encoded
from metavoxel.parts.codecs.blocks import from_blocks, known_blocks, spread, to_blocks
from metavoxel.parts.convolutions import convolution
from metavoxel.parts.indices import is_indices
from metavoxel.typing import Code, Mask
from metavoxel_vq.quantiser import AbstractQuantiser

FEWEST_USED = 0.05
"""Share of the classes below which few are used, if there are cells enough to use them all."""
MOST_CLASSES = 65_536
"""Most classes: a network predicts a number for each in every cell."""


class _Residual(nn.Module):
    """A residual block of two convolutions, of one cell or of its neighbours too. Final."""

    def __init__(self, axes: int, width: int, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.SiLU(),
            convolution(axes, width, width, size, padding=size // 2),
            nn.SiLU(),
            convolution(axes, width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.layers(x)
        return changed


class AbstractTokenCodec(AbstractLearnedCodec, ABC):
    """Codec of images (b, k, *d) as classes (b, 1, *d / downsampling).

    The autoencoder models the image minus the training mean, divided by the standard deviation around it.

    Args:
        spec: settings.
        data_shape: of one image, (k, *d).
        quantiser: of the numbers of a cell.
    """

    name: ClassVar[str]
    """Type of the codec, in warnings."""
    fewer: ClassVar[str]
    """How the number of classes is lowered, for the warning that few are used."""

    support = "one_hot"
    indexed = True
    tolerance = math.inf

    def __init__(self, spec: "AbstractTokenSpec", data_shape: tuple[int, ...], quantiser: AbstractQuantiser) -> None:
        super().__init__()
        images, *grid = data_shape
        axes, factor, width = len(grid), spec.downsampling, spec.width
        self.training_plan = CodecTraining(spec.steps, spec.batch_size, spec.learning_rate)
        self.quantiser = quantiser
        self.code_shape = (quantiser.classes, *(size // factor for size in grid))
        self._factor, self._images = factor, images
        voxels, numbers = images * factor**axes, quantiser.numbers
        self.encoder = nn.Sequential(
            convolution(axes, voxels, width, 1),
            *(_Residual(axes, width, 1) for _ in range(spec.blocks)),
            convolution(axes, width, numbers, 1),
        )
        self.decoder = nn.Sequential(
            convolution(axes, numbers, width, 3, padding=1),
            *(_Residual(axes, width, 3) for _ in range(spec.blocks)),
            convolution(axes, width, voxels, 1),
        )
        self.register_buffer("mean_image", torch.zeros(data_shape))
        self.register_buffer("contrast", torch.ones(()))
        self.mean_image: Tensor
        self.contrast: Tensor

    def prepare(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Compute the mean image and the standard deviation around it."""
        center, scale = spread(batches)
        self.mean_image.copy_(center)
        self.contrast.copy_(scale)

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Count the classes that the training rows use, and warn of few. The code does not change."""
        used = torch.zeros(self.quantiser.classes, dtype=torch.bool)
        cells = 0
        for batch in batches():
            with torch.no_grad():
                index = self.quantiser.index(self._levels(batch)).cpu()
            used[index.unique()] = True
            cells += index.numel()
        share = float(used.double().mean())
        if cells >= self.quantiser.classes and share < FEWEST_USED:
            what = f"codec {self.name}: {int(used.sum())} of {len(used)} classes are used; {self.fewer}"
            warnings.warn(f"{what}, or more 'steps'", CohortWarning, stacklevel=2)

    def encoded(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b j *r"]:
        """Return the numbers of every cell, before quantisation."""
        blocks = to_blocks((x - self.mean_image) / self.contrast, self._factor).flatten(1, 2)
        numbers: Tensor = self.encoder(blocks)
        return numbers

    def _levels(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b j *r"]:
        levels: Tensor = self.quantiser(self.encoded(x))
        return levels

    def _image(self, levels: Float[Tensor, "b j *r"]) -> Float[Tensor, "b c *s"]:
        """Return the standardised image."""
        return from_blocks(self.decoder(levels).unflatten(1, (self._images, -1)), self._factor)

    def error(self, levels: Float[Tensor, "b j *r"], x: Float[Tensor, "b c *s"]) -> Float[Tensor, ""]:
        """Return the squared error of the standardised image."""
        return (self._image(levels) - (x - self.mean_image) / self.contrast).float().square().mean()

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        with torch.no_grad():
            return Encoded(self.quantiser.index(self._levels(x).float())[:, None])

    def decode(self, z: Code) -> Float[Tensor, "b c *s"]:
        """Decode classes, or the mean levels of probabilities; other weights are normalised, below 0 as 0.

        No class has levels of zero.
        """
        codebook = self.quantiser.codebook()
        if is_indices(z):
            levels = torch.where(z >= 0, codebook[z[:, 0].clamp_min(0)].movedim(-1, 1), 0.0)
        else:
            weights = z.clamp_min(0)
            weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
            levels = torch.einsum("bk...,kj->bj...", weights, codebook.to(weights))
        with torch.no_grad():
            return self._image(levels).float() * self.contrast + self.mean_image

    def encode_partial(self, x: Float[Tensor, "b c *d"], known: Bool[Tensor, "b c *d"]) -> tuple[Encoded, Mask]:
        """Encode block by block: a cell is reliable if all voxels of its block are known."""
        return self.encode(torch.where(known, x, self.mean_image)), known_blocks(known, self._factor)


class AbstractTokenSpec(AbstractCodecSpec, ABC):
    """Settings that all codecs of image tokens have."""

    support: ClassVar[str] = "one_hot"
    indexed: ClassVar[bool] = True

    downsampling: Literal[2, 4, 8, 16] = Field(8, description="voxels of a block, a cell, along each axis")
    width: PositiveInt = Field(64, description="channels of the encoder and the decoder")
    blocks: PositiveInt = Field(2, description="residual blocks of the encoder and of the decoder")
    steps: PositiveInt = Field(1000, description="optimiser steps")
    batch_size: PositiveInt = Field(16, description="images per step")
    learning_rate: PositiveFloat = Field(2e-3, description="peak learning rate of AdamW")

    def grid_multiple(self) -> int:
        return self.downsampling
