"""Discrete diffusion that moves from level to level: a birth-death process between reflecting ends."""

import math
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from metavoxel.parts.kernels.base import along
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


def chances(log_kept: Float64[Tensor, "*b"], levels: int) -> Float64[Tensor, "*b k k"]:
    """exp(tau R) for a birth-death matrix R of equal rates: q(end | start) of every pair of levels. Symmetric.

    R is the path graph's Laplacian, whose eigenvectors are cosines, scaled so that the slowest decays as exp(-tau) =
    alpha_bar: ``log_kept`` is its logarithm, and may be minus infinity, where all levels are alike.
    """
    mode = torch.arange(levels, dtype=torch.float64, device=log_kept.device)
    cosines = torch.cos((mode[:, None] + 0.5) * mode * (math.pi / levels))
    cosines = cosines / cosines.square().sum(0).sqrt()
    speed = (1 - torch.cos(math.pi * mode / levels)) / (1 - math.cos(math.pi / levels))
    left = torch.where(speed > 0, torch.exp(log_kept[..., None] * speed), 1.0)
    return ((cosines * left[..., None, :]) @ cosines.T).clamp_min(0)


class BirthDeathKernel(AbstractDiscreteKernel):
    """A level moves to its neighbours at equal rates: x_t ~ x_s expm((tau_t - tau_s) R), exact for any stride. Final.

    alpha_bar = exp(-tau) is what is left of the slowest cosine, so of the order of the levels; two levels have the law
    of ``d3pm_uniform``. Discretised Gaussian matrices (Austin et al. 2021, A.2.4) keep the order too, but
    products of them are none of them, so that strides would have to be multiplied out. The reverse step mixes the
    normalised steps of all levels under the head.
    """

    type: Literal["birth_death"] = "birth_death"

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        uniform = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return CategoricalTransition(uniform).sample(rng)

    def _chances(self, s: Time, t: Time, x: Code) -> Float64[Tensor, "..."]:
        """q(x_t | x_s) with levels on the last two axes, cells before them."""
        return chances(self.log_ratio(s, t, x).squeeze(1), x.shape[1])

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        ahead = xs.double().movedim(1, -1)[..., None, :] @ self._chances(s, t, xs)
        return CategoricalTransition(ahead[..., 0, :].movedim(-1, 1).log().to(xs.dtype)).sample(rng)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> CategoricalTransition:
        """p(x_s = j | x_t) = sum_k p_k q(x_t | x_s = j) q(x_s = j | x_0 = k) / q(x_t | x_0 = k), in O(K^2)."""
        of_state = xt.double().movedim(1, -1)[..., None, :] @ self._chances(s, t, xt)  # q(x_t | x_s = j)
        of_data = self._chances(torch.zeros_like(s), s, xt)  # q(x_s = j | x_0 = k), in row k
        both = of_state * of_data
        total = both.sum(-1, keepdim=True)
        # Where x_t is out of reach of k, to the precision of numbers, x_s is where k alone would take it.
        given = torch.where(total > 0, both / torch.where(total > 0, total, 1.0), of_data)
        p = (x0_hat.double().movedim(1, -1)[..., None, :] @ given)[..., 0, :].movedim(-1, 1)
        p = torch.where(along(t, xt) == along(s, xt), xt.double(), p / p.sum(1, keepdim=True))
        return CategoricalTransition(p.log().to(xt.dtype))
