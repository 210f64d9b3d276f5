"""The Gaussian baseline: a joint Gaussian over the features of all variables, fitted in closed form.

Features have mean 0 and, over rows not used to fit them, variance 1. Their covariance over rows not seen in training is
that of :mod:`metavoxel.network.baseline.moments`, with correlations between variables shrunk as
:mod:`metavoxel.network.baseline.shrinkage` chooses by cross-validation.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from metavoxel.network.baseline.moments import Moments, Shrinkage
from metavoxel.network.baseline.shrinkage import FOLDS, chosen_shrinkage, inside_blocks

MOST_ROWS = 2000
"""Rows above which no correlation is shrunk."""


class GaussianBaseline(nn.Module):
    """A Gaussian over the features of all variables. Final.

    Its posterior mean given noisy codes (:mod:`metavoxel.network.baseline.mixture`) is a shrunken regression of an
    unknown age on a clean image, and the mean image at a known age. Predictions start from it, so that the network
    learns only what a linear model misses.

    Args:
        sizes: number of features of every variable.
        links: pairs of features that depend on each other directly, where known; by default all may. Used where the
            cross-validated likelihood is higher.
    """

    def __init__(self, sizes: Mapping[str, int], links: Bool[Tensor, "k k"] | None = None) -> None:
        super().__init__()
        self._sizes = dict(sizes)
        self._links = links
        self._shrinkage = Shrinkage(torch.ones(sum(sizes.values()), sum(sizes.values()), dtype=torch.float64))
        self.register_buffer("precision", torch.eye(sum(sizes.values())))
        self.precision: Tensor

    def fit(
        self,
        rows: Float64[Tensor, "n k"],
        seen: Bool[Tensor, "n k"],
        unseen: Sequence[Float64[Tensor, "n k"]],
        fold: Int64[Tensor, "n"],
    ) -> Float64[Tensor, "k k"]:
        """Fit the covariance with cross-validated shrinkage; return the factors of the correlations between variables.

        Args:
            rows: features of all variables; 0 where unknown.
            seen: mask of the known features.
            unseen: for each fold, features fitted to the rows outside it; empty if they are ``rows`` for all.
            fold: of each row.
        """
        if len(rows) < FOLDS or not rows.shape[1]:
            return self._shrinkage.kept
        if len(rows) <= MOST_ROWS or self._links is not None:
            held_out = unseen or [rows] * FOLDS
            self._shrinkage = chosen_shrinkage(
                held_out, seen, fold, self._sizes, self._links, shrunk=len(rows) <= MOST_ROWS
            )
        self.precision.copy_(torch.linalg.inv(self.refitted(rows, seen)))
        return self._shrinkage.kept

    def refitted(self, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
        """Return the covariance of these rows with the shrinkage that ``fit`` chose."""
        return Moments.of(rows, seen, self.inside()).covariance(self._shrinkage)

    def covariance(self) -> Float64[Tensor, "k k"]:
        """Return the covariance of all features."""
        return torch.linalg.inv(self.precision.double())

    def inside(self) -> Bool[Tensor, "k k"]:
        """Return the pairs of features of one variable."""
        return inside_blocks(list(self._sizes.values()))


def block_diagonal(blocks: Sequence[Float[Tensor, "b _ _"]]) -> Float[Tensor, "b k k"]:
    """Return block-diagonal matrices."""
    size = sum(block.shape[1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        end = start + block.shape[1]
        rows.append(nn.functional.pad(block, (start, size - end)))
        start = end
    return torch.cat(rows, 1)
