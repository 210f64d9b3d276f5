"""A graded scale in the network: an ordered probit about what is expected of its score."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.adapters.base import AbstractAdapterSpec, AdapterContext, Information
from metavoxel.parts.adapters.token import TokenAdapter
from metavoxel.parts.features.scalar import RESIDUAL, AbstractScalarFeatures
from metavoxel.typing import Code, Mask, Time

LEAST = 1e-3
"""Probability that is shared among all levels, so that none is beyond reach."""


class OrdinalLaw(AbstractScalarFeatures):
    """One-hot codes of levels: cuts of a normal number of which a level's score is the mean between its cuts. Final.

    The score is the one feature, which speaks where it is given. A head gives where the number lies and how widely it
    spreads (McCullagh 1980, "Regression models for ordinal data"), and logits beside it for what that does not fit.
    """

    further = 2

    def __init__(self, levels: int) -> None:
        super().__init__(1)
        self.features = 1
        self.register_buffer("cuts", torch.linspace(-1, 1, levels + 1)[1:-1])
        self.register_buffer("scores", torch.linspace(-1, 1, levels))
        self.cuts: Tensor
        self.scores: Tensor

    def fit(self, x0: Code) -> None:
        """Cuts from the shares of the levels, half a row being added to each."""
        shares = torch.bincount(x0.argmax(1), minlength=x0.shape[1]).double() + 0.5
        shares = shares / shares.sum()
        self.cuts.copy_(torch.special.ndtri(shares.cumsum(0)[:-1]))
        heights = torch.exp(-torch.nn.functional.pad(self.cuts, (1, 1), value=torch.inf).square() / 2)
        self.scores.copy_((heights[:-1] - heights[1:]) / shares / (2 * torch.pi) ** 0.5)
        super().fit(x0 @ self.scores[:, None])

    def describe(self, x0: Code) -> Float[Tensor, "b k"]:
        return super().describe(x0 @ self.scores[:, None])

    def measure(self, x: Code, time: Time, observed: Mask) -> Information:
        certainty = torch.where(observed, 1 / RESIDUAL, 0.0).to(x)
        return Information(torch.diag_embed(certainty), certainty * self.describe(x))

    def to_prediction(self, x: Code, time: Time, belief: Float[Tensor, "b k"]) -> Float[Tensor, "b q"]:
        """No logits; the place of the number, of which a score's expectation falls short by the score's spread."""
        return torch.cat([torch.zeros_like(x), belief / self.scale, torch.zeros_like(belief)], 1)

    def prediction(self, stated: Float[Tensor, "b q"]) -> Float[Tensor, "b p"]:
        """Logits of the levels."""
        beside, place, spread = stated.float().split([len(self.scores), 1, 1], 1)
        below = torch.special.ndtr((self.cuts - place) * torch.exp(-spread.clamp(-5, 5)))
        share = torch.diff(torch.nn.functional.pad(torch.nn.functional.pad(below, (0, 1), value=1.0), (1, 0)))
        return beside + torch.log(share + LEAST / len(self.scores))


class OrdinalAdapterSpec(AbstractAdapterSpec):
    """A graded scale as one token, read out by an ordered probit."""

    type: Literal["ordinal"] = "ordinal"
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the head's last layer")

    def build(self, context: AdapterContext) -> TokenAdapter:
        return TokenAdapter(context, self.dropout, OrdinalLaw(context.code_shape[0]))

    def problems(self, *, spatial: bool, grids: bool) -> list[str]:
        return ["adapter 'ordinal' carries graded scales, and this variable is an image"] if spatial else []
