"""Orthogonal wavelet transform of images: a code without loss or training, in which a block of voxels is a cell.

With the orthogonal matrix of Haar (1910), each level splits a map of sums into sums and differences of neighbouring
voxels, along every axis:

    (sum, difference) = (first + second, first - second) / sqrt(2).                                              (1)

One level of d axes has 2^d bands: the sums, which the next level splits again, and 2^d - 1 orientations of differences.
With filters of two voxels, a coefficient depends on one block of voxels, so that a cell is known exactly where its
block is; all coefficients of a block of 2^levels voxels along each axis are the channels of its cell. Smoother
orthogonal wavelets have longer filters, which overlap (Daubechies 1992, "Ten lectures on wavelets").

The code is that of the image less its training mean, divided by one number, its standard deviation. The transform is
orthogonal. So distances between codes are those between images, up to that number: principal components of codes are
those of images, a ridge regression on codes is that on voxels, and a squared error of codes weights every band by how
much it varies in the images. Bands of standardised variance would weight the many fine bands, mostly noise, far above
the few coarse ones.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.parts.codecs.blocks import from_blocks, known_blocks, spread, to_blocks
from metavoxel.typing import Code, Mask


class WaveletCodec(AbstractCodec):
    """Codec of images (b, k, *d) as wavelet coefficients (b, k * 2^(axes * levels), *d / 2^levels). Final."""

    support = "real"
    tolerance = 1e-4

    def __init__(self, levels: int, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        images, *grid = data_shape
        self._levels, self._bands = levels, 2 ** len(grid)
        coefficients = self._bands**levels
        self.code_shape = (images * coefficients, *(size // 2**levels for size in grid))
        self.bands = tuple(_correlated(self._bands, levels)) * images
        step = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5
        self.register_buffer("matrix", functools.reduce(torch.kron, [step] * len(grid)), persistent=False)
        self.register_buffer("mean_image", torch.zeros(data_shape))
        self.register_buffer("scale", torch.ones(()))
        self.matrix: Tensor
        self.mean_image: Tensor
        self.scale: Tensor

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Take the mean image and the standard deviation around it."""
        center, scale = spread(batches)
        self.mean_image.copy_(center)
        self.scale.copy_(scale)

    def _analysed(self, maps: Float[Tensor, "b k *d"]) -> Code:
        """Return the coefficients of all bands, coarsest first, with the finer ones of a cell as its channels."""
        details: list[Tensor] = []
        for level in range(1, self._levels + 1):
            split = torch.einsum("qv,bkv...->bkq...", self.matrix, to_blocks(maps, 2))
            maps, rest = split[:, :, 0], split[:, :, 1:]
            packed = to_blocks(rest.flatten(1, 2), 2 ** (self._levels - level))
            details.append(packed.reshape(*maps.shape[:2], -1, *packed.shape[3:]))
        return torch.cat([maps[:, :, None], *reversed(details)], 2).flatten(1, 2)

    def _composed(self, code: Code) -> Float[Tensor, "b k *d"]:
        """Return the image of these coefficients, the inverse of ``_analysed``."""
        images, rest = len(self.mean_image), self._bands - 1
        bands = code.unflatten(1, (images, -1))
        maps, start = bands[:, :, 0], 1
        for level in range(self._levels, 0, -1):
            inner = 2 ** (self._levels - level)
            count = rest * self._bands ** (self._levels - level)
            packed = bands[:, :, start : start + count].flatten(1, 2).unflatten(1, (images * rest, -1))
            split = torch.cat([maps[:, :, None], from_blocks(packed, inner).unflatten(1, (images, rest))], 2)
            maps = from_blocks(torch.einsum("qv,bkq...->bkv...", self.matrix, split), 2)
            start += count
        return maps

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        return Encoded(self._analysed(x - self.mean_image) / self.scale)

    def decode(self, z: Code) -> Float[Tensor, "b k *d"]:
        return self._composed(z * self.scale) + self.mean_image

    def encode_partial(self, x: Float[Tensor, "b c *d"], known: Bool[Tensor, "b c *d"]) -> tuple[Encoded, Mask]:
        """Encode block by block: a cell is reliable if all voxels of its block are known."""
        return self.encode(torch.where(known, x, self.mean_image)), known_blocks(known, 2**self._levels)


def _correlated(bands: int, levels: int) -> Iterator[int]:
    """Yield the group of each channel: the coarsest level's bands together; of finer ones, neighbours in a band."""
    yield from [0] * bands
    group = 0
    for level in range(levels - 1, 0, -1):
        for _ in range((bands - 1) * bands ** (levels - level - 1)):
            group += 1
            yield from [group] * bands


class WaveletSpec(AbstractCodecSpec):
    """Settings of an orthogonal wavelet transform (Haar), without loss and without training."""

    support: ClassVar[str] = "real"

    type: Literal["wavelet"] = "wavelet"
    levels: int = Field(2, ge=1, le=6, description="levels; a cell is a block of 2**levels voxels along each axis")

    def grid_multiple(self) -> int:
        return 2**self.levels

    def build(self, data_shape: tuple[int, ...]) -> WaveletCodec:
        return WaveletCodec(self.levels, data_shape)
