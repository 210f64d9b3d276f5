"""Second moments of features over rows with gaps, and the covariance over rows not seen in training.

With s_i^2 the mean square of feature i over the rows, and R the maximum likelihood second moments of f_i / s_i, by EM
over rows with gaps (Dempster, Laird and Rubin 1977), the covariance over rows not seen is

    S_ij = 0.99 R_ij + 0.01 [i = j]                       for features of one variable,                          (1)
    S_ij = kept_ij R_ij min(c_i / c_j, c_j / c_i)         otherwise,    c_i = max(s_i, 1),                       (2)

with eigenvalues clipped to be positive. A feature with s_i > 1 is overfitted to the rows, over which it varies more
than over others. There the regressions of i on j and of j on i have the slopes R_ij c_i / c_j and R_ij c_j / c_i; (2)
has the smaller one.

With links, S is replaced by the Gaussian of maximum likelihood whose precision is 0 between features that are not
linked (covariance selection, Dempster 1972):

    G_ij = S_ij for linked i, j,    (G^-1)_ij = 0 otherwise.                                                     (3)
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

MOST_STEPS, CLOSE = 60, 1e-3
"""Maximum number of EM steps, and the change of a correlation below which they stop."""
MOST_SWEEPS, SETTLED = 100, 1e-8
"""Maximum number of sweeps of covariance selection, and the change of a correlation below which they stop."""
MOST_PATTERNS = 200
"""Patterns of gaps above which there is no EM: it would take minutes, and gaps are then many and small."""


class Shrinkage(NamedTuple):
    """Shrinkage of a covariance.

    Attributes:
        kept: factor of each correlation between variables, eq. (2); 1 within a variable.
        linked: pairs of features that depend on each other directly, eq. (3); None if all may.
    """

    kept: Float64[Tensor, "k k"]
    linked: Bool[Tensor, "k k"] | None = None


class Moments(NamedTuple):
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
    def of(cls, rows: Float64[Tensor, "n k"], seen: Bool[Tensor, "n k"], inside: Bool[Tensor, "k k"]) -> "Moments":
        """Take the moments of rows whose unknown features are 0."""
        scale = (rows.square().sum(0) / seen.sum(0).clamp_min(1)).clamp_min(1e-12).sqrt()
        return cls(_correlation(rows / scale, seen), scale, inside)

    def of_features(self, chosen: Bool[Tensor, "k"]) -> "Moments":
        """Return the moments of some features."""
        return Moments(self.correlation[chosen][:, chosen], self.scale[chosen], self.inside[chosen][:, chosen])

    def covariance(self, shrinkage: Shrinkage) -> Float64[Tensor, "k k"]:
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
