"""Absorbing-state discrete diffusion, cell by cell.

A category is kept with probability alpha_bar, and masked otherwise (Austin et al. 2021, A.2.2). With x0_hat the
posterior p(x_0 | x_t), a state that is masked at t is at s < t

    masked with probability (1 - alpha_bar_s) / (1 - alpha_bar_t), and drawn from x0_hat otherwise.             (1)

Other states do not change.
"""

from abc import ABC
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.indices import NO_CLASS, drawn_where, is_indices, one_hot, probability_of
from metavoxel.parts.kernels.base import AbstractTransition
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition
from metavoxel.parts.kernels.schedules import LogLinearSchedule, Schedule
from metavoxel.rng import Rng
from metavoxel.typing import Code, Mask, Time


class AbsorbingTransition(AbstractTransition):
    """Distribution of categories and, as the last of (b, c + 1, *s), the masked state, whose code is zeros. Final."""

    def __init__(self, probabilities: Float[Tensor, "b q *s"], like: Tensor) -> None:
        self._whole = CategoricalTransition(probabilities.log().to(like.dtype))

    @property
    def mean(self) -> Code:
        return self._whole.mean[:, :-1]

    def sample(self, rng: Rng) -> Code:
        return self._whole.sample(rng)[:, :-1]

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return self._whole.cell_log_prob(torch.cat([x, 1 - x.sum(1, keepdim=True)], 1))


def unmasked(x: Code) -> Mask:
    """Return the cells whose state has a class."""
    return x >= 0 if is_indices(x) else x.sum(1, keepdim=True) > 0.5


class UnmaskingTransition(AbstractTransition):
    """Step (1) of class indices: a masked cell is drawn from x0_hat with probability ``chance``. Final."""

    def __init__(self, x0_hat: Float[Tensor, "b c *s"], xt: Code, chance: Float[Tensor, "b 1 *#s"]) -> None:
        self._x0_hat, self._xt, self._chance = x0_hat, xt, chance

    @property
    def mean(self) -> Code:
        now = one_hot(self._xt[:, 0], self._x0_hat.shape[1]).to(self._x0_hat)
        return torch.where(unmasked(self._xt), now, self._chance.to(self._x0_hat) * self._x0_hat)

    def sample(self, rng: Rng) -> Code:
        chosen = rng.uniform(tuple(self._xt.shape), like=self._xt, dtype=torch.float64) < self._chance
        uniform = rng.uniform(tuple(self._xt.shape), like=self._xt, dtype=torch.float64)
        return drawn_where(chosen & ~unmasked(self._xt), self._x0_hat, uniform, self._xt)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        drawn = self._chance * probability_of(self._x0_hat, x.clamp_min(0)).double()
        of_masked = torch.where(unmasked(x), drawn, 1 - self._chance)
        same = (x == self._xt).double()
        return torch.where(unmasked(self._xt), same, of_masked).log().to(self._x0_hat.dtype)


class AbstractMaskingKernel(AbstractDiscreteKernel, ABC):
    """Kernel whose masked state is zeros, or the index -1, and whose other states are the datum.

    All states at t = 1 are masked, so that a posterior mean needs one evaluation.
    """

    takes_indices: ClassVar[bool] = True
    even_steps: ClassVar[bool] = True

    schedule: Schedule = Field(
        default_factory=LogLinearSchedule, description="decay with time of the probability of keeping the category"
    )

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        rng.skip()
        if self.indexed:
            return torch.full((shape[0], 1, *shape[2:]), NO_CLASS, dtype=torch.int64, device=like.device)
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def revealed(self, xt: Code) -> Mask:
        return unmasked(xt)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        posterior, revealed = super().denoise(prediction, xt, t), self.revealed(xt)
        if not is_indices(xt):
            return torch.where(revealed, xt, posterior)
        return posterior.masked_fill(revealed, 0).scatter_add_(1, xt.clamp_min(0), revealed.to(posterior))

    def chance(self, t: Time, s: Time, xt: Code) -> Float[Tensor, "b 1 *#s"]:
        """Return the probability with which a cell that is masked at t has a class at s."""
        masked_s, masked_t = (-torch.expm1(self.log_ratio(torch.zeros_like(t), time, xt)) for time in (s, t))
        return 1 - torch.where(masked_t > masked_s, masked_s / masked_t, 1.0)


class AbsorbingKernel(AbstractMaskingKernel):
    """Masked diffusion with the reverse step (1), exact for any step size and a perfect network. Final."""

    type: Literal["absorbing"] = "absorbing"

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        log_kept = self.log_ratio(s, t, xs)
        if is_indices(xs):
            masks = rng.uniform(tuple(xs.shape), like=xs, dtype=torch.float64) < -torch.expm1(log_kept)
            return xs.masked_fill(masks, NO_CLASS)
        certain = xs.double().sum(1, keepdim=True)
        masked = (1 - certain) - certain * torch.expm1(log_kept)
        return AbsorbingTransition(torch.cat([xs * torch.exp(log_kept), masked], 1), xs).sample(rng)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbstractTransition:
        if is_indices(xt):
            return UnmaskingTransition(x0_hat, xt, self.chance(t, s, xt))
        zero, masked = torch.zeros_like(t), 1 - xt.double().sum(1, keepdim=True)
        masked_s, masked_t = (-torch.expm1(self.log_ratio(zero, time, xt)) for time in (s, t))
        stays = torch.where(masked_t > masked_s, masked_s / masked_t, 1.0)
        return AbsorbingTransition(torch.cat([xt + masked * (1 - stays) * x0_hat, masked * stays], 1), xt)
