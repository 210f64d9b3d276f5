"""Principal components of blocks of an image, fitted in closed form, with a decoder that overlaps.

With y_i the voxels of block i of an image less its training mean, and V the eigenvectors of the c largest eigenvalues
of their second moments over all blocks of the training rows (Pearson 1901), the code of a cell is

    z_i = V' y_i / s,                                                                                            (1)

with one number s, the standard deviation of y. It depends on the block's voxels alone. Of all linear codes of c
channels a block, it is the best for a decoder that also uses the block alone, y_i ~ s V z_i. Distances between such
reconstructions are those between codes, so that an error of codes is one of images. Neighbouring blocks determine a
part of the rest: the decoder adds the linear regression of that rest on the codes of block i and of all its
neighbours, n,

    W = (G + ridge I)^-1 E[n (y - s V z)'] / s,    G = E[n n'],                                                  (2)

evaluated as a convolution. The ridge has the least error when the regression on one half of the rows predicts the other
half. The reconstruction has no seams.
"""

import math
from collections.abc import Callable, Iterable
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from metavoxel.parts.codecs.base import AbstractCodec, AbstractCodecSpec, Encoded
from metavoxel.parts.codecs.blocks import block_rows, from_blocks, known_blocks, neighbourhoods, spread, to_blocks
from metavoxel.typing import Code, Mask

CHANNELS = 32
"""Components by default: 33 dB of unseen heads at 4 mm, and ridge regressions of age as on voxels (docs/benchmarks)."""
BAND = 8
"""Components in a band, modelled as correlated between neighbouring cells; successive ones are the most alike."""
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, math.inf)
"""Candidate ridges of eq. (2), relative to the mean variance of a code; infinite for no regression."""
BLOCKS_PER_REGRESSOR = 100
"""Number of training blocks per regressor of eq. (2) that suffices; of more, a random part is used."""
MOST_REGRESSORS = 4096


class LocalPCACodec(AbstractCodec):
    """Codec of images (b, k, *d) as block components (b, channels, *d / downsampling). Final."""

    support = "real"

    def __init__(self, spec: "LocalPCASpec", data_shape: tuple[int, ...]) -> None:
        super().__init__()
        images, *grid = data_shape
        self._factor, self._voxels = spec.downsampling, images * spec.downsampling ** len(grid)
        channels = spec.kept(self._voxels)
        self.code_shape = (channels, *(size // self._factor for size in grid))
        self.bands = tuple(channel // BAND for channel in range(channels))
        self.tolerance = 1e-4 if channels == self._voxels else float("inf")
        self._overlaps = spec.overlap and channels < self._voxels
        reach = [3] * len(grid) if self._overlaps else [1] * len(grid)
        self.register_buffer("mean_image", torch.zeros(data_shape))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("directions", torch.eye(channels, self._voxels))
        self.register_buffer("decoder", torch.zeros(self._voxels, channels, *reach))
        self.mean_image: Tensor
        self.scale: Tensor
        self.directions: Tensor
        self.decoder: Tensor
        self.decoder.copy_(self._alone())

    def fit(self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]]) -> None:
        """Fit mean image, components (1) and decoder (2) in three passes over the training rows."""
        center, scale = spread(batches)
        self.mean_image.copy_(center)
        self.scale.copy_(scale)
        count, moments = 0, torch.zeros(self._voxels, self._voxels, dtype=torch.float64)
        for batch in batches():
            blocks = block_rows(self._blocks(batch)).cpu().double()
            count += len(blocks)
            moments += blocks.T @ blocks
        vectors = torch.linalg.eigh(moments).eigenvectors
        self.directions.copy_(vectors.flip(1)[:, : len(self.directions)].T)
        self.decoder.copy_(self._alone())
        if self._overlaps:
            self.decoder.add_(self._regression(batches, count).to(self.decoder).reshape(self.decoder.shape))

    def _alone(self) -> Float[Tensor, "v c *n"]:
        """Return the decoder that uses each block's own code."""
        decoder = torch.zeros_like(self.decoder)
        decoder.flatten(2)[:, :, decoder[0, 0].numel() // 2] = self.directions.T
        return decoder

    def _blocks(self, x: Float[Tensor, "b c *s"]) -> Float[Tensor, "b v *r"]:
        """Return the voxels of each block less the mean image, over their standard deviation."""
        return to_blocks((x - self.mean_image) / self.scale, self._factor).flatten(1, 2)

    def _regression(
        self, batches: Callable[[], Iterable[Float[Tensor, "b c *s"]]], count: int
    ) -> Float64[Tensor, "v n"]:
        """Return W' of eq. (2), from ``count`` blocks or a random part of them."""
        share = min(1.0, BLOCKS_PER_REGRESSOR * self.decoder[0].numel() / count)
        generator = torch.Generator().manual_seed(0)
        halves = [_Moments.none(self.decoder[0].numel(), self._voxels) for _ in range(2)]
        for batch in batches():
            for half, part in zip(halves, batch.tensor_split(2), strict=True):
                near, rest = self._neighbourhoods(part)
                chosen = (torch.rand(len(near), generator=generator) < share).to(near.device)
                half.add(near[chosen], rest[chosen])
        return _ridge(*halves).T

    def _neighbourhoods(self, x: Float[Tensor, "b c *s"]) -> tuple[Float[Tensor, "m n"], Float[Tensor, "m v"]]:
        """Return the codes of each block and its neighbours, and what the block's own code does not represent of it."""
        blocks = self._blocks(x)
        code = self._encoded(blocks)
        rest = blocks - torch.einsum("cv,bc...->bv...", self.directions, code)
        return neighbourhoods(code), block_rows(rest)

    def _encoded(self, blocks: Float[Tensor, "b v *r"]) -> Code:
        return torch.einsum("cv,bv...->bc...", self.directions, blocks)

    def encode(self, x: Float[Tensor, "b c *s"]) -> Encoded:
        return Encoded(self._encoded(self._blocks(x)))

    def decode(self, z: Code) -> Float[Tensor, "b k *d"]:
        convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[z.ndim - 2]
        voxels = convolve(z, self.decoder, padding=self.decoder.shape[2] // 2)
        image = from_blocks(voxels.unflatten(1, (len(self.mean_image), -1)), self._factor)
        return image * self.scale + self.mean_image

    def encode_partial(self, x: Float[Tensor, "b c *d"], known: Bool[Tensor, "b c *d"]) -> tuple[Encoded, Mask]:
        """Encode block by block: a cell is reliable if all voxels of its block are known."""
        return self.encode(torch.where(known, x, self.mean_image)), known_blocks(known, self._factor)


class _Moments(NamedTuple):
    """Sums over blocks of n n' and of n y', for the regression of y on n."""

    gram: Float64[Tensor, "n n"]
    products: Float64[Tensor, "n v"]

    @classmethod
    def none(cls, regressors: int, voxels: int) -> "_Moments":
        """Return the sums over no block."""
        gram = torch.zeros(regressors, regressors, dtype=torch.float64)
        return cls(gram, torch.zeros(regressors, voxels, dtype=torch.float64))

    def add(self, near: Float[Tensor, "m n"], rest: Float[Tensor, "m v"]) -> None:
        """Add blocks."""
        self.gram.add_((near.T @ near).cpu())
        self.products.add_((near.T @ rest).cpu())

    def regression(self, ridge: float) -> Float64[Tensor, "n v"]:
        """Return the coefficients, with a ridge relative to the mean of the Gram matrix's diagonal."""
        if math.isinf(ridge):
            return torch.zeros_like(self.products)
        added = ridge * self.gram.diagonal().mean().clamp_min(1e-12)
        return torch.linalg.solve(self.gram + added * torch.eye(len(self.gram)), self.products)

    def change(self, regression: Float64[Tensor, "n v"]) -> float:
        """Return the change of the summed squared error by a regression."""
        return float((regression * (self.gram @ regression - 2 * self.products)).sum())


def _ridge(first: _Moments, second: _Moments) -> Float64[Tensor, "n v"]:
    """Return the regression on both halves, with the ridge that predicts each half best from the other."""

    def error(ridge: float) -> float:
        return second.change(first.regression(ridge)) + first.change(second.regression(ridge))

    both = _Moments(first.gram + second.gram, first.products + second.products)
    return both.regression(min(RIDGES, key=error))


class LocalPCASpec(AbstractCodecSpec):
    """Settings of principal components of blocks, fitted in closed form."""

    support: ClassVar[str] = "real"

    type: Literal["local_pca"] = "local_pca"
    downsampling: Literal[2, 4, 8, 16] = Field(4, description="voxels of a block along each axis")
    channels: PositiveInt | None = Field(
        None, description=f"components per block, at most its voxels; none: {CHANNELS}, or all if it has fewer voxels"
    )
    overlap: bool = Field(
        True, description="decode a block from the codes of all neighbouring blocks also, which has no seams"
    )

    def kept(self, voxels: int) -> int:
        """Return the number of components of a block of so many voxels."""
        return min(CHANNELS, voxels) if self.channels is None else self.channels

    def grid_multiple(self) -> int:
        return self.downsampling

    def misfit(self, data_shape: tuple[int, ...]) -> str | None:
        axes = len(data_shape) - 1
        voxels, neighbours = data_shape[0] * self.downsampling**axes, 3**axes
        channels = self.kept(voxels)
        block = "x".join([str(self.downsampling)] * axes)
        if channels > voxels:
            return (
                f"{channels} channels are more than the {voxels} voxels of a block of {block}; use "
                f"'channels: {voxels}', which is lossless, or fewer"
            )
        if self.overlap and channels < voxels and channels * neighbours > MOST_REGRESSORS:
            return (
                f"a decoder that overlaps would be a regression on {channels} channels of {neighbours} blocks, "
                f"more than {MOST_REGRESSORS} numbers; use 'overlap: false' or at most "
                f"{MOST_REGRESSORS // neighbours} channels"
            )
        return None

    def build(self, data_shape: tuple[int, ...]) -> LocalPCACodec:
        return LocalPCACodec(self, data_shape)
