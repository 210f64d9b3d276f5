"""Principal components of blocks of voxels, in closed form from second moments that are summed batch by batch.

With y_i the voxels of block i, and V the eigenvectors of the largest eigenvalues w of their second moments E[y y'] over
all blocks of the training rows (Pearson 1901), the code of block i and its reconstruction are

    z_i = V' y_i / sqrt(w),    y_i ~ V (sqrt(w) z_i).

No other linear code of as many channels that uses each block alone has a smaller squared error. The codes n_i of a
block and all its neighbours determine more of it: the linear regression

    y_i ~ W' n_i,    W = (E[n n'] + ridge I)^-1 E[n y'],

is a convolution of the code, whose reconstruction has no seams.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.codecs.blocks import block_rows, neighbourhoods

_RIDGE = 1e-4
"""Ridge of the regression on neighbours, relative to the mean variance of a code."""
_LEAST_VARIANCE = 1e-8
"""Variance, relative to that of the first component, below which a component is treated as constant."""


class BlockComponents(NamedTuple):
    """Leading principal components of blocks: orthonormal directions, and the variance along each.

    Components beyond the number of voxels of a block, and those along which no block varies, are zero.
    """

    directions: Float[Tensor, "c v"]
    variances: Float[Tensor, "c"]

    @property
    def encoder(self) -> Float[Tensor, "c v"]:
        """Matrix that maps the voxels of a block to its code, whose channels have variance 1."""
        scale = self.variances.sqrt()[:, None]
        return torch.where(scale > 0, self.directions / scale, 0)

    @property
    def decoder(self) -> Float[Tensor, "v c"]:
        """Matrix that maps a code to the voxels of its block."""
        return (self.directions * self.variances.sqrt()[:, None]).T

    def encode(self, blocks: Float[Tensor, "b v *r"]) -> Float[Tensor, "b c *r"]:
        """Encode every block."""
        return torch.einsum("cv,bv...->bc...", self.encoder, blocks)

    def decode(self, codes: Float[Tensor, "b c *r"]) -> Float[Tensor, "b v *r"]:
        """Decode every block."""
        return torch.einsum("vc,bc...->bv...", self.decoder, codes)


def fit_block_components(batches: Iterable[Float[Tensor, "_ v *r"]], channels: int) -> BlockComponents:
    """Fit the first ``channels`` components to all blocks of all batches, in one pass and in float64.

    The moments are about zero: subtract a mean image first.
    """
    count, moments = 0, torch.zeros(())
    for batch in batches:
        rows = block_rows(batch).double()
        count += len(rows)
        moments = moments + (rows.T @ rows).cpu()
    values, vectors = torch.linalg.eigh(moments / count)
    kept = min(channels, len(values))
    variances, directions = torch.zeros(channels), torch.zeros(channels, len(values))
    largest = values.flip(0)[:kept]
    varies = largest > _LEAST_VARIANCE * largest[0].clamp_min(1e-12)
    variances[:kept] = torch.where(varies, largest, 0).float()
    directions[:kept] = torch.where(varies[:, None], vectors.flip(1)[:, :kept].T, 0).float()
    return BlockComponents(directions, variances)


def fit_neighbour_decoder(
    batches: Iterable[Float[Tensor, "_ v *r"]], components: BlockComponents
) -> Float[Tensor, "v c *n"]:
    """Fit the decoder of a block from the codes of itself and its neighbours, in one pass.

    Returns:
        The kernel of a convolution of width 3 with zero padding.
    """
    gram, products, axes = torch.zeros(()), torch.zeros(()), 0
    for batch in batches:
        axes = batch.ndim - 2
        rows = block_rows(batch)
        near = neighbourhoods(components.encode(batch))
        gram = gram + (near.T @ near).double().cpu()
        products = products + (near.T @ rows).double().cpu()
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean().clamp_min(1e-12))
    decoder = torch.linalg.solve(gram, products).T.float()
    return decoder.reshape(len(decoder), len(components.variances), *[3] * axes)
