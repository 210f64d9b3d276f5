"""Expectation maximisation of a Gaussian mixture from rows with gaps, shrunken towards covariances in common."""

import torch
from jaxtyping import Bool, Float64
from sklearn.cluster import KMeans
from torch import Tensor

from metavoxel.network.baseline.components import Components, posterior

LEAST_VARIANCE = 1e-3
"""Of a feature within a component: a standardised number that is the same in many rows would have none."""
MOST_STEPS, CLOSE = 100, 1e-4
"""Steps, and the rise of the mean log-likelihood that ends them."""
STARTS = 4
"""Of k-means, the best of which EM begins with."""
PRIOR_ROWS = 0.1
"""Weight, in rows, of the grand mean for each component's."""
VARIANCE_ROWS = 2
"""Weight, in rows, of the variances in common, whose logarithms are averaged: components may differ in scale."""


def fit_components(
    rows: Float64[Tensor, "n d"],
    seen: Bool[Tensor, "n d"],
    count: int,
    between: Float64[Tensor, "d d"],
) -> Components:
    """The likeliest mixture under a prior that shrinks covariances (Fraley and Raftery 2007, "Bayesian regularization
    for normal mixture estimation"; Ghahramani and Jordan 1994 for rows with gaps).

    Each component's correlations are those of its rows and of d + 2 more that have the correlations in common of all
    components; its variances are shrunk much less, so that spreads can differ.

    Args:
        rows: features, about standardised; 0 where unknown.
        seen: which are known.
        count: number of components.
        between: share of every covariance that is kept.
    """
    mixed = KMeans(count, n_init=STARTS, random_state=0).fit_predict(rows.numpy())
    shares = torch.nn.functional.one_hot(torch.from_numpy(mixed).long(), count).double()
    size = rows.shape[1]
    found = Components(
        torch.full((count,), 1 / count, dtype=torch.float64),
        torch.zeros(count, size, dtype=torch.float64),
        torch.eye(size, dtype=torch.float64).expand(count, -1, -1),
    )
    last = -torch.inf
    for step in range(MOST_STEPS):
        now = posterior(found, rows, seen)
        likelihood = float(torch.logsumexp(now.log_joint, 1).mean())
        if step > 1 and likelihood - last < CLOSE:
            break
        last = likelihood
        found = _maximised(
            shares if step == 0 else now.responsibilities, now.means, now.covariances, now.pattern, between
        )
    return found


def _maximised(
    shares: Float64[Tensor, "n k"],
    means: Float64[Tensor, "n k d"],
    covariances: Float64[Tensor, "k u d d"],
    pattern: Tensor,
    between: Float64[Tensor, "d d"],
) -> Components:
    """The likeliest components of rows that belong to them by these shares."""
    rows, count, size = means.shape
    weight = shares.sum(0)
    center = torch.einsum("nk,nkd->kd", shares, means) / (weight + PRIOR_ROWS)[:, None]
    of_pattern = torch.zeros(covariances.shape[1], count, dtype=torch.float64).index_add_(0, pattern, shares)
    scatter = torch.einsum("uk,kuij->kij", of_pattern, covariances)
    for number in range(count):
        distance = means[:, number] - center[number]
        scatter[number] += (shares[:, number, None] * distance).T @ distance
    own, common = scatter / weight.clamp_min(1e-6)[:, None, None], scatter.sum(0, keepdim=True) / rows
    (own_variance, own), (variance, correlation) = _standardised(own), _standardised(common)
    share = (weight / (weight + VARIANCE_ROWS))[:, None]
    spread = torch.exp((share * own_variance.log() + (1 - share) * variance.log()) / 2)
    share = (weight / (weight + size + 2))[:, None, None]
    covariance = (share * own + (1 - share) * correlation) * spread[:, :, None] * spread[:, None]
    covariance = covariance * between + LEAST_VARIANCE * torch.eye(size, dtype=torch.float64)
    return Components((weight + 1) / (rows + count), center, covariance)


def _standardised(covariance: Float64[Tensor, "k d d"]) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d d"]]:
    """Variances and correlations."""
    variance = covariance.diagonal(dim1=1, dim2=2).clamp_min(LEAST_VARIANCE)
    spread = variance.sqrt()
    return variance, covariance / (spread[:, :, None] * spread[:, None])
