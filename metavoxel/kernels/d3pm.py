"""Uniform discrete diffusion of one-hot codes (MetaVoxel eq. 2 and 4; Austin et al. 2021)."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.kernels.base import AbstractKernel, AbstractTransition, Noised, along
from metavoxel.kernels.schedules import CosineSchedule, Schedule
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


class CategoricalTransition(AbstractTransition):
    """Independent categories of given log-probabilities on dimension 1. Final."""

    def __init__(self, log_probabilities: Float[Tensor, "b c *s"]) -> None:
        self._log = log_probabilities

    @property
    def mean(self) -> Code:
        return self._log.exp()

    def sample(self, rng: Rng) -> Code:
        drawn = (self._log + rng.gumbel(tuple(self._log.shape), like=self._log)).argmax(1)
        return one_hot(drawn, self._log.shape[1]).to(self._log.dtype)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return torch.where(x > 0.5, self._log, 0.0).sum(1, keepdim=True)


def one_hot(index: Tensor, categories: int) -> Code:
    """(b, *s) of whole numbers to (b, categories, *s) of zeros and ones, in float32."""
    return torch.nn.functional.one_hot(index, categories).movedim(-1, 1).float()


class UniformD3PMKernel(AbstractKernel):
    """Each step keeps the category or draws one of the K uniformly; alpha_bar is the chance that it was always kept.

    Any stride is exact in closed form, for q(x_t | x_s) depends only on alpha_bar_t / alpha_bar_s. The network's head,
    trained by cross-entropy, is the posterior p(x_0 | x_t, the rest), so ``reverse: mixture`` averages the normalised
    q(x_s | x_t, x_0 = k) under it, which is exact for any stride. ``reverse: printed`` is D3PM's formula (Austin et al.
    2021, eq. 4): it plugs the head into q(x_t | x_s) q(x_s | x_0) and normalises at the end, which is biased towards
    uniform for a head trained so; it is kept for comparison with the paper.
    """

    support: ClassVar[str] = "one_hot"

    type: Literal["d3pm_uniform"] = "d3pm_uniform"
    schedule: Schedule = Field(
        default_factory=CosineSchedule, description="how the chance of being kept fades with time"
    )
    reverse: Literal["mixture", "printed"] = Field(
        "mixture", description="reverse step: 'mixture' (exact) or 'printed' (the published formula, biased)"
    )

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.schedule.log_snr(t)

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        uniform = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return CategoricalTransition(uniform).sample(rng)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        return Noised(self.renoise(x0, torch.zeros_like(t), t, rng=rng), x0)

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        return CategoricalTransition(self._log_forward(xs, s, t)).sample(rng)

    def _log_forward(self, xs: Code, s: Time, t: Time) -> Float[Tensor, "b c *s"]:
        """log q(x_t = j | x_s) for every j."""
        log_kept, log_uniform = self._log_ratio(s, t, xs)
        return torch.logaddexp(torch.log(xs) + log_kept, log_uniform.expand_as(xs))

    def _log_ratio(self, s: Time, t: Time, x: Code) -> tuple[Tensor, Tensor]:
        """log r and log((1 - r)/K) for r = alpha_bar_t / alpha_bar_s; finite differences taken in float64."""
        log_t, log_s = self.schedule.log_alpha_bar(along(t, x)), self.schedule.log_alpha_bar(along(s, x))
        log_r = torch.where(log_t == log_s, torch.zeros_like(log_t), log_t - log_s).clamp_max(0)
        log_uniform = torch.log(-torch.expm1(log_r)) - math.log(x.shape[1])
        return log_r.to(x.dtype), log_uniform.to(x.dtype)

    def loss(
        self, prediction: Float[Tensor, "b p *s"], target: Float[Tensor, "b p *s"], t: Time
    ) -> Float[Tensor, "b 1 *s"]:
        return -(target * torch.log_softmax(prediction.float(), 1)).sum(1, keepdim=True)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return torch.softmax(prediction.float(), 1).to(xt.dtype)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> CategoricalTransition:
        zero = torch.zeros_like(t)
        log_step = self._log_forward(xt, s, t)  # q(x_t | x_s = j): Q is symmetric
        log_kept_s, log_uniform_s = self._log_ratio(zero, s, xt)
        log_x0 = torch.log(x0_hat)
        if self.reverse == "mixture":
            # p(x_s = j) = sum_k p_k q(x_t | x_s = j) q(x_s = j | x_0 = k) / q(x_t | x_0 = k), in O(K).
            log_weight = log_x0 - self._log_forward(xt, zero, t).clamp_min(torch.finfo(xt.dtype).min)
            log_weight = torch.where(torch.isneginf(log_x0), log_x0, log_weight)
            spread = torch.logsumexp(log_weight, 1, keepdim=True)
            log_p = log_step + torch.logaddexp(log_kept_s + log_weight, log_uniform_s + spread)
        else:
            # At s = 0 the published sampler returns the head itself.
            log_p = log_step + torch.logaddexp(log_kept_s + log_x0, log_uniform_s.expand_as(log_x0))
            log_p = torch.where(along(s, xt) > 0, log_p, log_x0)
        log_p = torch.where(along(t, xt) == along(s, xt), torch.log(xt), log_p)
        return CategoricalTransition(torch.log_softmax(log_p, 1))
