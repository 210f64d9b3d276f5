"""Masked diffusion of sequences, with an even number of cells in every step.

Each cell has the distribution of :class:`metavoxel_absorbing.absorbing.AbsorbingKernel`. Cells are not independent: the
n cells that may change with probability p are ranked, and the cell of rank r = 0, 1, ... changes where

    (r + U) / n < p,    U uniform on (0, 1), one for each row,                                                   (1)

so that the number of changes is np, rounded up or down at random (systematic sampling). Ranked at random, each cell
changes with probability p. A cell is drawn from x0_hat given the cells drawn in earlier steps, and independently of
those of its own step, whose number varies as little as possible.

The loss of a masked cell is weighted by the inverse of the probability that it is masked, as in the likelihood bound
for uniform masking rates (Sahoo et al. 2024; Nie et al. 2025): a row has the same weight at every time. Without the
weight, rows with most cells masked dominate, and a network learns little from neighbouring cells.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.indices import NO_CLASS, drawn_where, is_indices
from metavoxel.parts.kernels.base import AbstractTransition
from metavoxel.parts.kernels.discrete import CategoricalTransition
from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask, Target, Time
from metavoxel_absorbing.absorbing import AbsorbingKernel, AbstractMaskingKernel, unmasked

Order = Literal["even", "confident", "left"]

LEAST_MASKED = 0.05
"""Probability of a masked cell below which the weight of the loss does not rise: one cell of a short text."""


def systematic(possible: Mask, chance: Float[Tensor, "b 1 *#s"], scores: Float[Tensor, "b 1 *s"], rng: Rng) -> Mask:
    """Choose cells by eq. (1), in ascending order of their scores; ``chance`` is p."""
    possible = possible & (chance > 0)
    rank = torch.where(possible, scores, torch.inf).flatten(1).argsort(dim=1, stable=True).argsort(1)
    offset = rng.uniform((len(possible), 1), like=scores, dtype=torch.float64)
    place = (rank + offset) / possible.flatten(1).sum(1, keepdim=True).clamp_min(1)
    return possible & (place.reshape(possible.shape) < chance)


class MaskedTransition(AbstractTransition):
    """Unmasking of some cells: distributions of single cells, and draws that are even over the cells. Final."""

    def __init__(self, cells: AbstractTransition, x0_hat: Code, xt: Code, chance: Tensor, order: Order) -> None:
        self._cells, self._x0_hat, self._xt, self._chance, self._order = cells, x0_hat, xt, chance, order

    @property
    def mean(self) -> Code:
        return self._cells.mean

    def sample(self, rng: Rng) -> Code:
        masked = ~unmasked(self._xt)
        scores = rng.uniform(tuple(masked.shape), like=self._xt)
        if self._order == "confident":
            scores = -self._x0_hat.amax(1, keepdim=True)
        elif self._order == "left":
            scores = torch.arange(masked[0].numel(), device=scores.device).reshape(masked[:1].shape).expand_as(scores)
        chosen = systematic(masked, self._chance, scores.double(), rng)
        if is_indices(self._xt):
            uniform = rng.uniform(tuple(masked.shape), like=self._xt, dtype=torch.float64)
            return drawn_where(chosen, self._x0_hat, uniform, self._xt)
        drawn = CategoricalTransition(self._x0_hat.log()).sample(rng).to(self._xt.dtype)
        return torch.where(chosen, drawn, self._xt)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return self._cells.cell_log_prob(x)


class MaskedKernel(AbstractMaskingKernel):
    """Masked diffusion, equal to ``absorbing`` in every cell, with an even number of changes in every step. Final."""

    is_cellwise: ClassVar[bool] = False

    type: Literal["masked"] = "masked"
    order: Order = Field(
        "even",
        description="order in which cells are drawn: 'even' (random), 'left' (the first cells first; exact with as "
        "many steps as cells), or 'confident' (the most probable classes first, as MaskGIT), which does not sample the "
        "model's distribution",
    )

    def cells_in_turn(self, code_shape: tuple[int, ...]) -> int:
        return math.prod(code_shape[1:]) if self.order == "left" else 1

    def loss(self, prediction: Float[Tensor, "b p *s"], target: Target, t: Time) -> Float[Tensor, "b 1 *s"]:
        masked = -torch.expm1(self.log_ratio(torch.zeros_like(t), t, target))
        weight = 1 / masked.clamp_min(LEAST_MASKED)
        return super().loss(prediction, target, t) * weight.to(prediction.device, torch.float32)

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        chance = -torch.expm1(self.log_ratio(s, t, xs))
        revealed = self.revealed(xs)
        scores = rng.uniform(tuple(revealed.shape), like=xs, dtype=torch.float64)
        return xs.masked_fill(systematic(revealed, chance, scores, rng), NO_CLASS if is_indices(xs) else 0)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> MaskedTransition:
        cells = AbsorbingKernel(schedule=self.schedule).transition(x0_hat, xt, t, s, eta=eta)
        return MaskedTransition(cells, x0_hat, xt, self.chance(t, s, xt), self.order)
