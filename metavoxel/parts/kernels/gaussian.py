"""Variance-preserving Gaussian diffusion of real codes (MetaVoxel eq. 1; Ho et al. 2020)."""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel, AbstractTransition, Noised, along
from metavoxel.parts.kernels.schedules import CosineSchedule, Schedule
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time


class GaussianTransition(AbstractTransition):
    """Gaussian transition with independent cells. Final."""

    def __init__(self, mean: Code, sd: Float[Tensor, "b 1 *#s"]) -> None:
        self._mean, self._sd = mean, sd

    @property
    def mean(self) -> Code:
        return self._mean

    def sample(self, rng: Rng) -> Code:
        if not self._sd.any():
            rng.skip()  # else later draws of a row would depend on whether other rows of its batch have noise here
            return self._mean
        return self._mean + self._sd * rng.normal(tuple(self._mean.shape), like=self._mean, dtype=self._mean.dtype)

    def cell_log_prob(self, x: Code) -> Float[Tensor, "b 1 *s"]:
        sd = self._sd.expand_as(x)
        exact = torch.where(x == self._mean, 0.0, -math.inf)
        safe = torch.where(sd > 0, sd, 1.0)
        density = -0.5 * ((x - self._mean) / safe) ** 2 - safe.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(sd > 0, density, exact).sum(1, keepdim=True)


class GaussianKernel(AbstractKernel):
    """Gaussian kernel, x_t = sqrt(alpha_bar) x_0 + sqrt(1 - alpha_bar) noise.

    The network predicts the noise (``epsilon``), the data (``x0``), or ``v`` = sqrt(alpha_bar) noise - sqrt(1 -
    alpha_bar) x_0 (Salimans and Ho 2022). At t = 1 the optimal v is -E[x_0 | evidence], the negative posterior mean.
    """

    support: ClassVar[str] = "real"
    is_gaussian: ClassVar[bool] = True

    type: Literal["gaussian"] = "gaussian"
    schedule: Schedule = Field(default_factory=CosineSchedule, description="noise schedule")
    prediction: Literal["v", "epsilon", "x0"] = Field("v", description="what the network predicts")

    def problems(self) -> list[str]:
        if self.prediction == "epsilon" and self.schedule.ends_at_zero_signal:
            return [
                f"prediction 'epsilon' cannot recover the data where schedule {self.schedule.type!r} leaves no signal "
                "(t = 1). Use prediction 'v' or 'x0', or schedule 'scaled_linear' or 'linear'"
            ]
        return []

    @property
    def predicts_mean(self) -> bool:
        return self.prediction != "epsilon"

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        return self.schedule.log_snr(t)

    def _scales(self, t: Time, x: Code) -> tuple[Float[Tensor, "b 1 *#s"], Float[Tensor, "b 1 *#s"]]:
        """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar), in float64 to keep precision near t = 0 and t = 1."""
        log_alpha_bar = self.schedule.log_alpha_bar(along(t, x))
        return torch.exp(log_alpha_bar / 2), torch.sqrt(-torch.expm1(log_alpha_bar))

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        return rng.normal(shape, like=like, dtype=like.dtype)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        signal, noise = (scale.to(x0.dtype) for scale in self._scales(t, x0))
        epsilon = rng.normal(tuple(x0.shape), like=x0, dtype=x0.dtype)
        state = signal * x0 + noise * epsilon
        return Noised(state, self.to_prediction(x0, epsilon, t))

    def to_prediction(self, x0_hat: Code, noise_hat: Code, t: Time) -> Float[Tensor, "b p *s"]:
        match self.prediction:
            case "epsilon":
                return noise_hat
            case "x0":
                return x0_hat
            case "v":
                signal, noise = (scale.to(x0_hat.dtype) for scale in self._scales(t, x0_hat))
                return signal * noise_hat - noise * x0_hat

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        log_ratio = self._log_ratio(t, s, xs)
        signal, noise = torch.exp(log_ratio / 2), torch.sqrt(-torch.expm1(log_ratio))
        epsilon = rng.normal(tuple(xs.shape), like=xs, dtype=xs.dtype)
        return signal.to(xs.dtype) * xs + noise.to(xs.dtype) * epsilon

    def _log_ratio(self, t: Time, s: Time, x: Code) -> Float[Tensor, "b 1 *#s"]:
        """Return log(alpha_bar_t / alpha_bar_s); 0 for equal times, also at zero signal."""
        log_t, log_s = self.schedule.log_alpha_bar(along(t, x)), self.schedule.log_alpha_bar(along(s, x))
        return torch.where(log_t == log_s, torch.zeros_like(log_t), log_t - log_s).clamp_max(0)

    def loss(
        self, prediction: Float[Tensor, "b p *s"], target: Float[Tensor, "b p *s"], t: Time
    ) -> Float[Tensor, "b 1 *s"]:
        return (prediction - target).square().mean(1, keepdim=True)

    def denoise(self, prediction: Float[Tensor, "b p *s"], xt: Code, t: Time) -> Code:
        signal, noise = (scale.to(xt.dtype) for scale in self._scales(t, xt))
        match self.prediction:
            case "epsilon":
                return (xt - noise * prediction) / signal
            case "x0":
                return prediction
            case "v":
                return signal * xt - noise * prediction

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> GaussianTransition:
        """Return the DDIM step (Song et al. 2021, eq. 12), with the ancestral variance at ``eta`` = 1."""
        # Scales stay in float64: near t = 1 single precision rounds noise_s and noise_t to the same number, and the
        # difference of their squares to 0.
        (signal_t, noise_t), (signal_s, noise_s) = self._scales(t, xt), self._scales(s, xt)
        log_ratio = self._log_ratio(t, s, xt)
        moves = log_ratio < 0
        safe_noise_t = torch.where(noise_t > 0, noise_t, 1.0)
        sd = torch.where(moves, eta * noise_s / safe_noise_t * torch.sqrt(-torch.expm1(log_ratio)), 0.0)
        state_factor = torch.sqrt((noise_s.square() - sd.square()).clamp_min(0)) / safe_noise_t
        data_factor = signal_s - state_factor * signal_t
        mean = data_factor.to(xt.dtype) * x0_hat + state_factor.to(xt.dtype) * xt
        return GaussianTransition(torch.where(moves, mean, xt), sd.to(xt.dtype))
