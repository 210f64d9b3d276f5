"""Base of kernels of one-hot codes: independent categorical transitions, networks that predict class posteriors."""

from abc import ABC
from typing import ClassVar, Self

import torch
from jaxtyping import Float
from pydantic import Field, PrivateAttr
from torch import Tensor

from metavoxel.parts.indices import drawn_classes, is_indices, one_hot, probability_of
from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, Noised, along
from metavoxel.parts.kernels.schedules import CosineSchedule, Schedule
from metavoxel.rng import Rng
from metavoxel.typing import Code, Target, Time


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


class IndexTransition(AbstractTransition):
    """Independent categorical distributions of class indices, with probabilities along dimension 1. Final."""

    def __init__(self, probabilities: Float[Tensor, "b c *s"]) -> None:
        self._probabilities = probabilities

    @property
    def mean(self) -> Code:
        return self._probabilities

    def sample(self, rng: Rng) -> Code:
        cells = (len(self._probabilities), 1, *self._probabilities.shape[2:])
        uniform = rng.uniform(cells, like=self._probabilities, dtype=torch.float64)
        return drawn_classes(self._probabilities, uniform)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        return probability_of(self._probabilities, x).log()


class AbstractDiscreteKernel(AbstractKernel, ABC):
    """Kernel of one-hot codes whose q(x_t | x_s) depends only on alpha_bar_t / alpha_bar_s, for steps of any size.

    The network predicts logits and is trained by cross-entropy; its optimum is p(x_0 | x_t, other inputs).
    A subclass with ``takes_indices`` has methods for codes in both forms, one-hot and indices.
    """

    support: ClassVar[str] = "one_hot"

    schedule: Schedule = Field(
        default_factory=CosineSchedule, description="decay with time of the probability of keeping the category"
    )
    _classes: int | None = PrivateAttr(None)

    @property
    def indexed(self) -> bool:
        return self._classes is not None

    def with_indices(self, classes: int) -> Self:
        if not self.takes_indices:
            return super().with_indices(classes)
        copy = self.model_copy()
        copy._classes = classes
        return copy

    def as_one_hot(self, x: Code) -> Float[Tensor, "b c *s"]:
        """Return a code in either form as one-hot."""
        if not is_indices(x):
            return x
        assert self._classes is not None
        return one_hot(x[:, 0], self._classes)

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.schedule.log_snr(t)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        return Noised(self.renoise(x0, torch.zeros_like(t), t, rng=rng), x0)

    def log_ratio(self, s: Time, t: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
        """Return log(alpha_bar_t / alpha_bar_s) in float64; 0 for equal times, also at zero signal."""
        log_t, log_s = self.schedule.log_alpha_bar(along(t, x)), self.schedule.log_alpha_bar(along(s, x))
        return torch.where(log_t == log_s, torch.zeros_like(log_t), log_t - log_s).clamp_max(0)

    def loss(self, prediction: Float[Tensor, "b p *s"], target: Target, t: Time) -> Float[Tensor, "b 1 *s"]:
        if is_indices(target):
            return torch.nn.functional.cross_entropy(prediction.float(), target[:, 0], reduction="none")[:, None]
        return -(target * torch.log_softmax(prediction.float(), 1)).sum(1, keepdim=True)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        probabilities = torch.softmax(prediction.float(), 1)
        return probabilities if is_indices(xt) else probabilities.to(xt.dtype)
