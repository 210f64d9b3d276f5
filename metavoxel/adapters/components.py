"""Probabilistic principal components of codes, and what they say of a noisy one."""

import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metavoxel.adapters.base import Information
from metavoxel.typing import Code

Scales: TypeAlias = tuple[Float[Tensor, "b 1 *#s"], Float[Tensor, "b 1 *#s"]]
"""Signal and noise of a state, as a kernel gives them."""


class CodeBelief(NamedTuple):
    """What is expected of a code, and of the noise in it."""

    x0_hat: Code
    noise_hat: Code


class Components(nn.Module):
    """x_0 = center + scores times loadings + residual, all normal (Tipping and Bishop 1999). Final.

    With x_t = signal x_0 + noise e, and a noise level that may differ from cell to cell,
    what x_t says of the scores is a closed form: that of a linear regression of x_t on the loadings, each cell weighted
    by its certainty. Scores have variance 1.
    """

    def __init__(self, components: int, code_shape: tuple[int, ...]) -> None:
        super().__init__()
        size = math.prod(code_shape)
        self._shape = code_shape
        self.register_buffer("center", torch.zeros(size))
        self.register_buffer("loadings", torch.eye(components, size))
        self.register_buffer("residual", torch.ones(()))
        self.center: Tensor
        self.loadings: Tensor
        self.residual: Tensor

    def fit(self, batches: Iterable[Code]) -> None:
        """Directions of greatest variance of these codes, and the mean variance per cell that they leave over."""
        rows = torch.cat([batch.flatten(1) for batch in batches])
        self.center.copy_(rows.mean(0))
        count = min(len(self.loadings), len(rows) - 1)
        _, strengths, directions = torch.linalg.svd(rows - self.center, full_matrices=False)
        spreads = strengths / math.sqrt(max(len(rows) - 1, 1))
        self.loadings.zero_()
        self.loadings[:count] = directions[:count] * spreads[:count, None]
        self.residual.copy_((spreads[count:].square().sum() / rows.shape[1]).clamp_min(1e-4))

    def scores(self, x0: Code) -> Float[Tensor, "b k"]:
        """Scores of clean codes."""
        variances = self.loadings.square().sum(1)
        scores = (x0.flatten(1) - self.center) @ self.loadings.T
        return torch.where(variances > 0, scores / variances.clamp_min(1e-12), 0.0)

    def strengths(self) -> Float[Tensor, "k"]:
        """Variance along each, over the greatest."""
        variances = self.loadings.square().sum(1)
        return variances / variances.max().clamp_min(1e-12)

    def _scales(self, scales: Scales, x: Code) -> tuple[Tensor, Tensor, Tensor]:
        """Signal, noise, and the variance of a cell that the scores do not account for."""
        signal, noise = (scale.to(x.device).float() for scale in scales)
        return signal, noise, noise.square() + signal.square() * self.residual

    def measure(self, x: Code, scales: Scales) -> Information:
        """What codes of this signal and noise say of the scores."""
        with torch.autocast(x.device.type, enabled=False):
            signal, _, spread = self._scales(scales, x)
            deviation = x.float() - signal * self.center.reshape(1, *self._shape)
            weighted = (signal / spread * deviation).flatten(1) @ self.loadings.T
            certainty = (signal.square() / spread).expand_as(deviation).flatten(1)
            precision = torch.einsum("bn,kn,ln->bkl", certainty, self.loadings, self.loadings)
            return Information(precision, weighted)

    def expect(self, x: Code, scales: Scales, scores: Float[Tensor, "b k"]) -> CodeBelief:
        """Code and noise given the noisy code and the expected scores."""
        with torch.autocast(x.device.type, enabled=False):
            signal, noise, spread = self._scales(scales, x)
            fitted = self.center.reshape(1, *self._shape) + self.along(scores)
            misfit = (x.float() - signal * fitted) / spread
            return CodeBelief((fitted + signal * self.residual * misfit).to(x), (noise * misfit).to(x))

    def along(self, scores: Float[Tensor, "b k"]) -> Code:
        """The change of a code when its scores change by this."""
        with torch.autocast(scores.device.type, enabled=False):
            return (scores.float() @ self.loadings).reshape(len(scores), *self._shape)
