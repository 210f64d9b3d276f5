"""A metavoxel plugin: rectified flow, a linear path between data and noise, for any real code."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float64
from pydantic import Field, PositiveFloat
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel, Noised, along
from metavoxel.parts.kernels.gaussian import GaussianTransition
from metavoxel.plugins.hookspecs import hookimpl
from metavoxel.rng import Rng
from metavoxel.typing import Code, Time

metavoxel_api = 2


class RectifiedFlowKernel(AbstractKernel):
    """x_t = (1 - u) x_0 + u noise; the network predicts the velocity noise - x_0 (Liu et al. 2023, eq. 1). Final.

    u is the time, shifted towards noise by ``shift`` (Esser et al. 2024, eq. 23). The step at ``eta`` 0 is Euler's
    along the velocity, in u; at 1 it is ancestral.
    """

    support: ClassVar[str] = "real"
    is_gaussian: ClassVar[bool] = True

    type: Literal["rectified_flow"] = "rectified_flow"
    shift: PositiveFloat = Field(
        1.0, allow_inf_nan=False, description="shift of times towards noise: 1 for none, 3 for large latents (no unit)"
    )

    def scales(self, t: Float[Tensor, "*b"]) -> tuple[Float64[Tensor, "*b"], Float64[Tensor, "*b"]]:
        t = t.double()
        below = 1 + (self.shift - 1) * t
        return (1 - t) / below, self.shift * t / below

    def log_snr(self, t: Float[Tensor, "*b"]) -> Float64[Tensor, "*b"]:
        signal, noise = self.scales(t)
        return 2 * (signal.log() - noise.log())

    def prior(self, shape: tuple[int, ...], *, rng: Rng, like: Tensor) -> Code:
        return rng.normal(shape, like=like, dtype=like.dtype)

    def noise(self, x0: Code, t: Time, *, rng: Rng) -> Noised:
        fresh = self.prior(tuple(x0.shape), rng=rng, like=x0)
        signal, noise = (scale.to(x0.dtype) for scale in self.scales(along(t, x0)))
        return Noised(signal * x0 + noise * fresh, fresh - x0)

    def _gains(self, s: Time, t: Time, x: Code) -> tuple[Tensor, Tensor, Tensor]:
        """Return signal_t / signal_s, the variance added by a step from s to t, and whether s < t; in float64."""
        (signal_s, _), (signal_t, noise_t) = (self.scales(along(time, x)) for time in (s, t))
        moves = signal_t < signal_s
        kept = torch.where(moves, signal_t / signal_s, 1.0)
        of_snr = torch.where(moves, torch.expm1(self.log_snr(along(t, x)) - self.log_snr(along(s, x))), 0.0)
        return kept, -noise_t.square() * of_snr, moves

    def renoise(self, xs: Code, s: Time, t: Time, *, rng: Rng) -> Code:
        kept, added, _ = self._gains(s, t, xs)
        fresh = self.prior(tuple(xs.shape), rng=rng, like=xs)
        return kept.to(xs.dtype) * xs + added.sqrt().to(xs.dtype) * fresh

    def loss(self, prediction: Code, target: Code, t: Time) -> Float[Tensor, "b 1 *s"]:
        return (prediction - target).square().mean(1, keepdim=True)

    def to_prediction(self, x0_hat: Code, noise_hat: Code, t: Time) -> Code:
        return noise_hat - x0_hat

    def denoise(self, prediction: Code, xt: Code, t: Time) -> Code:
        return xt - self.scales(along(t, xt))[1].to(xt.dtype) * prediction

    def transition(self, x0_hat: Code, xt: Code, t: Time, s: Time, *, eta: float) -> GaussianTransition:
        (signal_s, noise_s), (signal_t, noise_t) = (self.scales(along(time, xt)) for time in (s, t))
        _, added, moves = self._gains(s, t, xt)
        safe = torch.where(noise_t > 0, noise_t, 1.0)
        fresh = eta * noise_s / safe * added.sqrt()
        of_state = (noise_s.square() - fresh.square()).clamp_min(0).sqrt() / safe
        of_data = signal_s - of_state * signal_t
        mean = of_data.to(xt.dtype) * x0_hat + of_state.to(xt.dtype) * xt
        return GaussianTransition(torch.where(moves, mean, xt), torch.where(moves, fresh, 0.0).to(xt.dtype))


@hookimpl
def metavoxel_kernels() -> Sequence[type[AbstractKernel]]:
    """Register ``kernel: {type: rectified_flow}``."""
    return [RectifiedFlowKernel]
