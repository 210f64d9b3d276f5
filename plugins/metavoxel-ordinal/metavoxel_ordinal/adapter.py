"""An ordinal variable in the network: an ordered probit with the expected score as its mean.

McCullagh (1980, "Regression models for ordinal data"). A latent normal number z is cut at c_1 < ... < c_(K-1), so that

    p(level = k) = Phi((c_k - m) / s) - Phi((c_(k-1) - m) / s)                                                   (1)

for z ~ N(m, s^2). A level's score is the mean of z ~ N(0, 1) between its cuts; the standardised score is the feature.
"""

from collections.abc import Callable, Iterable
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapterSpec, AdapterContext
from metavoxel.parts.adapters.token import TokenAdapter
from metavoxel.parts.features.base import FeaturesContext, GaussianLikelihood
from metavoxel.parts.features.scalar import RESIDUAL, AbstractScalarFeatures
from metavoxel.typing import Code, Mask, Time

LEAST = 1e-3
"""Probability that is added in equal parts to all levels, so that none has probability 0."""


class OrdinalFeatures(AbstractScalarFeatures):
    """One-hot codes of levels, with the score as the only feature, known where the level is given. Final.

    Outputs are logits, which are 0 in the baseline, and m and log s of eq. (1).
    """

    def __init__(self, levels: int) -> None:
        super().__init__(1)
        self.size, self.outputs = 1, levels + 2
        self.register_buffer("cuts", torch.linspace(-1, 1, levels + 1)[1:-1])
        self.register_buffer("scores", torch.linspace(-1, 1, levels))
        self.cuts: Tensor
        self.scores: Tensor

    def fit(self, codes: Callable[[], Iterable[Code]]) -> None:
        """Fit cuts and scores to the frequencies of the levels, with half a row added to each."""
        batches = list(codes())
        x0 = torch.cat(batches)
        frequencies = torch.bincount(x0.argmax(1), minlength=x0.shape[1]).double() + 0.5
        frequencies = frequencies / frequencies.sum()
        self.cuts.copy_(torch.special.ndtri(frequencies.cumsum(0)[:-1]))
        heights = torch.exp(-torch.nn.functional.pad(self.cuts, (1, 1), value=torch.inf).square() / 2)
        self.scores.copy_((heights[:-1] - heights[1:]) / frequencies / (2 * torch.pi) ** 0.5)
        super().fit(lambda: batches)

    def _numbers(self, x0: Code) -> Float[Tensor, "b 1"]:
        return x0 @ self.scores[:, None]

    def likelihood(self, x: Code, time: Time, observed: Mask) -> GaussianLikelihood:
        precision = torch.where(observed, 1 / RESIDUAL, 0.0).to(x)
        return GaussianLikelihood(torch.diag_embed(precision), precision * self.features_of(x))

    def baseline(self, x: Code, time: Time, expected: Float[Tensor, "b k"]) -> Float[Tensor, "b q"]:
        # The standardised score has slope ``scale`` on z, as cov(z, score) = var(score) = scale^2
        return torch.cat([torch.zeros_like(x), expected / self.scale, torch.zeros_like(expected)], 1)

    def link(self, outputs: Float[Tensor, "b q"]) -> Float[Tensor, "b p"]:
        """Return the logits of eq. (1) plus those among the outputs."""
        logits, mean, log_sd = outputs.float().split([len(self.scores), 1, 1], 1)
        below = torch.special.ndtr((self.cuts - mean) * torch.exp(-log_sd.clamp(-5, 5)))
        probabilities = torch.diff(torch.nn.functional.pad(torch.nn.functional.pad(below, (0, 1), value=1.0), (1, 0)))
        return logits + torch.log(probabilities + LEAST / len(self.scores))


class OrdinalAdapterSpec(AbstractAdapterSpec):
    """An ordinal variable as one token, with an ordered probit as its link."""

    type: Literal["ordinal"] = "ordinal"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")

    def features(self, context: FeaturesContext) -> OrdinalFeatures:
        return OrdinalFeatures(context.code_shape[0])

    def build(self, context: AdapterContext) -> TokenAdapter:
        return TokenAdapter(context, self.dropout)

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        return ["adapter 'ordinal' carries ordinal variables, and this variable is an image"] if spatial else []
