"""Absorbing-state discrete diffusion, cell by cell.

A category is kept with probability alpha_bar, and masked otherwise (Austin et al. 2021, A.2.2). With x0_hat the
posterior p(x_0 | x_t), a state that is masked at t is at s < t

    masked with probability (1 - alpha_bar_s) / (1 - alpha_bar_t), and drawn from x0_hat otherwise.             (1)

Other states do not change.
"""

from abc import ABC
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractTransition
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition
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


class AbstractMaskingKernel(AbstractDiscreteKernel, ABC):
    """Kernel whose masked state is zeros, and whose other states are the datum.

    All states at t = 1 are masked, so that a posterior mean needs one evaluation.
    """

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        rng.skip()
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def revealed(self, xt: Code) -> Mask:
        return xt.sum(1, keepdim=True) > 0.5

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return torch.where(self.revealed(xt), xt, super().denoise(prediction, xt, t))


class AbsorbingKernel(AbstractMaskingKernel):
    """Masked diffusion with the reverse step (1), exact for any step size and a perfect network. Final."""

    type: Literal["absorbing"] = "absorbing"

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        log_kept, unmasked = self.log_ratio(s, t, xs), xs.double().sum(1, keepdim=True)
        masked = (1 - unmasked) - unmasked * torch.expm1(log_kept)
        return AbsorbingTransition(torch.cat([xs * torch.exp(log_kept), masked], 1), xs).sample(rng)

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbsorbingTransition:
        zero, masked = torch.zeros_like(t), 1 - xt.double().sum(1, keepdim=True)
        masked_s, masked_t = (-torch.expm1(self.log_ratio(zero, time, xt)) for time in (s, t))
        stays = torch.where(masked_t > masked_s, masked_s / masked_t, 1.0)
        return AbsorbingTransition(torch.cat([xt + masked * (1 - stays) * x0_hat, masked * stays], 1), xt)
