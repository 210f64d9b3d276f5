"""Draws in few evaluations of the network: a fine trajectory of the baseline, with the network's correction held.

A model whose denoiser corrects a baseline in closed form has two estimates of x_0: D of both, and B of the baseline
alone. The baseline is evaluated at every step of a fine grid, so that discretisation has no error as far as it is
right. The network is evaluated at a few steps. With noise scale n_t, and u the time of the last of these, a Gaussian
variable has the estimate

    x0_hat = B(x_t) + n_t / n_u (D(x_u) - B(x_u)),                                                               (1)

in which the correction of v = (a_t x_t - x0_hat) / n_t is held (a_t x_t is the same for both estimates). A category has
the probabilities

    softmax(log B(x_t) + log D(x_u) - log B(x_u)).                                                               (2)

Variables without a baseline keep the estimate D(x_u). With an evaluation at every step, (1) and (2) are D(x_t).
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from metavoxel.parts.kernels.base import AbstractKernel, along
from metavoxel.sampling.conditional import Denoiser
from metavoxel.typing import AnyCode, AnyMask, AnyTime, Code

MOST_EVALUATIONS = 8
"""Evaluations up to which the correction is held: with more, a trajectory of as many steps has no larger error."""
FINE_STEPS = 24
"""Steps of the baseline's trajectory."""
CORRECTED = 0.75
"""Share of the steps, from the prior, over which evaluations are spread; later, little is left to correct."""


class AbstractCorrectedDenoiser(ABC):
    """A joint denoiser that is a correction of a baseline, which costs much less."""

    @property
    @abstractmethod
    def with_baseline(self) -> Collection[str]:
        """Variables that have a baseline."""

    @abstractmethod
    def denoise_baseline(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> Mapping[str, AnyCode]:
        """Return the baseline's E[x_0 | states] of every variable that has a baseline."""


def evaluated_steps(evaluations: int, steps: int) -> frozenset[int]:
    """Return the steps at which the network is evaluated: the first, and others at equal distances."""
    return frozenset(round(number * CORRECTED * steps / evaluations) for number in range(evaluations))


class HeldCorrection:
    """The denoiser of one trajectory, whose calls are counted. Final.

    Args:
        denoiser: of network and baseline.
        baseline: of the baseline alone.
        kernels: of every variable.
        evaluated: numbers of the calls, from 0, in which the network is evaluated.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        baseline: Denoiser,
        kernels: Mapping[str, AbstractKernel],
        evaluated: Collection[int],
    ) -> None:
        self._denoiser, self._baseline, self._kernels = denoiser, baseline, dict(kernels)
        self._evaluated, self._calls = evaluated, 0
        self._held: dict[str, Tensor] = {}

    def __call__(
        self, states: Mapping[str, AnyCode], times: Mapping[str, AnyTime], observed: Mapping[str, AnyMask]
    ) -> dict[str, AnyCode]:
        """Return E[x_0 | states], by the network or by eq. (1) and (2)."""
        baseline = self._baseline(states, times, observed)
        noise = {name: self._kernels[name].scales(along(times[name], states[name]))[1] for name in baseline}
        if self._calls in self._evaluated:
            found = dict(self._denoiser(states, times, observed))
            self._held = {
                name: self._correction(name, found[name], baseline[name], noise[name])
                if name in baseline
                else found[name]
                for name in found
            }
        else:
            found = {
                name: self._corrected(name, baseline[name], held, noise[name]) if name in baseline else held
                for name, held in self._held.items()
            }
        self._calls += 1
        return found

    def _correction(self, name: str, found: Code, baseline: Code, noise: Tensor) -> Tensor:
        if self._kernels[name].is_gaussian:
            scale = noise.to(found)
            return torch.where(scale > 0, (found - baseline) / torch.where(scale > 0, scale, 1.0), 0.0)
        return _log(found) - _log(baseline)

    def _corrected(self, name: str, baseline: Code, held: Tensor, noise: Tensor) -> Code:
        if self._kernels[name].is_gaussian:
            return baseline + noise.to(baseline) * held
        return torch.softmax(_log(baseline) + held, 1)


def _log(probabilities: Code) -> Code:
    return torch.log(probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny))
