"""Noise schedules: ``alpha_bar``, the remaining fraction of the data's variance at time t in [0, 1]."""

import math
from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class AbstractSchedule(BaseModel, ABC):
    """``alpha_bar`` as a decreasing function of continuous time; 1 at t = 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def log_alpha_bar(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return the logarithm of ``alpha_bar`` in float64: exactly 0 at t = 0, minus infinity at zero signal."""

    def __call__(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return ``alpha_bar`` at these times, in float64."""
        return torch.exp(self.log_alpha_bar(t))

    @property
    def ends_at_zero_signal(self) -> bool:
        """Whether ``alpha_bar`` is 0 at t = 1."""
        return bool(torch.isneginf(self.log_alpha_bar(torch.ones(1, dtype=torch.float64))).item())

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """Return log(alpha_bar / (1 - alpha_bar)) in float64: infinity at t = 0, minus infinity at zero signal."""
        log_alpha_bar = self.log_alpha_bar(t)
        return log_alpha_bar - torch.log(-torch.expm1(log_alpha_bar))


class CosineSchedule(AbstractSchedule):
    """Cosine schedule: alpha_bar = cos(pi/2 (t + s)/(1 + s))^power, scaled to 1 at t = 0, with s = 0.008.

    Power 2 is Nichol and Dhariwal (2021), eq. 17; power 1 is that of the published D3PM code. Both end at zero signal.
    """

    type: Literal["cosine"] = "cosine"
    power: Literal[1, 2] = Field(
        2, description="exponent of the cosine: 2 as published for images, 1 as in D3PM's code"
    )

    def log_alpha_bar(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        offset = 0.008
        t = t.double()
        angle = (t + offset) / (1 + offset) * (math.pi / 2)
        start = math.log(math.cos(offset / (1 + offset) * math.pi / 2))
        value = self.power * (torch.log(torch.cos(angle).clamp_min(0)) - start)
        value = torch.where(t >= 1, torch.full_like(t, -math.inf), value.clamp_max(0))
        return torch.where(t <= 0, torch.zeros_like(t), value)


class LogLinearSchedule(AbstractSchedule):
    """alpha_bar = 1 - t: cells of a masked sequence are masked with probability t (log-linear; Lou et al. 2024)."""

    type: Literal["log_linear"] = "log_linear"

    def log_alpha_bar(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return torch.log1p(-t.double().clamp(0, 1))


class _TableSchedule(AbstractSchedule, ABC):
    """Log-linear interpolation of a discrete schedule: alphas_cumprod[k - 1] at t = k / steps."""

    beta_start: float = Field(gt=0, lt=1, description="noise variance of the first step")
    beta_end: float = Field(gt=0, lt=1, description="noise variance of the last step")
    steps: int = Field(1000, ge=1, description="number of discrete steps that this schedule interpolates")

    @abstractmethod
    def betas(self) -> Float[Tensor, "steps"]:
        """Return the noise variance of every step, in float64."""

    def log_alpha_bar(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        table = torch.cumsum(torch.log1p(-self.betas()), 0)
        table = torch.cat([torch.zeros(1, dtype=torch.float64), table]).to(t.device)
        position = t.double().clamp(0, 1) * self.steps
        below = position.floor().clamp_max(self.steps - 1).long()
        return torch.lerp(table[below], table[below + 1], position - below)


class LinearSchedule(_TableSchedule):
    """Betas that increase linearly (Ho et al. 2020)."""

    type: Literal["linear"] = "linear"
    beta_start: float = Field(1e-4, gt=0, lt=1, description="noise variance of the first step")
    beta_end: float = Field(0.02, gt=0, lt=1, description="noise variance of the last step")

    def betas(self) -> Float[Tensor, "steps"]:
        return torch.linspace(self.beta_start, self.beta_end, self.steps, dtype=torch.float64)


class ScaledLinearSchedule(_TableSchedule):
    """Betas whose square roots increase linearly (Rombach et al. 2022)."""

    type: Literal["scaled_linear"] = "scaled_linear"
    beta_start: float = Field(0.0015, gt=0, lt=1, description="noise variance of the first step")
    beta_end: float = Field(0.0195, gt=0, lt=1, description="noise variance of the last step")

    def betas(self) -> Float[Tensor, "steps"]:
        return torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.steps, dtype=torch.float64) ** 2


Schedule = Annotated[
    CosineSchedule | LinearSchedule | ScaledLinearSchedule | LogLinearSchedule, Field(discriminator="type")
]
"""Any schedule, discriminated by ``type``."""
