"""A mixture of Gaussians over the features of all variables, and its posterior given noisy measurements of them."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from metavoxel.parts.features.scalar import RESIDUAL


class Components(NamedTuple):
    """Weights, means and covariances of k Gaussians of d features, in float64."""

    weights: Float64[Tensor, "k"]
    means: Float64[Tensor, "k d"]
    covariances: Float64[Tensor, "k d d"]


class Posterior(NamedTuple):
    """What rows with gaps make of every component.

    Attributes:
        log_joint: log of weight times density of what is known, up to a number that is the same for all components.
        means: of all features given what is known.
        residuals: precision of what is known times its distance from the component's mean; 0 where nothing is known.
        precisions: of what is known, one matrix for each pattern of gaps; 0 in rows and columns of gaps.
        covariances: of all features given what is known, one matrix for each pattern of gaps.
        pattern: of each row.
    """

    log_joint: Float64[Tensor, "n k"]
    means: Float64[Tensor, "n k d"]
    residuals: Float64[Tensor, "n k d"]
    precisions: Float64[Tensor, "k u d d"]
    covariances: Float64[Tensor, "k u d d"]
    pattern: Tensor

    @property
    def responsibilities(self) -> Float64[Tensor, "n k"]:
        """Probability of each component given the row."""
        return torch.softmax(self.log_joint, 1)


def posterior(components: Components, rows: Float64[Tensor, "n d"], seen: Bool[Tensor, "n d"]) -> Posterior:
    """The posterior of rows whose features are known through a little noise (:data:`RESIDUAL`), or not at all.

    Args:
        components: of all features.
        rows: features; 0 where unknown.
        seen: which are known.
    """
    patterns, pattern = torch.unique(seen, dim=0, return_inverse=True)
    known = patterns.double() / RESIDUAL
    log_joint, means, residuals, precisions, covariances = [], [], [], [], []
    for weight, mean, covariance in zip(*components, strict=True):
        prior = torch.linalg.inv(covariance)
        factor = torch.linalg.cholesky(prior + torch.diag_embed(known))
        inverse = torch.cholesky_inverse(factor)
        # (covariance + noise)^-1 of what is known, by Woodbury's identity
        precision = torch.diag_embed(known) - known[:, :, None] * inverse * known[:, None]
        distance = torch.where(seen, rows - mean, 0.0)
        residual = torch.einsum("nij,nj->ni", precision[pattern], distance)
        log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1) - torch.logdet(prior)
        misfit = (distance * residual).sum(1)
        log_joint.append(weight.log() - (misfit + log_det[pattern]) / 2)
        weighted = known[pattern] * distance
        means.append(mean + torch.einsum("nij,nj->ni", inverse[pattern], weighted))
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


def log_density(
    points: Float[Tensor, "*b c f"], mean: Float[Tensor, "*b f"], precision: Float[Tensor, "*b f f"]
) -> Float[Tensor, "*b c"]:
    """Of a Gaussian at several points."""
    distance = points - mean[..., None, :]
    misfit = ((distance @ precision) * distance).sum(-1)
    return (torch.logdet(precision)[..., None] - misfit - mean.shape[-1] * math.log(2 * math.pi)) / 2
