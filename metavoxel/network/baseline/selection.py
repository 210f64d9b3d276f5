"""Number of components of the baseline's mixture, and the shrinkage of their correlations, by cross-validation.

With s_nv(c) the score of variable v in held-out row n under candidate c, log p(v | all other variables)
(:mod:`metavoxel.network.baseline.scores`), and s_n(c) = sum_v s_nv(c), the choice is the candidate of fewest components
whose mean score is within a standard error of that of the best candidate b (Breiman et al. 1984):

    mean_n(s_n(b) - s_n(c)) <= sd_n(s_n(b) - s_n(c)) / sqrt(n).                                                  (1)
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from metavoxel.network.baseline.components import Components, posterior
from metavoxel.network.baseline.em import fit_components
from metavoxel.network.baseline.gaussian import GaussianBaseline
from metavoxel.network.baseline.scores import ClassPoints, predictive_scores
from metavoxel.network.baseline.shrinkage import FOLDS

COUNTS = (1, 2, 3, 4, 6, 8, 12)
"""Candidate numbers of components, tried in this order."""
MOST_COMPONENTS = COUNTS[-1]
PATIENCE = 2
"""Candidates without improvement after which no more are tried."""
MOST_STEPS, CLOSE = 50, 1e-3
"""Maximum number of EM steps of the mean of rows with gaps, and the change below which they stop."""


class Rows(NamedTuple):
    """Features, 0 where unknown; the mask of the known ones; and the fold of each row."""

    features: Float64[Tensor, "n d"]
    seen: Bool[Tensor, "n d"]
    fold: Int64[Tensor, "n"]


class _Candidate(NamedTuple):
    """Score of each held-out row, kept shares of correlations between variables, and categories of one Gaussian."""

    scores: Float64[Tensor, "n"]
    share: Float64[Tensor, "d d"]
    straight: list[int]

    def mean(self) -> float:
        return float(self.scores.mean())


def select_components(
    gaussian: GaussianBaseline,
    single: Components,
    rows: Rows,
    parts: Sequence[slice],
    categories: Mapping[int, ClassPoints],
    kept: Float64[Tensor, "d d"],
) -> tuple[Components, list[int]]:
    """Return the chosen components, eq. (1), and the categories that one Gaussian predicts no worse.

    The components' correlations between variables keep the shares that suit one Gaussian, or all: the branches of a
    fork have strong ones where one Gaussian has none.

    Args:
        gaussian: fitted to all rows.
        single: its mean and covariance, the candidate of one component.
        rows: training rows with their folds.
        parts: place of each variable's features.
        categories: class points, by the position of their variable in ``parts``.
        kept: share of each correlation between variables that suits one Gaussian.
    """
    shares = [kept] if bool((kept == 1).all()) else [kept, torch.ones_like(kept)]

    def fitted(count: int, share: Float64[Tensor, "d d"], chosen: Bool[Tensor, "n"]) -> Components:
        features, seen = rows.features[chosen], rows.seen[chosen]
        if count == 1:
            return one_gaussian(gaussian.refitted(features, seen), features, seen)
        return fit_components(features, seen, count, share)

    def held_out_scores(count: int, share: Float64[Tensor, "d d"]) -> Float64[Tensor, "n v"]:
        scores = torch.zeros(len(rows.fold), len(parts), dtype=torch.float64)
        for number in range(FOLDS):
            out = rows.fold == number
            if out.any() and not out.all():
                found = fitted(count, share, ~out)
                scores[out] = predictive_scores(found, rows.features[out], rows.seen[out], parts, categories)
        return scores

    of_single, best = held_out_scores(1, kept), 1
    candidates: dict[int, _Candidate] = {}
    for number, count in enumerate(COUNTS):
        if (count > 1 and count * len(parts) > len(rows.fold)) or number - COUNTS.index(best) > PATIENCE:
            break
        tried = []
        for share in shares[:1] if count == 1 else shares:
            found = of_single if count == 1 else held_out_scores(count, share)
            straight = [at for at in categories if found[:, at].mean() <= of_single[:, at].mean()]
            found[:, straight] = of_single[:, straight]
            tried.append(_Candidate(found.sum(1), share, straight))
        candidates[count] = max(tried, key=_Candidate.mean)
        best = max(candidates, key=lambda tried: candidates[tried].mean())
    for count, one in candidates.items():
        short = candidates[best].scores - one.scores
        if float(short.mean()) <= float(short.std() / len(short) ** 0.5):
            every = torch.ones_like(rows.fold, dtype=torch.bool)
            return single if count == 1 else fitted(count, one.share, every), one.straight
    raise AssertionError("the best is no worse than itself")


def one_gaussian(
    covariance: Float64[Tensor, "d d"], rows: Float64[Tensor, "n d"], seen: Bool[Tensor, "n d"]
) -> Components:
    """Return one component with this covariance and, by EM, the maximum likelihood mean of rows with gaps.

    The mean over the rows with a feature would have a larger error, as it does not use the correlated others.
    """
    mean = torch.zeros(len(covariance), dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    for _ in range(0 if seen.all() or not len(rows) else MOST_STEPS):
        before, mean = mean, posterior(Components(one, mean[None], covariance[None]), rows, seen).means[:, 0].mean(0)
        if float((mean - before).abs().max()) < CLOSE:
            break
    return Components(one, mean[None], covariance[None])
