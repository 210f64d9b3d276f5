"""Whether a kernel, given the exact posterior of the data as its belief, samples the right distribution.

The laws of a kernel's draws cannot see this: they hold x_0 fixed, and a reverse step that treats a belief wrongly still
treats certainty rightly.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel
from metavoxel.rng import Rng
from metavoxel.testing.kernel_distributions import at
from metavoxel.testing.statistics import assert_same_mean

PROBABILITIES = ((0.9, 0.1), (0.97, 0.02, 0.01))
TOTAL_VARIATION = 0.01


def check_one_hot_oracle(
    kernel: AbstractKernel,
    *,
    probabilities: Sequence[Sequence[float]] = PROBABILITIES,
    steps: Sequence[int] = (1, 2, 10, 50),
) -> None:
    """One categorical variable is sampled with its own probabilities, in few steps and in many."""
    for weights in probabilities:
        for count in steps:
            sampled = one_hot_marginal(kernel, weights, steps=count)
            distance = float((sampled - torch.tensor(weights)).abs().sum() / 2)
            assert distance < TOTAL_VARIATION, (
                f"probabilities {tuple(weights)} are sampled as {tuple(round(float(p), 3) for p in sampled)} in "
                f"{count} steps from exact posteriors: total variation {distance:.3f}, allowed {TOTAL_VARIATION}"
            )


def one_hot_marginal(
    kernel: AbstractKernel, probabilities: Sequence[float], *, steps: int, rows: int = 20_000, eta: float = 1.0
) -> Float[Tensor, "k"]:
    """Shares of the categories among draws of a kernel for one-hot codes, given the exact posterior at every step."""
    weights = torch.tensor(probabilities)
    rng = Rng.for_rows(rows, "one-hot oracle", steps)
    state = kernel.prior((rows, len(weights)), rng=rng, like=weights)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
    for t, s in pairwise(times):
        there, which = torch.unique(state, dim=0, return_inverse=True)  # a kernel may have states that are no category
        posterior = weights[:, None] * state_likelihood(kernel, there, t).to(weights.dtype)
        belief = (posterior / posterior.sum(0)).T[which]
        state = kernel.transition(belief, state, at(t, rows), at(s, rows), eta=eta).sample(rng)
    return state.mean(0)


def state_likelihood(kernel: AbstractKernel, states: Float[Tensor, "m k"], t: float) -> Float[Tensor, "k m"]:
    """q(x_t = state | x_0 = category) with a row for every category, from what the kernel offers to all.

    It is the ancestral step from t = 1 to t with x_0 known, averaged over q(x_1 | x_0): over 200 draws, which differ
    only by what signal is left at t = 1.
    """
    draws, categories = 200, states.shape[1]
    x0 = torch.eye(categories, dtype=torch.float64).repeat_interleave(draws, 0)
    rows = len(x0)
    last = kernel.noise(x0, at(1, rows), rng=Rng.for_rows(rows, "likelihood")).state
    step = kernel.transition(x0, last, at(1, rows), at(t, rows), eta=1.0)
    columns = [step.log_prob(state.double().expand(rows, -1).contiguous()).exp() for state in states]
    return torch.stack(columns, 1).reshape(categories, draws, len(states)).mean(1)


class NormalMixture(NamedTuple):
    """One number: normal components side by side."""

    weights: Float[Tensor, "m"]
    means: Float[Tensor, "m"]
    sds: Float[Tensor, "m"]

    def posterior_mean(self, x: Float[Tensor, "b 1"], signal: float, noise: float) -> Float[Tensor, "b 1"]:
        """E[x_0 | signal x_0 + noise e = x]."""
        variance = (signal * self.sds).square() + noise**2
        error = x - signal * self.means
        weight = torch.softmax(self.weights.log() - 0.5 * variance.log() - 0.5 * error.square() / variance, 1)
        return (weight * (self.means + signal * self.sds.square() / variance * error)).sum(1, keepdim=True)

    def below(self, x: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """Distribution function."""
        return (self.weights * torch.special.ndtr((x[:, None] - self.means) / self.sds)).sum(1)


MIXTURE = NormalMixture(
    torch.tensor([0.6, 0.4], dtype=torch.float64),
    torch.tensor([-0.8, 1.0], dtype=torch.float64),
    torch.tensor([0.5, 0.7], dtype=torch.float64),
)


def _scales(kernel: AbstractKernel, t: float) -> tuple[float, float]:
    """Signal and noise: what x_0 changes under the same random numbers, and the stated ratio of the two."""
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    same = Rng.of([1, 1])
    state = kernel.noise(ends, at(t, 2), rng=same).state
    signal = float(state[1] - state[0])
    log_snr = float(kernel.log_snr(at(t, 1)))
    return signal, (signal * math.exp(-log_snr / 2) if math.isfinite(log_snr) else float(t > 0))


def check_signal_to_noise(kernel: AbstractKernel) -> None:
    """The stated signal-to-noise ratio of a real code is that of its draws."""
    rows = 40_000
    for t in (0.01, 0.3, 0.7):
        signal, noise = _scales(kernel, t)
        stated = [float(scale) for scale in kernel.scales(at(t, 1))]
        assert not kernel.is_gaussian or max(abs(signal - stated[0]), abs(noise - stated[1])) < 1e-5, (
            f"scales({t}) are {stated[0]:.5f} and {stated[1]:.5f}, those of draws {signal:.5f} and {noise:.5f}"
        )
        zero = torch.zeros(rows, 1, dtype=torch.float64)
        state = kernel.noise(zero, at(t, rows), rng=Rng.for_rows(rows, "noise")).state
        expected = torch.full_like(state, noise**2)
        assert_same_mean(
            state.square() / expected, torch.ones_like(state), f"variance of noise(0, {t}) over the stated"
        )


def check_density(kernel: AbstractKernel) -> None:
    """The density that an ancestral step of a real code states integrates to 1, with the mean and variance of draws."""
    rows, width = 20_001, 20.0
    places = torch.linspace(-width / 2, width / 2, rows, dtype=torch.float64)[:, None]
    for t, s in ((1.0, 0.5), (0.7, 0.3), (0.3, 0.2)):
        x0, xt = torch.full_like(places, 0.4), torch.full_like(places, -0.3)
        step = kernel.transition(x0, xt, at(t, rows), at(s, rows), eta=1.0)
        share = step.log_prob(places).exp()[:, None] * width / (rows - 1)
        total, mean = float(share.sum()), float((share * places).sum())
        assert abs(total - 1) < 1e-3, f"the density of a step from t = {t} to {s} integrates to {total:.4f}"
        drawn = step.sample(Rng.for_rows(rows, "density"))
        variance = (share * (places - mean).square()).sum()
        assert_same_mean(drawn - mean, torch.zeros_like(drawn), f"mean of a step from t = {t} to {s} by its density")
        ratio = (drawn - mean).square() / variance
        assert_same_mean(ratio, torch.ones_like(drawn), f"variance of a step from t = {t} to {s} over its density's")


def check_mixture_oracle(
    kernel: AbstractKernel, *, steps: int = 100, rows: int = 20_000, total_variation: float = 4 * TOTAL_VARIATION
) -> None:
    """One number with two modes is sampled rightly in many steps, deterministic or not.

    Total variation is that of the shares in ten bins of equal probability. With so many steps of equal length, half of
    what is allowed is the error of the steps.
    """
    for eta in (0.0, 1.0):
        rng = Rng.for_rows(rows, "mixture oracle")
        like = torch.zeros((), dtype=torch.float64)
        state = kernel.prior((rows, 1), rng=rng, like=like)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64).tolist()
        for t, s in pairwise(times):
            belief = MIXTURE.posterior_mean(state, *_scales(kernel, t))
            state = kernel.transition(belief, state, at(t, rows), at(s, rows), eta=eta).sample(rng)
        share = torch.histc(MIXTURE.below(state[:, 0]), bins=10, min=0, max=1) / rows
        distance = float((share - 0.1).abs().sum() / 2)
        assert distance < total_variation, (
            f"a mixture of two normals is sampled {distance:.3f} from the truth (total variation over ten bins, "
            f"allowed {total_variation}) in {steps} steps at eta = {eta} from exact posteriors"
        )
