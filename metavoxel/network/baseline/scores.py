"""Predictive scores of a mixture of Gaussians: log p(variable | all other known variables) of each row.

With the posterior of :mod:`metavoxel.network.baseline.components`, Q_k and d of eq. (3) and (4) there, and v the
features of one variable, component k predicts y_v from the other known features y_-v with

    precision (Q_k)_vv    and mean    y_v - (Q_k)_vv^-1 (Q_k d)_v,                                               (1)
    log w_k p(y_-v | k) = log w_k p(y | k) - log p(y_v | y_-v, k).                                               (2)

A number has the density

    log p(y_v | y_-v) = log sum_k w_k p(y | k) - log sum_k w_k p(y_-v | k).                                      (3)

A category has classes c with points z_c among the features, and shares s_c. By Bayes' rule,

    log p(c | y_-v) = log s_c + log p(y_-v, z_c) - log p(z_c) + const,                                           (4)

where p(y_-v, z_c) = sum_k w_k p(y_-v | k) p(z_c | y_-v, k) by (1), and p(z_c) is the density without evidence.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from metavoxel.network.baseline.components import BLOCK_NUMBERS, Components, Posterior, log_density, posterior

HALF_A_ROW = 0.5
"""Pseudo-count of every class."""


def nearest(points: Float64[Tensor, "c f"], features: Float64[Tensor, "n f"]) -> Int64[Tensor, "n"]:
    """Return the class whose point is nearest to each row's features."""
    return torch.cdist(features, points).argmin(1)


class ClassPoints(NamedTuple):
    """A category among the variables.

    Attributes:
        points: features of each class, z_c.
        log_share: logarithm of each class's share of the training rows, log s_c.
    """

    points: Float64[Tensor, "c f"]
    log_share: Float64[Tensor, "c"]

    @classmethod
    def of(cls, points: Float64[Tensor, "c f"], features: Float64[Tensor, "n f"]) -> "ClassPoints":
        """Take the shares from rows with these features."""
        counts = torch.bincount(nearest(points, features), minlength=len(points)).double() + HALF_A_ROW
        return cls(points, (counts / counts.sum()).log())

    def log_prior(self, components: Components, place: slice) -> Float64[Tensor, "c"]:
        """Return log(s_c / p(z_c)), which turns densities at the points into class probabilities, eq. (4)."""
        means, covariances = components.means[:, place], components.covariances[:, place, place]
        density = log_density(self.points.expand(len(means), -1, -1), means, torch.linalg.inv(covariances))
        return self.log_share - torch.logsumexp(components.weights.log()[:, None] + density, 0)


def places(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Return the slice of each variable's features among all features."""
    found, start = {}, 0
    for name, size in sizes.items():
        found[name] = slice(start, start + size)
        start += size
    return found


def predictive_scores(
    components: Components,
    rows: Float64[Tensor, "n d"],
    seen: Bool[Tensor, "n d"],
    variables: Sequence[slice],
    categories: Mapping[int, ClassPoints],
) -> Float64[Tensor, "n v"]:
    """Return the log-density (3) of each number and the log-probability (4) of each category; 0 where it is unknown.

    Args:
        components: of all features.
        rows: features; 0 where unknown.
        seen: mask of the known features.
        variables: slice of each variable's features.
        categories: of the variables with classes, by their index.
    """
    now = posterior(components, rows, seen)
    whole = torch.logsumexp(now.log_joint, 1)
    scores = torch.zeros(len(rows), len(variables), dtype=torch.float64)
    for number, place in enumerate(variables):
        size = place.stop - place.start
        if not size:
            continue
        each = max(1, BLOCK_NUMBERS // (len(components.means) * size**2))
        for known in seen[:, place].all(1).nonzero()[:, 0].split(each):
            without, mean, precision = _left_out(now, rows, place, known)
            if number in categories:
                category = categories[number]
                at = log_density(category.points.expand(*mean.shape[:2], -1, -1), mean, precision)
                log_class = torch.logsumexp(without[:, :, None] + at, 1) + category.log_prior(components, place)
                truth = nearest(category.points, rows[known][:, place])
                scores[known, number] = torch.log_softmax(log_class, 1).gather(1, truth[:, None])[:, 0]
            else:
                scores[known, number] = whole[known] - torch.logsumexp(without, 1)
    return scores


def _left_out(
    now: Posterior, rows: Float64[Tensor, "n d"], place: slice, known: Int64[Tensor, "m"]
) -> tuple[Float64[Tensor, "m k"], Float64[Tensor, "m k f"], Float64[Tensor, "m k f f"]]:
    """Return eq. (2), and the mean and precision of eq. (1), of rows in which the variable is known."""
    precision = now.precisions[:, now.pattern[known], place, place].transpose(0, 1)  # (m, k, f, f)
    value = rows[known][:, None, place]
    mean = value - torch.linalg.solve(precision, now.residuals[known][:, :, place, None])[..., 0]
    own = log_density(value[:, :, None].expand(*mean.shape[:2], 1, -1), mean, precision)[..., 0]
    return now.log_joint[known] - own, mean, precision
