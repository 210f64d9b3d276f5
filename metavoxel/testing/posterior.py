"""Exact posterior of scalars and categories under a Gaussian mixture, row by row."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from metavoxel.rng import Rng

Tables: TypeAlias = Mapping[str, Float[Tensor, "_ _ _"]]


class MixturePosterior:
    """Posterior distribution of all variables for each of ``b`` rows, in float64. Final.

    Variables known exactly are included, with zero variance.
    """

    def __init__(
        self,
        *,
        scalars: Sequence[str],
        log_weights: Float[Tensor, "b m"],
        means: Float[Tensor, "b m d"],
        covariances: Float[Tensor, "b m d d"],
        tables: Tables,
    ) -> None:
        """Take log-weights of ``m`` components and, per component, Gaussian moments and category probabilities."""
        self._scalars = tuple(scalars)
        self._log_weights, self._means, self._covariances, self._tables = log_weights, means, covariances, dict(tables)

    def __len__(self) -> int:
        return len(self._log_weights)

    def _components(self, name: str) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m"], Float[Tensor, "b m"]]:
        """Return weight, mean and variance of one scalar in each component."""
        index = self._scalars.index(name)
        variances = self._covariances[:, :, index, index].clamp_min(0)
        return self._log_weights.exp(), self._means[:, :, index], variances

    def mean(self, name: str) -> Float[Tensor, "b"]:
        """Return the posterior mean of a scalar, the prediction of least expected squared error."""
        weights, means, _ = self._components(name)
        return (weights * means).sum(1)

    def variance(self, name: str) -> Float[Tensor, "b"]:
        """Return the posterior variance of a scalar, a lower bound on the expected squared error of any prediction."""
        weights, means, variances = self._components(name)
        return (weights * (variances + (means - self.mean(name)[:, None]).square())).sum(1)

    def quantile(self, name: str, level: float) -> Float[Tensor, "b"]:
        """Return the posterior quantile of a scalar at probability ``level`` in (0, 1), by bisection."""
        weights, means, variances = self._components(name)
        sds = variances.sqrt().clamp_min(1e-300)
        reach = (sds.amax(1) * 40).clamp_min(1e-12)
        low, high = means.amin(1) - reach, means.amax(1) + reach
        for _ in range(100):
            middle = (low + high) / 2
            below = (weights * torch.special.ndtr((middle[:, None] - means) / sds)).sum(1) < level
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2

    def probabilities(self, *names: str) -> Float[Tensor, "b *k"]:
        """Return class probabilities of a category, (b, classes), or of several jointly, (b, classes, ...)."""
        joint = self._log_weights.exp()
        for name in names:
            table = self._tables[name].reshape(*self._log_weights.shape, *[1] * (joint.ndim - 2), -1)
            joint = joint[..., None] * table
        return joint.sum(1)

    def sample(self, rng: Rng) -> dict[str, Shaped[Tensor, "_"]]:
        """Draw all variables jointly, once per row."""
        component = (self._log_weights + rng.gumbel(tuple(self._log_weights.shape))).argmax(1)
        rows = torch.arange(len(self))
        # Eigendecomposition, as variables known exactly have zero variance; rounding may make eigenvalues negative.
        values, vectors = torch.linalg.eigh(self._covariances[rows, component])
        noise = rng.normal((len(self), len(self._scalars)), dtype=torch.float64)
        scalars = self._means[rows, component] + (vectors @ (values.clamp_min(0).sqrt() * noise)[..., None])[..., 0]
        sample = {name: scalars[:, index] for index, name in enumerate(self._scalars)}
        for name, table in self._tables.items():
            chosen = table[rows, component]
            sample[name] = (chosen.log() + rng.gumbel(tuple(chosen.shape))).argmax(1)
        return sample

    def log_prob(self, values: Mapping[str, Shaped[Tensor, "_"]]) -> Float[Tensor, "b"]:
        """Return the log-density of some variables, marginalising the others; none may be a scalar known exactly."""
        log_prob = self._log_weights
        indices = [index for index, name in enumerate(self._scalars) if name in values]
        if indices:
            error = torch.stack([values[self._scalars[index]].double() for index in indices], 1)[:, None]
            error = error - self._means[:, :, indices]
            root = torch.linalg.cholesky(self._covariances[:, :, indices][..., indices])
            white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
            scale = root.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * len(indices) * math.log(2 * math.pi)
            log_prob = log_prob - 0.5 * white.square().sum(-1) - scale
        for name, table in self._tables.items():
            if name in values:
                index = values[name].long()[:, None, None].expand(-1, table.shape[1], 1)
                log_prob = log_prob + table.gather(2, index)[..., 0].log()
        return torch.logsumexp(log_prob, 1)
