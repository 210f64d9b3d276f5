"""Features of scalars: of a real code under Gaussian noise, and of a category.

Gaussian noise. With x_t = s x_0 + n e and features f = (x_0 - m) / d, m and d being mean and standard deviation of the
training rows, a feature is known only up to variance r = ``RESIDUAL``: x_0 = m + d (f + e'), var e' = r. So

    p(x_t | f) = N(x_t; s (m + d f), v),    v = n^2 + s^2 d^2 r                                                 (1)
    P = s^2 d^2 / v,    w = s d (x_t - s m) / v                                                                 (2)

and, with y = (x_t - s (m + d E f)) / v, the posterior means of the code and of the noise are

    x0_hat = m + d E f + s d^2 r y,    noise_hat = n y.                                                          (3)

A category. Features are the standardised indicators of all classes but the last. They are known up to the same r where
the category is given, and unknown elsewhere. The noisy state enters the prediction by Bayes' rule,

    logits = log p(class | all other states) + log q(x_t | class).                                              (4)
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.features.base import AbstractFeatures, GaussianLikelihood
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.typing import Code, Mask, Time

RESIDUAL = 1e-3
"""Variance of a standardised feature given a clean code, so that precisions stay finite."""


class AbstractScalarFeatures(AbstractFeatures):
    """Standardised numbers of a code without a grid.

    ``center`` and ``scale`` are mean and standard deviation of all ``numbers``; the first ``size`` are the features.
    """

    stackable = True

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(numbers))
        self.register_buffer("scale", torch.ones(numbers))
        self.center: Tensor
        self.scale: Tensor

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        numbers = self._numbers(torch.cat(list(codes())))
        if len(numbers):
            self.center.copy_(numbers.mean(0))
            self.scale.copy_((numbers - self.center).square().mean(0).sqrt().clamp_min(1e-3))

    def _numbers(self, x0: Code) -> Float[Tensor, "b n"]:
        """Return the numbers of clean codes that are standardised: by default the code itself."""
        return x0

    def features_of(self, x0: Code) -> Float[Tensor, "b k"]:
        return ((self._numbers(x0) - self.center) / self.scale)[:, : self.size]


class GaussianFeatures(AbstractScalarFeatures):
    """Real codes under Gaussian noise, eq. (1) to (3). Final."""

    def __init__(self, channels: int, kernel: AbstractKernel) -> None:
        super().__init__(channels)
        self.size = self.outputs = channels
        self._kernel = kernel

    def _scales(self, x: Code, time: Time) -> tuple[Tensor, Tensor, Tensor]:
        """Return s, n and v of eq. (1)."""
        signal, noise = (scale.to(x.device).float() for scale in self._kernel.scales(along(time, x)))
        return signal, noise, noise.square() + (signal * self.scale).square() * RESIDUAL

    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        signal, _, variance = self._scales(x, time)
        weighted = signal * self.scale / variance * (x.float() - signal * self.center)
        precision = (signal * self.scale).square() / variance
        return GaussianLikelihood(torch.diag_embed(precision.expand_as(weighted)), weighted)

    def baseline(self, x: Code, time: Time, expected: Float[Tensor, "b k"]) -> Float[Tensor, "b q"] | None:
        signal, noise, variance = self._scales(x, time)
        fitted = self.center + self.scale * expected
        misfit = (x.float() - signal * fitted) / variance
        x0_hat = fitted + signal * self.scale.square() * RESIDUAL * misfit
        return self._kernel.to_prediction(x0_hat, noise * misfit, time)


class CategoricalFeatures(AbstractScalarFeatures):
    """One-hot codes: indicators of all classes but the last, known where the category is given, eq. (4). Final."""

    MIXED = 0.02
    """Weight of the class frequencies in every expectation, so that no class has probability 0 and a rare one is not
    overestimated."""

    LEAST = 1e-3
    """Smallest frequency of a class, also if absent from the training rows."""

    def __init__(self, classes: int, kernel: AbstractKernel) -> None:
        super().__init__(classes)
        self.size, self.outputs = classes - 1, classes
        self._kernel = kernel

    def points(self) -> Float[Tensor, "c k"]:
        return self.features_of(torch.eye(self.size + 1).to(self.center))

    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        precision = torch.where(observed, 1 / RESIDUAL, 0.0).to(x).expand(len(x), self.size)
        return GaussianLikelihood(torch.diag_embed(precision), precision * self.features_of(x))

    def baseline(self, x: Code, time: Time, expected: Float[Tensor, "b k"]) -> Float[Tensor, "b q"]:
        first = self.center[:-1] + self.scale[:-1] * expected
        probabilities = torch.cat([first, 1 - first.sum(1, keepdim=True)], 1).clamp(0, 1)
        frequencies = self.center.clamp_min(self.LEAST)
        probabilities = (1 - self.MIXED) * probabilities + self.MIXED * frequencies / frequencies.sum()
        return (probabilities / probabilities.sum(1, keepdim=True)).log() + self._kernel.log_likelihood(x, time)


def scalar_features(kernel: AbstractKernel, channels: int) -> AbstractScalarFeatures | None:
    """Return features of a scalar's code with ``channels`` channels; None for kernels that are not in the baseline."""
    if kernel.is_categorical:
        return CategoricalFeatures(channels, kernel)
    return GaussianFeatures(channels, kernel) if kernel.is_gaussian else None
