"""Checks that a kernel, given the exact posterior mean as x0_hat, samples the data distribution.

``kernel_distributions`` cannot detect such errors: it fixes x_0, and a reverse step that mishandles an uncertain x0_hat
may still be exact for a known x_0.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.conformance.kernel_distributions import at
from metavoxel.parts.conformance.statistics import assert_same_mean
from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng

PROBABILITIES = ((0.9, 0.1), (0.97, 0.02, 0.01))
TOTAL_VARIATION = 0.01


def check_one_hot_oracle(
    kernel: AbstractKernel,
    *,
    probabilities: Sequence[Sequence[float]] = PROBABILITIES,
    steps: Sequence[int] = (1, 2, 10, 50),
) -> None:
    """Check that one categorical variable is sampled with its own probabilities, for any number of steps."""
    for weights in probabilities:
        for count in steps:
            sampled = one_hot_marginal(kernel, weights, steps=count)
            distance = float((sampled - torch.tensor(weights)).abs().sum() / 2)
            assert distance < TOTAL_VARIATION, (
                f"probabilities {tuple(weights)} are sampled as {tuple(round(float(p), 3) for p in sampled)} in "
                f"{count} steps with exact posteriors: total variation {distance:.3f}, allowed {TOTAL_VARIATION}"
            )


def one_hot_marginal(
    kernel: AbstractKernel, probabilities: Sequence[float], *, steps: int, rows: int = 20_000, eta: float = 1.0
) -> Float[Tensor, "k"]:
    """Sample one-hot codes with the exact posterior at every step, and return the relative class frequencies."""
    weights = torch.tensor(probabilities)
    rng = Rng.for_rows(rows, "one-hot oracle", steps)
    state = kernel.prior((rows, len(weights)), rng=rng, like=weights)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
    for t, s in pairwise(times):
        distinct, which = torch.unique(state, dim=0, return_inverse=True)  # states need not be categories
        posterior = weights[:, None] * state_likelihood(kernel, distinct, t).to(weights.dtype)
        x0_hat = (posterior / posterior.sum(0)).T[which]
        state = kernel.transition(x0_hat, state, at(t, rows), at(s, rows), eta=eta).sample(rng)
    return state.mean(0)


def state_likelihood(kernel: AbstractKernel, states: Float[Tensor, "m k"], t: float) -> Float[Tensor, "k m"]:
    """Estimate q(x_t = state | x_0 = category), one row per category, through the kernel's public interface.

    The ancestral step from t = 1 to t given x_0 is averaged over 200 draws of q(x_1 | x_0). The draws differ only by
    the signal left at t = 1.
    """
    draws, categories = 200, states.shape[1]
    x0 = torch.eye(categories, dtype=torch.float64).repeat_interleave(draws, 0)
    rows = len(x0)
    last = kernel.noise(x0, at(1, rows), rng=Rng.for_rows(rows, "likelihood")).state
    step = kernel.transition(x0, last, at(1, rows), at(t, rows), eta=1.0)
    columns = [step.log_prob(state.double().expand(rows, -1).contiguous()).exp() for state in states]
    return torch.stack(columns, 1).reshape(categories, draws, len(states)).mean(1)


class NormalMixture(NamedTuple):
    """Univariate Gaussian mixture."""

    weights: Float[Tensor, "m"]
    means: Float[Tensor, "m"]
    sds: Float[Tensor, "m"]

    def posterior_mean(self, x: Float[Tensor, "b 1"], signal: float, noise: float) -> Float[Tensor, "b 1"]:
        """Return E[x_0 | signal x_0 + noise e = x] for standard normal e."""
        variance = (signal * self.sds).square() + noise**2
        error = x - signal * self.means
        weight = torch.softmax(self.weights.log() - 0.5 * variance.log() - 0.5 * error.square() / variance, 1)
        return (weight * (self.means + signal * self.sds.square() / variance * error)).sum(1, keepdim=True)

    def below(self, x: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Return the cumulative distribution function at x."""
        return (self.weights * torch.special.ndtr((x[:, None] - self.means) / self.sds)).sum(1)


MIXTURE = NormalMixture(
    torch.tensor([0.6, 0.4], dtype=torch.float64),
    torch.tensor([-0.8, 1.0], dtype=torch.float64),
    torch.tensor([0.5, 0.7], dtype=torch.float64),
)


def _scales(kernel: AbstractKernel, t: float) -> tuple[float, float]:
    """Estimate the signal scale from draws with equal random numbers, and derive the noise scale from ``log_snr``."""
    x0 = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    same = Rng.of([1, 1])
    state = kernel.noise(x0, at(t, 2), rng=same).state
    signal = float(state[1] - state[0])
    log_snr = float(kernel.log_snr(at(t, 1)))
    return signal, (signal * math.exp(-log_snr / 2) if math.isfinite(log_snr) else float(t > 0))


def check_signal_to_noise(kernel: AbstractKernel) -> None:
    """Check that ``log_snr`` and ``scales`` agree with draws of a real code."""
    rows = 40_000
    for t in (0.01, 0.3, 0.7):
        signal, noise = _scales(kernel, t)
        stated = [float(scale) for scale in kernel.scales(at(t, 1))]
        assert not kernel.is_gaussian or max(abs(signal - stated[0]), abs(noise - stated[1])) < 1e-5, (
            f"scales({t}) are {stated[0]:.5f} and {stated[1]:.5f}, but draws have {signal:.5f} and {noise:.5f}"
        )
        zero = torch.zeros(rows, 1, dtype=torch.float64)
        state = kernel.noise(zero, at(t, rows), rng=Rng.for_rows(rows, "noise")).state
        expected = torch.full_like(state, noise**2)
        assert_same_mean(
            state.square() / expected,
            torch.ones_like(state),
            f"variance of noise(0, {t}) divided by the stated variance",
        )


def check_density(kernel: AbstractKernel) -> None:
    """Check that the density of an ancestral step of a real code integrates to 1 and has the moments of its draws."""
    rows, width = 20_001, 20.0
    grid = torch.linspace(-width / 2, width / 2, rows, dtype=torch.float64)[:, None]
    for t, s in ((1.0, 0.5), (0.7, 0.3), (0.3, 0.2)):
        x0, xt = torch.full_like(grid, 0.4), torch.full_like(grid, -0.3)
        step = kernel.transition(x0, xt, at(t, rows), at(s, rows), eta=1.0)
        mass = step.log_prob(grid).exp()[:, None] * width / (rows - 1)
        total, mean = float(mass.sum()), float((mass * grid).sum())
        assert abs(total - 1) < 1e-3, f"the density of a step from t = {t} to {s} integrates to {total:.4f}"
        drawn = step.sample(Rng.for_rows(rows, "density"))
        variance = (mass * (grid - mean).square()).sum()
        assert_same_mean(
            drawn - mean, torch.zeros_like(drawn), f"mean of a step from t = {t} to {s} minus that of its density"
        )
        ratio = (drawn - mean).square() / variance
        assert_same_mean(
            ratio, torch.ones_like(drawn), f"variance of a step from t = {t} to {s} divided by that of its density"
        )


def check_mixture_oracle(
    kernel: AbstractKernel, *, steps: int = 100, rows: int = 20_000, total_variation: float = 4 * TOTAL_VARIATION
) -> None:
    """Check that a bimodal scalar is sampled correctly in many steps, deterministic (eta = 0) or ancestral (eta = 1).

    Total variation is computed over ten bins of equal probability. With 100 equidistant steps, the default, half of the
    allowed distance is discretisation error.
    """
    for eta in (0.0, 1.0):
        rng = Rng.for_rows(rows, "mixture oracle")
        like = torch.zeros((), dtype=torch.float64)
        state = kernel.prior((rows, 1), rng=rng, like=like)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
        for t, s in pairwise(times):
            x0_hat = MIXTURE.posterior_mean(state, *_scales(kernel, t))
            state = kernel.transition(x0_hat, state, at(t, rows), at(s, rows), eta=eta).sample(rng)
        mass = torch.histc(MIXTURE.below(state[:, 0]), bins=10, min=0, max=1) / rows
        distance = float((mass - 0.1).abs().sum() / 2)
        assert distance < total_variation, (
            f"samples of a mixture of two Gaussians are {distance:.3f} from it (total variation over ten bins, "
            f"allowed {total_variation}) after {steps} steps at eta = {eta} with exact posteriors"
        )
