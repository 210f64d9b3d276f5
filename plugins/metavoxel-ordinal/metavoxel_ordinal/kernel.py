"""Discrete diffusion between neighbouring levels: a birth-death process with reflecting boundaries.

With R the generator of equal rates between neighbouring levels (minus the path graph's Laplacian), which has cosines as
eigenvectors,

    q(x_t | x_s) = x_s exp((tau_t - tau_s) R),    alpha_bar_t = exp(-tau_t),                                     (1)

where R is scaled so that its slowest mode decays as alpha_bar. With p the posterior p(x_0 | x_t), the reverse step is

    p(x_s = j | x_t) = sum_k p_k q(x_t | x_s = j) q(x_s = j | x_0 = k) / q(x_t | x_0 = k).                       (2)

Both are exact for any step size. The discretised Gaussian matrices of D3PM for ordered values (Austin et al. 2021,
A.2.4) are not closed under multiplication, so that a step of several times would have to be multiplied out.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.kernels.base import along
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


def transition_matrix(log_kept: Float64[Tensor, "*b"], levels: int) -> Float64[Tensor, "*b k k"]:
    """Return the symmetric matrix exp(tau R) of eq. (1), for ``log_kept`` = -tau.

    It is uniform at minus infinity.
    """
    mode = torch.arange(levels, dtype=torch.float64, device=log_kept.device)
    cosines = torch.cos((mode[:, None] + 0.5) * mode * (math.pi / levels))
    cosines = cosines / cosines.square().sum(0).sqrt()
    speed = (1 - torch.cos(math.pi * mode / levels)) / (1 - math.cos(math.pi / levels))
    decay = torch.where(speed > 0, torch.exp(log_kept[..., None] * speed), 1.0)
    return ((cosines * decay[..., None, :]) @ cosines.T).clamp_min(0)


class BirthDeathKernel(AbstractDiscreteKernel):
    """Birth-death diffusion of levels, eq. (1) and (2). Two levels have the distribution of ``d3pm_uniform``. Final."""

    type: Literal["birth_death"] = "birth_death"

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        uniform = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return CategoricalTransition(uniform).sample(rng)

    def _matrix(self, s: Time, t: Time, x: Code) -> Float64[Tensor, "..."]:
        """Return q(x_t | x_s) with levels on the last two axes, cells before them."""
        return transition_matrix(self.log_ratio(s, t, x).squeeze(1), x.shape[1])

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        ahead = xs.double().movedim(1, -1)[..., None, :] @ self._matrix(s, t, xs)
        return CategoricalTransition(ahead[..., 0, :].movedim(-1, 1).log().to(xs.dtype)).sample(rng)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> CategoricalTransition:
        """Return the reverse step (2), in O(K^2)."""
        of_state = xt.double().movedim(1, -1)[..., None, :] @ self._matrix(s, t, xt)  # q(x_t | x_s = j)
        of_data = self._matrix(torch.zeros_like(s), s, xt)  # q(x_s = j | x_0 = k), in row k
        both = of_state * of_data
        total = both.sum(-1, keepdim=True)
        # Where q(x_t | x_0 = k) underflows to 0, use q(x_s | x_0 = k)
        given = torch.where(total > 0, both / torch.where(total > 0, total, 1.0), of_data)
        p = (x0_hat.double().movedim(1, -1)[..., None, :] @ given)[..., 0, :].movedim(-1, 1)
        p = torch.where(along(t, xt) == along(s, xt), xt.double(), p / p.sum(1, keepdim=True))
        return CategoricalTransition(p.log().to(xt.dtype))
