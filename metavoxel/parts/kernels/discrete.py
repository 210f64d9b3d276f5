"""What kernels of one-hot codes share: independent categories, and a head that is the posterior of the class."""

from abc import ABC
from typing import ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, Noised, along
from metavoxel.parts.kernels.schedules import CosineSchedule, Schedule
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


class AbstractDiscreteKernel(AbstractKernel, ABC):
    """A kernel of one-hot codes whose q(x_t | x_s) depends on alpha_bar_t / alpha_bar_s alone: any stride is exact.

    The network gives logits and is trained by cross-entropy, so that a perfect head is p(x_0 | x_t, the rest).
    """

    support: ClassVar[str] = "one_hot"

    schedule: Schedule = Field(
        default_factory=CosineSchedule, description="how the chance of being kept fades with time"
    )

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.schedule.log_snr(t)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        return Noised(self.renoise(x0, torch.zeros_like(t), t, rng=rng), x0)

    def log_ratio(self, s: Time, t: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
        """log(alpha_bar_t / alpha_bar_s) in float64; 0 where the times are equal even if nothing is left at either."""
        log_t, log_s = self.schedule.log_alpha_bar(along(t, x)), self.schedule.log_alpha_bar(along(s, x))
        return torch.where(log_t == log_s, torch.zeros_like(log_t), log_t - log_s).clamp_max(0)

    def loss(
        self, prediction: Float[Tensor, "b p *s"], target: Float[Tensor, "b p *s"], t: Time
    ) -> Float[Tensor, "b 1 *s"]:
        return -(target * torch.log_softmax(prediction.float(), 1)).sum(1, keepdim=True)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return torch.softmax(prediction.float(), 1).to(xt.dtype)
