"""How well a mixture of Gaussians predicts each variable of a row from all others."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from metavoxel.network.baseline.components import Components, Posterior, log_density, posterior

HALF_A_ROW = 0.5
"""Added to the count of every class."""


def nearest(points: Float64[Tensor, "c f"], features: Float64[Tensor, "n f"]) -> Int64[Tensor, "n"]:
    """The class whose point is nearest to each row's features."""
    return torch.cdist(features, points).argmin(1)


class ClassPoints(NamedTuple):
    """A category among the features.

    Attributes:
        points: the features of each class.
        log_share: logarithm of each class's share of the training rows.
    """

    points: Float64[Tensor, "c f"]
    log_share: Float64[Tensor, "c"]

    @classmethod
    def of(cls, points: Float64[Tensor, "c f"], features: Float64[Tensor, "n f"]) -> "ClassPoints":
        """With the shares of the classes that rows of these features have."""
        counts = torch.bincount(nearest(points, features), minlength=len(points)).double() + HALF_A_ROW
        return cls(points, (counts / counts.sum()).log())

    def log_prior(self, components: Components, place: slice) -> Float64[Tensor, "c"]:
        """What turns densities at the points into class probabilities: log(share / density without any evidence).

        A Gaussian has no classes; by Bayes' rule, p(class | rest) is its share times p(rest | class), and that is the
        density of rest and point together over that of the point.
        """
        means, covariances = components.means[:, place], components.covariances[:, place, place]
        density = log_density(self.points.expand(len(means), -1, -1), means, torch.linalg.inv(covariances))
        return self.log_share - torch.logsumexp(components.weights.log()[:, None] + density, 0)


def places(sizes: Mapping[str, int]) -> dict[str, slice]:
    """Where each variable's features stand among all."""
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
    """Of each row and known variable, log p(variable | all others known): of a number the density, of a category the
    probability. 0 where it is not known.

    Args:
        components: of all features.
        rows: features; 0 where unknown.
        seen: which are known.
        variables: the place of each among the features.
        categories: those of them that have classes, by their number.
    """
    now = posterior(components, rows, seen)
    whole = torch.logsumexp(now.log_joint, 1)
    scores = torch.zeros(len(rows), len(variables), dtype=torch.float64)
    for number, place in enumerate(variables):
        known = seen[:, place].all(1)
        if place.stop == place.start or not known.any():
            continue
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
    now: Posterior, rows: Float64[Tensor, "n d"], place: slice, known: Bool[Tensor, "n"]
) -> tuple[Float64[Tensor, "m k"], Float64[Tensor, "m k f"], Float64[Tensor, "m k f f"]]:
    """Log joint of each component without one variable; and of that, given the others, the mean and the precision."""
    precision = now.precisions[:, now.pattern[known], place, place].transpose(0, 1)  # (m, k, f, f)
    value = rows[known][:, None, place]
    mean = value - torch.linalg.solve(precision, now.residuals[known][:, :, place, None])[..., 0]
    own = log_density(value[:, :, None].expand(*mean.shape[:2], 1, -1), mean, precision)[..., 0]
    return now.log_joint[known] - own, mean, precision
