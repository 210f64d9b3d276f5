"""A mixture of Gaussians over the features f of all variables, and its posterior given rows with gaps.

    p(f) = sum_k w_k N(f; m_k, S_k).                                                                             (1)

The known features y of a row are measured with variance r (:data:`RESIDUAL`): their likelihood has the diagonal
precision P, 1 / r for a known feature and 0 for an unknown one. With d = y - m_k, 0 where unknown, component k has
(Bishop 2006, "Pattern recognition and machine learning", eq. 2.113 to 2.117)

    V_k = (S_k^-1 + P)^-1,    E[f | y, k] = m_k + V_k P d,    var(f | y, k) = V_k,                               (2)
    Q_k = P - P V_k P,    the inverse covariance of y by Woodbury's identity,                                    (3)
    log w_k p(y | k) = log w_k - (d' Q_k d + log det(S_k^-1 + P) - log det S_k^-1) / 2 + const,                  (4)

where the constant is the same for all components.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from metavoxel.parts.features.scalar import RESIDUAL

BLOCK_NUMBERS = 2**21
"""Numbers of the matrices of rows that are in memory at once."""


class Components(NamedTuple):
    """Weights, means and covariances of k Gaussians of d features, in float64."""

    weights: Float64[Tensor, "k"]
    means: Float64[Tensor, "k d"]
    covariances: Float64[Tensor, "k d d"]


class Posterior(NamedTuple):
    """Posterior of rows with gaps under every component.

    Attributes:
        log_joint: log w_k p(y | k), eq. (4), without its constant.
        means: E[f | y, k], eq. (2).
        residuals: Q_k d; 0 for unknown features.
        precisions: Q_k, eq. (3), for each pattern of gaps; 0 in rows and columns of unknown features.
        covariances: V_k, eq. (2), for each pattern of gaps.
        pattern: index of each row's pattern of gaps.
    """

    log_joint: Float64[Tensor, "n k"]
    means: Float64[Tensor, "n k d"]
    residuals: Float64[Tensor, "n k d"]
    precisions: Float64[Tensor, "k u d d"]
    covariances: Float64[Tensor, "k u d d"]
    pattern: Tensor

    @property
    def responsibilities(self) -> Float64[Tensor, "n k"]:
        """Probability of each component given the row, p(k | y)."""
        return torch.softmax(self.log_joint, 1)


def posterior(components: Components, rows: Float64[Tensor, "n d"], seen: Bool[Tensor, "n d"]) -> Posterior:
    """Return the posterior of rows, eq. (2) to (4).

    Args:
        components: of all features.
        rows: features; 0 where unknown.
        seen: mask of the known features.
    """
    patterns, pattern = torch.unique(seen, dim=0, return_inverse=True)
    known = patterns.double() / RESIDUAL
    log_joint, means, residuals, precisions, covariances = [], [], [], [], []
    for weight, mean, covariance in zip(*components, strict=True):
        prior = torch.linalg.inv(covariance)
        factor = torch.linalg.cholesky(prior + torch.diag_embed(known))
        inverse = torch.cholesky_inverse(factor)
        precision = torch.diag_embed(known) - known[:, :, None] * inverse * known[:, None]
        distance = torch.where(seen, rows - mean, 0.0)
        residual = _products(precision, pattern, distance)
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) - torch.logdet(prior)
        misfit = (distance * residual).sum(1)
        log_joint.append(weight.log() - (misfit + log_det[pattern]) / 2)
        weighted = known[pattern] * distance
        means.append(mean + _products(inverse, pattern, weighted))
        residuals.append(residual)
        precisions.append(precision)
        covariances.append(inverse)
    return Posterior(
        torch.stack(log_joint, 1),
        torch.stack(means, 1),
        torch.stack(residuals, 1),
        torch.stack(precisions),
        torch.stack(covariances),
        pattern,
    )


def _products(
    matrices: Float64[Tensor, "u d d"], pattern: Int64[Tensor, "n"], vectors: Float64[Tensor, "n d"]
) -> Float64[Tensor, "n d"]:
    """Multiply the vector of each row by the matrix of its pattern, in blocks of rows: a row's matrix is large."""
    each = max(1, BLOCK_NUMBERS // max(1, vectors.shape[1] ** 2))
    blocks = zip(pattern.split(each), vectors.split(each), strict=True)
    return torch.cat([torch.einsum("nij,nj->ni", matrices[of], part) for of, part in blocks])


def log_density(
    points: Float[Tensor, "*b c f"], mean: Float[Tensor, "*b f"], precision: Float[Tensor, "*b f f"]
) -> Float[Tensor, "*b c"]:
    """Return the log-density of a Gaussian at several points."""
    distance = points - mean[..., None, :]
    misfit = ((distance @ precision) * distance).sum(-1)
    return (torch.logdet(precision)[..., None] - misfit - mean.shape[-1] * math.log(2 * math.pi)) / 2
