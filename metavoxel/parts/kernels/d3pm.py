"""Uniform discrete diffusion of one-hot codes (MetaVoxel eq. 2 and 4; Austin et al. 2021)."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from metavoxel.parts.indices import is_indices
from metavoxel.parts.kernels.base import AbstractTransition, along
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition, IndexTransition
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time

MAX_LOG_RATIO = 30.0
"""Maximum log-likelihood ratio of a state between its own class and any other class."""


class UniformD3PMKernel(AbstractDiscreteKernel):
    """Uniform D3PM: each step keeps the category or resamples it uniformly; alpha_bar = P(kept at every step).

    Steps of any size are exact, as q(x_t | x_s) depends only on alpha_bar_t / alpha_bar_s. The network, trained by
    cross-entropy, predicts the posterior p(x_0 | x_t, other inputs). ``reverse: mixture`` averages the normalised
    q(x_s | x_t, x_0 = k) over this posterior, which is exact for any step size. ``reverse: printed`` is D3PM's formula
    (Austin et al. 2021, eq. 4). It inserts the prediction into q(x_t | x_s) q(x_s | x_0) and then normalises, which is
    biased towards uniform for a network trained by cross-entropy; it is provided for comparison with the paper.
    """

    takes_indices: ClassVar[bool] = True

    type: Literal["d3pm_uniform"] = "d3pm_uniform"
    reverse: Literal["mixture", "printed"] = Field(
        "mixture", description="reverse step: 'mixture' (exact) or 'printed' (the published formula, biased)"
    )

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        if self.indexed:
            return self._uniform_classes((shape[0], 1, *shape[2:]), rng, like)
        uniform = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return CategoricalTransition(uniform).sample(rng)

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        if is_indices(xs):
            kept = rng.uniform(tuple(xs.shape), like=xs, dtype=torch.float64) < torch.exp(self.log_ratio(s, t, xs))
            return torch.where(kept, xs, self._uniform_classes(tuple(xs.shape), rng, xs))
        return CategoricalTransition(self._log_forward(xs, s, t)).sample(rng)

    def _uniform_classes(self, cells: tuple[int, ...], rng: Rng, like: Tensor) -> Int64[Tensor, "b 1 *s"]:
        """Draw indices of classes, with one uniform number a cell."""
        assert self._classes is not None
        return (rng.uniform(cells, like=like, dtype=torch.float64) * self._classes).long()

    def log_likelihood(self, xt: Code, t: Time) -> Code:
        xt = self.as_one_hot(xt)
        log_kept, log_uniform = self._log_ratio(torch.zeros_like(t), t, xt)
        log_same = torch.logaddexp(log_kept, log_uniform)
        # At t = 0 other classes have likelihood 0; their logarithm is kept finite
        return torch.where(xt > 0.5, (log_same - log_uniform).clamp_max(MAX_LOG_RATIO), 0.0)

    def _log_forward(self, xs: Code, s: Time, t: Time) -> Float[Tensor, "b c *s"]:
        """Return log q(x_t = j | x_s) for every j."""
        log_kept, log_uniform = self._log_ratio(s, t, xs)
        return torch.logaddexp(torch.log(xs) + log_kept, log_uniform.expand_as(xs))

    def _log_ratio(self, s: Time, t: Time, x: Code) -> tuple[Tensor, Tensor]:
        """Return log r and log((1 - r)/K) for r = alpha_bar_t / alpha_bar_s; differences are taken in float64."""
        log_r = self.log_ratio(s, t, x)
        log_uniform = torch.log(-torch.expm1(log_r)) - math.log(x.shape[1])
        return log_r.to(x.dtype), log_uniform.to(x.dtype)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbstractTransition:
        if is_indices(xt):
            return IndexTransition(torch.exp(self._log_transition(x0_hat, self.as_one_hot(xt).to(x0_hat), t, s)))
        return CategoricalTransition(self._log_transition(x0_hat, xt, t, s))

    def _log_transition(
        self, x0_hat: Float[Tensor, "b c *s"], xt: Float[Tensor, "b c *s"], t: Time, s: Time
    ) -> Float[Tensor, "b c *s"]:
        """Return log p(x_s = j | x_t, x0_hat) for every j."""
        zero = torch.zeros_like(t)
        log_step = self._log_forward(xt, s, t)  # q(x_t | x_s = j): Q is symmetric
        log_kept_s, log_uniform_s = self._log_ratio(zero, s, xt)
        log_x0 = torch.log(x0_hat)
        if self.reverse == "mixture":
            # p(x_s = j) = sum_k p_k q(x_t | x_s = j) q(x_s = j | x_0 = k) / q(x_t | x_0 = k), in O(K).
            log_weight = log_x0 - self._log_forward(xt, zero, t).clamp_min(torch.finfo(xt.dtype).min)
            log_weight = torch.where(torch.isneginf(log_x0), log_x0, log_weight)
            log_total = torch.logsumexp(log_weight, 1, keepdim=True)
            log_p = log_step + torch.logaddexp(log_kept_s + log_weight, log_uniform_s + log_total)
        else:
            # At s = 0 the published sampler returns the prediction itself.
            log_p = log_step + torch.logaddexp(log_kept_s + log_x0, log_uniform_s.expand_as(log_x0))
            log_p = torch.where(along(s, xt) > 0, log_p, log_x0)
        log_p = torch.where(along(t, xt) == along(s, xt), torch.log(xt), log_p)
        return torch.log_softmax(log_p, 1)
