"""The Gaussian baseline: a joint Gaussian over the features of all variables, fitted in closed form.

Features f have mean 0 and, over rows not used to fit them, variance 1. With s_i^2 the mean square of feature i over the
training rows, and R the maximum likelihood second moments of f_i / s_i, by EM over rows with gaps (Dempster, Laird and
Rubin 1977), the covariance over rows not seen in training is

    S_ij = 0.99 R_ij + 0.01 [i = j]                       for features of one variable,                          (1)
    S_ij = kept R_ij min(c_i / c_j, c_j / c_i)            otherwise,    c_i = max(s_i, 1),                       (2)

with eigenvalues clipped to be positive. A feature with s_i > 1 is overfitted to the training rows, over which it varies
more than over others. There the regressions of i on j and of j on i have the slopes R_ij c_i / c_j and R_ij c_j / c_i;
(2) has the smaller one.

With ``links``, S is replaced by the Gaussian of maximum likelihood whose precision is 0 between features that are not
linked (covariance selection, Dempster 1972):

    G_ij = S_ij for linked i, j,    (G^-1)_ij = 0 otherwise.                                                     (3)

``kept``, and whether links are used, maximise the cross-validated likelihood.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor, nn

from metavoxel.network.baseline.components import Components, posterior

FOLDS = 5
KEPT = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Candidate factors of the correlations between variables, ``kept`` of eq. (2)."""
ENOUGH_ROWS = 40
"""Complete rows from which on they alone are scored in cross-validation."""
MOST_ROWS = 2000
"""Rows above which no correlation is shrunk."""
MOST_STEPS, CLOSE = 60, 1e-3
"""Maximum number of EM steps, and the change of a correlation below which they stop."""
MOST_SWEEPS, SETTLED = 100, 1e-8
"""Maximum number of sweeps of covariance selection, and the change of a correlation below which they stop."""
MOST_PATTERNS = 200
"""Patterns of gaps above which there is no EM: it would take minutes, and gaps are then many and small."""


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
        self._shrinkage = _Shrinkage(1.0)
        self.register_buffer("precision", torch.eye(sum(sizes.values())))
        self.precision: Tensor

    def fit(
        self,
        rows: Float64[Tensor, "n k"],
        seen: Bool[Tensor, "n k"],
        unseen: Sequence[Float64[Tensor, "n k"]],
        fold: Int64[Tensor, "n"],
    ) -> float:
        """Fit the covariance, eq. (1) to (3), with cross-validated shrinkage; return ``kept``.

        Args:
            rows: features of all variables; 0 where unknown.
            seen: mask of the known features.
            unseen: for each fold, features fitted to the rows outside it; empty if they are ``rows`` for all.
            fold: of each row.
        """
        if len(rows) < FOLDS or not rows.shape[1]:
            return self._shrinkage.kept
        candidates = [_Shrinkage(kept) for kept in (KEPT if len(rows) <= MOST_ROWS else [1.0])]
        if self._links is not None:
            candidates = [_Shrinkage(one.kept, self._links) for one in candidates] + candidates
        best = candidates[0]
        if len(candidates) > 1:
            best = _cross_validated(candidates, unseen or [rows] * FOLDS, seen, fold, self.inside())
        self._shrinkage = best
        self.precision.copy_(torch.linalg.inv(self.refitted(rows, seen)))
        return best.kept

    def refitted(self, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
        """Return the covariance of these rows with the shrinkage that ``fit`` chose."""
        return _Moments.of(rows, seen, self.inside()).covariance(self._shrinkage)

    def covariance(self) -> Float64[Tensor, "k k"]:
        """Return the covariance of all features."""
        return torch.linalg.inv(self.precision.double())

    def inside(self) -> Bool[Tensor, "k k"]:
        """Return the pairs of features of one variable."""
        return block_diagonal([torch.ones(1, size, size) for size in self._sizes.values()])[0].bool()


class _Shrinkage(NamedTuple):
    """Shrinkage of a covariance.

    Attributes:
        kept: factor of the correlations between variables, eq. (2).
        linked: pairs of features that depend on each other directly, eq. (3); None if all may.
    """

    kept: float
    linked: Bool[Tensor, "k k"] | None = None


class _Moments(NamedTuple):
    """Second moments of rows.

    Attributes:
        correlation: R of eq. (1).
        scale: s of eq. (2).
        inside: pairs of features of one variable.
    """

    correlation: Float64[Tensor, "k k"]
    scale: Float64[Tensor, "k"]
    inside: Bool[Tensor, "k k"]

    @classmethod
    def of(cls, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"], inside: Bool[Tensor, "k k"]) -> "_Moments":
        """Take the moments of rows whose unknown features are 0."""
        scale = (rows.square().sum(0) / seen.sum(0).clamp_min(1)).clamp_min(1e-12).sqrt()
        return cls(_correlation(rows / scale, seen), scale, inside)

    def covariance(self, shrinkage: _Shrinkage) -> Float64[Tensor, "k k"]:
        """Return the covariance over rows not seen, eq. (1) to (3)."""
        own = 0.99 * self.correlation + 0.01 * torch.eye(len(self.correlation))
        spread = self.scale.clamp_min(1)
        ratio = spread[:, None] / spread
        between = shrinkage.kept * self.correlation * torch.minimum(ratio, 1 / ratio)
        covariance = _positive_definite(torch.where(self.inside, own, between))
        return covariance if shrinkage.linked is None else _covariance_selection(shrinkage.linked, covariance)


def _covariance_selection(linked: Bool[Tensor, "k k"], covariance: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """Return G of eq. (3).

    Each feature in turn is regressed on those linked to it, with their covariances in G so far (Hastie, Tibshirani and
    Friedman 2009, algorithm 17.1).
    """
    selected = covariance.clone()
    neighbours = (linked & ~torch.eye(len(linked), dtype=torch.bool)).unbind()
    for _ in range(MOST_SWEEPS):
        before = selected.clone()
        for one, near in enumerate(neighbours):
            others = torch.arange(len(selected)) != one
            regression = torch.linalg.solve(selected[near][:, near], covariance[near, one])
            selected[others, one] = selected[one, others] = selected[others][:, near] @ regression
        if float((selected - before).abs().max()) < SETTLED:
            break
    return selected


def _correlation(rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"]) -> Float64[Tensor, "k k"]:
    """Return the maximum likelihood second moments of Gaussian rows with gaps, by EM; unknown features are 0.

    The E-step fills gaps by regression on the row's known features, and adds the covariance that is left. Moments over
    the rows with both features are the start, and the result where there are too many patterns of gaps. They are worse
    where one variable explains much of another: sampling errors of an image's scores then no longer cancel between
    their own moments and those with an age that only half of the rows have.
    """
    here = seen.double()
    found = rows.T @ rows / (here.T @ here).clamp_min(1)
    patterns, kind = torch.unique(seen, dim=0, return_inverse=True)
    if len(patterns) == 1 or len(patterns) > MOST_PATTERNS:
        return found
    groups = [(pattern, rows[kind == number]) for number, pattern in enumerate(patterns)]
    for _ in range(MOST_STEPS):
        before, total = _positive_definite(found), torch.zeros_like(found)
        for pattern, group in groups:
            there, gap = pattern.nonzero()[:, 0], (~pattern).nonzero()[:, 0]
            regression = torch.linalg.solve(before[there][:, there], before[there][:, gap])
            filled = group.clone()
            filled[:, gap] = group[:, there] @ regression
            total += filled.T @ filled
            left = before[gap][:, gap] - before[gap][:, there] @ regression
            total[gap[:, None], gap] += len(group) * left
        found = total / len(rows)
        if float((found - before).abs().max()) < CLOSE:
            break
    return found


def _positive_definite(correlation: Float64[Tensor, "k k"]) -> Float64[Tensor, "k k"]:
    """Clip eigenvalues so that the matrix is positive definite, also if shrunk in part or of few rows."""
    values, vectors = torch.linalg.eigh(correlation)
    return vectors @ torch.diag(values.clamp_min(1e-3)) @ vectors.T


def _cross_validated(
    candidates: Sequence[_Shrinkage],
    unseen: Sequence[Float64[Tensor, "n k"]],
    seen: Bool[Tensor, "n k"],
    fold: Int64[Tensor, "n"],
    inside: Bool[Tensor, "k k"],
) -> _Shrinkage:
    """Return the shrinkage of highest cross-validated likelihood.

    Correlations within a variable are not shrunk. Scores of one image have none by construction, so that shrinking the
    whole matrix by its expected error (Ledoit and Wolf 2004) would fit those, not the correlations that predict. Links
    are cross-validated too: independence given other variables in the joint density need not hold for the Gaussian of
    its moments, as of two variables that depend on the square of a third.
    """
    whole = seen.all(1)
    complete = int(whole.sum()) >= ENOUGH_ROWS
    scored = whole if complete else torch.ones_like(whole)
    folds = []
    for number, rows in enumerate(unseen):
        used = fold != number
        moments = _Moments.of(rows[used], seen[used], inside)
        folds.append((moments, rows[~used & scored] / moments.scale.clamp_max(1), seen[~used & scored]))

    def likelihood(shrinkage: _Shrinkage) -> float:
        total = 0.0
        for moments, held_out, known in folds:
            covariance = moments.covariance(shrinkage)
            if complete:
                misfit = (held_out * torch.linalg.solve(covariance, held_out.T).T).sum()
                total -= float(misfit + len(held_out) * torch.logdet(covariance))
            else:
                mean = torch.zeros(1, len(covariance)).double()
                gaussian = Components(torch.ones(1).double(), mean, covariance[None])
                total += float(posterior(gaussian, held_out, known).log_joint.sum())
        return total

    return max(candidates, key=likelihood)


def block_diagonal(blocks: Sequence[Float[Tensor, "b _ _"]]) -> Float[Tensor, "b k k"]:
    """Return block-diagonal matrices."""
    size = sum(block.shape[1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        end = start + block.shape[1]
        rows.append(nn.functional.pad(block, (start, size - end)))
        start = end
    return torch.cat(rows, 1)
