"""The part of a scalar in the joint normal law: its features, what a noisy code says of them, and back."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.parts.adapters.base import Information
from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.typing import Code, Mask, Time

RESIDUAL = 1e-3
"""Variance of a standardised feature that a clean code leaves open, so that certainty stays finite."""


class AbstractScalarFeatures(nn.Module, ABC):
    """Features of a code as a normal vector of mean 0 and variance 1 over the training rows.

    ``center`` and ``scale`` are mean and spread of ``size`` numbers, as ``fit`` finds them.
    """

    features: int
    further: int = 0
    """Numbers that a head gives beside the prediction's channels, for ``prediction`` to make use of."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))
        self.center: Tensor
        self.scale: Tensor

    def fit(self, x0: Code) -> None:
        """Take mean and spread of clean codes."""
        if len(x0):
            self.center.copy_(x0.mean(0))
            self.scale.copy_((x0 - self.center).square().mean(0).sqrt().clamp_min(1e-3))

    def describe(self, x0: Code) -> Float[Tensor, "b k"]:
        """Features of clean codes."""
        return ((x0 - self.center) / self.scale)[:, : self.features]

    def points(self) -> Float[Tensor, "c k"] | None:
        """The features of each class; None of what has no classes."""

    @abstractmethod
    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        """What a noisy code says of the features."""

    @abstractmethod
    def to_prediction(self, x: Code, time: Time, belief: Float[Tensor, "b k"]) -> Float[Tensor, "b p"] | None:
        """What is expected of the features, as a head states it: added to what that gives."""

    def prediction(self, stated: Float[Tensor, "b q"]) -> Float[Tensor, "b p"]:
        """The prediction of what a head and ``to_prediction`` state together; with nothing further, that itself."""
        return stated


class GaussianFeatures(AbstractScalarFeatures):
    """Real codes under normal noise. Final."""

    def __init__(self, channels: int, kernel: AbstractKernel) -> None:
        super().__init__(channels)
        self.features = channels
        self._kernel = kernel

    def _scales(self, x: Code, time: Time) -> tuple[Tensor, Tensor, Tensor]:
        """Signal of a feature, noise, and their variance that the feature does not account for."""
        signal, noise = (scale.to(x.device).float() for scale in self._kernel.scales(along(time, x)))
        return signal, noise, noise.square() + (signal * self.scale).square() * RESIDUAL

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        signal, _, spread = self._scales(x, time)
        weighted = signal * self.scale / spread * (x.float() - signal * self.center)
        certainty = (signal * self.scale).square() / spread
        return Information(torch.diag_embed(certainty.expand_as(weighted)), weighted)

    def to_prediction(self, x: Code, time: Time, belief: Float[Tensor, "b k"]) -> Float[Tensor, "b p"] | None:
        signal, noise, spread = self._scales(x, time)
        fitted = self.center + self.scale * belief
        misfit = (x.float() - signal * fitted) / spread
        x0_hat = fitted + signal * self.scale.square() * RESIDUAL * misfit
        return self._kernel.to_prediction(x0_hat, noise * misfit, time)


class CategoricalFeatures(AbstractScalarFeatures):
    """One-hot codes: indicators of all classes but the last, which is what they leave. It speaks where given. Final."""

    MIXED = 0.02
    """Share of the training rows' frequencies in every expectation: no class is beyond reach, and a rare one is not
    taken for more than it is."""

    LEAST = 1e-3
    """Frequency of a class that no training row has."""

    def __init__(self, classes: int, kernel: AbstractKernel) -> None:
        super().__init__(classes)
        self.features = classes - 1
        self._kernel = kernel

    def points(self) -> Float[Tensor, "c k"]:
        return self.describe(torch.eye(self.features + 1).to(self.center))

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        certainty = torch.where(observed, 1 / RESIDUAL, 0.0).to(x).expand(len(x), self.features)
        return Information(torch.diag_embed(certainty), certainty * self.describe(x))

    def to_prediction(self, x: Code, time: Time, belief: Float[Tensor, "b k"]) -> Float[Tensor, "b p"]:
        first = self.center[:-1] + self.scale[:-1] * belief
        chances = torch.cat([first, 1 - first.sum(1, keepdim=True)], 1).clamp(0, 1)
        shares = self.center.clamp_min(self.LEAST)
        chances = (1 - self.MIXED) * chances + self.MIXED * shares / shares.sum()
        return (chances / chances.sum(1, keepdim=True)).log() + self._kernel.log_likelihood(x, time)
