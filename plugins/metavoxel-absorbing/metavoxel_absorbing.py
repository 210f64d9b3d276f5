"""A metavoxel plugin: discrete diffusion that hides categories, and uncovers them once (masked diffusion)."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition
from metavoxel.parts.kernels.discrete import AbstractDiscreteKernel, CategoricalTransition
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time

metavoxel_api = 2


class AbsorbingTransition(AbstractTransition):
    """Categories and, as the last of (b, c + 1, *s) probabilities, the hidden state, whose code is zeros. Final."""

    def __init__(self, probabilities: Float[Tensor, "b q *s"], like: Tensor) -> None:
        self._whole = CategoricalTransition(probabilities.log().to(like.dtype))

    @property
    def mean(self) -> Code:
        return self._whole.mean[:, :-1]

    def sample(self, rng: Rng) -> Code:
        return self._whole.sample(rng)[:, :-1]

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return self._whole.cell_log_prob(torch.cat([x, 1 - x.sum(1, keepdim=True)], 1))


class AbsorbingKernel(AbstractDiscreteKernel):
    """A category is kept with probability alpha_bar, and else hidden (Austin et al. 2021, A.2.2). Final.

    It never changes. What is uncovered stays as it is, so a reverse step draws from the head alone, whatever its
    stride: exact for a perfect head. All that is at t = 1 is hidden, so a read-out has no noise to average.
    """

    type: Literal["absorbing"] = "absorbing"

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        rng.skip()
        return torch.zeros(shape, dtype=like.dtype, device=like.device)

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        log_kept, seen = self.log_ratio(s, t, xs), xs.double().sum(1, keepdim=True)
        hidden = (1 - seen) - seen * torch.expm1(log_kept)
        return AbsorbingTransition(torch.cat([xs * torch.exp(log_kept), hidden], 1), xs).sample(rng)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return torch.where(xt.sum(1, keepdim=True) > 0.5, xt, super().denoise(prediction, xt, t))

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> AbsorbingTransition:
        zero, hidden = torch.zeros_like(t), 1 - xt.double().sum(1, keepdim=True)
        gone_s, gone_t = (-torch.expm1(self.log_ratio(zero, time, xt)) for time in (s, t))
        stays = torch.where(gone_t > gone_s, gone_s / gone_t, 1.0)
        return AbsorbingTransition(torch.cat([xt + hidden * (1 - stays) * x0_hat, hidden * stays], 1), xt)


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """What ``kernel: {type: absorbing}`` means."""
    return [AbsorbingKernel]
