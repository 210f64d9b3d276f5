"""Base of kernels of one-hot codes: independent categorical transitions, networks that predict class posteriors."""

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
    """Independent categorical distributions, with log-probabilities along dimension 1. Final."""

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
    """Encode indices (b, *s) as one-hot codes (b, categories, *s) in float32."""
    return torch.nn.functional.one_hot(index, categories).movedim(-1, 1).float()


class AbstractDiscreteKernel(AbstractKernel, ABC):
    """Kernel of one-hot codes whose q(x_t | x_s) depends only on alpha_bar_t / alpha_bar_s, for steps of any size.

    The network predicts logits and is trained by cross-entropy; its optimum is p(x_0 | x_t, other inputs).
    """

    support: ClassVar[str] = "one_hot"

    schedule: Schedule = Field(
        default_factory=CosineSchedule, description="decay with time of the probability of keeping the category"
    )

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.schedule.log_snr(t)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        return Noised(self.renoise(x0, torch.zeros_like(t), t, rng=rng), x0)

    def log_ratio(self, s: Time, t: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
        """Return log(alpha_bar_t / alpha_bar_s) in float64; 0 for equal times, also at zero signal."""
        log_t, log_s = self.schedule.log_alpha_bar(along(t, x)), self.schedule.log_alpha_bar(along(s, x))
        return torch.where(log_t == log_s, torch.zeros_like(log_t), log_t - log_s).clamp_max(0)

    def loss(
        self, prediction: Float[Tensor, "b p *s"], target: Float[Tensor, "b p *s"], t: Time
    ) -> Float[Tensor, "b 1 *s"]:
        return -(target * torch.log_softmax(prediction.float(), 1)).sum(1, keepdim=True)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        return torch.softmax(prediction.float(), 1).to(xt.dtype)
